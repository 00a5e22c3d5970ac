//go:build faults

package raftstore

// StopShard takes shard i of this node down, as if the node had lost it, until
// ResumeShard. Both return when that has been done.
func (s *Store) StopShard(i int) error { return s.stopShard(i) }

// ResumeShard opens a shard that StopShard took down.
func (s *Store) ResumeShard(i int) error { return s.resumeShard(i) }
