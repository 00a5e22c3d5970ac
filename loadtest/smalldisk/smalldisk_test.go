//go:build linux

package smalldisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain runs the tests where they can mount.
func TestMain(m *testing.M) {
	if Inside() {
		os.Exit(m.Run())
	}
	cmd := Command(context.Background(), os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestFill(t *testing.T) {
	d, err := Mount(t.TempDir(), 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(d.Dir, "file")
	for range 3 {
		if err := d.Fill(8 << 10); err != nil {
			t.Fatal(err)
		}
		if _, free, err := d.usage(); err != nil || free != 8<<10 {
			t.Errorf("free = %d, %v; want 8 KiB", free, err)
		}
		if err := os.WriteFile(file, make([]byte, 9<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("write of 9 KiB: %v, want ENOSPC", err)
		}
		if err := d.Free(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, 3<<20), 0o600); err != nil {
			t.Errorf("write of 3 MiB into a freed disk: %v", err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMountOutside(t *testing.T) {
	t.Setenv(inside, "")
	if _, err := Mount(t.TempDir(), 1<<20); err == nil {
		t.Error("mounted where others would see it")
	}
}
