package raftstore

import "fmt"

// stopShard takes shard i down as if this node had lost it. Commands in its
// queue are not proposed. It returns when the shard's files are closed.
func (s *Store) stopShard(i int) error {
	if i < 0 || i >= len(s.shards()) {
		return fmt.Errorf("raftstore: shard %d: there are %d", i, len(s.shards()))
	}
	return s.shards()[i].here().local.Suspend()
}

// resumeShard lets a shard be opened again that stopShard took down. Ready
// tells when it serves.
func (s *Store) resumeShard(i int) error {
	if i < 0 || i >= len(s.shards()) {
		return fmt.Errorf("raftstore: shard %d: there are %d", i, len(s.shards()))
	}
	return s.shards()[i].here().local.Resume()
}
