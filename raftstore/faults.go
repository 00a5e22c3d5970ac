//go:build faults

package raftstore

import (
	"context"
	"fmt"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

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

// TransferShard has this node hand over the leadership of shard i to another.
func (s *Store) TransferShard(ctx context.Context, i int) error {
	if i < 0 || i >= len(s.shards()) {
		return fmt.Errorf("raftstore: shard %d: there are %d", i, len(s.shards()))
	}
	here := s.shards()[i].here()
	if here == nil {
		return fmt.Errorf("raftstore: shard %d has no replica here", i)
	}
	return here.local.Transfer(ctx, "")
}

// A ReplicaFacts is what is known of a replica on this node.
type ReplicaFacts struct {
	Shard    uint32 `json:"shard"`
	Leads    bool   `json:"leads"`
	Voters   int    `json:"voters"` // of the shard, as far as the replica knows
	Term     uint64 `json:"term"`
	Applied  uint64 `json:"applied"`
	Checksum uint64 `json:"checksum,string"` // of the state after Applied
}

// ReplicasHere returns the facts of each replica on this node. It stops each for as
// long as it sums it up.
func (s *Store) ReplicasHere() (facts []ReplicaFacts) {
	for _, sh := range s.shards() {
		here := sh.here()
		if here == nil {
			continue
		}
		here.local.Inspect(func(state *shard.State, _ int64) {
			stamp := here.local.Stamp()
			f := ReplicaFacts{Shard: sh.id, Leads: here.local.Leads(), Term: stamp.Term, Applied: stamp.Applied}
			for _, m := range here.local.Members() {
				if m.Voter {
					f.Voters++
				}
			}
			for number := range command.Slots {
				f.Checksum = f.Checksum*31 + state.Checksum(uint16(number))
			}
			facts = append(facts, f)
		})
	}
	return facts
}
