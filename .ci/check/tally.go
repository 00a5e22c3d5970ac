package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// A tally counts results, and prints what go test without -v would print.
type tally struct {
	mu                      sync.Mutex
	passed, failed, skipped int
}

// fail counts a failure of something that is no test, and prints it.
func (t *tally) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed++
	fmt.Printf("FAIL "+format+"\n", args...)
}

// An event is a line of go test -json; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

type testKey struct{ pkg, test string }

// goTest runs go test -json with args and counts what it reports.
func (t *tally) goTest(args ...string) {
	args = append([]string{"test", "-json"}, args...)
	title("go", args...)
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.fail("go test: %v", err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.fail("go test: %v", err)
		return
	}
	failedBefore := t.failures()
	output := map[testKey][]string{} // of tests that have not ended yet
	failedIn := map[string]int{}     // by package
	ranOut := false                  // a fuzz target ended because of its time alone
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20) // one event holds one line of output
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text())
			continue
		}
		if e.Action == "fail" && onlyRanOut(e, output) {
			ranOut = true
			e.Action = "pass"
		}
		if e.Action == "fail" && e.Test == "" && ranOut && failedIn[e.Package] == 0 {
			continue
		}
		t.take(e, output, failedIn)
	}
	if err := lines.Err(); err != nil {
		t.fail("go test: %v", err)
	}
	if err := cmd.Wait(); err != nil && t.failures() == failedBefore && !ranOut {
		t.fail("go test: %v", err)
	}
}

// onlyRanOut reports whether a fuzz target that go test calls failed found no
// failing input: up to Go 1.26 the fuzzer may report the end of its own time as
// an error (go.dev/issue/75804).
func onlyRanOut(e event, output map[testKey][]string) bool {
	said := strings.Join(output[testKey{e.Package, e.Test}], "")
	return strings.HasPrefix(e.Test, "Fuzz") &&
		strings.Contains(said, "    context deadline exceeded") &&
		!strings.Contains(said, "Failing input") && !strings.Contains(said, "panic")
}

func (t *tally) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *tally) take(e event, output map[testKey][]string, failedIn map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := testKey{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		output[key] = append(output[key], e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			t.endPackage(e, output, failedIn)
			delete(output, key)
			return
		}
		switch e.Action {
		case "pass":
			t.passed++
		case "skip":
			t.skipped++
		case "fail":
			t.failed++
			failedIn[e.Package]++
			fmt.Print(strings.Join(output[key], ""))
		}
		delete(output, key)
	}
}

// endPackage prints the package's last line, or all of its output if it failed.
func (t *tally) endPackage(e event, output map[testKey][]string, failedIn map[string]int) {
	lines := output[testKey{e.Package, ""}]
	if e.Action != "fail" {
		if len(lines) > 0 {
			fmt.Print(lines[len(lines)-1])
		}
		return
	}
	fmt.Print(strings.Join(lines, ""))
	// A test that was running when its process died has no end of its own. Most
	// of them only waited for their turn and said nothing.
	for key, rest := range output {
		if key.pkg != e.Package || key.test == "" {
			continue
		}
		for _, line := range rest {
			if !strings.HasPrefix(line, "=== ") {
				fmt.Printf("%s: %s", key.test, line)
			}
		}
		delete(output, key)
	}
	if failedIn[e.Package] == 0 {
		t.failed++
	}
}
