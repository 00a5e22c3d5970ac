package raftstore

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A Report is what a node of a cluster knows of its own replicas, and of the others of
// the shards that it leads.
type Report struct {
	Replicas []ReplicaReport `json:"replicas"`
	store.NodeCondition
}

// A ReplicaReport is about one replica of this node.
type ReplicaReport struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
	Leads bool   `json:"leads,omitempty"`
	// Problem says why the replica is not open, or has stopped; "" if it is well.
	Problem  string `json:"problem,omitempty"`
	Stopped  bool   `json:"stopped,omitempty"`
	Diverged bool   `json:"diverged,omitempty"` // from another one, and nobody can tell which is right
	// Members are those of the shard, from the one that leads it.
	Members []MemberReport `json:"members,omitempty"`
}

// A MemberReport is what a leader knows of a replica of its shard.
type MemberReport struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
	Up    bool   `json:"up"`  // it answered of late
	Lag   uint64 `json:"lag"` // entries that it lacks
	// Behind is for how long it has lacked what the leader had half a second before, ms.
	Behind int64 `json:"behind"`
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
	report.NodeCondition = s.condition(m)
	return report
}

// condition returns how this node is, beside its replicas.
func (s *Store) condition(m *placement.Map) store.NodeCondition {
	c := s.cluster
	condition := store.NodeCondition{
		LeadsNothing: s.declines(), DiskLow: s.diskLow.Load(), MemoryFull: s.memoryFull.Load(), FlagsDiffer: s.flagsDiffer(m),
	}
	condition.ClockOffset, _ = c.Link.Offset()
	c.mu.Lock()
	defer c.mu.Unlock()
	condition.Draining, condition.SlowDisk = c.draining, time.Now().Before(c.slowUntil)
	return condition
}

// flagsDiffer names the flags of this node that set something else than the configuration
// of the cluster. A default is no intention, and is not among them.
func (s *Store) flagsDiffer(m *placement.Map) (names []string) {
	if m.Cluster == "" {
		return nil
	}
	own, all, unset := s.cfg.Limits, m.Config.Limits.WithDefaults(), command.Limits{}.WithDefaults()
	check := func(name string, own, all, unset int64) {
		if own != all && own != unset {
			names = append(names, name)
		}
	}
	duration := func(name string, own, all, unset time.Duration) { check(name, int64(own), int64(all), int64(unset)) }
	number := func(name string, own, all, unset int) { check(name, int64(own), int64(all), int64(unset)) }
	duration("offline-ttl", own.OfflineTTL, all.OfflineTTL, unset.OfflineTTL)
	number("offline-max-messages", own.OfflineMaxMessages, all.OfflineMaxMessages, unset.OfflineMaxMessages)
	number("offline-max-bytes", own.OfflineMaxBytes, all.OfflineMaxBytes, unset.OfflineMaxBytes)
	duration("history-ttl", own.HistoryTTL, all.HistoryTTL, unset.HistoryTTL)
	number("user-bytes", own.UserBytes, all.UserBytes, unset.UserBytes)
	duration("dedup-window", own.DedupWindow, all.DedupWindow, unset.DedupWindow)
	duration("recall-window", own.RecallWindow, all.RecallWindow, unset.RecallWindow)
	number("recents", own.Recents, all.Recents, unset.Recents)
	number("max-devices", own.MaxDevices, all.MaxDevices, unset.MaxDevices)
	number("new-conversations", own.NewConversations, all.NewConversations, unset.NewConversations)
	number("group-bytes", own.GroupBytes, all.GroupBytes, unset.GroupBytes)
	rate := func(l *command.Limits) [2]int { return [2]int{l.GroupRate, l.GroupBurst} } // of one flag
	if rate(&own) != rate(&all) && rate(&own) != rate(&unset) {
		names = append(names, "group-rate")
	}
	n := m.Node(s.cluster.Node)
	switch hooks := s.cfg.hookBytes(); {
	case hooks == 0 && n != nil && !n.Roles.Has(placement.RoleStore):
	case (hooks == 0) != (m.Config.HookBytes == 0):
		names = append(names, "webhook-url")
	default:
		number("webhook-stored-bytes", hooks, m.Config.HookBytes, defaultHookBytes)
	}
	return names
}

// report fills in what the replica knows.
func (sh *localShard) report(rr *ReplicaReport) {
	if err := sh.local.Stopped(); err != nil {
		rr.Problem, rr.Stopped = err.Error(), true
	}
	rr.Diverged = sh.undecided.Load()
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
			ID: m.ID, Voter: m.Voter, Up: m.Contact >= 0 && m.Contact <= upWithin, Lag: last - m.Matched, Behind: m.Behind.Milliseconds(),
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
