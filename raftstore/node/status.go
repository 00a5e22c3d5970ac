package node

import (
	"context"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// reportTimeout bounds how long a status waits for what another node says.
	reportTimeout = time.Second
	// caughtUp is how many entries a replica may lack to count for a quorum: while there
	// is load it always lacks some. caughtUpWithin is for how long it may lack any that
	// are not new.
	caughtUp       = 1000
	caughtUpWithin = 5 * time.Second
)

// Status tells how the cluster does, as this node sees it: it asks all that are
// connected, and knows of the rest what the map says.
func (n *Node) Status(ctx context.Context) (*store.ClusterStatus, error) {
	m := n.group.Map()
	s := &store.ClusterStatus{
		Cluster: m.Cluster, Version: m.Version, Asked: n.name, Waiting: n.group.Waiting(),
		Config: store.ClusterConfig{Version: m.Config.Version, Limits: m.Config.Limits, HookBytes: m.Config.HookBytes},
	}
	reports := n.reports(ctx, m)
	label := func(id placement.NodeID) string {
		if node := m.Node(id); node != nil {
			return node.Name
		}
		return ""
	}
	leader, _ := n.group.Leader()
	s.Leader = label(leader)
	if r := reports[leader]; r != nil {
		for _, id := range r.Voters {
			s.Voters = append(s.Voters, label(id))
		}
	} else {
		for _, id := range m.Voters() {
			s.Voters = append(s.Voters, label(id))
		}
	}
	stores := 0
	for i := range m.Nodes {
		node := n.nodeStatus(&m.Nodes[i], reports[m.Nodes[i].ID])
		if node.Store && node.Admitted && !node.Leaving {
			stores++
		}
		s.Nodes = append(s.Nodes, node)
	}
	for i := range m.Shards {
		sh := n.shardStatus(m, &m.Shards[i], reports)
		sh.Wanted = min(stores, placement.ReplicasPer)
		for k := range s.Nodes {
			if s.Nodes[k].Name == sh.Leader && !s.Nodes[k].Leaving {
				s.Nodes[k].Leads++
			}
		}
		s.Shards = append(s.Shards, sh)
	}
	return s, nil
}

// reports asks all nodes that are connected, all at once.
func (n *Node) reports(ctx context.Context, m *placement.Map) map[placement.NodeID]*report {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	own := n.report()
	reports := map[placement.NodeID]*report{n.data.Node(): &own}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for i := range m.Nodes {
		id := m.Nodes[i].ID
		if id == n.data.Node() || n.link.State(link.NodeID(id)) != link.Connected {
			continue
		}
		calls.Go(func() {
			var r report
			if n.ask(ctx, id, methodReport, struct{}{}, &r) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			reports[id] = &r
		})
	}
	calls.Wait()
	return reports
}

func (n *Node) nodeStatus(of *placement.Node, r *report) store.NodeStatus {
	s := store.NodeStatus{
		ID: string(of.ID), Name: of.Name, Address: of.Address, Roles: of.Roles.String(),
		Store: of.Roles.Has(placement.RoleStore), Admitted: of.Admitted, Maintenance: of.Maintenance, Leaving: of.Leaving,
	}
	s.Speaks = n.link.Speaks(link.NodeID(of.ID)).Strings()
	switch state := n.link.State(link.NodeID(of.ID)); {
	case of.ID == n.data.Node():
		s.State = store.NodeSelf
	case state == link.Connected:
		s.State = store.NodeConnected
	case state == 0:
		s.State = store.NodeUnknown
	default:
		s.State = store.NodeLost
	}
	if r != nil {
		s.Replicas, s.NodeCondition = len(r.Replicas), r.NodeCondition
	} else if s.State == store.NodeConnected {
		s.Problems = []string{"does not say how it does"}
	}
	return s
}

func hasCaughtUp(m *raftstore.MemberReport) bool {
	return m.Lag <= caughtUp && m.Behind <= caughtUpWithin.Milliseconds()
}

func (n *Node) shardStatus(m *placement.Map, of *placement.Shard, reports map[placement.NodeID]*report) store.ShardStatus {
	sh := store.ShardStatus{ID: of.ID}
	for _, r := range m.Slots {
		if r.Shard == of.ID {
			sh.Slots += int(r.Last) - int(r.First) + 1
		}
	}
	leader := n.Store().Leader(of.ID)
	var led *ownReport
	if node := m.Node(leader); node != nil {
		led = find(reports[leader], of.ID)
		sh.Leader = node.Name
	}
	for k := range of.Replicas {
		r := &of.Replicas[k]
		s := store.ReplicaStatus{ID: r.ID, State: store.ReplicaNew}
		if node := m.Node(r.Node); node != nil {
			s.Node = node.Name
		}
		if own := find(reports[r.Node], of.ID); own != nil {
			s.Problem, s.Stopped, s.Diverged, s.Up = own.Problem, own.Stopped, own.Diverged, true
		}
		switch member := memberOf(led, r.ID); {
		case member != nil:
			s.Up, s.Lag, s.CaughtUp = member.Up, member.Lag, hasCaughtUp(member)
			s.State = store.ReplicaLearner
			if member.Voter {
				s.State = store.ReplicaFollower
			}
		case led == nil && r.Made:
			s.State = store.ReplicaFollower // as far as the map says
		}
		if r.Node == leader && s.State == store.ReplicaFollower {
			s.State, s.CaughtUp = store.ReplicaLeader, true
		}
		if r.Leaving {
			s.State = store.ReplicaLeaving
		}
		sh.Replicas = append(sh.Replicas, s)
	}
	return sh
}
