//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/belfry-im/belfry/loadtest/nodes"
)

// A replica is what a node says of its replica of a shard.
type replica struct {
	Shard    int    `json:"shard"`
	Leads    bool   `json:"leads"`
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

// awaitCaughtUp waits until a node has applied what another had applied of a shard
// when this was called.
func (b *bench) awaitCaughtUp(ctx context.Context, n, with *nodes.Node, shard int) error {
	want, err := b.replicas(ctx, with)
	if err != nil {
		return err
	}
	return poll(ctx, servedWithin, func() (string, error) {
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

// compareReplicas waits until all nodes have applied the same of each shard, which
// they only do when nobody sends, and returns an error unless their states are equal
// then.
func (b *bench) compareReplicas(ctx context.Context) error {
	for shard := range b.Shards {
		var all []replica
		err := poll(ctx, servedWithin, func() (string, error) {
			all = all[:0]
			for _, n := range b.cluster.Nodes() {
				list, err := b.replicas(ctx, n)
				if err != nil {
					return "", err
				}
				all = append(all, list[shard])
				if list[shard].Applied != all[0].Applied {
					return fmt.Sprintf("shard %d: %s has applied %d, another node %d", shard, n, list[shard].Applied, all[0].Applied), nil
				}
			}
			return "", nil
		})
		if err != nil {
			return err
		}
		for i, r := range all {
			if r.Checksum != all[0].Checksum {
				return fmt.Errorf("after entry %d of shard %d the state of n%d has checksum %x, that of n1 %x", r.Applied, shard, i+1, r.Checksum, all[0].Checksum)
			}
		}
	}
	return nil
}
