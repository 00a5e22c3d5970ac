// Command check is what `make test` runs: gofmt, vet, staticcheck, every test
// with the race detector, what needs none without it, the clients in JavaScript
// that are installed, the TypeScript SDK with the console, and each fuzz target for
// a short time. It goes on after a failure, so that one run shows all, and ends
// with a line
//
//	N passed, N failed
//
// With -quick, as `make quick` runs it, it leaves out what takes long: the race
// detector, all tests that start a server, what -short leaves out, and fuzzing.
//
// The counts are those of go test's own events and vitest's report: every test, subtest, example
// and fuzz run that reported a result. A package that fails without a failing
// test (it does not build, it panics, it runs out of time) counts as one
// failure, and so does a step before the tests.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	fuzzTime := flag.Duration("fuzztime", 20*time.Second, "how long each fuzz target runs")
	fuzzBudget := flag.Duration("fuzzbudget", 3*time.Minute, "how long all fuzz targets may take together")
	quick := flag.Bool("quick", false, "leave out what takes long")
	flag.Parse()

	began := time.Now()
	var t tally
	gofmt(&t)
	if *quick {
		quickChecks(&t)
	} else {
		allChecks(&t, *fuzzTime, *fuzzBudget)
	}
	fmt.Printf("%v, %d skipped\n", time.Since(began).Round(time.Second), t.skipped)
	fmt.Printf("%d passed, %d failed\n", t.passed, t.failed)
	if t.failed > 0 {
		os.Exit(1)
	}
}

// all are the patterns of the packages to check: "./..." leaves out folders that
// begin with a dot.
var all = []string{"./...", "./.ci/check"}

func quickChecks(t *tally) {
	command(t, "go", append([]string{"vet"}, all...)...)
	command(t, "go", append([]string{"tool", "staticcheck"}, all...)...)
	// The end-to-end harness skips tests that start a server if this is set.
	if err := os.Setenv("BELFRY_TEST_NO_SERVERS", "1"); err != nil {
		t.fail("%v", err)
	}
	t.goTest("-short", "-vet=off", "./...")
}

func allChecks(t *tally, fuzzTime, fuzzBudget time.Duration) {
	sources := tagged(t, "faults", "{{.GoFiles}} {{.TestGoFiles}} {{.XTestGoFiles}}")
	command(t, "go", append([]string{"vet"}, all...)...)
	command(t, "go", append([]string{"vet", "-tags", "faults"}, sources...)...)
	command(t, "go", append([]string{"tool", "staticcheck"}, all...)...)
	command(t, "go", append([]string{"tool", "staticcheck", "-tags", "faults"}, sources...)...)
	clients := tagged(t, "clients", "{{.TestGoFiles}}")
	command(t, "go", append([]string{"vet", "-tags", "clients"}, clients...)...)
	command(t, "go", append([]string{"tool", "staticcheck", "-tags", "clients"}, clients...)...)

	// These packages run millions of steps on one goroutine, in which there is no
	// race to find, and which the detector makes eight times as slow. They run
	// without it here; the run with it leaves these tests out by -short.
	t.goTest("-vet=off", "-timeout", "5m", "./shard/...", "./gateway/admin")
	slots := make(chan struct{}, atOnce)
	slots <- struct{}{}
	var tests sync.WaitGroup
	tests.Go(func() {
		defer func() { <-slots }()
		// The longest packages run first; and one more at a time than there are
		// processors, because all of them also wait.
		t.goTest("-race", "-short", "-vet=off", "-timeout", "15m", "-p", fmt.Sprint(runtime.NumCPU()+1), "./cmd/belfry/e2e/...", "./...")
		if packages := tagged(t, "faults", "{{.TestGoFiles}} {{.XTestGoFiles}}"); len(packages) > 0 {
			t.goTest(append([]string{"-race", "-vet=off", "-timeout", "5m", "-tags", "faults"}, packages...)...)
		}
		clientTests(t)
		sdkTests(t)
	})
	fuzz(t, slots, fuzzTime, fuzzBudget)
	tests.Wait()
}

// command runs one step that passes or fails as a whole.
func command(t *tally, name string, args ...string) {
	title(name, args...)
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.fail("%s: %v", cmd, err)
	}
}

// gofmt counts a failure if gofmt lists files, for which it exits with 0.
func gofmt(t *tally) {
	title("gofmt", "-l", ".")
	out, err := exec.Command("gofmt", "-l", ".").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.fail("gofmt: %s", bytes.TrimSpace(out))
	}
}

func title(name string, args ...string) {
	fmt.Println("==", name, strings.Join(args, " "))
}

// tagged lists the packages in which tag changes the files that form, a template
// of go list, names: only these need another run with tag.
func tagged(t *tally, tag, form string) []string {
	list := func(args ...string) []string {
		out, err := exec.Command("go", append([]string{"list", "-f", "{{.ImportPath}} " + form}, args...)...).Output()
		if err != nil {
			t.fail("go list: %v", err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	plain := list("./...")
	var packages []string
	for _, line := range list("-tags", tag, "./...") {
		if !slices.Contains(plain, line) {
			packages = append(packages, strings.Fields(line)[0])
		}
	}
	return packages
}

// atOnce is how many fuzz targets run at a time. The tests with the race
// detector, which often wait, take the place of one.
const atOnce = 2

// fuzz runs every fuzz target for the time each, while it holds one of the slots.
// If all of them would take longer than budget with all slots free, each target
// gets less.
func fuzz(t *tally, slots chan struct{}, each, budget time.Duration) {
	targets := fuzzTargets(t)
	if len(targets) == 0 {
		return
	}
	rounds := (len(targets) + atOnce - 1) / atOnce
	each = max(min(each, budget/time.Duration(rounds)), time.Second)
	var runs sync.WaitGroup
	for _, f := range targets {
		slots <- struct{}{}
		runs.Go(func() {
			defer func() { <-slots }()
			// One worker each: the two of them fill a small machine. The tag leaves out
			// what would only be built for it once more, with the fuzzer's counters.
			t.goTest("-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", each.String(), "-parallel", "1",
				"-vet=off", "-tags", "fuzzing", f.pkg)
		})
	}
	runs.Wait()
}

type fuzzTarget struct{ pkg, name string }

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(`)

// fuzzTargets finds the fuzz targets in the sources: to ask the test binaries,
// all of them would have to be linked. The targets of small packages, which build
// fast, come first.
func fuzzTargets(t *tally) []fuzzTarget {
	const form = `{{$p := .}}{{range .TestGoFiles}}{{len $p.Deps}} {{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{len $p.Deps}} {{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}`
	out, err := exec.Command("go", "list", "-tags", "fuzzing", "-f", form, "./...").Output()
	if err != nil {
		t.fail("go list: %v", err)
	}
	type found struct {
		fuzzTarget
		deps int
	}
	var all []found
	for line := range strings.Lines(string(out)) {
		var deps int
		var pkg, path string
		if n, _ := fmt.Sscan(line, &deps, &pkg, &path); n < 3 {
			continue // between packages
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.fail("fuzz targets: %v", err)
		}
		for _, m := range fuzzFunc.FindAllSubmatch(source, -1) {
			all = append(all, found{fuzzTarget{pkg, string(m[1])}, deps})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.deps, b.deps) })
	var targets []fuzzTarget
	for _, f := range all {
		targets = append(targets, f.fuzzTarget)
	}
	return targets
}
