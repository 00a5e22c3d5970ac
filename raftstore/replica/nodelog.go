package replica

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
)

// A NodeLog is the log that the replicas of a node share with LogShared. It is opened when
// it is first used, and again, once for all of them, after it has failed.
type NodeLog struct{ *sharedlog.Node }

// NewNodeLog returns the log of a node in dir, with segments of that size. A nil fs is the
// file system.
func NewNodeLog(dir string, segmentBytes int, fs VFS) *NodeLog {
	c := sharedlog.Config{Dir: dir, SegmentBytes: segmentBytes}
	if fs != nil {
		c.FS = walDisk{fs}
	}
	return &NodeLog{sharedlog.NewNode(c)}
}

// nodeLog returns the log that the replica has a part of, and what is to be closed when it
// does not use it any more: a log of its own if it shares none.
func (c *Config) nodeLog() (log *NodeLog, done func() error) {
	if c.NodeLog != nil {
		return c.NodeLog, func() error { return nil }
	}
	log = NewNodeLog(filepath.Join(c.Dir, "log"), c.SegmentBytes, c.WALFS)
	return log, log.Close
}

// group returns the name of the replica in the log of its node.
func (c *Config) group() string { return filepath.Base(c.Dir) }

// A sharedGroup is what a replica has of the log of its node: entries, term and vote.
type sharedGroup struct {
	*sharedlog.Group
	done func() error
}

// openShared opens the part that the replica has of the log of its node.
func openShared(c *Config, user sharedlog.User) (*sharedGroup, error) {
	log, done := c.nodeLog()
	g, err := log.Group(c.group(), user)
	if err != nil {
		return nil, errors.Join(err, done())
	}
	return &sharedGroup{g, done}, nil
}

func (g *sharedGroup) Close() error { return errors.Join(g.Group.Close(), g.done()) }

// walDisk is the file system of a shared log below which there is one for raft-wal.
type walDisk struct{ VFS }

func (d walDisk) List(dir string) ([]string, error) { return d.VFS.ListDir(dir) }

func (d walDisk) Create(dir, name string, size int64) (sharedlog.File, error) {
	return d.VFS.Create(dir, name, uint64(size))
}

func (d walDisk) Open(dir, name string) (sharedlog.File, error) { return d.VFS.OpenWriter(dir, name) }

func (d walDisk) Rename(dir, from, to string) error {
	Hold(d.VFS)
	return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
}

func (d walDisk) Remove(dir, name string) error { return d.VFS.Delete(dir, name) }

func (d walDisk) SyncDir(dir string) error {
	Hold(d.VFS)
	return SyncDir(dir)
}
