package replica

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// TestSealedTail opens logs whose last file was filled up while the meta store
// does not know of it yet.
func TestSealedTail(t *testing.T) {
	for name, c := range map[string]struct {
		cut  int // bytes wiped at the end of what was written; -1 = most of the index
		lost uint64
	}{
		"before it was noted":   {0, 0},
		"commit not written":    {8, 1},
		"index written in part": {8 + 16, 1},
		"index begun":           {-1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "log")
			cfg := &Config{Dir: dir, RaftLog: LogWAL, SegmentBytes: 16 << 10}
			open := func() *logStore {
				t.Helper()
				l, err := openLog(cfg, &hclogger{log: slog.New(slog.DiscardHandler)}, sharedlog.User{})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			entry := func(i uint64) *raft.Log {
				return &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "%0*d", 100+i%50, i)}
			}
			segments := func() []string {
				t.Helper()
				files, err := filepath.Glob(filepath.Join(path, "*.wal"))
				if err != nil {
					t.Fatal(err)
				}
				return files
			}
			l := open()
			meta := read(t, filepath.Join(path, metadb.FileName))
			last := uint64(0)
			for len(segments()) == 1 {
				last++
				if err := l.StoreLog(entry(last)); err != nil {
					t.Fatal(err)
				}
				if last > 1000 {
					t.Fatal("the file does not fill up")
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			files := segments()
			// The rotation runs beside the appends: what already lies in the next
			// file is lost with it.
			sealed := scanSegment(read(t, files[0]))
			last = sealed.entries
			if sealed.index == 0 || last == 0 {
				t.Fatalf("the first file holds %+v, want it sealed", sealed)
			}
			if err := os.Remove(files[1]); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(path, metadb.FileName), meta)
			data := read(t, files[0])
			from := sealed.end - int64(c.cut)
			if c.cut < 0 {
				from = int64(sealed.index) + 2
			}
			clear(data[from:sealed.end])
			write(t, files[0], data)
			last -= c.lost

			for round := range 2 {
				l = open()
				if got, err := l.LastIndex(); err != nil || got != last {
					t.Fatalf("last index = %d, %v; want %d", got, err, last)
				}
				for range 300 {
					last++
					if err := l.StoreLog(entry(last)); err != nil {
						t.Fatalf("round %d: append %d: %v", round, last, err)
					}
				}
				for i := uint64(1); i <= last; i++ {
					var got raft.Log
					if err := l.GetLog(i, &got); err != nil || string(got.Data) != string(entry(i).Data) {
						t.Fatalf("round %d: entry %d = %q, %v", round, i, got.Data, err)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
