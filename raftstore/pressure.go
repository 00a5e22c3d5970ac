package raftstore

import (
	"maps"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/shard/codec"
)

// pressureEvery is the least time between two reports of one node.
const pressureEvery = 250 * time.Millisecond

// A pressure is how short of memory a node is. Only leaders evict: a node tells those of
// the shards that it has replicas of.
type pressure struct {
	report uint64 // rises with each report; a leader acts on each once
	cut    uint64 // thousandths of the messages in memory that have to go; 0 = memory suffices
}

func (p *pressure) fields(x *codec.Coder) {
	codec.Uint(x, &p.report)
	codec.UintMax(x, &p.cut, 1000)
}

// report tells the leaders on other nodes that part of the messages in memory has to go,
// at most every pressureEvery.
func (b *budget) report(part float64, now time.Time) {
	c := b.store.cluster
	if c == nil || now.Sub(b.reported) < pressureEvery {
		return
	}
	cut := uint64(min(max(part, 0), 1) * 1000)
	c.mu.Lock()
	was := c.own
	if cut > 0 || was.cut > 0 {
		c.own = pressure{report: was.report + 1, cut: cut}
	}
	told := c.own != was
	c.mu.Unlock()
	if told {
		b.reported = now
		b.store.publish()
	}
}

// asked returns which part of a shard's messages other nodes that have replicas of it
// want to be evicted, as far as they have not said so before.
func (b *budget) asked(c *retention) (part float64) {
	cl := b.store.cluster
	if cl == nil || !c.memory.Leads() {
		return 0
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	of := cl.m.Shard(c.shard.id)
	if of == nil {
		return 0
	}
	for _, r := range of.Replicas {
		told, known := cl.statuses[r.Node]
		p := told.pressure
		if !known || c.heard[r.Node] == p.report {
			continue
		}
		if c.heard == nil {
			c.heard = make(map[placement.NodeID]uint64)
		}
		c.heard[r.Node] = p.report
		part = max(part, float64(p.cut)/1000)
	}
	maps.DeleteFunc(c.heard, func(node placement.NodeID, _ uint64) bool { return of.On(node) == nil })
	return part
}
