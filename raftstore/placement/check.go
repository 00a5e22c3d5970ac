package placement

import (
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// check returns an error unless m is a map that the commands can lead to.
func (m *Map) check() error {
	if m.Cluster == "" && m.Epoch == 0 && len(m.Nodes)+len(m.Shards)+len(m.Slots) == 0 {
		return nil // before Init
	}
	if m.Epoch == 0 {
		return fmt.Errorf("epoch: must be set")
	}
	if len(m.Nodes) == 0 || len(m.Nodes) > MaxNodes {
		return fmt.Errorf("nodes: %d is not within 1-%d", len(m.Nodes), MaxNodes)
	}
	nodes, names := map[NodeID]*Node{}, map[string]bool{}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.ID == "" || nodes[n.ID] != nil {
			return fmt.Errorf("nodes: ID %q is empty or there twice", n.ID)
		}
		if !n.Leaving && names[n.Name] {
			return fmt.Errorf("nodes: name %q is there twice", n.Name)
		}
		nodes[n.ID] = n
		names[n.Name] = names[n.Name] || !n.Leaving
	}
	if err := m.checkShards(nodes); err != nil {
		return err
	}
	return m.checkSlots()
}

func (m *Map) checkShards(nodes map[NodeID]*Node) error {
	if len(m.Shards) == 0 || len(m.Shards) > MaxShards {
		return fmt.Errorf("shards: %d is not within 1-%d", len(m.Shards), MaxShards)
	}
	ids := map[string]bool{}
	for i := range m.Shards {
		sh := &m.Shards[i]
		if sh.ID >= MaxShards || i > 0 && sh.ID <= m.Shards[i-1].ID {
			return fmt.Errorf("shards: %d is too large or out of order", sh.ID)
		}
		made, on := false, map[NodeID]bool{}
		for _, r := range sh.Replicas {
			switch {
			case r.ID == "" || r.ID != SoloReplica && ids[r.ID]:
				return fmt.Errorf("shard %d: replica ID %q is empty or there twice", sh.ID, r.ID)
			case nodes[r.Node] == nil:
				return fmt.Errorf("shard %d: replica %s is on node %q, which is not there", sh.ID, r.ID, r.Node)
			case on[r.Node]:
				return fmt.Errorf("shard %d: has two replicas on node %q", sh.ID, r.Node)
			case nodes[r.Node].Leaving && !r.Leaving:
				return fmt.Errorf("shard %d: replica %s stays on node %q, which is leaving", sh.ID, r.ID, r.Node)
			}
			ids[r.ID], on[r.Node] = true, true
			made = made || r.Made || slices.Contains(sh.Founders, r.ID)
		}
		if !made && len(sh.Replicas) > 0 {
			return fmt.Errorf("shard %d: has no replica that was made or is to found it", sh.ID)
		}
		if sh.staying() > ReplicasPer || len(sh.Replicas) > maxReplicas {
			return fmt.Errorf("shard %d: has %d replicas", sh.ID, len(sh.Replicas))
		}
	}
	return nil
}

func (m *Map) checkSlots() error {
	next := 0
	for _, r := range m.Slots {
		if int(r.First) != next || r.Last < r.First || r.Last >= command.Slots {
			return fmt.Errorf("slots: %d-%d does not go on from slot %d", r.First, r.Last, next)
		}
		if m.Shard(r.Shard) == nil {
			return fmt.Errorf("slots: %d-%d: there is no shard %d", r.First, r.Last, r.Shard)
		}
		next = int(r.Last) + 1
	}
	if next != command.Slots {
		return fmt.Errorf("slots: %d and those above have no shard", next)
	}
	return nil
}
