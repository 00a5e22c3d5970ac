package replica

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/hashicorp/raft"
)

// load sends messages at a steady pace until the returned function is called, which
// tells how many were acknowledged.
func load(c *testCluster, from int) (stop func() int) {
	end, sent := make(chan struct{}), make(chan int)
	go func() {
		n := from
		for {
			select {
			case <-end:
				sent <- n - from
				return
			case <-time.After(20 * time.Millisecond):
			}
			if leaders := c.leaders(); len(leaders) > 0 && propose(leaders[len(leaders)-1], message(n)) == nil {
				n++
			}
		}
	}()
	return func() int { close(end); return <-sent }
}

// A follower that refuses appends, as with a full disk, has all of the log soon after it
// takes them again. The leader stays.
func TestFollowerRefusesAppends(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		full := c.others(lead)[0]
		_, term := c.replica(lead).Leader()
		stop := load(c, 1)
		for _, refusals := range []int32{1, 2, 30, 60} {
			var left atomic.Int32
			left.Store(refusals)
			c.net.set(func(n *testNet) {
				n.appendFault = func(_, to string, resp *raft.AppendEntriesResponse) (bool, error) {
					if to != full || left.Load() == 0 {
						return false, nil
					}
					left.Add(-1)
					*resp = raft.AppendEntriesResponse{Term: term, LastLog: c.replica(full).instance.Load().raft.LastIndex()}
					return true, nil
				}
			})
			eventually(t, "it has refused them", func() bool { return left.Load() == 0 })
			room := time.Now()
			want := c.replica(lead).LastIndex()
			eventually(t, "it has caught up", func() bool { return c.replica(full).instance.Load().raft.LastIndex() >= want })
			if took := time.Since(room); took > time.Second {
				t.Errorf("after %d refusals it took %v", refusals, took)
			}
		}
		c.hasStayed(stop(), lead, term)
	})
}

// hasStayed fails unless the leader is still the same, and acknowledged something under load.
func (c *testCluster) hasStayed(acknowledged int, lead string, term uint64) {
	c.t.Helper()
	if acknowledged == 0 {
		c.t.Error("nothing was acknowledged meanwhile")
	}
	c.converged()
	if id, now := c.replica(lead).Leader(); id != lead || now != term {
		c.t.Errorf("%s leads in term %d, want %s in %d", id, now, lead, term)
	}
}

// A follower whose disk was full has all of the log soon after there is room again, for
// however long and however often there was none. The leader stays.
func TestFollowerFullAgainAndAgain(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		full := c.others(lead)[0]
		_, term := c.replica(lead).Leader()
		stop := load(c, 1)
		r := c.replica(full)
		probe := filepath.Join(r.cfg.Dir, "probe")
		for n := range 6 { // enough for pauses that grow to be seen
			if err := os.Mkdir(probe, DirMode); err != nil { // nothing can be written there
				t.Fatal(err)
			}
			r.instance.Load().fail(errors.New("test: no room"))
			without := time.Second
			if n == 0 {
				without = 10 * time.Second
			}
			time.Sleep(without)
			if r.instance.Load() != nil {
				t.Fatal("it was opened though there was no room")
			}
			room := time.Now()
			if err := os.Remove(probe); err != nil {
				t.Fatal(err)
			}
			want := c.replica(lead).LastIndex()
			eventually(t, "it has caught up", func() bool {
				in := r.instance.Load()
				return in != nil && in.raft.LastIndex() >= want
			})
			if took := time.Since(room); took > time.Second {
				t.Errorf("time %d: it took %v", n, took)
			}
			time.Sleep(steadyAfter)
		}
		c.hasStayed(stop(), lead, term)
	})
}

// A leader knows for how long a follower has lacked something, be it a single entry.
func TestFollowerBehind(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		time.Sleep(time.Minute)
		cut := c.others(lead)[0]
		behind := func(want func(id string, d time.Duration) bool) bool {
			return !slices.ContainsFunc(c.replica(lead).Members(), func(m MemberState) bool { return !want(m.ID, m.Behind) })
		}
		current := func(_ string, d time.Duration) bool { return d <= watchEvery }
		if !behind(current) {
			t.Errorf("members of an idle shard: %+v", c.replica(lead).Members())
		}
		c.net.set(func(n *testNet) {
			n.appendFault = func(_, to string, _ *raft.AppendEntriesResponse) (bool, error) {
				return to == cut, errors.New("test: broken")
			}
		})
		send(t, c.replica(lead), 0)
		time.Sleep(stuckAfter - time.Second)
		if !behind(func(id string, d time.Duration) bool {
			return current(id, d) != (id == cut) && d < stuckAfter
		}) {
			t.Errorf("members while %s gets nothing: %+v", cut, c.replica(lead).Members())
		}
		c.net.set(func(n *testNet) { n.appendFault = nil })
		eventually(t, "it has all again", func() bool { return behind(current) })
		if c.leader() != lead {
			t.Errorf("%s leads, want %s", c.leader(), lead)
		}
	})
}

// A follower that answers heartbeats and gets nothing of the log makes the leader hand
// over; if nobody else can lead, and nothing is committed, it is opened again.
func TestFollowerStuck(t *testing.T) {
	// It lasts until the leader is opened again.
	stick := func(c *testCluster, lead string, stuck ...string) {
		broken := c.replica(lead).instance.Load()
		c.net.set(func(n *testNet) {
			n.appendFault = func(from, to string, _ *raft.AppendEntriesResponse) (bool, error) {
				for _, id := range stuck {
					if from == lead && to == id && c.replica(lead).instance.Load() == broken {
						return true, errors.New("test: broken")
					}
				}
				return false, nil
			}
		})
	}
	bubble(t, "one", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		stop := load(c, 1)
		stick(c, lead, c.others(lead)[0])
		start := time.Now()
		eventually(t, "another one leads", func() bool { return c.leader() != lead })
		if took := time.Since(start); took < stuckAfter || took > stuckAfter+time.Second {
			t.Errorf("handed over after %v", took)
		}
		stop()
		c.converged()
		if n := c.failures(); n > 0 {
			t.Errorf("%d replicas were opened again", n)
		}
	})
	bubble(t, "all", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		stick(c, lead, c.others(lead)...)
		stop := load(c, 1)
		start := time.Now()
		eventually(t, "it is opened again", func() bool { return c.failures() == 1 })
		if took := time.Since(start); took < stuckAfter || took > stuckAfter+4*time.Second {
			t.Errorf("opened again after %v", took)
		}
		send(t, c.replica(c.leader()), 0)
		stop()
		c.converged()
		if n := c.failures(); n != 1 {
			t.Errorf("%d replicas were opened again, want 1", n)
		}
	})
}

// A replica whose log cannot be read is cut off from the others at once: it does not lead
// on with heartbeats, and does not follow on.
func TestFailedInstanceIsCutOff(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		in, term := c.replica(lead).instance.Load(), c.replica(lead).Stamp().Term
		in.fail(errors.New("planted"))
		for range 2 {
			if err := in.peers.mayLead(in.raft.CurrentTerm()); err == nil {
				t.Error("a failed instance may lead")
			}
			time.Sleep(time.Millisecond)
		}
		eventually(t, "there is a new leader", func() bool { return c.replica(c.leader()).Stamp().Term > term })
		eventually(t, "it is opened again", func() bool {
			now := c.replica(lead).instance.Load()
			return now != nil && now != in
		})
		send(t, c.replica(c.leader()), 1)
		c.converged()
	})
}

// A leader that has stepped down sends no heartbeats, also while its replication to a
// follower waits to send entries again.
func TestNoHeartbeatsAfterLeadership(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		in := c.replica(lead).instance.Load()
		c.net.isolate(lead, c.ids(), false, true) // it is heard, and hears nothing
		unknown := make(chan error, 1)
		go func() { unknown <- propose(c.replica(lead), message(1)) }()
		eventually(t, "it steps down", func() bool { return in.raft.State() != raft.Leader })
		<-unknown
		time.Sleep(resendMost)
		c.net.set(func(n *testNet) { n.appends = make(map[string]int) })
		time.Sleep(time.Minute)
		c.net.set(func(n *testNet) {
			if n.appends[lead] > 0 {
				t.Errorf("%d requests of a leader that has stepped down", n.appends[lead])
			}
			if len(n.appends) == 0 {
				t.Error("the next leader sends nothing")
			}
		})
		c.net.heal()
		c.converged()
	})
}

// An entry that comes into the log in another term than that of its leadership does
// nothing, on any replica, and its sender knows.
func TestEntryOfAnotherTerm(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		r := c.replica(lead)
		sum := checksum(r)
		l := r.leadership.Load()
		l.stamp = termStamp(l.term - 1)
		if err := propose(r, message(1)); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("Enqueue: %v, want ErrNotLeader", err)
		}
		// After a refusal the leadership takes nothing more.
		eventually(t, "a leader serves", func() bool { return r.Leads() && r.leadership.Load() != l })
		if checksum(r) != sum {
			t.Error("the state has changed")
		}
		q := query.History{HistoryQuery: query.HistoryQuery{User: "alice", Peer: "bob", Limit: 10, MaxBytes: 1 << 20}, Page: new(query.Page)}
		r.Inspect(func(s *shard.State, now int64) {
			if err := s.Answer(&q, now); err != nil {
				t.Error(err)
			}
		})
		for _, m := range q.Page.Updates.Messages {
			if string(m.CID) == "c1" {
				t.Error("the message is there")
			}
		}
		c.converged()
	})
}
