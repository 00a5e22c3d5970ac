package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

type ownReport = raftstore.ReplicaReport

// find returns what a node says of its replica of a shard, nil if it says nothing.
func find(r *report, shard uint32) *ownReport {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Replicas, func(rr ownReport) bool { return rr.Shard == shard })
	if i < 0 {
		return nil
	}
	return &r.Replicas[i]
}

// memberOf returns what a leader says of a replica, nil if it is no leader or knows no
// such member.
func memberOf(led *ownReport, id string) *raftstore.MemberReport {
	if led == nil || !led.Leads {
		return nil
	}
	i := slices.IndexFunc(led.Members, func(m raftstore.MemberReport) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return &led.Members[i]
}

// named returns the ID of the node with that name or UUID.
func (n *Node) named(field, node string) (placement.NodeID, error) {
	m := n.group.Map()
	if found := m.NodeNamed(node); found != nil {
		return found.ID, nil
	}
	if found := m.Node(placement.NodeID(node)); found != nil {
		return found.ID, nil
	}
	return "", &store.ClusterError{Field: field, Rule: fmt.Sprintf("there is no node %q", node)}
}

// propose makes a change of the map.
func (n *Node) propose(ctx context.Context, c placement.Command) error {
	ctx, cancel := context.WithTimeout(ctx, store.ProposalTimeout)
	defer cancel()
	_, err := n.group.Propose(ctx, c)
	if refusal, ok := errors.AsType[*placement.Refusal](err); ok {
		return &store.ClusterError{Field: refusal.Field, Rule: refusal.Rule}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return nil
}

// Admit lets a node take part that has joined.
func (n *Node) Admit(ctx context.Context, node string) error {
	id, err := n.named("node", node)
	if err != nil {
		return err
	}
	return n.propose(ctx, &placement.Admit{Node: id})
}

// Maintain begins or ends a node's maintenance.
func (n *Node) Maintain(ctx context.Context, node string, on bool) error {
	id, err := n.named("node", node)
	if err != nil {
		return err
	}
	return n.propose(ctx, &placement.Maintain{Node: id, On: on})
}

// RemoveNode lets a node leave, see placement.RemoveNode.
func (n *Node) RemoveNode(ctx context.Context, node string, fewer bool) error {
	id, err := n.named("node", node)
	if err != nil {
		return err
	}
	return n.propose(ctx, &placement.RemoveNode{Node: id, Fewer: fewer})
}

// ReplaceNode lets a node take the place of another. The new one need not have joined if
// its UUID is given.
func (n *Node) ReplaceNode(ctx context.Context, old, new string) error {
	from, err := n.named("old", old)
	if err != nil {
		return err
	}
	to, err := n.named("new", new)
	if err != nil {
		if !placement.IsUUID(new) {
			return err
		}
		to = placement.NodeID(new)
	}
	return n.propose(ctx, &placement.ReplaceNode{Old: from, New: to})
}

// SetConfig replaces the configuration unless its version is another one than expect.
func (n *Node) SetConfig(ctx context.Context, expect uint64, limits command.Limits, hookBytes int) error {
	return n.propose(ctx, &placement.SetConfig{Expect: expect, Limits: limits, HookBytes: hookBytes})
}

// Transfer has a node lead a shard.
func (n *Node) Transfer(ctx context.Context, shard uint32, node string) error {
	to, err := n.named("node", node)
	if err != nil {
		return err
	}
	of := n.group.Map().Shard(shard)
	if of == nil {
		return &store.ClusterError{Field: "shard", Rule: fmt.Sprintf("there is no shard %d", shard)}
	}
	if of.On(to) == nil {
		return &store.ClusterError{Field: "node", Rule: fmt.Sprintf("%q has no replica of shard %d", node, shard)}
	}
	leader := n.Store().Leader(shard)
	switch leader {
	case to:
		return nil
	case "":
		return store.Unavailable(store.DefaultRetryAfter, fmt.Sprintf("no leader of shard %d is known", shard))
	case n.data.Node():
		err = n.Store().Transfer(ctx, shard, to)
	default:
		err = n.ask(ctx, leader, methodTransfer, transferRequest{Shard: shard, To: to}, &struct{}{})
	}
	if err != nil {
		return &store.ClusterError{Field: "node", Rule: err.Error()}
	}
	return nil
}

// RebuildReplica has a replica made anew from the others. It refuses if these are no
// majority that is caught up.
func (n *Node) RebuildReplica(ctx context.Context, shard uint32, node string) error {
	id, err := n.named("node", node)
	if err != nil {
		return err
	}
	of := n.group.Map().Shard(shard)
	if of == nil || of.On(id) == nil {
		return &store.ClusterError{Field: "node", Rule: fmt.Sprintf("%q has no replica of shard %d", node, shard)}
	}
	s, err := n.Status(ctx)
	if err != nil {
		return err
	}
	for i := range s.Shards {
		if sh := &s.Shards[i]; sh.ID == shard {
			if lacks := sh.WithoutReplica(of.On(id).ID); lacks != "" {
				return &store.ClusterError{Field: "shard", Rule: lacks}
			}
		}
	}
	return n.propose(ctx, &placement.LeaveReplica{Shard: shard, ID: of.On(id).ID})
}
