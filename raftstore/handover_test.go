package raftstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
)

// Leaderships that are handed over under load cost clients nothing: no message, no
// order, no error.
func TestTransfersAreNotNoticed(t *testing.T) {
	c := newTestCluster(t, 3, 2, oftenElected)
	done := 0
	all := c.verify(t, func() {
		for i := range 10 {
			time.Sleep(200 * time.Millisecond)
			shard := i % 2
			from := c.leader(shard)
			to := c.nodes[(from+1)%3].id
			ctx, cancel := context.WithTimeout(t.Context(), transferTimeout)
			if err := c.store(from).Transfer(ctx, uint32(shard), to); err == nil {
				done++
			} else {
				t.Logf("transfer: %v", err) // the other one may lack too much just now
			}
			cancel()
		}
	})
	if done == 0 {
		t.Error("no transfer came about")
	}
	for _, v := range all {
		if v.doubts > 0 {
			t.Errorf("%s: %d answers were errors", v.from, v.doubts)
		}
	}
	leader := c.leader(0)
	other := c.store(c.others(0)[0])
	if err := other.Transfer(t.Context(), 0, ""); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("transfer by a node that does not lead: %v, want ErrNotLeader", err)
	}
	if err := c.store(leader).Transfer(t.Context(), 0, "nobody"); err == nil {
		t.Error("transfer to a node without a replica succeeded")
	}
}

// A node that is drained leads nothing any more and says so; nobody hands it anything.
func TestDrain(t *testing.T) {
	c := newTestCluster(t, 3, 4, nil)
	node := c.leader(0)
	s := c.store(node)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An election may have brought one back, which is handed over as well.
	eventually(t, "the node leads nothing", func() bool {
		return !slices.ContainsFunc(s.shards(), func(sh *shardRef) bool { return sh.leading() != nil })
	})
	if err := s.Ready(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready after Drain: %v, want ErrUnavailable", err)
	}
	for i := range c.nodes {
		if i != node {
			eventually(t, "the others know", func() bool { return !c.store(i).mayLead(c.m, c.nodes[node].id) })
		}
	}
	alice := userIn(s, 0, 0)
	send(t, s, message(alice, alice, 1)) // it still takes what its clients send
}

// A node that was drained, and has started anew, may lead again, though it has nothing to
// tell of itself.
func TestDrainIsOverAfterRestart(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	drained := c.others(0)[0]
	if err := c.store(drained).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := func(may bool) func() bool {
		return func() bool {
			for i := range c.nodes {
				if i != drained && c.store(i).mayLead(c.m, c.nodes[drained].id) != may {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "the others know that it leads nothing", known(false))
	c.stop(drained)
	c.start(drained)
	c.connect()
	eventually(t, "the others know that it may lead", known(true))
}

// A node that nobody can relieve is not kept from stopping.
func TestDrainOfTheLastNode(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	leader := c.leader(0)
	for _, other := range c.others(0) {
		if err := c.store(other).Drain(t.Context()); err != nil { // it leads nothing
			t.Fatal(err)
		}
		eventually(t, "the leader knows", func() bool { return !c.store(leader).mayLead(c.m, c.nodes[other].id) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.store(leader).Drain(ctx); err != nil && ctx.Err() != nil {
		t.Errorf("Drain of the last node waits: %v", err)
	}
}

// Nodes that all are to lead nothing do not hand leaderships round.
func TestNobodyMayLead(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	c.settle() // only what the nodes do by themselves counts
	for i := range c.nodes {
		c.store(i).cluster.mu.Lock()
		c.store(i).cluster.draining = true
		c.store(i).cluster.mu.Unlock()
	}
	for i := range c.nodes {
		for k := range c.nodes {
			if i != k {
				eventually(t, "all know of each other", func() bool { return !c.store(i).mayLead(c.m, c.nodes[k].id) })
			}
		}
	}
	_, before := c.store(c.leader(0)).shards()[0].here().local.Leader()
	time.Sleep(5 * spreadEvery)
	if _, after := c.store(c.leader(0)).shards()[0].here().local.Leader(); after > before+1 {
		t.Errorf("term %d became %d", before, after)
	}
}

// A node that is connected does not get a leadership while its replica is not well.
func TestFit(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	victim := c.others(0)[0]
	fit := func() (nodes []placement.NodeID) {
		for _, n := range c.nodes {
			for _, c := range n.store.Load().fit(c.m) {
				nodes = append(nodes, c.node)
			}
		}
		return nodes
	}
	both := func() bool { return len(fit()) == 2 }
	eventually(t, "both others are fit", both)
	if err := c.store(victim).stopShard(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one that is left is fit", func() bool {
		f := fit()
		return len(f) == 1 && f[0] != c.nodes[victim].id
	})
	if err := c.store(victim).resumeShard(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both others are fit again", both)
}

// A break, or another leadership, has the time begin anew in which a replica has been fit.
func TestFitSince(t *testing.T) {
	first, second := new(leader), new(leader)
	a, b, later := candidate{first, "a"}, candidate{first, "b"}, candidate{second, "a"}
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var got map[candidate]time.Time
	for i, step := range []struct {
		fit  []candidate
		want map[candidate]time.Time
	}{
		{[]candidate{a, b}, map[candidate]time.Time{a: at(0), b: at(0)}},
		{[]candidate{a}, map[candidate]time.Time{a: at(0)}},
		{[]candidate{a, b}, map[candidate]time.Time{a: at(0), b: at(2)}},
		{[]candidate{later}, map[candidate]time.Time{later: at(3)}},
		{[]candidate{a}, map[candidate]time.Time{a: at(4)}},
	} {
		if got = since(got, step.fit, at(int64(i))); !maps.Equal(got, step.want) {
			t.Errorf("step %d: fit since %v, want %v", i, got, step.want)
		}
	}
}

// Leaderships go to the first replica's node that is well.
func TestBelongs(t *testing.T) {
	s := &Store{cluster: &cluster{Cluster: Cluster{Node: "b"}}}
	m := &placement.Map{Shards: []placement.Shard{{ID: 0, Replicas: []placement.Replica{
		{ID: "1", Node: "x", Leaving: true}, {ID: "2", Node: "a"}, {ID: "3", Node: "b"}, {ID: "4", Node: "c"},
	}}}}
	for well, want := range map[placement.NodeID]placement.NodeID{"a": "a", "c": "", "x": "", "b": ""} {
		got := s.belongs(m, &shardRef{id: 0}, func(n placement.NodeID) bool { return n == well })
		if got != want {
			t.Errorf("with %s well, the leadership belongs to %q, want %q", well, got, want)
		}
	}
}
