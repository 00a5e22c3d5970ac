//go:build linux

package faults

// The server on a disk that fills up, is killed there, and gets room again.

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// TestDisk runs in a process of its own, which may mount small disks.
func TestDisk(t *testing.T) {
	if !smalldisk.Inside() {
		_, subtests, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
		cmd := smalldisk.Command(t.Context(), "-test.v", "-test.run=^"+t.Name()+"$/"+subtests)
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, kind := range []string{"wal", "boltdb", "shared"} {
		t.Run("full "+kind, func(t *testing.T) { testFullDisk(t, kind) })
		t.Run("full at the first start "+kind, func(t *testing.T) { testFullAtFirstStart(t, kind) })
	}
	t.Run("full during a snapshot", testFullDuringSnapshot)
	t.Run("reserve", testDiskReserve)
}

func smallDisk(t *testing.T, size int64) *smalldisk.Disk {
	t.Helper()
	d, err := smalldisk.Mount(t.TempDir(), size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testFullDisk fills the disk at random moments of a run, frees it, and kills
// the server while it is full.
func testFullDisk(t *testing.T, kind string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := smallDisk(t, 192<<20)
	// Logs are not shortened within the run: it writes less than it takes to a
	// snapshot.
	s := harness.Start(t, append(killFlags, "--data", filepath.Join(d.Dir, "store"),
		"--raft-log", kind, "--shards=2", "--disk-reserve=0")...)
	run := startKillRun(t, s, seed, 11<<10)
	for round := range 4 {
		run.progress(t, rng.Int64N(300))
		failures := s.Metric("belfry_shard_log_failures_total")
		must(t, d.Fill([]int64{0, 4 << 10, 200 << 10, 2 << 20}[rng.IntN(4)]))
		wstest.Eventually(t, "a log that fails", func() bool {
			run.failIfBroken(t)
			s.MustLive()
			return s.Metric("belfry_shard_log_failures_total") > failures
		})
		if round%2 == 1 {
			s.Kill()
			started, err := s.Begin(nil)
			must(t, err)
			wstest.Eventually(t, "a server that is up", func() bool {
				status, _, err := s.AdminAs("", "GET", "/healthz", nil)
				return err == nil && status == http.StatusOK
			})
			if s.Ready() {
				t.Log("ready while full: the logs had room in their files")
			}
			must(t, d.Free())
			must(t, <-started)
		}
		must(t, d.Free())
		wstest.Eventually(t, "a server that is ready", func() bool { s.MustLive(); return s.Ready() })
		run.progress(t, 100)
	}
	run.finish(t, s)
}

// testFullAtFirstStart has a server begin on disks with room for ever more of
// what it makes first. It says why it cannot, and what it leaves does not keep
// it from starting when there is room.
func testFullAtFirstStart(t *testing.T, kind string) {
	s := harness.Start(t)
	s.Stop()
	for _, room := range []int64{0, 8 << 10, 24 << 10, 64 << 10, 160 << 10} {
		t.Run(fmt.Sprintf("%d KiB", room>>10), func(t *testing.T) {
			d := smallDisk(t, 64<<20)
			must(t, d.Fill(room))
			flags := []string{"--data", filepath.Join(d.Dir, "store"), "--raft-log", kind, "--shards=2", "--disk-reserve=0"}
			for range 2 { // also on what the first attempt left
				started, err := s.Begin(flags)
				must(t, err)
				select {
				case err := <-started:
					if err != nil && !strings.Contains(err.Error(), "no space left on device") {
						t.Errorf("start: %v, want the reason", err)
					}
				case <-time.After(200 * time.Millisecond): // it waits for room, and is killed there
				}
				s.Kill()
				s.Log.Reset()
			}
			must(t, d.Free())
			s.Restart(flags...)
			s.Login(t, "alice", "phone", nil).Say("u:bob", "there is room")
			s.Stop()
		})
	}
}

// testFullDuringSnapshot leaves room for the beginning of a snapshot.
func testFullDuringSnapshot(t *testing.T) {
	d := smallDisk(t, 96<<20)
	s := harness.StartFaults(t, "--data", filepath.Join(d.Dir, "store"), "--shards=1", "--disk-reserve=0", "--frame-rate=0", "--send-rate=0", "--user-bytes=1MiB")
	alice := s.Login(t, "alice", "phone", nil)
	sent := 0
	send := func(n int) {
		for range n {
			sent++
			args := obj{"conv": "u:bob", "cid": fmt.Sprint(sent), "body": obj{"text": strings.Repeat("x", 10_000)}, "retry": true}
			// While the snapshot holds the last room, appends may fail too.
			wstest.Eventually(t, "a message that is taken", func() bool {
				_, err := alice.Try("send", args)
				if err != nil && err.Code != "unavailable" {
					t.Fatal(err)
				}
				return err == nil
			})
		}
	}
	// This build takes a snapshot after 4 MiB of log, which is more than the
	// state. There is room for the rest of that log, and not for the snapshot.
	send(400)
	must(t, d.Fill(1<<20))
	send(30)
	wstest.Eventually(t, "a snapshot that fails", func() bool {
		s.MustLive()
		return s.Metric("belfry_shard_snapshot_failed") == 1
	})
	if left, err := filepath.Glob(filepath.Join(d.Dir, "store", "shard-0000", "snapshots", "*")); err != nil || len(left) > 0 {
		t.Errorf("the failed snapshot left %v, %v", left, err)
	}
	must(t, d.Free())
	send(20)
	s.Kill()
	s.Restart()
	alice.Login(nil)
	// A restart begins with its first look at the log's size, and room is there.
	wstest.Eventually(t, "a snapshot", func() bool { return s.Metric("belfry_shard_snapshots_total") > 0 })
	send(10)
	page, _ := alice.History("u:bob", nil)
	for i, m := range page {
		if want := sent - len(page) + 1 + i; m.CID != fmt.Sprint(want) || m.Seq != int64(want) {
			t.Errorf("message %d of the last is seq %d, cid %s; want %d", i, m.Seq, m.CID, want)
		}
	}
	if len(page) != 20 {
		t.Errorf("history gives %d messages, want 20", len(page))
	}
}

// testDiskReserve fills the disk down into the reserve: sends are refused before
// anything fails, and everything else goes on.
func testDiskReserve(t *testing.T) {
	d := smallDisk(t, 96<<20)
	s := harness.Start(t, "--data", filepath.Join(d.Dir, "store"), "--shards=2", "--disk-reserve=32MiB")
	alice := s.Login(t, "alice", "phone", nil)
	alice.Sync()
	first := alice.Say("u:bob", "while there is room")
	must(t, d.Fill(24<<20))
	wstest.Eventually(t, "a disk that counts as full", func() bool { return s.Metric("belfry_node_disk_low") == 1 })
	err := alice.Refused("send", obj{"conv": "u:bob", "cid": "2", "body": obj{"text": "full"}}, "unavailable")
	if err.RetryAfterMS < 1000 {
		t.Errorf("refused with retryAfterMs = %d, want at least a second", err.RetryAfterMS)
	}
	bob := s.Login(t, "bob", "phone", nil)
	sync := bob.Sync()
	if len(sync.Messages) != 1 {
		t.Fatalf("bob got %v, want one message", sync.Messages)
	}
	bob.AckAll()
	bob.Request("readReport", obj{"conv": "u:alice", "seq": 1})
	alice.Expect("onReadReceipt")
	if m, _ := bob.History("u:alice", nil); len(m) != 1 {
		t.Errorf("history = %v, want one message", m)
	}
	alice.Request("recall", obj{"conv": "u:bob", "seq": wstest.Num(t, first, "seq")})
	bob.Expect("onRecall")
	if n := s.Metric("belfry_shard_log_failures_total"); n != 0 {
		t.Errorf("%v appends failed, want none", n)
	}
	if !s.Ready() {
		t.Error("not ready, although all but sends goes on")
	}
	must(t, d.Free())
	wstest.Eventually(t, "a disk that has room", func() bool { return s.Metric("belfry_node_disk_low") == 0 })
	alice.Say("u:bob", "3")
	if m := bob.Message(); m.CID != "3" {
		t.Errorf("bob got %v, want cid 3", m)
	}
}
