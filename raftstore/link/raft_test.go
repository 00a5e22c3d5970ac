package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A sum is a state machine that adds numbers up.
type sum struct {
	total   atomic.Uint64
	restore time.Duration // how long Restore takes
}

func (s *sum) Apply(l *raft.Log) any {
	s.total.Add(binary.BigEndian.Uint64(l.Data))
	return nil
}

func (s *sum) Snapshot() (raft.FSMSnapshot, error) { return sumSnapshot(s.total.Load()), nil }

func (s *sum) Restore(r io.ReadCloser) error {
	defer r.Close()
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	<-time.After(s.restore)
	s.total.Store(binary.BigEndian.Uint64(b[:]))
	_, err := io.Copy(io.Discard, r)
	return err
}

type sumSnapshot uint64

func (s sumSnapshot) Persist(sink raft.SnapshotSink) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(s))
	if _, err := sink.Write(append(b, make([]byte, 1<<20)...)); err != nil {
		return err
	}
	return sink.Close()
}

func (sumSnapshot) Release() {}

// A member is a replica of hashicorp/raft at a node.
type member struct {
	*raft.Raft
	node *testNode
	tr   *Transport
	sum  *sum
}

// startMember starts the replica of a group at a node, with elections after timeout.
func startMember(t testing.TB, n *testNode, group string, timeout time.Duration) *member {
	t.Helper()
	m, err := newMember(n, group, timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return m
}

func newMember(n *testNode, group string, timeout time.Duration) (*member, error) {
	tr, err := n.Transport(group, replicaID(n.id), locateAll)
	if err != nil {
		return nil, err
	}
	c := raft.DefaultConfig()
	c.LocalID = tr.local
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = timeout, timeout, timeout
	c.CommitTimeout = time.Second
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = time.Hour, 1<<40, 1
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: n.log, Name: n.name + " " + group, Level: hclog.Info})
	store := raft.NewInmemStore()
	m := &member{node: n, tr: tr, sum: new(sum)}
	m.Raft, err = raft.NewRaft(c, m.sum, store, store, raft.NewInmemSnapshotStore(), tr)
	if err != nil {
		tr.Close()
	}
	return m, err
}

// stop shuts the replica down, which closes its transport.
func (m *member) stop() { m.Shutdown().Error() }

func (m *member) add(n uint64) error {
	return m.Apply(binary.BigEndian.AppendUint64(nil, n), patience).Error()
}

// found makes the members the voters of their group.
func found(t testing.TB, members ...*member) {
	t.Helper()
	var c raft.Configuration
	for _, m := range members {
		c.Servers = append(c.Servers, raft.Server{ID: m.tr.local, Address: m.tr.LocalAddr()})
	}
	for _, m := range members {
		if err := m.BootstrapCluster(c).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// leaderOf waits until one of the members leads and has committed something.
func leaderOf(t testing.TB, members ...*member) *member {
	t.Helper()
	var leader *member
	eventually(t, "a leader", func() bool {
		for _, m := range members {
			if m.State() == raft.Leader && m.Barrier(patience).Error() == nil {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// haveAll waits until all members have what the leader has: those that have less cannot
// be elected.
func haveAll(t testing.TB, leader *member, members ...*member) {
	t.Helper()
	for _, m := range members {
		eventually(t, "the newest entry", func() bool { return m.LastIndex() == leader.LastIndex() })
	}
}

// TestRaftFailsOver runs a group on three nodes, and ends the node that leads.
func TestRaftFailsOver(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			var members []*member
			for _, n := range testNodes(t, s.tls, "a", "b", "c") {
				members = append(members, startMember(t, n, "g", 2*time.Second))
			}
			found(t, members...)
			leader := leaderOf(t, members...)
			for range 100 {
				if err := leader.add(1); err != nil {
					t.Fatal(err)
				}
			}
			leader.node.Close()
			var rest []*member
			for _, m := range members {
				if m != leader {
					rest = append(rest, m)
				}
			}
			second := leaderOf(t, rest...)
			if err := second.add(1000); err != nil {
				t.Fatal(err)
			}
			for _, m := range rest {
				eventually(t, "all entries", func() bool { return m.sum.total.Load() == 1100 })
			}
		})
	}
}

// TestTakeOver ends the node that leads while elections would take minutes: the node
// whose turn it is stands at once, and the other one leaves it at that.
func TestTakeOver(t *testing.T) {
	noLeak(t)
	const names = "abc"
	var members []*member
	var voters []raft.ServerID
	var passed sync.WaitGroup // turns of both that are left
	passed.Add(2)
	for i := range names {
		name := names[i : i+1]
		gone := make(chan NodeID, maxEvents)
		n := newTestNode(t, name, func(c *Config) {
			told := c.OnPeer
			c.OnPeer = func(node NodeID, s PeerState) {
				told(node, s)
				if s == Gone {
					gone <- node
				}
			}
		})
		n.turn = 3 * time.Second // a may hear later than b that c is gone
		n.start(t)
		m := startMember(t, n, "g", 10*time.Minute)
		members = append(members, m)
		voters = append(voters, m.tr.local)
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		work.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case node := <-gone:
					if _, id := m.LeaderWithID(); id == replicaID(node) {
						m.tr.TakeOver(ctx, voters)
					}
					if node == "id-c" {
						passed.Done()
					}
				}
			}
		})
		t.Cleanup(func() { cancel(); work.Wait() })
	}
	connect(t, members[0].node, members[1].node, members[2].node)
	found(t, members...)
	// The one whose turn comes last, so that the others' turns are told apart.
	if err := members[2].tr.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader := leaderOf(t, members...)
	if leader != members[2] {
		t.Fatalf("%s leads, want c", leader.node.name)
	}
	for _, m := range members[:2] {
		eventually(t, "the leader is known", func() bool { _, id := m.LeaderWithID(); return id == leader.tr.local })
	}
	if err := leader.add(1); err != nil {
		t.Fatal(err)
	}
	haveAll(t, leader, members...)
	term := leader.CurrentTerm()
	ended := time.Now()
	leader.node.Close()
	second := leaderOf(t, members[0], members[1])
	t.Logf("another led %v after the node ended", time.Since(ended))
	if second != members[0] {
		t.Errorf("%s leads, want a: it has the lowest id", second.node.name)
	}
	if err := second.add(1); err != nil {
		t.Fatal(err)
	}
	passed.Wait()
	if got := second.CurrentTerm(); got != term+1 {
		t.Errorf("term %d, want %d: b's turn passes without an election", got, term+1)
	}
}

// TestTakeOverPassesTurn has the node whose turn is first not stand: the next one does.
func TestTakeOverPassesTurn(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b", "c")
	var members []*member
	var voters []raft.ServerID
	for _, n := range nodes {
		m := startMember(t, n, "g", 10*time.Minute)
		members = append(members, m)
		voters = append(voters, m.tr.local)
	}
	found(t, members...)
	if err := members[2].tr.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	haveAll(t, leaderOf(t, members[2]), members...)
	members[2].node.Close()
	eventually(t, "c is gone", func() bool { return nodes[1].State("id-c") == Gone })
	start := time.Now()
	if err := members[1].tr.TakeOver(t.Context(), voters); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < defaultTurn {
		t.Errorf("b stood after %v, want its turn after %v", took, defaultTurn)
	}
	leaderOf(t, members[1])

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := members[1].tr.TakeOver(ctx, voters); !errors.Is(err, context.Canceled) {
		t.Errorf("TakeOver without time: %v, want context.Canceled", err)
	}
	if err := members[0].tr.Campaign(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Campaign without time: %v, want context.Canceled", err)
	}
}

// TestRaftInstallsSnapshot adds a replica that needs a snapshot, whose Restore takes
// longer than any time-out.
func TestRaftInstallsSnapshot(t *testing.T) {
	noLeak(t)
	var nodes []*testNode
	ca, dir := newTestCA(t, "ca"), t.TempDir()
	for _, name := range []string{"a", "b"} {
		n := newTestNode(t, name, func(c *Config) {
			c.TLS = ca.issue(t, dir, name, nil)
			c.RPC, c.BulkStall = time.Second, 6*bulkAlive
		})
		n.start(t)
		nodes = append(nodes, n)
	}
	connect(t, nodes...)
	a, b := startMember(t, nodes[0], "g", 500*time.Millisecond), startMember(t, nodes[1], "g", 500*time.Millisecond)
	b.sum.restore = 8 * bulkAlive
	found(t, a)
	leaderOf(t, a)
	for range 10 {
		if err := a.add(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := a.AddNonvoter(b.tr.local, b.tr.LocalAddr(), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the snapshot is installed", func() bool { return b.sum.total.Load() == 10 })
	if err := a.add(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the entry after it", func() bool { return b.sum.total.Load() == 11 })
	if n := strings.Count(nodes[0].log.text(), "installing snapshot on"); n != 1 {
		t.Errorf("the snapshot was sent %d times, want once", n)
	}
}

// TestManyGroups runs 64 groups on three nodes, has one node end, and looks that every
// group goes on.
func TestManyGroups(t *testing.T) {
	noLeak(t)
	const groups = 64
	nodes := testNodes(t, true, "a", "b", "c")
	var members [groups][]*member
	for g := range groups {
		for _, n := range nodes {
			// Leaders are made by Campaign: on a busy machine 192 replicas with short
			// time-outs do little but elect each other.
			members[g] = append(members[g], startMember(t, n, fmt.Sprint("g", g), time.Minute))
		}
		found(t, members[g]...)
		if err := members[g][g%3].tr.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for g := range groups {
		leader := leaderOf(t, members[g][g%3])
		for range 5 {
			if err := leader.add(1); err != nil {
				t.Fatal(err)
			}
		}
		haveAll(t, leader, members[g]...)
	}
	nodes[1].Close()
	for _, n := range []*testNode{nodes[0], nodes[2]} {
		eventually(t, "b is gone", func() bool { return n.State("id-b") == Gone })
	}
	for g := range groups {
		leader := members[g][g%3]
		if g%3 == 1 {
			leader = members[g][2]
			if err := leader.tr.Campaign(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := leaderOf(t, leader).add(1); err != nil {
			t.Fatal(err)
		}
	}
	for g := range groups {
		for _, m := range []*member{members[g][0], members[g][2]} {
			eventually(t, "all entries of a group", func() bool { return m.sum.total.Load() == 6 })
		}
	}
}
