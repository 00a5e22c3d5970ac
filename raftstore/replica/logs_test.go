package replica

import (
	"os"
	"path/filepath"
	"testing"

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
