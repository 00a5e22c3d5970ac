//go:build faults

package raftstore

import "github.com/belfry-im/belfry/raftstore/replica"

// StopShard takes shard i down, as if this node had lost it, until
// ResumeShard. It returns when the shard's files are closed.
func (s *Store) StopShard(i int) error { return s.stopShard(i) }

// ResumeShard lets a shard be opened again that StopShard took down. Ready
// tells when it serves.
func (s *Store) ResumeShard(i int) error { return s.resumeShard(i) }

// HangingDisk puts the logs of a store with this configuration on a disk that can
// be made to hang. It is for LogWAL.
func (c *Config) HangingDisk() *replica.HangingDisk {
	d := replica.NewHangingDisk()
	c.walFS = d
	return d
}
