package replica

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"

	"github.com/belfry-im/belfry/raftstore/store"
)

// hangFS is a file system whose syncs hang while it is held.
type hangFS struct {
	types.VFS
	mu   sync.Mutex
	held chan struct{} // closed when let go; nil while it is not held
}

func (h *hangFS) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = make(chan struct{})
}

func (h *hangFS) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.held)
	h.held = nil
}

func (h *hangFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := h.VFS.Create(dir, name, size)
	return hangFile{f, h}, err
}

func (h *hangFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := h.VFS.OpenWriter(dir, name)
	return hangFile{f, h}, err
}

type hangFile struct {
	types.WritableFile
	fs *hangFS
}

func (f hangFile) Sync() error {
	f.fs.mu.Lock()
	held := f.fs.held
	f.fs.mu.Unlock()
	if held != nil {
		<-held
	}
	return f.WritableFile.Sync()
}

// A leader whose disk hangs is replaced, and nothing is lost. After the third time its
// node is told.
func TestLeaderDiskHangs(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		disks := make(map[string]*hangFS)
		var told atomic.Int32
		c := newTestCluster(t, 1, nil)
		first := []Member{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		for _, m := range first {
			disks[m.ID] = &hangFS{VFS: walfs.New()}
			c.base.WALFS = disks[m.ID]
			c.base.OnSlowDisk = func() { told.Add(1) }
			c.add(m.ID, first)
		}
		n := 0
		hang := func(slow string) {
			send(t, c.replica(slow), n)
			disks[slow].hold()
			start := time.Now()
			unknown := make(chan error, 1)
			go func() { unknown <- propose(c.replica(slow), message(n+1)) }()
			eventually(t, "another one leads", func() bool { return c.leader() != slow })
			send(t, c.replica(c.leader()), n+2)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%v until the next leader applied", took)
			}
			if err := <-unknown; !errors.Is(err, store.ErrUnknown) {
				t.Errorf("what the slow disk has: %v, want an unknown outcome before the disk goes on", err)
			}
			time.Sleep(8 * time.Second)
			disks[slow].letGo()
			c.converged()
			n += 3
		}
		slow := c.leader()
		for range 3 {
			hang(slow)
			eventually(t, "it leads again", func() bool {
				id := c.leader()
				return id == slow || c.replica(id).Transfer(t.Context(), slow) == nil
			})
		}
		if told.Load() != 1 {
			t.Errorf("told of a slow disk %d times, want once, after the third hang", told.Load())
		}
		if n := c.failures(); n > 0 {
			t.Errorf("%d replicas were opened again", n)
		}
	})
}
