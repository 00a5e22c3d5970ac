package raftstore

import (
	"encoding/json"
	"hash/crc64"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/replica"
)

func takeSnapshot(t *testing.T, s *Store, id int) {
	t.Helper()
	if err := s.shards()[id].here().local.Snapshot(); err != nil {
		t.Fatalf("snapshot of shard %d: %v", id, err)
	}
}

// snapshotDirs lists the snapshots of shard 0, oldest first.
func snapshotDirs(t *testing.T, cfg Config) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(cfg.Dir, "shard-0000", "snapshots", "*-*-*"))
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

// Both snapshots unreadable: the shard stops alone.
func TestUnreadableSnapshotsStopTheShard(t *testing.T) {
	cfg := testConfig(t)
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	send(t, s, message(alice, alice, 0))
	takeSnapshot(t, s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range snapshotDirs(t, cfg) {
		corruptSnapshot(t, dir)
	}
	s = open(t, cfg)
	if err := s.Ready(); err == nil {
		t.Error("Ready although shard 0 has no state")
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "shard-0000", replica.StoppedFile)); err != nil {
		t.Error(err)
	}
	send(t, s, message(bob, bob, 0))
}

// Snapshots are taken while commands go on, and hold one moment each.
func TestSnapshotUnderLoad(t *testing.T) {
	cfg := testConfig(t)
	s := open(t, cfg)
	var writers sync.WaitGroup
	for w := range 4 {
		from, to := userIn(s, 0, 2*w), userIn(s, 0, 2*w+1)
		writers.Go(func() {
			for n := range 300 {
				send(t, s, message(from, to, n))
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for loaded := true; loaded; {
		takeSnapshot(t, s, 0)
		select {
		case <-done:
			loaded = false
		default:
		}
	}
	sums := checksums(s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	if !equalSums(checksums(s, 0), sums) {
		t.Error("state after restart differs")
	}
}

// A log that grows without the state brings a snapshot about, and with the
// next one it shrinks.
func TestSnapshotByBytes(t *testing.T) {
	cfg := testConfig(t)
	cfg.SnapshotBytes = 1
	s := open(t, cfg)
	alice := userIn(s, 0, 0)
	cmd := message(alice, alice, 0)
	cmd.Body = append([]byte{0xc5, 0x20, 0x00}, make([]byte, 0x2000)...)
	eventually(t, "a snapshot is taken", func() bool {
		for range 10 {
			if r := send(t, s, cmd); r.Seq != 1 {
				t.Fatalf("repeat stored: %+v", r)
			}
		}
		return len(snapshotDirs(t, cfg)) > 0
	})
	if n, _ := s.shards()[0].here().local.Backlog(); n < 0 {
		t.Errorf("%d bytes since the snapshot", n)
	}
}

// What a crash leaves of an unfinished snapshot goes at the next start.
func TestUnfinishedSnapshotIsRemoved(t *testing.T) {
	cfg := testConfig(t)
	left := filepath.Join(cfg.Dir, "shard-0000", "snapshots", "1-2-3.tmp")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", left, err)
	}
}

// corruptSnapshot changes the state inside a snapshot and lets Raft's own
// checksum agree, so that only the decoder of the state can tell.
func corruptSnapshot(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "state.bin")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0x40
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	metaPath := filepath.Join(dir, "meta.json")
	raw, err := os.ReadFile(metaPath)
	if err != nil {
		t.Fatal(err)
	}
	var meta map[string]any
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	sum.Write(data)
	meta["CRC"] = sum.Sum(nil)
	if raw, err = json.Marshal(meta); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metaPath, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
