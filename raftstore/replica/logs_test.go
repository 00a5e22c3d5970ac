package replica

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

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
		log, err := openLog(&cfg, &hclogger{log: cfg.Log})
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
