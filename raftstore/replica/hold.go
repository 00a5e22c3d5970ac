package replica

import (
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// Hold waits while the disk below fs hangs: a VFS of a build with the tag faults may. All
// that is written to a replica's directory and not by way of its VFS calls it before.
func Hold(fs VFS) {
	if d, ok := fs.(interface{ Wait() }); ok {
		d.Wait()
	}
}

// A heldMeta is what raft-wal knows of its files, written to a disk that may hang.
type heldMeta struct {
	*metadb.BoltMetaDB
	fs VFS
}

func (m heldMeta) CommitState(s types.PersistentState) error {
	Hold(m.fs)
	return m.BoltMetaDB.CommitState(s)
}

// A heldLog is a log of another kind than raft-wal's, on a disk that may hang.
type heldLog struct {
	raft.LogStore
	close func() error
	fs    VFS
}

func (l heldLog) StoreLogs(entries []*raft.Log) error {
	Hold(l.fs)
	return l.LogStore.StoreLogs(entries)
}

func (l heldLog) DeleteRange(first, last uint64) error {
	Hold(l.fs)
	return l.LogStore.DeleteRange(first, last)
}

func (l heldLog) Close() error { return l.close() }
