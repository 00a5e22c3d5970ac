package replica

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
	dto "github.com/prometheus/client_model/go"
)

// A readHook calls before when it is read for the first time.
type readHook struct {
	io.Reader
	before func()
}

func (r *readHook) Read(p []byte) (int, error) {
	if r.before != nil {
		r.before()
		r.before = nil
	}
	return r.Reader.Read(p)
}

func (*readHook) Close() error { return nil }

// A state is given up before the next one is read, though a snapshot of it is being
// taken.
func TestRestoreFreesTheOldState(t *testing.T) {
	cfg := testConfig(t, 0)
	r, _ := start(t, cfg)
	send(t, r, 1)
	if err := r.Snapshot(); err != nil {
		t.Fatal(err)
	}
	sum := checksum(r)
	f := fsm{r, r.leadership.Load().instance}
	own, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var gone atomic.Bool
	r.Inspect(func(s *shard.State, _ int64) {
		runtime.AddCleanup(s, func(gone *atomic.Bool) { gone.Store(true) }, &gone)
	})
	data := &readHook{Reader: bytes.NewReader(read(t, filepath.Join(snapshotDirs(t, cfg)[0], stateFile))), before: func() {
		eventually(t, "the old state is gone", func() bool { runtime.GC(); return gone.Load() })
		if !r.Restoring() {
			t.Error("not Restoring while a snapshot is read")
		}
		if err := r.ReadLocal(func(*shard.State, int64) {}); err == nil {
			t.Error("a read was answered while a snapshot is read")
		}
	}}
	if err := f.Restore(data); err != nil {
		t.Fatal(err)
	}
	if r.Restoring() || checksum(r) != sum {
		t.Error("state after Restore is not that of the snapshot")
	}
	if _, _, err := own.(*snapshot).next(nil); !errors.Is(err, errOvertaken) {
		t.Errorf("snapshot of the old state goes on: %v, want errOvertaken", err)
	}
	own.Release()
	if _, err := f.Snapshot(); err != nil {
		t.Errorf("Snapshot after Restore: %v", err)
	}
}

// A replica whose log does not go on from any snapshot stops, and says so.
func TestLostSnapshotsStopTheReplica(t *testing.T) {
	for _, kind := range logKinds {
		for name, lost := range map[string]int{"all": 0, "the newer one": 1} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				cfg := testConfig(t, 0)
				cfg.RaftLog = kind
				r, stop := start(t, cfg)
				for n := range 3 * trailing {
					send(t, r, n)
					if n%trailing == trailing-1 {
						if err := r.Snapshot(); err != nil {
							t.Fatal(err)
						}
					}
				}
				sum := checksum(r)
				stop()
				for _, dir := range snapshotDirs(t, cfg)[lost:] {
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				}
				r, _ = start(t, cfg)
				if lost == 1 { // the log goes on from the older one
					if checksum(r) != sum {
						t.Error("the state is not that from before")
					}
					return
				}
				eventually(t, "the replica stops", func() bool { return r.stoppedErr() != nil })
				if err := r.Ready(); err == nil || !strings.Contains(err.Error(), errIncomplete.Error()) {
					t.Errorf("Ready = %v, want that entries are lost", err)
				}
			})
		}
	}
}

func failures(t testing.TB, r *Replica) float64 {
	t.Helper()
	var m dto.Metric
	if err := r.metrics.failures.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// snapshot has a replica take a snapshot, whether or not it leads.
func (g *trio) snapshot(i int) {
	g.t.Helper()
	err := g.replicas[i].instance.Load().snapshot()
	if err != nil && !errors.Is(err, errOvertaken) {
		g.t.Fatalf("snapshot of replica %d: %v", i, err)
	}
}

// leave takes a follower away and has the others drop what it lacks from their logs. It
// returns the follower and the leader.
func (g *trio) leave() (follower, leader int) {
	g.t.Helper()
	for n := range 20 {
		g.send(n)
	}
	leader = g.leader()
	follower = (leader + 1) % len(g.replicas)
	g.cut(follower, true)
	const some = trailing + 20
	for n := 20; n < 20+2*some; n += some {
		for i := range some {
			g.send(n + i)
		}
		for i := range g.replicas {
			if i != follower {
				g.snapshot(i)
			}
		}
	}
	return follower, g.leader()
}

// A follower that was away for too long gets a snapshot, and goes on from it, also after
// a restart.
func TestInstalledSnapshot(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, inBubble(func(t *testing.T) {
			g := newTrio(t, func(_ int, cfg *Config) { cfg.RaftLog = kind })
			follower, _ := g.leave()
			g.cut(follower, false)
			g.agree()
			for n := range 3 {
				g.send(1000 + n)
				g.agree()
				g.stop[follower]()
				g.start(follower)
				g.agree()
				g.snapshot(follower)
			}
			if metas, err := g.replicas[follower].instance.Load().stored.List(); err != nil || len(metas) != keptSnapshots {
				t.Errorf("%d snapshots (%v), want %d", len(metas), err, keptSnapshots)
			}
		}))
	}
}

// A snapshot that cannot be read is not half applied: the follower goes back to what it
// had, until it gets another one.
func TestInstallFails(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, inBubble(func(t *testing.T) {
			g := newTrio(t, func(_ int, cfg *Config) { cfg.RaftLog = kind })
			follower, _ := g.leave()
			f := g.replicas[follower]
			before := checksum(f)
			for i, cfg := range g.cfg {
				if i != follower {
					dirs := snapshotDirs(t, cfg)
					path := filepath.Join(dirs[len(dirs)-1], stateFile)
					data := read(t, path)
					data[len(data)/2] ^= 0x40
					write(t, path, data)
				}
			}
			g.cut(follower, false)
			eventually(t, "the snapshot fails", func() bool { return failures(t, f) > 0 })
			empty := checksum(New(g.cfg[follower]))
			for range 20 { // the leader tries again
				f.mu.RLock()
				partial := f.partial
				f.mu.RUnlock()
				if sum := checksum(f); !partial && sum != before && sum != empty {
					t.Error("the follower has a part of a state")
				}
				time.Sleep(100 * time.Millisecond)
			}
			g.send(1000)
			for i := range g.replicas {
				if i != follower {
					g.snapshot(i)
				}
			}
			g.agree()
		}))
	}
}

// A follower has more entries than the snapshot that it gets, and none of them is in the
// leader's log.
func TestInstallBeforeALongTail(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, inBubble(func(t *testing.T) {
			g := newTrio(t, func(_ int, cfg *Config) { cfg.RaftLog = kind })
			g.send(0)
			g.agree()
			follower := (g.leader() + 1) % len(g.replicas)
			g.stop[follower]()
			l := &testLog{t: t, cfg: g.cfg[follower], want: map[uint64]uint64{}}
			l.open()
			last, err := l.log.LastIndex()
			if err != nil {
				t.Fatal(err)
			}
			var at raft.Log
			if err := l.log.GetLog(last, &at); err != nil {
				t.Fatal(err)
			}
			// The others go on in another term.
			old := g.leader()
			g.stop[old]()
			g.start(old)
			theirs := g.replicas[g.leader()].instance.Load().logs
			for {
				var next raft.Log
				if err := theirs.GetLog(last+1, &next); err != nil {
					t.Fatal(err)
				}
				if next.Term != at.Term {
					break
				}
				if err := l.log.StoreLog(&next); err != nil {
					t.Fatal(err)
				}
				last++
			}
			l.next = last + 1
			l.append(at.Term, 10*trailing)
			if err := l.log.Close(); err != nil {
				t.Fatal(err)
			}
			for n := 1; n < 1+4*trailing; n++ {
				g.send(n)
				if n == 2*trailing || n == 4*trailing {
					for i := range g.replicas {
						if i != follower {
							g.snapshot(i)
						}
					}
				}
			}
			g.start(follower)
			g.agree()
			g.send(1000)
			g.agree()
			if n := failures(t, g.replicas[follower]); n > 0 {
				t.Errorf("the follower was opened again after %g failures", n)
			}
			in := g.replicas[follower].instance.Load()
			if metas, err := in.stored.List(); err != nil || len(metas) != 1 || metas[0].Index >= last+10*trailing {
				t.Errorf("snapshots %v, %v; want one that was installed", metas, err)
			}
		}))
	}
}

// Leaders that are cut off append what nobody else gets, and drop it when they are back.
// Meanwhile replicas take snapshots, and are closed and opened again.
func TestConflictingTails(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for _, kind := range logKinds {
		t.Run(kind, inBubble(func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(rounds)))
			g := newTrio(t, func(_ int, cfg *Config) { cfg.RaftLog = kind; cfg.SegmentBytes = 16 << 10 })
			n := 0
			for range rounds {
				for range 1 + rnd.IntN(10) {
					g.send(n)
					n++
				}
				if rnd.IntN(2) == 0 {
					g.agree()
				}
				if rnd.IntN(3) > 0 {
					g.snapshot(rnd.IntN(len(g.replicas)))
				}
				cut := g.leader()
				g.cut(cut, true)
				old := g.replicas[cut]
				for range 1 + rnd.IntN(5) {
					// It is refused or never answered, unless the leadership ends first.
					done := make(chan error, 1)
					w := Waiter{Done: func(_ command.Result, err error) { done <- err }}
					if old.Enqueue(0, command.AppendCommand(nil, message(n)), w) == nil {
						if err := <-done; err == nil {
							t.Error("a leader that is cut off has committed a command")
						}
					}
					n++
				}
				for range 1 + rnd.IntN(10) {
					g.send(n)
					n++
				}
				if rnd.IntN(3) == 0 {
					g.snapshot(g.leader())
				}
				if rnd.IntN(3) == 0 {
					g.stop[cut]()
					g.start(cut)
				}
				g.cut(cut, false)
				g.agree()
			}
			for i, r := range g.replicas {
				if n := failures(t, r); n > 0 {
					t.Errorf("replica %d was opened again after %g failures", i, n)
				}
			}
			for i := range g.replicas {
				g.stop[i]()
				g.start(i)
			}
			g.agree()
		}))
	}
}
