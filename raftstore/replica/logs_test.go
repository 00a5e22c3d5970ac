package replica

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// A file made where pages are smaller than here is as good as another.
func TestUnfinishedBoltIsRemoved(t *testing.T) {
	for _, tc := range []struct {
		name string
		cut  int64 // bytes left; 0 = all
		kept bool
	}{
		{"whole", 0, true},
		{"one page short", 3 << 10, false},
		{"nothing but the first bytes", 20, false},
	} {
		path := filepath.Join(t.TempDir(), "stable.db")
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if tc.cut > 0 {
			if err := os.Truncate(path, tc.cut); err != nil {
				t.Fatal(err)
			}
		}
		if err := removeUnfinished(path); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != tc.kept {
			t.Errorf("%s: kept = %t, want %t", tc.name, err == nil, tc.kept)
		}
	}
}

// Raft looks at the age of its log every 10 s, and does not wait for that when it is
// shut down.
func TestReadsOfAClosedLog(t *testing.T) {
	for _, kind := range logKinds {
		cfg := testConfig(t, 0)
		cfg.RaftLog = kind
		if err := os.MkdirAll(cfg.Dir, DirMode); err != nil {
			t.Fatal(err)
		}
		log, err := openLog(&cfg, &hclogger{log: cfg.Log}, sharedlog.User{})
		if err != nil {
			t.Fatal(err)
		}
		log.halt = newHalt()
		var reads sync.WaitGroup
		for range 4 {
			reads.Go(func() {
				for {
					if _, err := log.FirstIndex(); err != nil {
						return
					}
				}
			})
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		reads.Wait()
		if err := log.GetLog(1, new(raft.Log)); err == nil {
			t.Errorf("%s: a closed log gave an entry", kind)
		}
	}
}

// An appendRecorder is a log that notes what it is given at once.
type appendRecorder struct {
	raft.LogStore
	appends [][]*raft.Log
	fail    int // the append with this number fails, counted from 1; 0: none does
}

func (r *appendRecorder) StoreLogs(entries []*raft.Log) error {
	r.appends = append(r.appends, entries)
	if len(r.appends) == r.fail {
		return errors.New("no room")
	}
	return nil
}

// TestAppendsAreBounded appends what a follower gets that catches up.
func TestAppendsAreBounded(t *testing.T) {
	var entries []*raft.Log
	for i := range 64 {
		size := 1 << 20
		switch i {
		case 10:
			size = 3 * appendBytes
		case 20, 21, 22:
			size = 10
		}
		entries = append(entries, &raft.Log{Index: uint64(i + 1), Data: make([]byte, size)})
	}
	store := new(appendRecorder)
	log := &logStore{LogStore: store}
	if err := log.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	next := uint64(1)
	for _, some := range store.appends {
		size := 0
		for _, e := range some {
			if e.Index != next {
				t.Fatalf("entry %d came, want %d", e.Index, next)
			}
			next++
			size += len(e.Data)
		}
		if size > appendBytes && len(some) > 1 {
			t.Errorf("%d entries of %d bytes were appended at once, at most %d", len(some), size, appendBytes)
		}
	}
	if next != 65 || len(store.appends) > 40 {
		t.Errorf("%d entries came in %d appends", next-1, len(store.appends))
	}
	failed := 0
	store = &appendRecorder{fail: 3}
	log = &logStore{LogStore: store, failed: func(error) { failed++ }}
	if err := log.StoreLogs(entries); err == nil || failed != 1 || len(store.appends) != 3 {
		t.Errorf("StoreLogs = %v after %d appends and %d failures, want that it ends with the third", err, len(store.appends), failed)
	}
	if err := log.StoreLogs(entries[:1]); !errors.Is(err, errLogFailed) {
		t.Errorf("StoreLogs after a failure = %v, want errLogFailed", err)
	}
}
