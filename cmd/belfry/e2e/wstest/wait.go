package wstest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen. It is generous
// because the race detector on a busy machine is slow; a passing test never
// waits for it.
const Patience = 2 * time.Minute

// Eventually polls until is returns true, and ends the test if that takes longer than
// Patience. It is for conditions that no push announces; what names the condition in
// the failure.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// InRepo returns the path of a file of the repository that the test belongs to.
func InRepo(path ...string) string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, path...)...)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("the test does not run within the repository")
		}
		dir = parent
	}
}
