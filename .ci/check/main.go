// Command check is what `make test` runs: gofmt, vet, staticcheck, every test
// with the race detector, and each fuzz target for a short time. It goes on
// after a failure, so that one run shows all, and ends with a line
//
//	N passed, N failed
//
// The counts are those of go test's own events: every test, subtest, example
// and fuzz run that reported a result. A package that fails without a failing
// test (it does not build, it panics, it runs out of time) counts as one
// failure, and so does a step before the tests.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	fuzzTime := flag.Duration("fuzztime", 20*time.Second, "how long each fuzz target runs")
	fuzzBudget := flag.Duration("fuzzbudget", 3*time.Minute, "how long all fuzz targets may take together")
	flag.Parse()

	began := time.Now()
	var t tally
	gofmt(&t)
	command(&t, "go", "vet", "./...", "./.ci/check")
	command(&t, "go", "vet", "-tags", "faults", "./...")
	command(&t, "go", "tool", "staticcheck", "./...", "./.ci/check")
	command(&t, "go", "tool", "staticcheck", "-tags", "faults", "./...")
	t.goTest("-race", "-timeout", "15m", "./...")
	if packages := taggedTests(&t, "faults"); len(packages) > 0 {
		t.goTest(append([]string{"-race", "-timeout", "5m", "-tags", "faults"}, packages...)...)
	}
	fuzz(&t, *fuzzTime, *fuzzBudget)

	fmt.Printf("%v, %d skipped\n", time.Since(began).Round(time.Second), t.skipped)
	fmt.Printf("%d passed, %d failed\n", t.passed, t.failed)
	if t.failed > 0 {
		os.Exit(1)
	}
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

// gofmt succeeds although it lists files.
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

// taggedTests lists the packages that have other test files with tag than
// without: the rest has been tested already.
func taggedTests(t *tally, tag string) []string {
	const form = "{{.ImportPath}} {{.TestGoFiles}} {{.XTestGoFiles}}"
	list := func(args ...string) []string {
		out, err := exec.Command("go", append([]string{"list", "-f", form}, args...)...).Output()
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

// fuzz runs every fuzz target there is, two at a time. If all of them would
// take longer than budget, each gets less.
func fuzz(t *tally, each, budget time.Duration) {
	targets := fuzzTargets(t)
	if len(targets) == 0 {
		return
	}
	const atOnce = 2
	rounds := (len(targets) + atOnce - 1) / atOnce
	each = max(min(each, budget/time.Duration(rounds)), time.Second)
	slots := make(chan struct{}, atOnce)
	var runs sync.WaitGroup
	for _, f := range targets {
		slots <- struct{}{}
		runs.Go(func() {
			defer func() { <-slots }()
			// One worker each: the two of them fill a small machine.
			t.goTest("-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", each.String(), "-parallel", "1", f.pkg)
		})
	}
	runs.Wait()
}

type fuzzTarget struct{ pkg, name string }

// fuzzTargets asks each package's test binary. go test lists the names first
// and then the line of the package they belong to.
func fuzzTargets(t *tally) []fuzzTarget {
	out, err := exec.Command("go", "test", "-list", "^Fuzz", "./...").Output()
	if err != nil {
		t.fail("go test -list: %v", err)
	}
	var targets []fuzzTarget
	var names []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && (fields[0] == "ok" || fields[0] == "?"):
			for _, name := range names {
				targets = append(targets, fuzzTarget{fields[1], name})
			}
			names = nil
		}
	}
	return targets
}
