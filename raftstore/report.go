package raftstore

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
)

// A Report is what a node of a cluster knows of its own replicas, and of the others of
// the shards that it leads.
type Report struct {
	Replicas []ReplicaReport `json:"replicas"`
	// Problems are what is wrong with the node, in sentences without subject.
	Problems []string `json:"problems,omitempty"`
}

// A ReplicaReport is about one replica of this node.
type ReplicaReport struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
	Leads bool   `json:"leads,omitempty"`
	// Problem says why the replica is not open, or has stopped; "" if it is well.
	Problem string `json:"problem,omitempty"`
	// Members are those of the shard, from the one that leads it.
	Members []MemberReport `json:"members,omitempty"`
}

// A MemberReport is what a leader knows of a replica of its shard.
type MemberReport struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
	Up    bool   `json:"up"`  // it answered of late
	Lag   uint64 `json:"lag"` // entries that it lacks
}

// upWithin is how long ago a replica must have answered its leader to count as up.
const upWithin = 2 * time.Second

// Report tells how the replicas of this node do.
func (s *Store) Report() Report {
	var report Report
	if s.cluster == nil {
		return report
	}
	refused := s.cluster.refusals()
	m := s.clusterMap()
	for i := range m.Shards {
		of := &m.Shards[i]
		r := of.On(s.cluster.Node)
		if r == nil {
			continue
		}
		rr := ReplicaReport{Shard: of.ID, ID: r.ID, Problem: refused[of.ID]}
		if sh := s.owners.Load().shard(of.ID); sh != nil && sh.here() != nil {
			sh.here().report(&rr)
		} else if rr.Problem == "" && r.Made {
			rr.Problem = "it is not open yet"
		}
		report.Replicas = append(report.Replicas, rr)
	}
	if s.diskLow.Load() {
		report.Problems = append(report.Problems, "has a disk that is nearly full")
	}
	if s.memoryFull.Load() {
		report.Problems = append(report.Problems, "has no memory left for messages")
	}
	return report
}

// report fills in what the replica knows.
func (sh *localShard) report(rr *ReplicaReport) {
	if err := sh.local.Stopped(); err != nil {
		rr.Problem = err.Error()
	}
	if !sh.local.Leads() {
		return
	}
	rr.Leads = true
	last := uint64(0)
	members := sh.local.Members()
	for _, m := range members {
		last = max(last, m.Matched)
	}
	for _, m := range members {
		rr.Members = append(rr.Members, MemberReport{
			ID: m.ID, Voter: m.Voter, Up: m.Contact >= 0 && m.Contact <= upWithin, Lag: last - m.Matched,
		})
	}
}

// Left returns the leaving replicas that are no members any more of the shards that this
// node leads: the map is to forget them.
func (s *Store) Left() []placement.RemoveReplica {
	var left []placement.RemoveReplica
	m := s.clusterMap()
	for i := range m.Shards {
		of := &m.Shards[i]
		sh := s.owners.Load().shard(of.ID)
		if sh == nil || sh.here() == nil || !sh.here().local.Leads() {
			continue
		}
		members := sh.here().local.Members()
		if len(members) == 0 {
			continue
		}
		for _, r := range of.Replicas {
			if r.Leaving && !slices.ContainsFunc(members, func(m replica.MemberState) bool { return m.ID == r.ID }) {
				left = append(left, placement.RemoveReplica{Shard: of.ID, ID: r.ID})
			}
		}
	}
	return left
}

// Leader returns the node that leads a shard as far as this one knows, "" if none.
func (s *Store) Leader(shard uint32) placement.NodeID {
	sh := s.owners.Load().shard(shard)
	if sh == nil {
		return ""
	}
	node, _, _ := sh.leads.get()
	return node
}

// refuse notes why a replica is not open, nil if it is, and returns the error with its
// shard.
func (c *cluster) refuse(shard uint32, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.refused, shard)
		return nil
	}
	if c.refused == nil {
		c.refused = make(map[uint32]string)
	}
	c.refused[shard] = err.Error()
	return fmt.Errorf("shard %d: %w", shard, err)
}

// refusals returns why replicas of this node are not open, by shard.
func (c *cluster) refusals() map[uint32]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.refused)
}
