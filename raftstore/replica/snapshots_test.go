package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// snapshotDirs lists the snapshots of a replica, oldest first.
func snapshotDirs(t *testing.T, cfg Config) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(cfg.Dir, "snapshots", "*-*-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(dirs, func(a, b string) int {
		ai, _ := os.Stat(a)
		bi, _ := os.Stat(b)
		return ai.ModTime().Compare(bi.ModTime())
	})
	return dirs
}

// A restart from a snapshot and the log after it gives the same state, also
// when the newer of the two snapshots cannot be read.
func TestSnapshotAndRestart(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t, 0)
			cfg.RaftLog = kind
			r, stop := start(t, cfg)
			n := 0
			talk := func() {
				for range 40 {
					send(t, r, n)
					n++
				}
			}
			for range 3 {
				talk()
				if err := r.Snapshot(); err != nil {
					t.Fatal(err)
				}
			}
			talk()
			sum := checksum(r)
			stop()
			dirs := snapshotDirs(t, cfg)
			if len(dirs) != keptSnapshots {
				t.Fatalf("snapshots on disk: %v, want %d", dirs, keptSnapshots)
			}

			r, stop = start(t, cfg)
			if checksum(r) != sum {
				t.Error("state after restart differs")
			}
			first, err := r.leadership.Load().instance.logs.FirstIndex()
			if err != nil || first < 20 {
				t.Errorf("log begins at %d (%v): not compacted", first, err)
			}
			stop()

			path := filepath.Join(dirs[1], stateFile)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 0x40
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			r, _ = start(t, cfg)
			if checksum(r) != sum {
				t.Error("state from the older snapshot and the log differs")
			}
			send(t, r, n)
		})
	}
}

// Raft.Restore replaces the state of a leader, and leaves a gap in the log, which
// raft-wal does not take.
func TestRestoreOfALeader(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t, 0)
			cfg.RaftLog = kind
			r, stop := start(t, cfg)
			for n := range 10 {
				send(t, r, n)
			}
			if err := r.Snapshot(); err != nil {
				t.Fatal(err)
			}
			in := r.leadership.Load().instance
			metas, err := in.stored.List()
			if err != nil {
				t.Fatal(err)
			}
			meta, data, err := in.stored.Open(metas[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			before := checksum(r)
			send(t, r, 10)
			if err := in.raft.Restore(meta, data, 0); err != nil {
				t.Fatal(err)
			}
			if checksum(r) != before {
				t.Error("state after Restore is not that of the snapshot")
			}
			send(t, r, 11)
			sum := checksum(r)
			for range 2 {
				stop()
				r, stop = start(t, cfg)
				if checksum(r) != sum {
					t.Error("state after restart differs")
				}
			}
			send(t, r, 12)
		})
	}
}

func TestSnapshotIsDue(t *testing.T) {
	const least, size = 10, 100
	for _, c := range []struct {
		bytes int
		took  time.Duration
		part  float64
		want  bool
	}{
		{least - 1, 2 * ReplayMost, 1, false},
		{least, 0, 1, false},
		{least, ReplayMost, 1, true},
		{size - 1, ReplayMost - 1, 1, false},
		{size, 0, 1, true},
		{least - 1, ReplayMost, 0.9, true},
		{least, ReplayMost * 8 / 10, 0.9, false},
		{size * 9 / 10, 0, 0.9, true},
	} {
		var l backlog
		l.add(c.bytes, c.took)
		if got := l.snapshotDue(least, size, c.part); got != c.want {
			t.Errorf("after %d bytes that took %v: due at %g %v, want %v", c.bytes, c.took, c.part, got, c.want)
		}
	}
}

// Replicas of a shard take their snapshots at different times, none of them late.
func TestDuePart(t *testing.T) {
	seen := map[float64]bool{}
	for i := range 100 {
		h := duePart(fmt.Sprint("replica-", i))
		if h <= 2./3 || h > 1 {
			t.Errorf("duePart of replica %d = %g", i, h)
		}
		seen[float64(int(h*30))] = true
	}
	if len(seen) < 8 {
		t.Errorf("duePart of 100 replicas falls into %d parts of 10", len(seen))
	}
}
