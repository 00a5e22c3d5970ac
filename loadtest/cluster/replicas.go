//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/loadtest/nodes"
)

// A replica is what a node says of its replica of a shard.
type replica struct {
	Shard    int    `json:"shard"`
	Leads    bool   `json:"leads"`
	Voters   int    `json:"voters"` // of the shard, as the replica knows them
	Term     uint64 `json:"term"`
	Applied  uint64 `json:"applied"`
	Checksum uint64 `json:"checksum,string"` // of the state after Applied
}

// replicas returns a node's replicas by shard. It needs a server that takes orders.
func (b *bench) replicas(ctx context.Context, n *nodes.Node) ([]replica, error) {
	var list []replica
	if err := n.Call(ctx, "GET", "/faults/replicas", nil, &list); err != nil {
		return nil, err
	}
	byShard := make([]replica, b.Shards)
	for _, r := range list {
		if r.Shard >= b.Shards {
			return nil, fmt.Errorf("%s has a replica of shard %d, want shards below %d", n, r.Shard, b.Shards)
		}
		byShard[r.Shard] = r
	}
	return byShard, nil
}

// wholePatience bounds whole: a replica gets its vote once it has been well for a
// while.
const wholePatience = 90 * time.Second

// whole waits until each shard has a replica with a vote on every node, so that it
// survives the loss of one. Of servers that take no orders it cannot be known.
func (b *bench) whole(ctx context.Context) error {
	if b.Plain {
		return b.healthy(ctx)
	}
	return poll(ctx, wholePatience, func() (string, error) {
		for _, n := range b.cluster.Nodes() {
			list, err := b.replicas(ctx, n)
			if err != nil {
				return "", err
			}
			for shard, r := range list {
				if want := len(b.cluster.Nodes()); r.Voters != want {
					return fmt.Sprintf("%s knows %d voters of shard %d, want %d", n, r.Voters, shard, want), nil
				}
			}
		}
		return "", nil
	})
}

// awaitCaughtUp waits until a node has applied what another had applied of a shard
// when this was called.
func (b *bench) awaitCaughtUp(ctx context.Context, n, with *nodes.Node, shard int) error {
	want, err := b.replicas(ctx, with)
	if err != nil {
		return err
	}
	return poll(ctx, b.Patience, func() (string, error) {
		got, err := b.replicas(ctx, n)
		if err != nil {
			return "", err
		}
		if got[shard].Applied < want[shard].Applied {
			return fmt.Sprintf("%s has applied %d of shard %d, %s had %d", n, got[shard].Applied, shard, with, want[shard].Applied), nil
		}
		return "", nil
	})
}

// compareReplicas returns an error unless the states of all replicas of a shard are
// equal after one entry, for each shard. It looks until it has seen all of them there:
// a follower learns of the last entry only with the next, or after a while.
func (b *bench) compareReplicas(ctx context.Context) error {
	for shard := range b.Shards {
		seen := map[uint64]map[*nodes.Node]uint64{} // applied → checksums
		applied := map[*nodes.Node]uint64{}
		err := poll(ctx, b.Patience, func() (string, error) {
			for _, n := range b.cluster.Nodes() {
				list, err := b.replicas(ctx, n)
				if err != nil {
					return "", err
				}
				r := list[shard]
				applied[n] = r.Applied
				if seen[r.Applied] == nil {
					seen[r.Applied] = map[*nodes.Node]uint64{}
				}
				seen[r.Applied][n] = r.Checksum
				if len(seen[r.Applied]) == len(b.cluster.Nodes()) {
					return "", equal(shard, r.Applied, seen[r.Applied])
				}
			}
			return fmt.Sprintf("shard %d: nodes have applied %v, never the same", shard, applied), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// equal returns an error unless nodes have the same checksum of a shard.
func equal(shard int, applied uint64, checksums map[*nodes.Node]uint64) error {
	for n, sum := range checksums {
		for other, also := range checksums {
			if sum != also {
				return fmt.Errorf("after entry %d of shard %d the state of %s has checksum %x, that of %s %x", applied, shard, n, sum, other, also)
			}
		}
	}
	return nil
}
