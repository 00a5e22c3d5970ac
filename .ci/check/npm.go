package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// sdkFolder is the npm workspace of the TypeScript SDK, the console and the examples.
const sdkFolder = "client"

// vitestTime is after what time the tests of the workspace are taken to hang.
const vitestTime = 30 * time.Minute

// installed returns the reason why the npm packages of a folder are missing, "" if
// they are there. It installs them if the lock file is newer than they are.
func installed(folder string) string {
	lock, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err.Error()
	}
	if done, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil && !done.ModTime().Before(lock.ModTime()) {
		return missing("node")
	}
	if m := missing("npm"); m != "" {
		return m
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Sprintf("npm ci: %v\n%s", err, out)
	}
	return missing("node")
}

// sdkTests checks the types of the npm workspace and runs its tests, those in the
// browsers too. Without Node and npm it only says so, but under CI.
func sdkTests(t *tally) {
	if m := installed(sdkFolder); m != "" {
		if os.Getenv("CI") != "" {
			t.fail("TypeScript SDK: %s", m)
		} else {
			fmt.Printf("NOT RUN: TypeScript SDK: %s\n", m)
		}
		return
	}
	t.npm("run", "--silent", "check")
	t.vitest()
	t.goTest("-vet=off", "-timeout", "10m", "-tags", "clients", "-run", "^TestTypeScript$", "./client/conformance")
}

// npm runs npm in the workspace, as one step that passes or fails as a whole.
func (t *tally) npm(args ...string) {
	title("npm", args...)
	cmd := exec.Command("npm", args...)
	cmd.Dir = sdkFolder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.fail("npm %v: %v\n%s", args, err, out)
	}
}

// A vitestReport is the part that counts of what vitest's JSON reporter writes.
type vitestReport struct {
	NumPassedTests, NumPendingTests, NumTodoTests int
	TestResults                                   []struct {
		Name, Status, Message string
		AssertionResults      []struct {
			FullName, Status string
			FailureMessages  []string
		}
	}
}

// vitest runs all tests of the workspace and counts them. A file that fails without
// a failing test counts as one failure.
func (t *tally) vitest() {
	title("vitest", "run")
	report, err := os.CreateTemp("", "vitest-*.json")
	if err != nil {
		t.fail("vitest: %v", err)
		return
	}
	report.Close()
	defer os.Remove(report.Name())
	ctx, cancel := context.WithTimeout(context.Background(), vitestTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npx", "--no-install", "vitest", "run", "--reporter=json", "--outputFile="+report.Name())
	cmd.Dir = sdkFolder
	out, runErr := cmd.CombinedOutput()
	text, err := os.ReadFile(report.Name())
	var r vitestReport
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.fail("vitest: %v, %v\n%s", runErr, err, out)
		return
	}
	failedBefore := t.failures()
	for _, file := range r.TestResults {
		failed := false
		for _, a := range file.AssertionResults {
			if a.Status == "failed" {
				failed = true
				t.fail("%s: %s\n%v", file.Name, a.FullName, a.FailureMessages)
			}
		}
		if file.Status == "failed" && !failed {
			t.fail("%s: %s", file.Name, file.Message)
		}
	}
	t.mu.Lock()
	t.passed += r.NumPassedTests
	t.skipped += r.NumPendingTests + r.NumTodoTests
	t.mu.Unlock()
	// What no test is to blame for, such as a promise that nobody waited for.
	if runErr != nil && t.failures() == failedBefore {
		t.fail("vitest: %v\n%s", runErr, out)
	}
	fmt.Printf("vitest: %d passed in %d files\n", r.NumPassedTests, len(r.TestResults))
}
