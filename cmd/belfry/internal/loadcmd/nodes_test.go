package loadcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/loadtest"
)

// TestLoadOwnNodes runs pairs by the real program, which starts itself as the
// server.
func TestLoadOwnNodes(t *testing.T) {
	bin := harness.Binary(t)
	dir := t.TempDir()
	cmd := exec.Command(bin, "load", "pairs", "--nodes", "1", "--dir", dir, "--serve-flag=--shards=2", "--output", "json",
		"--users", "10", "--window", "8", "--duration", "300ms", "--warmup", "100ms", "--reconnect", "--ordered", "--read-back")
	cmd.Env = harness.CleanEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("belfry load pairs: %v\n%s%s", err, errs.String(), out.String())
	}
	var report loadtest.PairsReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("belfry load pairs printed %q: %v", out.String(), err)
	}
	if report.Sent == 0 || report.Delivered != report.Sent || report.Server == nil || report.UserSilenceMS == 0 {
		t.Errorf("report = %+v, want messages, a longest silence and what the server used", report)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the run left %v, %v in its folder", left, err)
	}
}

func TestLoadOwnNodesRefusals(t *testing.T) {
	for want, args := range map[string][]string{
		"--server: want it or --nodes":    {"--nodes", "3", "--server", "ws://127.0.0.1:1"},
		"--data: want it or --nodes":      {"--nodes", "3", "--data", "."},
		"--dir: want --nodes with it":     {"--dir", "."},
		"--serve-flag: want --nodes":      {"--serve-flag=--shards=2"},
		"--ordered, --max-silence: want ": {"--nodes", "3", "--ordered"},
	} {
		var errs bytes.Buffer
		if code := execute(append([]string{"load", "pairs"}, args...), nil, strings.NewReader(""), &errs, &errs); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("belfry load pairs %v: exit code %d, %q; want 2 and %q", args, code, errs.String(), want)
		}
	}
}
