package operation

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// filesOfOthers are those of a folder that others than their owner come at.
func filesOfOthers(t *testing.T, dir string) (open []string, all int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if all++; info.Mode()&0o077 != 0 {
			open = append(open, fmt.Sprint(path, " ", info.Mode()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return open, all
}

// TestDataAreOfOneUser: messages are for nobody else on the machine, in files of the
// server as in those that libraries make, and in what an older one left open.
func TestDataAreOfOneUser(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"wal", "boltdb", "shared"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := harness.StartFaults(t, "--raft-log="+kind)
			text := strings.Repeat("x", 10<<10)
			var rows strings.Builder
			for i := range 500 {
				fmt.Fprintf(&rows, `{"from":"alice","to":"g:team","time":%d,"body":"%s"}`+"\n", time.Now().UnixMilli()-1000+int64(i), text)
			}
			s.MustAdmin("POST", "/v1/groups", obj{"group": "team", "kind": "public"})
			r, err := http.NewRequest("POST", "http://"+s.AdminListen+"/v1/import?stream=x", strings.NewReader(rows.String()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.AdminToken)
			r.Header.Set("Content-Type", "application/x-ndjson")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != 200 {
				t.Fatalf("import: %d", resp.StatusCode)
			}
			snapshots := func() int {
				found, err := filepath.Glob(filepath.Join(s.Path("store"), "shard-*", "snapshots", "*", "state.bin"))
				if err != nil {
					t.Fatal(err)
				}
				return len(found)
			}
			wstest.Eventually(t, "there is a snapshot", func() bool { return snapshots() > 0 })
			s.Kill()
			open, all := filesOfOthers(t, s.Path("store"))
			if len(open) > 0 || all < 8 {
				t.Errorf("%d of %d files are open to others:\n%s", len(open), all, strings.Join(open, "\n"))
			}
			if err := filepath.WalkDir(s.Path("store"), func(path string, entry fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if entry.IsDir() {
					return os.Chmod(path, 0o755)
				}
				return os.Chmod(path, 0o644)
			}); err != nil {
				t.Fatal(err)
			}
			s.Restart()
			s.Kill()
			if open, all := filesOfOthers(t, s.Path("store")); len(open) > 0 {
				t.Errorf("after a start %d of %d files are open to others:\n%s", len(open), all, strings.Join(open, "\n"))
			}
		})
	}
}
