package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
	dto "github.com/prometheus/client_model/go"
)

// A testNet carries the RPCs between the replicas of a test.
type testNet struct {
	mu        sync.Mutex
	rng       *rand.Rand
	up        map[string]*raft.InmemTransport // by replica
	cut       map[[2]string]bool              // from, to: nothing gets there
	drop      float64                         // part of RPCs whose request or answer is lost
	delay     time.Duration                   // most that a message takes
	frozen    string                          // messages from and to this replica wait for thaw; "": none does
	thaw      chan struct{}
	loseVotes int // RequestVotes that are still to be lost
	// appendFault may answer in place of a follower that gets entries; nil: none does.
	appendFault    func(from, to string, resp *raft.AppendEntriesResponse) (answered bool, err error)
	loseTimeoutNow bool              // it seems to arrive
	appends        map[string]int    // AppendEntries sent, by sender; nil: not counted
	votes          map[ballot]string // given, to which candidate; nil: not noted
	twice          []string          // who voted twice in a term
}

func newTestNet(seed uint64) *testNet {
	return &testNet{
		rng: rand.New(rand.NewPCG(seed, 1)),
		up:  make(map[string]*raft.InmemTransport), cut: make(map[[2]string]bool),
	}
}

var errLost = errors.New("test: message lost")

// lostAfter is when a sender learns that a message was lost.
const lostAfter = 100 * time.Millisecond

// carry takes one message, and reports whether it arrives.
func (n *testNet) carry(from, to string) bool {
	n.mu.Lock()
	if n.frozen != "" && (from == n.frozen || to == n.frozen) {
		thaw := n.thaw
		n.mu.Unlock()
		<-thaw
		n.mu.Lock()
	}
	arrives := !n.cut[[2]string{from, to}] && n.rng.Float64() >= n.drop
	var pause time.Duration
	if n.delay > 0 {
		pause = time.Duration(n.rng.Int64N(int64(n.delay)))
	}
	n.mu.Unlock()
	if pause > 0 {
		time.Sleep(pause)
	}
	return arrives
}

// isolate cuts a replica off from the others: of what it sends, of what it gets, or of
// both.
func (n *testNet) isolate(id string, others []string, sends, gets bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range others {
		if o != id {
			n.cut[[2]string{id, o}] = n.cut[[2]string{id, o}] || sends
			n.cut[[2]string{o, id}] = n.cut[[2]string{o, id}] || gets
		}
	}
}

// freeze stops all messages from and to a replica until heal.
func (n *testNet) freeze(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen, n.thaw = id, make(chan struct{})
}

func (n *testNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	if n.frozen != "" {
		n.frozen = ""
		close(n.thaw)
	}
	n.drop, n.delay = 0, 0
}

func (n *testNet) set(change func(*testNet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// open is Config.Transport for a replica.
func (n *testNet) open(id string) (raft.ServerAddress, raft.Transport, io.Closer) {
	addr, inmem := raft.NewInmemTransport(raft.ServerAddress(id))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up[id] = inmem
	t := &testTransport{InmemTransport: inmem, net: n, id: id}
	return addr, t, t
}

// A testTransport is one replica's end of a testNet.
type testTransport struct {
	*raft.InmemTransport
	net *testNet
	id  string
}

// Close unplugs the replica.
func (t *testTransport) Close() error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.net.up[t.id] == t.InmemTransport {
		delete(t.net.up, t.id)
	}
	return nil
}

func (t *testTransport) call(to raft.ServerAddress, f func() error) error {
	t.net.mu.Lock()
	peer := t.net.up[string(to)]
	t.net.mu.Unlock()
	if peer == nil {
		return errors.New("test: connection refused")
	}
	if !t.net.carry(t.id, string(to)) {
		time.Sleep(lostAfter)
		return errLost
	}
	t.Connect(to, peer)
	if err := f(); err != nil {
		return err
	}
	if !t.net.carry(string(to), t.id) {
		time.Sleep(lostAfter)
		return errLost
	}
	return nil
}

func (t *testTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	t.net.mu.Lock()
	if t.net.appends != nil {
		t.net.appends[t.id]++
	}
	t.net.mu.Unlock()
	return t.call(to, func() error {
		t.net.mu.Lock()
		fault := t.net.appendFault
		t.net.mu.Unlock()
		if fault != nil && len(req.Entries) > 0 {
			if answered, err := fault(t.id, string(to), resp); answered {
				return err
			}
		}
		return t.InmemTransport.AppendEntries(id, to, req, resp)
	})
}

func (t *testTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	t.net.voted(t.id, req.Term, t.id) // a candidate votes for itself first
	t.net.mu.Lock()
	lose := t.net.loseVotes > 0
	if lose {
		t.net.loseVotes--
	}
	t.net.mu.Unlock()
	if lose {
		time.Sleep(lostAfter)
		return errLost
	}
	return t.call(to, func() error {
		err := t.InmemTransport.RequestVote(id, to, req, resp)
		if err == nil && resp.Granted {
			t.net.voted(string(to), req.Term, t.id)
		}
		return err
	})
}

func (t *testTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.call(to, func() error { return t.InmemTransport.RequestPreVote(id, to, req, resp) })
}

func (t *testTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.call(to, func() error { return t.InmemTransport.InstallSnapshot(id, to, req, resp, data) })
}

func (t *testTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	t.net.mu.Lock()
	lose := t.net.loseTimeoutNow
	t.net.mu.Unlock()
	if lose {
		time.Sleep(lostAfter)
		return nil
	}
	return t.call(to, func() error { return t.InmemTransport.TimeoutNow(id, to, req, resp) })
}

// A testCluster is one shard with several replicas, all in this process.
type testCluster struct {
	t    testing.TB
	net  *testNet
	base Config

	mu    sync.Mutex
	nodes map[string]*testNode
	want  []Member // Config.Desired
}

type testNode struct {
	cfg  Config
	r    *Replica
	stop func() // nil while it is down
}

// newTestCluster starts replicas with these ids, which are the first voters. change, which
// may be nil, is called with the configuration of each.
func newTestCluster(t testing.TB, seed uint64, change func(*Config), ids ...string) *testCluster {
	c := &testCluster{t: t, net: newTestNet(seed), base: testConfig(t, 0), nodes: make(map[string]*testNode)}
	// Followers hear of the last commit with the next entry, or after groupCommitTimeout.
	c.base.ExpireEvery = 1000 * time.Hour
	c.base.PromoteAfter = 500 * time.Millisecond
	c.base.Dir = t.TempDir()
	if change != nil {
		change(&c.base)
	}
	var first []Member
	for _, id := range ids {
		first = append(first, Member{ID: id})
	}
	for _, id := range ids {
		c.add(id, first)
	}
	t.Cleanup(c.close)
	return c
}

// add starts a new replica; first has the members of a new shard.
func (c *testCluster) add(id string, first []Member) {
	cfg := c.base
	cfg.ID, cfg.Dir, cfg.Bootstrap, cfg.Metrics = id, filepath.Join(c.base.Dir, id), first, NewMetrics()
	cfg.Transport = func() (raft.ServerAddress, raft.Transport, io.Closer) { return c.net.open(id) }
	cfg.Log = c.base.Log.With("replica", id)
	cfg.Desired = c.desired
	c.mu.Lock()
	c.nodes[id] = &testNode{cfg: cfg}
	c.mu.Unlock()
	c.start(id)
}

func (c *testCluster) desired() []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want
}

func (c *testCluster) setDesired(want ...Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = want
}

// start opens a replica that is down.
func (c *testCluster) start(id string) {
	c.mu.Lock()
	node := c.nodes[id]
	c.mu.Unlock()
	r := New(node.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	if err := r.Opened(); err != nil {
		c.t.Errorf("open %s: %v", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	node.r, node.stop = r, func() { cancel(); run.Wait() }
}

// shut closes a replica as SIGTERM would.
func (c *testCluster) shut(id string) {
	c.mu.Lock()
	stop := c.nodes[id].stop
	c.nodes[id].stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// kill ends a replica that cannot tell anybody any more.
func (c *testCluster) kill(id string) {
	c.net.set(func(n *testNet) { delete(n.up, id) })
	if in := c.replica(id).instance.Load(); in != nil {
		in.peers.cut()
	}
	c.shut(id)
}

func (c *testCluster) close() {
	for _, id := range c.ids() {
		c.kill(id)
	}
}

// ids lists the replicas, in order.
func (c *testCluster) ids() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (c *testCluster) replica(id string) *Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id].r
}

// running lists the replicas that are not down.
func (c *testCluster) running() (ids []string) {
	for _, id := range c.ids() {
		c.mu.Lock()
		if c.nodes[id].stop != nil {
			ids = append(ids, id)
		}
		c.mu.Unlock()
	}
	return ids
}

// leaders lists the running replicas that take commands, in order of term. More than one
// does while an older one has not noticed.
func (c *testCluster) leaders() (leaders []*Replica) {
	for _, id := range c.running() {
		if r := c.replica(id); r.Leads() {
			leaders = append(leaders, r)
		}
	}
	slices.SortFunc(leaders, func(a, b *Replica) int { return int(a.Stamp().Term) - int(b.Stamp().Term) })
	return leaders
}

// leader waits for one that a majority follows, and returns its id.
func (c *testCluster) leader() string {
	c.t.Helper()
	var id string
	eventually(c.t, "a leader", func() bool {
		leaders := c.leaders()
		if len(leaders) == 0 {
			return false
		}
		newest := leaders[len(leaders)-1]
		id = newest.cfg.ID
		followed := 0
		for _, other := range c.running() {
			if known, term := c.replica(other).Leader(); known == id && term == newest.Stamp().Term {
				followed++
			}
		}
		return followed > len(strings.Fields(voters(newest)))/2
	})
	return id
}

// others lists the running replicas but one.
func (c *testCluster) others(id string) []string {
	return slices.DeleteFunc(c.running(), func(o string) bool { return o == id })
}

// converged waits until all running replicas have applied the same, and compares their
// checksums. No replica may have been opened again meanwhile.
func (c *testCluster) converged() {
	c.t.Helper()
	id := c.leader()
	eventually(c.t, "a command is taken", func() bool {
		return propose(c.replica(id), message(0)) == nil || func() bool { id = c.leader(); return false }()
	})
	failed := c.t.Failed()
	defer func() {
		if !failed && c.t.Failed() {
			c.describe()
		}
	}()
	eventually(c.t, "all have applied the same", func() bool {
		last := c.replica(id).Stamp().Applied
		for _, other := range c.running() {
			if c.replica(other).Stamp().Applied != last {
				return false
			}
		}
		return true
	})
	sum := checksum(c.replica(id))
	for _, other := range c.running() {
		if s := checksum(c.replica(other)); s != sum {
			c.t.Errorf("checksum of %s is %x, of the leader %s %x", other, s, id, sum)
		}
	}
}

// describe logs what each replica knows.
func (c *testCluster) describe() {
	for _, id := range c.running() {
		r := c.replica(id)
		leader, term := r.Leader()
		line := fmt.Sprintf("%s: stamp %+v, leader %q in term %d, members %+v", id, r.Stamp(), leader, term, r.Members())
		if in := r.instance.Load(); in != nil {
			line += fmt.Sprintf(", %v, last %d, committed %d", in.raft.State(), in.raft.LastIndex(), in.raft.CommitIndex())
		}
		c.t.Log(line)
	}
}

// failures counts how often replicas were opened again after a failure.
func (c *testCluster) failures() (n int) {
	for _, id := range c.ids() {
		var m dto.Metric
		if err := c.replica(id).metrics.failures.Write(&m); err != nil {
			c.t.Error(err)
		}
		n += int(m.Counter.GetValue())
	}
	return n
}

// bubble runs a test of a cluster in which nothing waits for real time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// Three replicas elect a leader, replicate, and go on when it is killed or isolated.
func TestThreeReplicas(t *testing.T) {
	for _, kind := range logKinds {
		bubble(t, kind, func(t *testing.T) {
			c := newTestCluster(t, 1, func(cfg *Config) { cfg.RaftLog = kind }, "a", "b", "c")
			for n := range 20 {
				send(t, c.replica(c.leader()), n)
			}
			c.converged()
			first := c.leader()
			c.kill(first)
			second := c.leader()
			if second == first {
				t.Fatalf("%s still leads", first)
			}
			send(t, c.replica(second), 21)
			c.start(first)
			c.converged()
			c.net.isolate(second, c.ids(), true, true)
			eventually(t, "another one leads", func() bool { return c.leader() != second })
			send(t, c.replica(c.leader()), 22)
			eventually(t, "the isolated one knows", func() bool { return !c.replica(second).Leads() })
			c.net.heal()
			c.converged()
			if n := c.failures(); n > 0 {
				t.Errorf("%d replicas were opened again", n)
			}
			for _, id := range c.ids() {
				if id, term := c.replica(id).Leader(); id == "" || term == 0 {
					t.Errorf("%s knows no leader", id)
				}
			}
		})
	}
}

// An answerLog sends numbered messages of one user, and checks that they come to lie in
// that order.
type answerLog struct {
	mu   sync.Mutex
	seqs map[int]uint64
}

func (a *answerLog) enqueue(t testing.TB, r *Replica, term uint64, n int) {
	t.Helper()
	err := r.Enqueue(term, command.AppendCommand(nil, message(n)), Waiter{Done: func(result command.Result, err error) {
		if err != nil || result.Code != command.OK {
			t.Errorf("message %d: %v, %v", n, err, result)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.seqs == nil {
			a.seqs = make(map[int]uint64)
		}
		a.seqs[n] = result.Seq
	}})
	if err != nil {
		t.Errorf("message %d: %v", n, err)
	}
}

// wait waits for n answers.
func (a *answerLog) wait(t testing.TB, n int) {
	t.Helper()
	eventually(t, "all is answered", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.seqs) == n
	})
	for i := 2; i <= n; i++ {
		if a.seqs[i] <= a.seqs[i-1] {
			t.Errorf("message %d has seq %d, the one before %d", i, a.seqs[i], a.seqs[i-1])
		}
	}
}

// A leader that has stopped for good is followed by another one, and its commands go there.
func TestStoppedLeader(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		if err := c.replica(lead).Stop("a read", "planted"); !errors.Is(err, store.ErrNotLeader) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Stop: %v, want ErrNotLeader", err)
		}
		if err := propose(c.replica(lead), message(1)); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("a stopped leader answers %v, want ErrNotLeader", err)
		}
		eventually(t, "another one leads", func() bool { return c.leader() != lead })
		send(t, c.replica(c.leader()), 1)
	})
}

// A replica that has just become the leader, and cannot commit, still closes.
func TestCloseWithoutCommits(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		lead := c.leader()
		c.converged()
		c.net.set(func(n *testNet) {
			n.appendFault = func(string, string, *raft.AppendEntriesResponse) (bool, error) {
				return true, errors.New("test: broken")
			}
		})
		if err := c.replica(lead).Campaign(); err != nil {
			t.Fatal(err)
		}
		in := c.replica(lead).instance.Load()
		eventually(t, "it is elected again", func() bool { return in.raft.State() == raft.Leader && !c.replica(lead).Leads() })
		start := time.Now()
		c.shut(lead)
		if took := time.Since(start); took > closeWithin+time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}
