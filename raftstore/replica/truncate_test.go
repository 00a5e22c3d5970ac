package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
	"github.com/belfry-im/belfry/shard"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// testLog is the log of a replica with its snapshots, as openInstance opens them, and
// what the log is to hold.
type testLog struct {
	t     testing.TB
	cfg   Config
	log   *logStore
	store *snapshotStore

	want map[uint64]uint64 // term of each entry, by index
	last uint64            // 0: the log is empty
	next uint64            // index of the next entry

	created int64 // when a snapshot was created last, Unix ms
}

func openTestLog(t testing.TB, kind string) *testLog {
	t.Helper()
	l := &testLog{t: t, cfg: testConfig(t, 0), want: map[uint64]uint64{}, next: 1}
	l.cfg.RaftLog = kind
	l.cfg.SegmentBytes = 16 << 10
	if err := os.MkdirAll(l.cfg.Dir, DirMode); err != nil {
		t.Fatal(err)
	}
	l.open()
	t.Cleanup(func() { l.log.Close() })
	return l
}

func (l *testLog) open() {
	l.t.Helper()
	logger := &hclogger{log: l.cfg.Log}
	store, err := openSnapshots(l.cfg.Dir, 0, nil, logger)
	if err != nil {
		l.t.Fatal(err)
	}
	log, err := openLog(&l.cfg, logger, sharedlog.User{})
	if err != nil {
		l.t.Fatal(err)
	}
	log.halt = newHalt()
	log.failed = func(err error) { l.t.Errorf("log failed: %v", err) }
	log.snapshots, store.log = store, log
	l.log, l.store = log, store
	if err := log.reconcile(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *testLog) reopen() {
	l.t.Helper()
	if err := l.log.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.open()
}

func entryData(index, term uint64) []byte {
	return fmt.Appendf(nil, "%0*d", int(50+index*7%150), index<<16|term)
}

func (l *testLog) append(term uint64, n int) {
	l.t.Helper()
	var entries []*raft.Log
	for range n {
		entries = append(entries, &raft.Log{Index: l.next, Term: term, Data: entryData(l.next, term)})
		l.want[l.next] = term
		l.last = l.next
		l.next++
	}
	if err := l.log.StoreLogs(entries); err != nil {
		l.t.Fatalf("append up to %d: %v", l.last, err)
	}
}

// cut drops the tail from first on, as Raft does with one that conflicts.
func (l *testLog) cut(first uint64) {
	l.t.Helper()
	if err := l.log.DeleteRange(first, l.last); err != nil {
		l.t.Fatalf("cut from %d: %v", first, err)
	}
	l.forget(first, l.last)
	l.next = first
}

func (l *testLog) forget(first, last uint64) {
	maps.DeleteFunc(l.want, func(i, _ uint64) bool { return i >= first && i <= last })
	l.last = 0
	if len(l.want) > 0 {
		l.last = slices.Max(slices.Collect(maps.Keys(l.want)))
	}
}

// emptyState is a snapshot of a state in which nothing happened.
var emptyState = func() []byte {
	var data []byte
	w := shard.NewState(0).Snapshot()
	for more := true; more; {
		data, more = w.Next(data)
	}
	w.Release()
	return data
}()

func (l *testLog) create(index, term uint64) raft.SnapshotSink {
	l.t.Helper()
	eventually(l.t, "the millisecond is over", func() bool { return time.Now().UnixMilli() != l.created }) // it is part of the name
	sink, err := l.store.Create(1, index, term, raft.Configuration{}, 1, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.created = time.Now().UnixMilli()
	return sink
}

// snapshot takes a snapshot of the replica's own and compacts the log, as Raft does.
func (l *testLog) snapshot(index uint64) error {
	l.t.Helper()
	return l.store.take(func() error {
		sink := l.create(index, l.want[index])
		if err := sink.(*steadySink).beginOwn(); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		if _, err := sink.Write(emptyState); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		if err := sink.Close(); err != nil {
			return err
		}
		first, err := l.log.FirstIndex()
		if err != nil {
			return err
		}
		return l.log.DeleteRange(first, min(index, l.last))
	})
}

// install installs a snapshot of the leader's.
func (l *testLog) install(index, term uint64) {
	l.t.Helper()
	l.write(index, term)
	first, err := l.log.FirstIndex()
	if err != nil {
		l.t.Fatal(err)
	}
	last := l.last
	if !l.log.IsMonotonic() {
		last = min(last, index)
	}
	if err := l.log.DeleteRange(first, last); err != nil {
		l.t.Fatal(err)
	}
	l.forget(1, index)
	l.next = max(l.last, index) + 1
}

func (l *testLog) write(index, term uint64) {
	l.t.Helper()
	sink := l.create(index, term)
	if _, err := io.Copy(sink, bytes.NewReader(emptyState)); err != nil {
		l.t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// check compares the log with what it is to hold behind from, and returns the index
// of its first entry.
func (l *testLog) check(from uint64) (first uint64) {
	l.t.Helper()
	first, err := l.log.FirstIndex()
	if err != nil {
		l.t.Fatal(err)
	}
	last, err := l.log.LastIndex()
	if err != nil || last != l.last {
		l.t.Fatalf("last index = %d, %v; want %d", last, err, l.last)
	}
	if last > 0 && first > from+1 {
		l.t.Fatalf("log begins at %d, want %d at most", first, from+1)
	}
	for i := max(1, first); i <= last; i++ {
		var got raft.Log
		if err := l.log.GetLog(i, &got); err != nil || got.Term != l.want[i] || !bytes.Equal(got.Data, entryData(i, l.want[i])) {
			l.t.Fatalf("entry %d: term %d, data %q, %v; want term %d", i, got.Term, got.Data, err, l.want[i])
		}
	}
	return first
}

// A follower drops a tail that conflicts with its leader's log, whichever snapshots it
// keeps.
func TestConflictingTail(t *testing.T) {
	for _, kind := range logKinds {
		for name, c := range map[string]struct {
			snapshots []uint64
			installed bool
			cut       uint64
		}{
			"no snapshot":         {nil, false, 251},
			"one snapshot":        {[]uint64{240}, false, 251},
			"two snapshots":       {[]uint64{120, 240}, false, 251},
			"behind the snapshot": {[]uint64{120, 240}, false, 241},
			"last entry":          {[]uint64{120, 240}, false, 300},
			"all of the log":      {[]uint64{240}, true, 241},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				l := openTestLog(t, kind)
				l.append(1, 300)
				for _, s := range c.snapshots {
					if c.installed {
						l.install(s, 1)
					} else if err := l.snapshot(s); err != nil {
						t.Fatal(err)
					}
				}
				l.cut(c.cut)
				l.append(2, 10)
				from := uint64(0)
				if len(c.snapshots) > 0 {
					from = c.snapshots[0]
				}
				l.check(from)
				l.reopen()
				l.check(from)
				l.append(2, 10)
				l.check(from)
			})
		}
	}
}

// What is left after a tail was cut, wherever that is in the files of raft-wal, is
// there after a restart.
func TestCutTailAndRestart(t *testing.T) {
	// With these sizes of entries a file holds some 100.
	const twoFiles, half = 250, 60
	for _, kind := range logKinds {
		for name, cut := range map[string]func(l *testLog){
			"one entry":             func(l *testLog) { l.cut(l.last); l.append(2, 20) },
			"half a file":           func(l *testLog) { l.cut(l.last - half); l.append(2, 20) },
			"nothing appended":      func(l *testLog) { l.cut(l.last - half) },
			"from the file's first": func(l *testLog) { l.cut(l.lastFile()); l.append(2, 20) },
			"over two files":        func(l *testLog) { l.cut(l.lastFile() - half); l.append(2, 20) },
			"all":                   func(l *testLog) { l.cut(1); l.append(2, 20) },
			"twice":                 func(l *testLog) { l.cut(l.last - 9); l.append(2, 5); l.cut(l.last - 7); l.append(3, 5) },
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				l := openTestLog(t, kind)
				for range twoFiles / 10 {
					l.append(1, 10)
				}
				cut(l)
				l.check(0)
				for range 2 {
					l.reopen()
					l.check(0)
					l.append(4, half)
					l.check(0)
				}
			})
		}
	}
}

// lastFile returns the index of the first entry of raft-wal's last file, or one in the
// middle if there are no such files.
func (l *testLog) lastFile() uint64 {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.cfg.Dir, "log", "*.wal"))
	if err != nil {
		l.t.Fatal(err)
	}
	if len(files) == 0 {
		return l.last / 2
	}
	slices.Sort(files)
	var base uint64
	if _, err := fmt.Sscanf(filepath.Base(files[len(files)-1]), "%d-", &base); err != nil {
		l.t.Fatal(err)
	}
	if len(files) < 2 || base <= 1 || base > l.last {
		l.t.Fatalf("files %v, entries up to %d: want several", files, l.last)
	}
	return base
}

// A process is killed when it has sealed a file to cut its tail, and has not noted that
// yet: the tail is as it was.
func TestCutTailNotNoted(t *testing.T) {
	l := openTestLog(t, LogWAL)
	l.append(1, 50)
	meta := filepath.Join(l.cfg.Dir, "log", metadb.FileName)
	before := read(t, meta)
	want, last, next := maps.Clone(l.want), l.last, l.next
	l.cut(31)
	if err := l.log.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, meta, before)
	l.want, l.last, l.next = want, last, next
	l.open()
	l.check(0)
	l.cut(31)
	l.append(2, 300)
	l.check(0)
	l.reopen()
	l.check(0)
}

// A random run of what Raft does with a log and its snapshots, with restarts between,
// against a model.
func TestLogAgainstModel(t *testing.T) {
	for _, kind := range logKinds {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 7))
				l := openTestLog(t, kind)
				term := uint64(1)
				var newest, spare uint64 // indexes of the snapshots; the log is needed behind spare
				for range 60 {
					behind := uint64(0) // entries that no snapshot holds
					if l.last > newest {
						behind = l.last - newest
					}
					switch op := rnd.IntN(10); {
					case op < 4:
						l.append(term, 1+rnd.IntN(80))
					case op == 4 && behind > 0:
						term++
						l.cut(newest + 1 + rnd.Uint64N(behind))
						l.append(term, 1+rnd.IntN(20))
					case op <= 6 && behind > 0:
						index := newest + 1 + rnd.Uint64N(behind)
						if err := l.snapshot(index); err != nil {
							t.Fatal(err)
						}
						if spare = newest; newest == 0 {
							spare = index
						}
						newest = index
						// Like the log, the model forgets what neither snapshot needs.
						first := l.check(spare)
						maps.DeleteFunc(l.want, func(i, _ uint64) bool { return i < first })
					case op == 7:
						index := newest + 1 + rnd.Uint64N(behind+50)
						if at, ok := l.want[index]; ok && rnd.IntN(2) == 0 {
							l.install(index, at)
						} else {
							term++
							l.install(index, term)
							if l.last > index {
								l.cut(index + 1)
							}
						}
						newest, spare = index, index
					case op == 8:
						// The process ends before Raft drops the log that the snapshot
						// replaces. All that conflicts with the snapshot goes.
						index := newest + 1 + rnd.Uint64N(behind+50)
						if at, ok := l.want[index]; ok && rnd.IntN(2) == 0 {
							l.write(index, at)
							spare = newest
						} else {
							term++
							l.write(index, term)
							l.forget(1, l.last)
							l.next = index + 1
							spare = index
						}
						newest = index
						l.reopen()
					default:
						l.reopen()
					}
					if l.last > 0 {
						l.check(spare)
					}
				}
			})
		}
	}
}

// An installation drops a snapshot of the replica's own that is being written, and
// those that would follow with an older state.
func TestInstallOvertakesOwnSnapshot(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			l := openTestLog(t, kind)
			l.append(1, 100)
			if err := l.snapshot(10); err != nil {
				t.Fatal(err)
			}
			begun, installed := make(chan struct{}), make(chan struct{})
			own := make(chan error)
			go func() {
				own <- l.store.take(func() error {
					sink := l.create(50, 1)
					if err := sink.(*steadySink).beginOwn(); err != nil {
						return err
					}
					close(begun)
					for {
						if _, err := sink.Write(emptyState); err != nil {
							select {
							case <-installed:
								t.Error("installed while an own snapshot is written")
							default:
							}
							return errors.Join(err, sink.Cancel())
						}
					}
				})
			}()
			<-begun
			l.write(70, 2)
			close(installed)
			if err := <-own; !errors.Is(err, errOvertaken) {
				t.Errorf("own snapshot: %v, want errOvertaken", err)
			}
			if err := l.snapshot(60); !errors.Is(err, errOvertaken) {
				t.Errorf("late own snapshot: %v, want errOvertaken", err)
			}
			metas, err := l.store.List()
			if err != nil || len(metas) != 2 || metas[0].Index != 70 || metas[1].Index != 10 {
				t.Errorf("snapshots %v, %v; want those at 70 and 10", metas, err)
			}
		})
	}
}

// TestInstallRightBeforeTheLog installs the snapshot behind which the log begins once more:
// what is behind it may have been acknowledged.
func TestInstallRightBeforeTheLog(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			l := openTestLog(t, kind)
			l.append(1, 20)
			l.install(30, 2)
			l.append(2, 5)
			l.install(30, 2)
			l.check(30)
			l.cut(31) // a tail that conflicts, of the same range
			l.append(3, 5)
			l.check(30)
			l.install(30, 2)
			l.append(3, 1)
			l.cut(31)
			l.append(4, 2)
			l.reopen()
			l.check(30)
		})
	}
}

// A snapshot that was damaged while it was installed is given up for the log.
func TestDamagedInstallIsGivenUp(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			l := openTestLog(t, kind)
			l.append(1, 100)
			if err := l.snapshot(10); err != nil {
				t.Fatal(err)
			}
			l.write(200, 2)
			damaged := filepath.Join(snapshotDirs(t, l.cfg)[1], stateFile)
			data := read(t, damaged)
			data[len(data)/2] ^= 0x40
			write(t, damaged, data)
			l.reopen()
			l.check(10)
			metas, err := l.store.List()
			if err != nil || len(metas) != 1 || metas[0].Index != 10 {
				t.Errorf("snapshots %v, %v; want the one at 10", metas, err)
			}
		})
	}
}

// A snapshot from which the log does not lead on is not installed, and one that the log
// has left behind is not used.
func TestSnapshotsBesideTheLog(t *testing.T) {
	l := openTestLog(t, LogWAL)
	l.append(1, 300)
	for _, at := range []uint64{120, 240} {
		if err := l.snapshot(at); err != nil {
			t.Fatal(err)
		}
	}
	sink := l.create(10, 1)
	if _, err := io.Copy(sink, bytes.NewReader(emptyState)); err == nil {
		t.Error("a snapshot before the log was installed")
	}
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	l.install(260, 1)
	metas, err := l.store.List()
	if err != nil || len(metas) != 1 || metas[0].Index != 260 {
		t.Errorf("snapshots %v, %v; want the one at 260", metas, err)
	}
	if first := l.check(260); first != 261 {
		t.Errorf("log begins at %d, want 261", first)
	}
}

// Of what a snapshot has replaced, the log gives the term of the last entry and no other
// one, though raft-wal would.
func TestEntriesBeforeTheLog(t *testing.T) {
	for _, kind := range logKinds {
		for name, last := range map[string]uint64{"shorter log": 90, "longer log": 110, "as long": 100} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				l := openTestLog(t, kind)
				l.append(1, int(last))
				l.install(100, 2)
				if l.last > 0 {
					l.cut(101)
				}
				for round := range 3 {
					var got raft.Log
					if err := l.log.GetLog(100, &got); err != nil || got.Index != 100 || got.Term != 2 || len(got.Data) > 0 {
						t.Errorf("round %d: entry of the snapshot is %+v, %v; want term 2", round, got, err)
					}
					for _, i := range []uint64{1, 50, 89, 90, 99} {
						if err := l.log.GetLog(i, &got); !errors.Is(err, raft.ErrLogNotFound) {
							t.Errorf("round %d: entry %d: %v, want ErrLogNotFound", round, i, err)
						}
					}
					if round == 0 {
						l.append(2, 5)
					} else {
						l.reopen()
					}
					l.check(100)
				}
			})
		}
	}
}
