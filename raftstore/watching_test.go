package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (e *ear) woken() int { e.mu.Lock(); defer e.mu.Unlock(); return e.wakes }

func (e *ear) lost() int { e.mu.Lock(); defer e.mu.Unlock(); return e.gone }

// count returns how many signals of a kind were heard.
func (e *ear) count(kind store.SignalKind) (n int) {
	for _, s := range e.heard() {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

// forget forgets the signals that were heard.
func (e *ear) forget() { e.mu.Lock(); defer e.mu.Unlock(); e.signals = nil }

// watched waits until the leader of a user's shard has the watcher of a session.
func (c *testCluster) watched(user command.UserID, session command.SessionID) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("the leader watches session %d of %s", session, user), func() bool {
		for i := range c.nodes {
			if s := c.store(i); s != nil && s.shardOf(user).leaderHere() != nil {
				return s.hub.watches(sessionKey{user, session})
			}
		}
		return false
	})
}

// What a leader has for a session at another node arrives there.
func TestClusterTellsSessionsElsewhere(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	others := c.others(0)
	here, there := c.store(others[0]), c.store(others[1])
	alice, bob := userIn(here, 0, 0), userIn(here, 1, 0)
	phone, tablet := &ear{}, &ear{}
	first := login(t, here, alice, "phone", phone)
	second := login(t, there, alice, "tablet", tablet)
	c.watched(alice, first.Session)
	c.watched(alice, second.Session)

	before := [2]int{phone.woken(), tablet.woken()}
	send(t, there, message(bob, alice, 1))
	eventually(t, "both are woken", func() bool { return phone.woken() > before[0] && tablet.woken() > before[1] })
	send(t, there, message(alice, bob, 1)) // so that they know each other

	bobs := &ear{}
	login(t, there, bob, "phone", bobs)
	here.Typing(bob, alice)
	eventually(t, "both are told that bob types", func() bool {
		return phone.count(store.SignalTyping) == 1 && tablet.count(store.SignalTyping) == 1
	})
	m := message(bob, alice, 2)
	r, err := here.SendEphemeral(m)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both get the message", func() bool {
		return phone.count(store.SignalEphemeral) == 1 && tablet.count(store.SignalEphemeral) == 1
	})
	if again, err := there.SendEphemeral(m); err != nil || !again.Duplicate || again.ID != r.ID {
		t.Errorf("repeat at another node = %+v, %v, want a duplicate of %v", again, err, r.ID)
	}

	// The device logs in elsewhere, an administrator ends the other session.
	login(t, there, alice, "phone", &ear{})
	eventually(t, "the phone is told", func() bool { return slices.Equal(phone.kicked(), []string{"sameDevice"}) })
	if err := here.Kick(t.Context(), alice, second.Session); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tablet is told", func() bool { return slices.Equal(tablet.kicked(), []string{"admin"}) })
	if phone.lost()+tablet.lost() != 0 {
		t.Error("sessions that were ended are said to be gone")
	}
}

// Subscriptions to presence, and groups, reach over nodes.
func TestClusterPresenceAndGroups(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	others := c.others(0)
	here, there := c.store(others[0]), c.store(others[1])
	alice, bob := userIn(here, 0, 0), userIn(here, 1, 0)
	send(t, here, message(alice, bob, 1))
	send(t, here, message(bob, alice, 1))
	bobs := &ear{}
	login(t, there, bob, "phone", bobs)
	eventually(t, "bob may see alice", func() bool {
		seen, err := there.SubscribePresence(bob, []command.UserID{alice}, bobs)
		return err == nil && len(seen) == 0 // she never logged in
	})
	phone := &ear{}
	sync := login(t, here, alice, "phone", phone)
	last := func() *store.Signal {
		heard := bobs.heard()
		for i := len(heard) - 1; i >= 0; i-- {
			if heard[i].Kind == store.SignalPresence && heard[i].User == alice {
				return &heard[i]
			}
		}
		return nil
	}
	eventually(t, "bob hears that alice came", func() bool { s := last(); return s != nil && s.Online })
	for i := range c.nodes {
		eventually(t, "alice is online at each node", func() bool {
			seen, err := c.store(i).Presence(bob, []command.UserID{alice})
			return err == nil && seen[alice].Online
		})
	}
	c.watched(alice, sync.Session)
	here.SetStalled(alice, sync.Session, true, here.Now())
	eventually(t, "bob hears that alice's app does not answer", func() bool { return !last().Online })
	here.SetStalled(alice, sync.Session, false, 0)
	eventually(t, "bob hears that it answers", func() bool { return last().Online })
	here.Unwatch(alice, sync.Session)
	do(t, here, &command.Logout{User: alice, Session: sync.Session, LastSeen: here.Now()})
	eventually(t, "bob hears that alice went", func() bool { return !last().Online })
	there.UnsubscribePresence(bobs)
	eventually(t, "no leader tells the node of alice any more", func() bool {
		for i := range c.nodes {
			p := c.store(i).hub.presence
			p.mu.Lock()
			n := len(p.byNode)
			p.mu.Unlock()
			if n > 0 {
				return false
			}
		}
		return true
	})

	createGroup(t, here, "team", command.GroupPrivate, alice, bob)
	createGroup(t, here, "show", command.GroupLive, alice)
	var team, show [3]*groupEar
	for i := range c.nodes {
		team[i], show[i] = &groupEar{}, &groupEar{}
		c.store(i).WatchGroup("team", team[i])
		c.store(i).WatchGroup("show", show[i])
	}
	var was [3]int
	for i := range team { // each is woken as its watch begins, since it says that it has read nothing
		eventually(t, "the group is watched", func() bool {
			was[i] = team[i].woken()
			return was[i] > 0 || c.leader(int(here.shardOf(command.GroupID("team").Key()).id)) == i
		})
	}
	do(t, here, &command.SendGroup{Group: "team", User: alice, CID: "1", Body: []byte{0xc0}})
	for i := range team {
		eventually(t, fmt.Sprintf("node %d hears of a message in the group", i), func() bool { return team[i].woken() > was[i] })
	}
	do(t, here, &command.ReadGroup{Group: "team", User: bob, Seq: 1})
	for i := range team {
		eventually(t, fmt.Sprintf("node %d hears of what a member has read", i), func() bool {
			team[i].mu.Lock()
			defer team[i].mu.Unlock()
			return slices.Contains(team[i].members, bob)
		})
	}
	for n := range 20 {
		if _, err := there.SendLive(&command.SendGroup{Group: "show", User: alice, CID: fmt.Sprint(n), Body: []byte{0xc0}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range show {
		eventually(t, fmt.Sprintf("node %d hears all of a live group", i), func() bool { return len(show[i].heard()) == 20 })
		for n, m := range show[i].heard() {
			if string(m.CID) != fmt.Sprint(n) {
				t.Fatalf("node %d hears %s as number %d", i, m.CID, n)
			}
		}
		c.store(i).UnwatchGroup("show", show[i])
		c.store(i).UnwatchGroup("team", team[i])
	}
}

// The leader's node dies. Whoever is at another node is watched again, is woken by what
// comes, and nobody is said to be offline for it; whoever was at that node is, once the
// time for coming back is over.
func TestClusterWatchesOutliveTheLeader(t *testing.T) {
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ClaimWithin = 3 * time.Second })
	dead, others := c.leader(0), c.others(0)
	here, there := c.store(others[0]), c.store(others[1])
	alice, bob, carol := userIn(here, 0, 0), userIn(here, 0, 1), userIn(here, 0, 2)
	for _, user := range []command.UserID{alice, carol} {
		send(t, here, message(user, bob, 1))
		send(t, here, message(bob, user, 1))
	}
	phone, bobs := &ear{}, &ear{}
	session := login(t, here, alice, "phone", phone).Session
	login(t, there, bob, "phone", bobs)
	hers := login(t, c.store(dead), carol, "phone", &ear{}).Session // she goes with her node
	c.watched(alice, session)
	c.watched(carol, hers)
	eventually(t, "bob watches", func() bool {
		seen, err := there.SubscribePresence(bob, []command.UserID{alice, carol}, bobs)
		return err == nil && seen[alice].Online && seen[carol].Online
	})
	bobs.forget()
	died := time.Now()
	c.kill(dead)
	c.ready()
	c.watched(alice, session)
	if seen, err := there.Presence(bob, []command.UserID{alice, carol}); err != nil || !seen[alice].Online || !seen[carol].Online && time.Since(died) < 3*time.Second {
		t.Errorf("Presence = %v, %v, want both online for now", seen, err)
	}
	before := phone.woken()
	send(t, there, message(bob, alice, 2))
	eventually(t, "alice is woken by the new leader", func() bool { return phone.woken() > before })
	eventually(t, "carol is told to be offline", func() bool {
		for _, s := range bobs.heard() {
			if s.Kind == store.SignalPresence && s.User == alice {
				t.Fatalf("bob is told of alice: online %v", s.Online)
			}
			if s.User == carol && s.Kind == store.SignalPresence && !s.Online {
				return true
			}
		}
		return false
	})
	if took := time.Since(died); took < 3*time.Second {
		t.Errorf("carol was told to be offline after %v, want at least 3s", took)
	}
	if phone.lost() != 0 || len(phone.kicked()) != 0 {
		t.Errorf("alice's session ended: %v", phone.kicked())
	}
}

// A node that told a leader of a session at the moment at which that one's leadership ended
// has to tell again, or the session is logged out.
func TestClusterForgetsWatchesOfEarlierLeaderships(t *testing.T) {
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ClaimWithin = time.Hour })
	old := c.leader(0)
	here, next := c.store(old), c.others(0)[0]
	alice := userIn(here, 0, 0)
	r, err := here.Propose(t.Context(), &command.Login{User: alice, Device: "phone"}) // nobody watches it
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	infos, err := here.Sessions(t.Context(), alice)
	if err != nil || len(infos) != 1 {
		t.Fatal(infos, err)
	}
	c.move(0, next)
	// What hosting.Watch leaves behind if it ends after leader.Close.
	here.hub.set(alice, listener{session: infos[0].Number, watcher: nobody{}})
	c.move(0, old)
	eventually(t, "the session waits to be claimed at the node that leads again", func() bool {
		orphans := &here.shardOf(alice).here().orphans
		orphans.mu.Lock()
		defer orphans.mu.Unlock()
		_, is := orphans.since[sessionKey{alice, infos[0].Number}]
		return is
	})
}

// A node is cut off for longer than its sessions may be away. They are logged out, and
// when it comes back it hears that they are gone, but for one that came to an end
// otherwise.
func TestClusterCutOffNode(t *testing.T) {
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ClaimWithin = time.Second })
	away := c.others(0)[0]
	leader := c.store(c.leader(0))
	here := c.store(away)
	alice, bob := userIn(here, 0, 0), userIn(here, 0, 1)
	phone, bobs := &ear{}, &ear{}
	session := login(t, here, alice, "phone", phone).Session
	c.watched(alice, session)
	kicked := login(t, here, bob, "phone", bobs).Session
	c.watched(bob, kicked)
	links := func() (peers []link.Peer) {
		for i, n := range c.nodes {
			peers = append(peers, link.Peer{ID: link.NodeID(n.id), Name: c.m.Nodes[i].Name, Address: n.link.Addr().String()})
		}
		return peers
	}
	all := links()
	for i, n := range c.nodes {
		if i == away {
			n.link.SetPeers(all[i : i+1])
		} else {
			n.link.SetPeers(slices.DeleteFunc(slices.Clone(all), func(p link.Peer) bool { return p.ID == all[away].ID }))
		}
	}
	login(t, leader, bob, "phone", &ear{}) // while bob's node cannot be told
	eventually(t, "alice's session is logged out", func() bool {
		infos, err := leader.Sessions(t.Context(), alice)
		return err == nil && len(infos) == 0 && !leader.hub.online(alice)
	})
	for _, n := range c.nodes {
		n.link.SetPeers(all)
	}
	eventually(t, "alice's session is gone", func() bool { return phone.lost() == 1 })
	eventually(t, "bob's session was ended", func() bool { return slices.Equal(bobs.kicked(), []string{"sameDevice"}) })
	if len(phone.kicked()) != 0 || bobs.lost() != 0 {
		t.Errorf("alice kicked %v, bob gone %d times; want neither", phone.kicked(), bobs.lost())
	}
	again := &command.Login{User: alice, Device: "phone", Instead: session}
	sync, err := here.Login(t.Context(), again, query.RecentsOff, phone)
	if err != nil {
		t.Fatal(err)
	}
	c.watched(alice, sync.Session)
}

// A login that is executed after a later one of its device does not end that one's session,
// at whichever nodes they were, nor in another leadership. One that begins now does.
func TestClusterLoginOvertaken(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	leader := c.leader(0)
	elsewhere := c.others(0)
	for name, at := range map[string][2]int{
		"both at the leader":         {leader, leader},
		"the earlier elsewhere":      {elsewhere[0], leader},
		"the later elsewhere":        {leader, elsewhere[0]},
		"at two nodes without leads": {elsewhere[0], elsewhere[1]},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := c.store(at[0]), c.store(at[1])
			alice := command.UserID("alice " + name)
			phone := &command.Login{User: alice, Device: "phone"}
			later := &ear{}
			asked := time.Now().Add(-time.Minute)
			session := login(t, there, alice, "phone", later).Session
			try := func() error {
				_, err := here.login(t.Context(), phone, query.RecentsOn, &ear{}, asked)
				return err
			}
			conflict := func(err error) {
				t.Helper()
				refused, ok := errors.AsType[*command.RefusedError](err)
				// It is unknown if a leadership has ended with it: that one may have executed it.
				if !(ok && refused.Code == command.CodeConflict) && !errors.Is(err, store.ErrUnknown) {
					t.Errorf("a login that was overtaken: %v, want a conflict", err)
				}
			}
			conflict(try())
			ctx, cancel := context.WithTimeout(t.Context(), transferTimeout)
			defer cancel()
			if err := c.store(c.leader(0)).Transfer(ctx, 0, ""); err != nil {
				t.Logf("transfer: %v", err) // on a busy machine the others may lack too much
			}
			conflict(try())
			infos, err := here.Sessions(t.Context(), alice)
			if err != nil || len(infos) != 1 || infos[0].Number != session {
				t.Errorf("sessions %v, %v, want %d", infos, err, session)
			}
			if k := later.kicked(); len(k) > 0 {
				t.Errorf("the later session was ended: %v", k)
			}
			login(t, here, alice, "phone", &ear{})
			eventually(t, "the session is ended by the next login", func() bool { return slices.Equal(later.kicked(), []string{"sameDevice"}) })
		})
	}
}

// Hooks hear of messages for users who are away, wherever these and the leaders are, and
// not of those that sessions at other nodes have acked.
func TestClusterHooksKnowWhoAcks(t *testing.T) {
	hooks := &hookLog{}
	c := newTestCluster(t, 3, 2, func(_ int, cfg *Config) { cfg.Hooks, cfg.QueuedAfter = hooks, 2*time.Minute })
	here := c.store(c.others(0)[0])
	there := c.store(c.others(1)[0])
	alice, bob, carol, dave := userIn(here, 0, 0), userIn(here, 1, 0), userIn(here, 0, 1), userIn(here, 1, 1)
	waiting := func(key command.UserID) int {
		return hooksWaiting(t, c.store(c.leader(int(here.shardOf(key).id))), key)
	}
	send(t, here, message(bob, carol, 1))
	hooks.await(t, string(carol)+" c1 1/1") // she has no session at all

	phone := &ear{}
	session := login(t, here, alice, "phone", phone).Session
	c.watched(alice, session)
	send(t, there, message(bob, alice, 2))
	eventually(t, "alice's message waits", func() bool { return waiting(alice) == 1 })
	here.SetBackground(alice, session, true)
	hooks.await(t, string(carol)+" c1 1/1", string(alice)+" c2 1/1")
	here.SetBackground(alice, session, false)
	send(t, there, message(bob, alice, 3))
	phone.mu.Lock()
	phone.acks.UpTo = 1 << 60
	phone.mu.Unlock()
	here.Acked(alice, session)
	eventually(t, "what alice has acked is decided", func() bool { return waiting(alice) == 0 })

	group := command.GroupID("team")
	createGroup(t, here, group, command.GroupPrivate, alice, bob, carol, dave)
	bobs := &ear{acks: store.Acks{Groups: map[command.GroupID]store.Span{group: {From: 0, To: 1 << 60}}}}
	phone.mu.Lock()
	phone.acks.Groups = bobs.acks.Groups
	phone.mu.Unlock()
	here.Acked(alice, session)
	number := login(t, there, bob, "phone", bobs).Session
	c.watched(bob, number)
	there.Acked(bob, number)
	from := userIn(here, 0, 2)
	do(t, here, &command.AddMembers{Group: group, By: alice, Users: []command.UserID{from}})
	c.settle() // another leader tells again what its predecessor still had in the queue
	c.ready()
	do(t, here, &command.SendGroup{Group: group, User: from, CID: "g", Body: []byte{0xc0}})
	eventually(t, "all members are decided about", func() bool { return waiting(group.Key()) == 0 })
	// A member leaves the foreground while a message waits at the leader of the group.
	bobs.mu.Lock()
	bobs.acks = store.Acks{}
	bobs.mu.Unlock()
	there.Acked(bob, number)
	leader := c.store(c.leader(int(here.shardOf(bob).id)))
	eventually(t, "the leader knows that nothing is acked", func() bool {
		return leader.hub.attention(bob, group, &query.QueuedHeader{Arrival: 1}) == attentionForeground
	})
	do(t, here, &command.SendGroup{Group: group, User: from, CID: "h", Body: []byte{0xc0}})
	eventually(t, "others are told of it", func() bool { return len(hooks.list()) == 6 })
	there.SetBackground(bob, number, true)
	eventually(t, "bob is decided about", func() bool { return waiting(group.Key()) == 0 })
	got := hooks.list()
	slices.Sort(got)
	want := []string{string(carol) + " c1 1/1", string(alice) + " c2 1/1", string(carol) + " g 1/2", string(dave) + " g 1/1",
		string(carol) + " h 2/3", string(dave) + " h 2/2", string(bob) + " h 2/2"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("hooks told of %q, want %q", got, want)
	}
}

// A node that waits for its cluster takes nothing, and says so.
func TestClusterWithoutShards(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 0
	l, err := link.Open(link.Config{ID: "00000000-0000-4000-8000-000000000001", Name: "new", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg.Cluster = &Cluster{Node: "00000000-0000-4000-8000-000000000001", Map: &placement.Map{}, Link: OverLink(l), Made: func(uint32, string) {}}
	s := open(t, cfg)
	if err := s.Ready(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready = %v, want ErrUnavailable", err)
	}
	s.WatchGroup("team", &groupEar{})
	var all sync.WaitGroup // each waits for a leader, for a while
	for name, ask := range map[string]func() error{
		"Login": func() error {
			_, err := s.Login(t.Context(), &command.Login{User: "alice", Device: "phone"}, query.RecentsOn, &ear{})
			return err
		},
		"Presence":    func() error { _, err := s.Presence("alice", []command.UserID{"bob"}); return err },
		"TypingGroup": func() error { return s.TypingGroup("alice", "team") },
		"Eligibility": func() error { return s.Eligibility("alice", []command.UserID{"bob"})[0].Err },
		"SendLive": func() error {
			_, err := s.SendLive(&command.SendGroup{Group: "show", User: "alice", CID: "1"})
			return err
		},
	} {
		all.Go(func() {
			if err := ask(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", name, err)
			}
		})
	}
	all.Go(func() {
		if _, left := s.SyncGroups(t.Context(), "alice", []query.GroupSyncAsk{{Group: "team"}}, 1, 1); len(left) != 1 {
			t.Errorf("SyncGroups leaves %v, want the group", left)
		}
	})
	all.Wait()
}

// A crowdEar is one of very many sessions.
type crowdEar struct {
	ear
	wakes atomic.Int64
}

func (e *crowdEar) Wake() { e.wakes.Add(1) }

// TestClusterCrowd has the leader of many sessions at other nodes die. Within 2 s of the
// next one all are watched, without anybody being said to be offline.
func TestClusterCrowd(t *testing.T) {
	n := 50_000
	if testing.Short() {
		n = 5_000
	}
	hooks := &presenceCount{online: make(map[command.UserID]bool)}
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) {
		cfg.Hooks = hooks
		cfg.ElectionTimeout = 5 * time.Second // the leader is to change once, however busy the machine
	})
	dead, others := c.leader(0), c.others(0)
	name := func(i int) command.UserID { return command.UserID(fmt.Sprint("user", i)) }
	ears := make([]crowdEar, n)
	sessions := make([]command.SessionID, n)
	var all sync.WaitGroup
	var next atomic.Int64
	for range 256 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				login := &command.Login{User: name(i), Device: "phone"}
				sync, err := c.store(others[i%2]).Login(t.Context(), login, query.RecentsOff, &ears[i])
				for errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) { // on a busy machine leaders come and go
					sync, err = c.store(others[i%2]).Login(t.Context(), login, query.RecentsOff, &ears[i])
				}
				if err != nil {
					t.Errorf("login %d: %v", i, err)
					return
				}
				sessions[i] = sync.Session
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	watched := func(s *Store) bool {
		for i := range n {
			if !s.hub.watches(sessionKey{name(i), sessions[i]}) {
				return false
			}
		}
		return true
	}
	c.settle() // what counts is how long one change takes
	eventually(t, "all are watched", func() bool {
		if at := c.leader(0); at != dead {
			_ = c.store(at).Transfer(t.Context(), 0, c.nodes[dead].id) // it may not lead any more
		}
		return watched(c.store(dead))
	})
	eventually(t, "hooks know who is online", func() bool { return hooks.known() == n })
	c.kill(dead)
	leader := c.store(c.leader(0))
	began := time.Now()
	eventually(t, "all are watched again", func() bool { return watched(leader) })
	t.Logf("%d sessions are watched %v after the new leader served", n, time.Since(began))
	if offline := hooks.offline.Load(); offline != 0 {
		t.Errorf("%d users were said to be offline", offline)
	}
	before := ears[n-1].wakes.Load() + ears[n-2].wakes.Load()
	for _, i := range []int{n - 1, n - 2} {
		send(t, c.store(others[0]), message(name(0), name(i), 1))
	}
	eventually(t, "they are woken", func() bool { return ears[n-1].wakes.Load()+ears[n-2].wakes.Load() >= before+2 })
}

// presenceCount counts what hooks are told of presence.
type presenceCount struct {
	hookLog
	offline atomic.Int64
	mu      sync.Mutex
	online  map[command.UserID]bool // users who were said to be online
}

func (h *presenceCount) known() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.online)
}

func (h *presenceCount) WantsQueued() bool { return false }

func (h *presenceCount) Presence(user command.UserID, online bool, _ int64) {
	if !online {
		h.offline.Add(1)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.online[user] = true
}
