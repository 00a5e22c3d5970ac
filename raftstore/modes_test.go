package raftstore

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTighten: a folder is shut, whatever lies in it, and through a link; what the
// owner may do stays.
func TestTighten(t *testing.T) {
	base := t.TempDir()
	real := filepath.Join(base, "real")
	if err := os.MkdirAll(filepath.Join(real, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{"x": 0o644, "a/y": 0o666, "a/b/z": 0o740, "a/b/own": 0o400}
	for name, mode := range modes {
		path := filepath.Join(real, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(base, "elsewhere")
	if err := os.WriteFile(elsewhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(elsewhere, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{filepath.Join(base, "data"): real, filepath.Join(real, "link"): elsewhere} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	tighten(filepath.Join(base, "data"), slog.New(slog.NewTextHandler(&log, nil)))
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
	modes[""], modes["a"], modes["a/b"] = 0o755, 0o755, 0o755
	for name, mode := range modes {
		info, err := os.Stat(filepath.Join(real, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != mode&^0o077 {
			t.Errorf("%q has the mode %o, want %o", name, got, mode&^0o077)
		}
	}
	if info, err := os.Stat(elsewhere); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a file that is only linked to was changed: %v %v", info, err)
	}
	tighten(filepath.Join(base, "none"), slog.New(slog.NewTextHandler(&log, nil)))
	if !strings.Contains(log.String(), "other local users") {
		t.Errorf("log of a folder that is not there: %q", log.String())
	}
}
