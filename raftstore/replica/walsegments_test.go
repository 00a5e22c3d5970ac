package replica

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
	"github.com/hashicorp/raft"
)

// TestFullSegments fills many files of a log, which is read meanwhile, and cuts it at both
// ends: what it holds in memory does not grow with the files.
func TestFullSegments(t *testing.T) {
	const (
		segments  = 100
		perAppend = 8
		// raft-wal would hold 192 KiB of each.
		mostBytes = segments * 64 << 10
	)
	dir := t.TempDir()
	cfg := &Config{Dir: dir, RaftLog: LogWAL, SegmentBytes: 16 << 10}
	open := func() *logStore {
		t.Helper()
		l, err := openLog(cfg, &hclogger{log: slog.New(slog.DiscardHandler)}, sharedlog.User{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	entry := func(i uint64) *raft.Log {
		return &raft.Log{Index: i, Term: 1, Data: bytes.Repeat(fmt.Appendf(nil, "%08d", i), 2<<10/8)}
	}
	check := func(l *logStore, i uint64) error {
		var got raft.Log
		if err := l.LogStore.GetLog(i, &got); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if got.Index != i || !bytes.Equal(got.Data, entry(i).Data) {
			return fmt.Errorf("entry %d: is another", i)
		}
		return nil
	}
	files := func() int {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}

	before := liveBytes()
	var last atomic.Uint64
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for seed := range uint64(2) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Most of what is read is new, as by followers.
				if n := last.Load(); n > 0 {
					if err := check(l, n-min(n-1, uint64(rng.ExpFloat64()*perAppend))); err != nil {
						t.Error(err)
						return
					}
				}
				runtime.Gosched()
			}
		})
	}
	for files() <= segments && !t.Failed() {
		var batch []*raft.Log
		for range perAppend {
			batch = append(batch, entry(last.Load()+uint64(len(batch))+1))
		}
		if err := l.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
		last.Add(perAppend)
	}
	close(stop)
	readers.Wait()
	if grown := liveBytes() - before; grown > mostBytes {
		t.Errorf("%d files of a log hold %d KiB of memory, want at most %d", files(), grown>>10, mostBytes>>10)
	}

	n := last.Load()
	first, kept := n/2, n-n/4
	if err := l.LogStore.DeleteRange(1, first-1); err != nil {
		t.Fatal(err)
	}
	if err := l.LogStore.DeleteRange(kept+1, n); err != nil {
		t.Fatal(err)
	}
	if err := l.StoreLog(entry(kept + 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i := first; i <= kept+1; i++ {
			if err := check(l, i); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range []uint64{first - 1, kept + 2, n} {
			if err := check(l, i); !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("entry %d, which was deleted: %v", i, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open()
	}
	l.Close()
}

// liveBytes returns the size of the heap without garbage.
func liveBytes() int64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
