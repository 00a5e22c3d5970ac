package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A testNode is one node of a testCluster: a link and, while it runs, a store.
type testNode struct {
	id    placement.NodeID
	link  *link.Link
	store atomic.Pointer[Store]
	cfg   Config

	settle func() // ends changeLeaders
}

// A testCluster is several nodes of this process, over loopback. The first three have a
// replica of every shard. Leaders are made where leaderships belong, and stay there though
// the machine may stand still for seconds. Without a leader commands wait.
type testCluster struct {
	t     testing.TB
	nodes []*testNode
	m     *placement.Map
}

const testClusterID = "5c0e8a4e-6a0c-4f8e-9a2f-3b1b8f1d7c11"

// newTestCluster starts nodes, and returns once each reaches a leader of every shard.
// change may alter a node's configuration.
func newTestCluster(t testing.TB, nodes, shards int, change func(node int, cfg *Config)) *testCluster {
	t.Helper()
	// A fast machine sends more than a user may have: nothing of what is checked may go for that.
	limits := command.Limits{NewConversations: -1, GroupRate: -1, UserBytes: -1}.WithDefaults()
	c := &testCluster{t: t, m: &placement.Map{
		Version: 1, Cluster: testClusterID, Epoch: 1700000000000, Config: placement.Config{Version: 1, Limits: limits},
	}}
	c.m.Slots = placement.Solo(placement.Node{}, 0, placement.Config{}, shards).Slots
	for i := range nodes {
		id := placement.NodeID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		c.m.Nodes = append(c.m.Nodes, placement.Node{ID: id, Name: fmt.Sprint("node", i), Roles: placement.RoleGateway | placement.RoleStore, Admitted: true})
	}
	for shard := range shards {
		of := placement.Shard{ID: uint32(shard)}
		for k := range min(nodes, 3) {
			i := (shard + k) % min(nodes, 3) // the leaders belong at different nodes
			id := fmt.Sprintf("r%d-%d", shard, i)
			of.Replicas = append(of.Replicas, placement.Replica{ID: id, Node: c.m.Nodes[i].ID})
			of.Founders = append(of.Founders, id)
		}
		c.m.Shards = append(c.m.Shards, of)
	}
	t.TempDir() // its removal is registered before the nodes are stopped, so it comes after
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	for i := range nodes {
		n := &testNode{id: c.m.Nodes[i].ID, cfg: testConfig(t)}
		n.cfg.Shards, n.cfg.ElectionTimeout, n.cfg.leaderPatience = 0, 3*time.Second, time.Minute
		if change != nil {
			change(i, &n.cfg)
		}
		if h := n.cfg.Hooks; h != nil && h.WantsQueued() {
			c.m.Config.HookBytes = 1 << 20
		}
		c.nodes = append(c.nodes, n)
		c.start(i)
	}
	c.connect()
	c.elect()
	c.ready()
	return c
}

// oftenElected has as many elections as nodes have outside of tests.
func oftenElected(_ int, cfg *Config) { cfg.ElectionTimeout = 0 }

// elect has the first replica of each shard stand for election until it leads: the others
// may not be open, or connected, at first.
func (c *testCluster) elect() {
	c.t.Helper()
	for shard := range c.m.Shards {
		sh := c.store(shard % min(len(c.nodes), 3)).shards()[shard]
		pause, next := 50*time.Millisecond, time.Now()
		eventually(c.t, fmt.Sprintf("shard %d has its first leader", shard), func() bool {
			if time.Now().After(next) && sh.leading() == nil {
				_ = sh.here().local.Campaign()
				pause *= 2
				next = time.Now().Add(pause)
			}
			return sh.leading() != nil
		})
	}
}

// start opens the link and the store of a node.
func (c *testCluster) start(i int) {
	c.t.Helper()
	n := c.nodes[i]
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("BELFRY_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(c.t.Output(), nil)).With("node", i)
	}
	l, err := link.Open(link.Config{
		ID: link.NodeID(n.id), Name: c.m.Nodes[i].Name, Cluster: testClusterID, Listen: "127.0.0.1:0", Log: log,
		Silence: 20 * time.Second,
		OnStatus: func(node link.NodeID, status []byte) {
			if s := n.store.Load(); s != nil {
				s.PeerStatus(placement.NodeID(node), status)
			}
		},
		OnPeer: func(node link.NodeID, state link.PeerState) {
			s := n.store.Load()
			switch {
			case s == nil:
			case state == link.Connected:
				s.PeerConnected(placement.NodeID(node))
			default:
				s.PeerLost(placement.NodeID(node), state == link.Gone)
			}
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.link = l
	cfg := n.cfg
	cfg.Log = log
	cfg.Cluster = &Cluster{Node: n.id, Map: c.m, Link: OverLink(l), Made: func(uint32, string) {}}
	s, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	// Placement has noted by now that the directories are there.
	if err := s.SetMap(c.made()); err != nil {
		c.t.Fatal(err)
	}
	n.settle = changeLeaders(c.t, s)
	n.store.Store(s)
	if err := l.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// made returns the map after each node has made its replicas.
func (c *testCluster) made() *placement.Map {
	m := *c.m
	m.Version++
	m.Shards = slices.Clone(m.Shards)
	for i := range m.Shards {
		sh := &m.Shards[i]
		sh.Replicas = slices.Clone(sh.Replicas)
		for k := range sh.Replicas {
			sh.Replicas[k].Made = true
		}
	}
	return &m
}

// connect tells all links of all others.
func (c *testCluster) connect() {
	var peers []link.Peer
	for i, n := range c.nodes {
		if n.link != nil {
			peers = append(peers, link.Peer{ID: link.NodeID(n.id), Name: c.m.Nodes[i].Name, Address: n.link.Addr().String()})
		}
	}
	for _, n := range c.nodes {
		if n.link != nil {
			n.link.SetPeers(peers)
		}
	}
}

// stop closes a node as a SIGTERM does.
func (c *testCluster) stop(i int) {
	n := c.nodes[i]
	if s := n.store.Swap(nil); s != nil {
		n.settle()
		if err := s.Close(); err != nil {
			c.t.Errorf("close node %d: %v", i, err)
		}
	}
	if n.link != nil {
		n.link.Close()
		n.link = nil
	}
}

// kill cuts a node off before it is closed, so that it can hand nothing over.
func (c *testCluster) kill(i int) {
	c.nodes[i].link.Close()
	c.stop(i)
}

func (c *testCluster) store(i int) *Store { return c.nodes[i].store.Load() }

// settle has leaders stay from now on, whatever BELFRY_TEST_ELECTIONS says.
func (c *testCluster) settle() {
	for _, n := range c.nodes {
		n.settle()
	}
}

// ready waits until every running node reaches a leader of every shard.
func (c *testCluster) ready() {
	c.t.Helper()
	eventually(c.t, "all nodes are ready", func() bool {
		for i := range c.nodes {
			if s := c.store(i); s != nil && s.Ready() != nil {
				return false
			}
		}
		return true
	})
}

// leader returns the node that leads a shard.
func (c *testCluster) leader(shard int) (node int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("shard %d has a leader", shard), func() bool {
		node = slices.IndexFunc(c.nodes, func(n *testNode) bool {
			s := n.store.Load()
			return s != nil && s.shards()[shard].leading() != nil
		})
		return node >= 0
	})
	return node
}

// move hands a shard over to a node, and returns once all know of that.
func (c *testCluster) move(shard, to int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("node %d leads shard %d", to, shard), func() bool {
		at := c.leader(shard)
		return at == to || c.store(at).Transfer(c.t.Context(), uint32(shard), c.nodes[to].id) == nil
	})
	c.ready()
}

// others returns the running nodes that do not lead a shard.
func (c *testCluster) others(shard int) (nodes []int) {
	leader := c.leader(shard)
	for i := range c.nodes {
		if i != leader && c.store(i) != nil {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// Any node takes any request, and finds what was done at any other.
func TestClusterServesAtEachNode(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	others := c.others(0)
	here, there := c.store(others[0]), c.store(others[1])
	alice, bob := userIn(here, 0, 0), userIn(here, 1, 0)

	sync := login(t, here, alice, "phone", &ear{})
	const n = 30
	for i := range n {
		send(t, there, message(bob, alice, i))
	}
	for i := range c.nodes {
		s := c.store(i)
		eventually(t, fmt.Sprintf("node %d reads all", i), func() bool { return len(cids(t, s, alice, bob)) == n })
		wantCIDs(t, s, bob, alice, n)
		infos, err := s.Sessions(t.Context(), alice)
		if err != nil || len(infos) != 1 || infos[0].Number != sync.Session {
			t.Errorf("Sessions at node %d = %v, %v, want session %d", i, infos, err, sync.Session)
		}
		if again := send(t, s, message(bob, alice, 0)); !again.Duplicate || again.Seq != 1 {
			t.Errorf("repeat at node %d = %+v, want a duplicate of seq 1", i, again)
		}
		list, err := s.Recents(t.Context(), alice, 1<<20)
		if err != nil || len(list.Conversations) != 1 || list.Conversations[0].Unread != n {
			t.Errorf("Recents at node %d = %+v, %v, want %d unread", i, list, err, n)
		}
	}
	var up query.Updates
	if err := here.Since(alice, sync.Session, sync.Arrival, &up, 100, 1<<20); err != nil || len(up.Messages) != n {
		t.Errorf("Since = %d messages, %v, want %d", len(up.Messages), err, n)
	}
	_, err := here.Login(t.Context(), &command.Login{User: alice}, query.RecentsOn, &ear{})
	if refused, ok := errors.AsType[*command.RefusedError](err); !ok || refused.Code != command.CodeBadRequest {
		t.Errorf("a login without device: %v, want CodeBadRequest", err)
	}
	users, more, err := there.Users(t.Context(), "", 10)
	if err != nil || more || len(users) != 2 {
		t.Errorf("Users = %v, %v, %v, want alice and bob", users, more, err)
	}
	total, _, err := here.Stats(t.Context())
	if err != nil || total.Users != 2 || total.Messages != 2*n {
		t.Errorf("Stats = %+v, %v, want 2 users and %d messages", total, err, 2*n)
	}
}

// A node without replicas takes clients like any other.
func TestClusterServesWithoutReplicas(t *testing.T) {
	c := newTestCluster(t, 4, 2, nil)
	s := c.store(3)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	e := &ear{}
	sync := login(t, s, alice, "phone", e)
	const n = 20
	for i := range n {
		send(t, s, message(bob, alice, i))
	}
	wantCIDs(t, s, bob, alice, n)
	eventually(t, "alice reads all", func() bool { return len(cids(t, s, alice, bob)) == n })
	eventually(t, "her session is woken", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.wakes > 0 })
	createGroup(t, s, "team", command.GroupPrivate, alice, bob)
	if groups, err := s.GroupsOf(t.Context(), bob); err != nil || len(groups) != 1 {
		t.Errorf("GroupsOf(bob) = %v, %v, want the group", groups, err)
	}
	if _, err := s.Presence(bob, []command.UserID{alice}); err != nil {
		t.Errorf("Presence: %v", err)
	}
	if err := s.Kick(t.Context(), alice, sync.Session); err != nil {
		t.Errorf("Kick: %v", err)
	}
	eventually(t, "her session is kicked", func() bool { return len(e.kicked()) == 1 })
	if err := s.EraseUser(t.Context(), bob); err != nil {
		t.Errorf("EraseUser: %v", err)
	}
	if _, known, err := s.User(t.Context(), alice); err != nil || !known {
		t.Errorf("User(alice): known %v, %v", known, err)
	}
}

// Groups of members of all shards work at each node.
func TestClusterGroups(t *testing.T) {
	c := newTestCluster(t, 3, 3, nil)
	group := command.GroupID("team")
	s := c.store(c.others(int(c.store(0).shardOf(group.Key()).id))[0])
	owner := userIn(s, 0, 0)
	createGroup(t, s, group, command.GroupPrivate, owner)
	room := command.GroupID("room")
	createGroup(t, s, room, command.GroupChatroom, owner)
	var members []command.UserID
	for i := range 6 {
		members = append(members, userIn(s, i%3, i+1))
	}
	do(t, s, &command.AddMembers{Group: group, By: owner, Users: members})
	for i := range c.nodes {
		for _, user := range members {
			// At once, unless an election comes between.
			eventually(t, fmt.Sprintf("%s has the group at node %d", user, i), func() bool {
				groups, err := c.store(i).GroupsOf(t.Context(), user)
				return err == nil && len(groups) == 1
			})
		}
		views, left := c.store(i).SyncGroups(t.Context(), owner, []query.GroupSyncAsk{{Group: group}}, 10, 100)
		if len(views) != 1 || len(left) != 0 {
			t.Errorf("SyncGroups at node %d = %v, %v", i, views, left)
		}
		// That a cursor is refused, and that a group counts none, comes from the group's shard.
		asks := []query.GroupSyncAsk{{Group: group, HasCursor: true, Cursor: "none"}, {Group: room, HasCursor: true, Cursor: "none"}}
		if views, _ := c.store(i).SyncGroups(t.Context(), owner, asks, 10, 100); len(views) != 2 {
			t.Errorf("SyncGroups at node %d = %v, want both groups", i, views)
		} else {
			for _, v := range views {
				if !v.Reset || v.CountsUnread != (v.Group == group) {
					t.Errorf("SyncGroups at node %d: %s has Reset %v, CountsUnread %v", i, v.Group, v.Reset, v.CountsUnread)
				}
			}
		}
		for _, g := range []command.GroupID{group, room} {
			var up query.Updates
			if err := c.store(i).GroupSince(g, 0, &up, 100, 1<<16); err != nil || up.Uncounted != (g == room) {
				t.Errorf("GroupSince of %s at node %d: Uncounted %v, %v", g, i, up.Uncounted, err)
			}
		}
		if traces, err := c.store(i).Traces(t.Context(), owner); err != nil || len(traces) != 2 {
			t.Errorf("Traces at node %d = %v, %v, want both groups", i, traces, err)
		}
		for _, e := range c.store(i).Eligibility(owner, members) {
			if e.Err != nil || e.Joined+e.ByStrangers != 1 {
				t.Errorf("Eligibility at node %d = %+v, want one group", i, e)
			}
		}
	}
}

// A verifier sends from one user to another at a node, a window at a time, and repeats
// what it has no answer to, as a client does.
type verifier struct {
	from, to command.UserID
	sent     int // c0, c1, … below this were acknowledged, in order
	seqs     []uint64
	doubts   int
	longest  time.Duration // between two acks
}

func (v *verifier) run(t *testing.T, at func() *Store, stop <-chan struct{}) {
	const window = 16
	for last := time.Now(); ; {
		select {
		case <-stop:
			return
		default:
		}
		s := at()
		var results [window]command.Result
		var errs [window]error
		var all sync.WaitGroup
		all.Add(window)
		for i := range window {
			s.Submit(message(v.from, v.to, v.sent+i), func(r command.Result, err error) {
				results[i], errs[i] = r, err
				all.Done()
			})
		}
		all.Wait()
		for i := range window {
			if errs[i] != nil {
				if !errors.Is(errs[i], store.ErrUnavailable) && !errors.Is(errs[i], store.ErrUnknown) {
					t.Errorf("%s: message %d: %v", v.from, v.sent, errs[i])
				}
				v.doubts++
				// What comes sooner may overtake what was refused.
				time.Sleep(store.RetryAfter(errs[i]))
				break
			}
			if err := results[i].Err(); err != nil {
				t.Errorf("%s: message %d: %v", v.from, v.sent, err)
				return
			}
			v.seqs = append(v.seqs, results[i].Seq)
			v.sent++
			v.longest = max(v.longest, time.Since(last))
			last = time.Now()
		}
	}
}

// check compares what was acknowledged with what is stored.
func (v *verifier) check(t *testing.T, s *Store) {
	t.Helper()
	if v.sent == 0 {
		t.Errorf("%s: nothing was acknowledged", v.from)
	}
	for i, seq := range v.seqs {
		if seq != uint64(i+1) {
			t.Errorf("%s: message %d has seq %d", v.from, i, seq)
			break
		}
	}
	for _, view := range [...][2]command.UserID{{v.from, v.to}, {v.to, v.from}} {
		var got []string
		eventually(t, "all letters have arrived", func() bool {
			got = cids(t, s, view[0], view[1])
			return len(got) >= v.sent
		})
		for i := range v.sent {
			if got[i] != fmt.Sprint("c", i) {
				t.Errorf("%s sees %s in place %d", view[0], got[i], i)
				break
			}
		}
	}
}

// verify has verifiers send at the nodes while f runs, and checks what they sent.
func (c *testCluster) verify(t *testing.T, f func()) (all []*verifier) {
	t.Helper()
	stop := make(chan struct{})
	var running sync.WaitGroup
	s := c.store(0)
	for i := range 6 {
		v := &verifier{from: userIn(s, i%len(c.m.Shards), 2*i), to: userIn(s, (i+1)%len(c.m.Shards), 2*i+1)}
		all = append(all, v)
		at := func() *Store {
			for n := i; ; n++ { // a client goes to another node when its own is gone
				if s := c.store(n % len(c.nodes)); s != nil {
					return s
				}
			}
		}
		running.Go(func() { v.run(t, at, stop) })
	}
	f()
	close(stop)
	running.Wait()
	c.ready()
	for _, v := range all {
		t.Logf("%s → %s: %d sent, %d in doubt, longest without an ack %v", v.from, v.to, v.sent, v.doubts, v.longest.Round(time.Millisecond))
		for i := range c.nodes {
			if c.store(i) != nil {
				v.check(t, c.store(i))
			}
		}
	}
	return all
}

// A node that is killed or closed under load costs its clients no message, no repeat and
// no order.
func TestClusterLosesNothing(t *testing.T) {
	for _, kind := range []string{"kill", "close"} {
		t.Run(kind, func(t *testing.T) {
			c := newTestCluster(t, 3, 2, oftenElected)
			c.verify(t, func() {
				for range 3 {
					time.Sleep(300 * time.Millisecond)
					victim := c.leader(0)
					if kind == "kill" {
						c.kill(victim)
					} else {
						c.stop(victim)
					}
					time.Sleep(time.Second)
					c.start(victim)
					c.connect()
					c.ready()
				}
			})
		})
	}
}

// Who adds members through any node is answered once their letters have arrived.
func TestClusterAwaitsLetters(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	group := command.GroupID("team")
	at := int(c.store(0).shardOf(group.Key()).id)
	s := c.store(c.others(at)[0])
	owner, member := userIn(s, at, 0), userIn(s, 1-at, 0)
	createGroup(t, s, group, command.GroupPrivate, owner)
	local := c.store(c.leader(1 - at)).shards()[1-at].here().local
	held, release := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	defer open() // before the cluster is stopped
	go local.Inspect(func(*shard.State, int64) {
		close(held)
		<-release
	})
	<-held
	done := make(chan error, 1)
	s.Submit(&command.AddMembers{Group: group, By: owner, Users: []command.UserID{member}}, func(r command.Result, err error) { done <- errors.Join(err, r.Err()) })
	select {
	case err := <-done:
		t.Errorf("answered with %v although no letter can arrive", err)
	case <-time.After(200 * time.Millisecond):
		open()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Sessions that are ended while their leader hands over are told so.
func TestKickWhileHandingOver(t *testing.T) {
	c := newTestCluster(t, 1, 1, nil)
	s := c.store(0)
	sh := s.shards()[0]
	alice := userIn(s, 0, 0)
	var e ear
	session := login(t, s, alice, "phone", &e).Session
	held, release := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	defer open()
	go sh.here().local.Inspect(func(*shard.State, int64) {
		close(held)
		<-release
	})
	<-held
	s.Submit(&command.Logout{User: alice, Session: session, Reason: "admin"}, func(command.Result, error) {})
	var stopped sync.WaitGroup
	stopped.Go(func() { c.stop(0) })
	for deadline := time.Now().Add(5 * time.Second); sh.leading() != nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	open()
	stopped.Wait()
	if got := e.kicked(); len(got) != 1 || got[0] != "admin" {
		t.Errorf("kicked %v, want admin once", got)
	}
}
