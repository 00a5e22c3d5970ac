package conformance

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

var driver = flag.String("driver", "", "command of a driver, for TestDriver")

// TestDriver runs the suite with any driver.
func TestDriver(t *testing.T) {
	if *driver == "" {
		return
	}
	playAll(t, sdk{command: strings.Fields(*driver), retells: true})
}

// TestGo runs the suite with the Go SDK.
func TestGo(t *testing.T) {
	t.Parallel()
	playAll(t, sdk{command: []string{goDriver(t)}})
}

func playAll(t *testing.T, of sdk) {
	shared := harness.Start(t)
	for _, sc := range scenarios {
		t.Run(strings.ReplaceAll(sc.name, ",", ""), func(t *testing.T) {
			t.Parallel()
			if err := play(t, shared, of, sc); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFaultySDKsAreFound: each planted fault has to fail the scenario that is there for it.
func TestFaultySDKsAreFound(t *testing.T) {
	t.Parallel()
	binary := goDriver(t)
	shared := harness.Start(t)
	for fault, want := range map[string]struct{ scenario, says string }{
		"twice":  {"01 ", "messages handed over"},
		"greedy": {"18 ", "requests, again"},
		"forget": {"the outbox outlives the process, killed before", "what bob has"},
		"undead": {"what was deleted stays", "the page"},

		"counting":  {"a group that counts no unread", "unread"},
		"resetting": {"reset: a cursor of one group", "what bob has of alice"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			for _, sc := range scenarios {
				if !strings.HasPrefix(sc.name, want.scenario) {
					continue
				}
				if err := play(t, shared, sdk{command: []string{binary, "-fault", fault}}, sc); err == nil || !strings.Contains(err.Error(), want.says) {
					t.Errorf("%s: %v, want that %s", sc.name, err, want.says)
				}
				return
			}
			t.Errorf("no scenario %q", want.scenario)
		})
	}
}

// goDriver builds the driver of the Go SDK.
func goDriver(t *testing.T) string {
	harness.Binary(t) // or the test is skipped, with all others that start a server
	path := filepath.Join(t.TempDir(), "godriver")
	cmd := exec.Command("go", "build", "-o", path, "./client/conformance/godriver")
	cmd.Dir = wstest.InRepo()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}
