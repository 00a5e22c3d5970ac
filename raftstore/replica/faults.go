//go:build faults

package replica

import (
	"sync"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// A HangingDisk is a VFS on which all that changes files waits while it hangs, as on
// a disk that does not answer. What is written beside it, as votes and snapshots, waits by
// Config.hold. It is safe for concurrent use.
type HangingDisk struct {
	VFS
	mu      sync.Mutex
	resumed chan struct{} // closed when it hangs no more; nil: it does not
}

// NewHangingDisk returns a disk that does not hang yet.
func NewHangingDisk() *HangingDisk { return &HangingDisk{VFS: fs.New()} }

// Hang makes the disk hang until Resume.
func (d *HangingDisk) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resumed == nil {
		d.resumed = make(chan struct{})
	}
}

// Resume lets everything go on that waits.
func (d *HangingDisk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resumed != nil {
		close(d.resumed)
		d.resumed = nil
	}
}

// Wait returns when the disk does not hang.
func (d *HangingDisk) Wait() {
	d.mu.Lock()
	resumed := d.resumed
	d.mu.Unlock()
	if resumed != nil {
		<-resumed
	}
}

func (d *HangingDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	d.Wait()
	return d.hanging(d.VFS.Create(dir, name, size))
}

func (d *HangingDisk) Delete(dir, name string) error {
	d.Wait()
	return d.VFS.Delete(dir, name)
}

func (d *HangingDisk) OpenWriter(dir, name string) (types.WritableFile, error) {
	return d.hanging(d.VFS.OpenWriter(dir, name))
}

func (d *HangingDisk) hanging(f types.WritableFile, err error) (types.WritableFile, error) {
	if err != nil {
		return nil, err
	}
	return &hangingFile{WritableFile: f, disk: d}, nil
}

type hangingFile struct {
	types.WritableFile
	disk *HangingDisk
}

func (f *hangingFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.Wait()
	return f.WritableFile.WriteAt(p, off)
}

func (f *hangingFile) Sync() error {
	f.disk.Wait()
	return f.WritableFile.Sync()
}
