package raftstore

import (
	"log/slog"
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
