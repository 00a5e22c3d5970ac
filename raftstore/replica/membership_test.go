package replica

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNextChange(t *testing.T) {
	// Members are given as "a b- c", where c- has no vote.
	members := func(text string) (have []MemberState) {
		for id := range strings.FieldsSeq(text) {
			name, learner := strings.CutSuffix(id, "-")
			have = append(have, MemberState{ID: name, Voter: !learner})
		}
		return have
	}
	for _, test := range []struct {
		name, self, have, want string
		dead, unready          string
		change                 string
	}{
		{name: "nothing is wanted", self: "a", have: "a b c", change: "keep "},
		{name: "all is well", self: "a", have: "a b c", want: "c b a", change: "keep "},
		{name: "new ones learn first", self: "a", have: "a", want: "a b c", change: "add as learner b"},
		{name: "even if they are away", self: "a", have: "a", want: "a b", dead: "b", change: "add as learner b"},
		{name: "all are added before one gets a vote", self: "a", have: "a b-", want: "a b c", change: "add as learner c"},
		{name: "ready", self: "a", have: "a b- c-", want: "a b c", unready: "b", change: "give a vote c"},
		{name: "not ready", self: "a", have: "a b-", want: "a b", unready: "b", change: "keep "},
		{name: "a vote for a dead one would cost the quorum", self: "a", have: "a b-", want: "a b", dead: "b", change: "keep "},
		{name: "a fourth of whom one is dead", self: "a", have: "a b c d-", want: "a b d", dead: "c", change: "give a vote d"},
		{name: "a fourth of whom two are dead", self: "a", have: "a b c d-", want: "a b d", dead: "b c", change: "keep "},
		{name: "removal is last", self: "a", have: "a b c d-", want: "a b d", unready: "d", change: "keep "},
		{name: "removal", self: "a", have: "a b c d", want: "a b d", change: "remove c"},
		{name: "the dead go first", self: "a", have: "a b c d e", want: "a b c", dead: "e", change: "remove e"},
		{name: "before them who has no vote", self: "a", have: "a b d e-", want: "a b", dead: "d", change: "remove e"},
		{name: "a removal that would cost the quorum", self: "a", have: "a b c d", want: "a b c", dead: "b c", change: "keep "},
		{name: "a dead one's removal brings the quorum back", self: "a", have: "a b c d", want: "a b c", dead: "c d", change: "remove d"},
		{name: "the leader hands over", self: "a", have: "a b c d", want: "b c d", change: "hand over a"},
		{name: "the leader goes last", self: "a", have: "a b c d e", want: "c d e", change: "remove b"},
		{name: "three to one", self: "a", have: "a b c", want: "a", change: "remove b"},
		{name: "two to one of which the other is dead", self: "a", have: "a b", want: "a", dead: "b", change: "remove b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []Member
			for id := range strings.FieldsSeq(test.want) {
				want = append(want, Member{ID: id})
			}
			live := func(id string) bool { return !slices.Contains(strings.Fields(test.dead), id) }
			ready := func(id string) bool { return live(id) && !slices.Contains(strings.Fields(test.unready), id) }
			c := nextChange(test.self, members(test.have), want, live, ready)
			if got := fmt.Sprint(c.action, " ", c.id); got != test.change {
				t.Errorf("nextChange(%q to %q) = %q, want %q", test.have, test.want, got, test.change)
			}
		})
	}
}

// voters lists the voters as a replica knows them, in order.
func voters(r *Replica) string {
	var ids []string
	for _, m := range r.Members() {
		if m.Voter {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// A shard of one node becomes one of three, its first replica is replaced, and it goes on
// without any of those that it began with.
func TestOneBecomesThree(t *testing.T) {
	for _, kind := range logKinds {
		bubble(t, kind, func(t *testing.T) {
			dir := t.TempDir()
			solo := testConfig(t, 0)
			solo.Dir, solo.RaftLog = filepath.Join(dir, "node"), kind
			r, stop := start(t, solo)
			for n := range 50 {
				send(t, r, n)
			}
			sum := checksum(r)
			stop()

			c := newTestCluster(t, 1, func(cfg *Config) { cfg.Dir, cfg.RaftLog = dir, kind })
			c.add("node", nil)
			if c.leader() != "node" || checksum(c.replica("node")) != sum {
				t.Fatal("the voter of one node does not go on with its log")
			}
			c.add("b", nil)
			c.add("c", nil)
			c.setDesired(Member{ID: "node"}, Member{ID: "b"}, Member{ID: "c", Away: true})
			eventually(t, "b has a vote", func() bool { return voters(c.replica("node")) == "b node" })
			time.Sleep(5 * time.Second)
			if v := voters(c.replica("node")); v != "b node" {
				t.Fatalf("voters %s: c cannot be reached from both sides", v)
			}
			c.setDesired(Member{ID: "node"}, Member{ID: "b"}, Member{ID: "c"})
			eventually(t, "three have votes", func() bool { return voters(c.replica("node")) == "b c node" })
			if err := c.replica("node").instance.Load().snapshot(); err != nil {
				t.Errorf("snapshot after a change of members: %v", err)
			}
			c.converged()
			c.kill("node")
			send(t, c.replica(c.leader()), 100)
			c.start("node")
			c.converged()

			removed := make(chan struct{})
			c.nodes["node"].cfg.OnRemoved = func() { close(removed) }
			c.shut("node")
			c.start("node")
			c.leader()
			if lead := c.leader(); lead != "node" {
				eventually(t, "node leads again", func() bool {
					return c.replica(c.leader()).Transfer(context.Background(), "node") == nil
				})
			}
			c.add("d", nil)
			c.setDesired(Member{ID: "d"}, Member{ID: "b"}, Member{ID: "c"})
			<-removed
			if lead := c.leader(); lead == "node" {
				t.Error("a replica that was removed leads")
			}
			if v := voters(c.replica(c.leader())); v != "b c d" {
				t.Errorf("voters %s, want b c d", v)
			}
			c.shut("node")
			delete(c.nodes, "node")
			c.converged()
			if n := c.failures(); n > 0 {
				t.Errorf("%d replicas were opened again", n)
			}
		})
	}
}

// A replica that is not there gets no vote, however long it is wanted, and the shard
// does not notice.
func TestAbsentMember(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a")
		c.setDesired(Member{ID: "a"}, Member{ID: "b"})
		send(t, c.replica(c.leader()), 1)
		time.Sleep(time.Minute)
		if v := voters(c.replica("a")); v != "a" || len(c.replica("a").Members()) != 2 {
			t.Errorf("members %+v, want a voter a and a learner b", c.replica("a").Members())
		}
		send(t, c.replica("a"), 2)
		c.setDesired(Member{ID: "a"})
		eventually(t, "b is removed", func() bool { return len(c.replica("a").Members()) == 1 })
		c.converged()
	})
}

// A replica that is removed is told, and closes. It does not wait for Raft, which stops
// replicating to it at any moment.
func TestRemovedReplicasClose(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		stay := []Member{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		for n := range 6 {
			id := fmt.Sprint("d", n)
			removed := make(chan struct{})
			c.base.OnRemoved = func() { close(removed) }
			c.add(id, nil)
			c.setDesired(append(slices.Clone(stay), Member{ID: id})...)
			eventually(t, "it has a vote", func() bool { return strings.Contains(voters(c.replica(c.leader())), id) })
			c.setDesired(stay...)
			select {
			case <-removed:
			case <-time.After(time.Minute):
				t.Fatalf("%s was not told that it is removed", id)
			}
			c.shut(id)
			delete(c.nodes, id)
		}
		c.converged()
	})
}
