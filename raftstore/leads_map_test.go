package raftstore

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
)

// TestLeadersKnownBeforeTheirShards has another node tell which shards it leads before
// the map names them, as happens at a start.
func TestLeadersKnownBeforeTheirShards(t *testing.T) {
	const self, other = placement.NodeID("self"), placement.NodeID("other")
	l, err := link.Open(link.Config{ID: link.NodeID(self), Name: "self", Cluster: testClusterID, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mapOf := func(version uint64, shards int) *placement.Map {
		m := placement.Solo(placement.Node{ID: other, Name: "other"}, 1, placement.Config{Version: 1}, shards)
		m.Version, m.Cluster = version, testClusterID
		return m
	}
	cfg := testConfig(t)
	cfg.Shards = 0
	cfg.Cluster = &Cluster{Node: self, Map: mapOf(1, 1), Link: OverLink(l), Made: func(uint32, string) {}}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	status := nodeStatus{numbers: map[uint32]uint64{0: 7 << termShift, 1: 8 << termShift}}
	s.PeerStatus(other, status.append(nil))
	if err := s.SetMap(mapOf(2, 2)); err != nil {
		t.Fatal(err)
	}
	for shard, want := range []uint64{7 << termShift, 8 << termShift} {
		if node, number, _ := s.shards()[shard].leads.get(); node != other || number != want {
			t.Errorf("shard %d is led by %q, number %d; want %s, %d", shard, node, number, other, want)
		}
	}
	s.PeerLost(other, false)
	if err := s.SetMap(mapOf(3, 3)); err != nil {
		t.Fatal(err)
	}
}

// What there is of a node ends when the map does not have it any more.
func TestNodesOutOfTheMapAreForgotten(t *testing.T) {
	c := newTestCluster(t, 4, 1, nil)
	const at = 3 // it has no replica, so it asks leaders
	s := c.store(at)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	login(t, s, alice, "phone", &ear{})
	send(t, s, message(alice, bob, 0))
	gone := c.nodes[c.leader(0)].id
	kept := func() (what []string) {
		s.cluster.mu.Lock()
		if s.cluster.streams[gone] != nil {
			what = append(what, "stream")
		}
		if _, is := s.cluster.statuses[gone]; is {
			what = append(what, "status")
		}
		s.cluster.mu.Unlock()
		if slices.Contains(s.cluster.follower.Nodes(), string(gone)) {
			what = append(what, "watches")
		}
		if node, _, _ := s.shards()[0].leads.get(); node == gone {
			what = append(what, "leadership")
		}
		return what
	}
	eventually(t, "the leader is known, unless it changes", func() bool { return len(kept()) > 0 })

	m := c.made()
	m.Version++
	m.Nodes = slices.DeleteFunc(slices.Clone(m.Nodes), func(n placement.Node) bool { return n.ID == gone })
	of := &m.Shards[0]
	of.Replicas = slices.DeleteFunc(of.Replicas, func(r placement.Replica) bool { return r.Node == gone })
	var peers []link.Peer
	for i, n := range c.nodes {
		if n.id != gone {
			peers = append(peers, link.Peer{ID: link.NodeID(n.id), Name: c.m.Nodes[i].Name, Address: n.link.Addr().String()})
		}
	}
	c.nodes[at].link.SetPeers(peers)
	if err := s.SetMap(m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing of the node is kept", func() bool { return len(kept()) == 0 })
}

// A map may be older than what a node has told already. It forgets nothing of a node that
// is connected, and so in a newer one: who leads is told once.
func TestConnectedNodesAreNotForgotten(t *testing.T) {
	c := newTestCluster(t, 4, 1, nil)
	s := c.store(3) // it has no replica
	leader := c.nodes[c.leader(0)].id
	older, newer := c.made(), c.made()
	older.Nodes = slices.DeleteFunc(slices.Clone(older.Nodes), func(n placement.Node) bool { return n.ID == leader })
	of := &older.Shards[0]
	of.Replicas = slices.DeleteFunc(of.Replicas, func(r placement.Replica) bool { return r.Node == leader })
	newer.Version++
	for _, m := range []*placement.Map{older, newer} {
		if err := s.SetMap(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the leader is known", func() bool {
		node, _, _ := s.shards()[0].leads.get()
		return node != ""
	})
}
