package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// shout passes a message to who is in a group now, from no session.
func (e *edge) shout(group command.GroupID, from command.UserID, cid string) {
	e.t.Helper()
	if _, err := e.store.SendLive(&command.SendGroup{Group: group, User: from, CID: cid, Body: []byte{0xc0}}); err != nil {
		e.t.Fatal(err)
	}
}

// wantLive takes onNewMessages until they held these messages, whatever else
// comes between.
func (c *client) wantLive(want ...string) {
	c.t.Helper()
	for len(want) > 0 {
		args := pushed(c, "onNewMessage")
		for _, m := range args["messages"].([]any) {
			if got := m.(obj)["cid"]; len(want) == 0 || got != want[0] {
				c.t.Fatalf("message %v, want %v", got, want)
			}
			want = want[1:]
		}
		c.notice("ack", obj{"d": args["d"]})
	}
}

// quietly runs f without telling the watchers of groups what it did: as a store
// does that answers before it tells.
func (s *testStore) quietly(f func()) {
	s.mu.Lock()
	s.mute = true
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = false
}

// What ends or changes memberships comes to a session where it lies between the
// messages, even if the store tells of the messages first.
func TestLiveMessagesAndEventsHaveOneOrder(t *testing.T) {
	for name, end := range map[string]command.Command{
		"removed":   &command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"bob"}},
		"dismissed": &command.DismissGroup{Group: "show", By: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, codec protocol.Codec) { testLiveOrder(t, codec, name, end) })
		})
	}
}

func testLiveOrder(t *testing.T, codec protocol.Codec, name string, end command.Command) {
	e := newEdge(t, nil)
	e.group("show", command.GroupLive, "alice")
	bob, carol := e.online("bob", codec), e.online("carol", codec)
	for _, user := range []command.UserID{"bob", "carol"} {
		if err := e.joinLive(user, "show"); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	muted := int64(1) << 50
	e.store.quietly(func() {
		e.shout("show", "alice", "before")
		e.do(&command.SetMember{Group: "show", By: "alice", User: "dave", MutedUntil: &muted})
		e.shout("show", "alice", "between")
		e.do(end)
		if name == "removed" {
			e.shout("show", "alice", "after")
		}
	})
	e.store.wakeGroups()
	for _, c := range []*client{bob, carol} {
		c.wantCIDs("before")
		c.event("muted")
		c.wantCIDs("between")
		c.event(name)
	}
	if name == "removed" {
		carol.wantCIDs("after")
	}
	synctest.Wait()
	bob.quiet()
	carol.quiet()
}

// A session that has no room in its window is removed: what it still gets is
// what came before.
func TestSlowSessionOfALiveGroupIsRemoved(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("show", command.GroupLive, "alice")
		bob := e.online("bob", codec)
		if err := e.joinLive("bob", "show"); err != nil {
			t.Fatal(err)
		}
		e.shout("show", "alice", "m0")
		synctest.Wait()
		e.shout("show", "alice", "m1")
		e.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"bob"}})
		e.shout("show", "alice", "after")
		synctest.Wait()
		bob.wantCIDs("m0")
		bob.wantCIDs("m1")
		bob.event("removed")
		synctest.Wait()
		bob.quiet()
	})
}

// A message of ttl 0 has its place among those that are stored.
func TestEphemeralMessagesKeepTheOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		e.post("team", "alice", "m0")
		synctest.Wait() // the window is full
		e.post("team", "alice", "m1")
		e.shout("team", "alice", "x1")
		e.post("team", "alice", "m2")
		e.shout("team", "alice", "x2")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.shout("team", "alice", "while away")
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.shout("team", "alice", "x3")
		synctest.Wait()
		bob.wantCIDs("m0")
		bob.wantCIDs("m1", "x1", "m2", "x2")
		bob.event("removed")
		bob.event("joined")
		bob.wantCIDs("x3")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.shout("team", "alice", "after")
		bob.event("removed")
		synctest.Wait()
		bob.quiet()
	})
}

// A session joins for what comes then: a removal that its feed has not read yet
// is none of it, and one that comes before the session is served is.
func TestLiveJoinHasItsPlaceInTheOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("show", command.GroupLive, "alice")
		alice, bob := e.online("alice", codec), e.online("bob", codec)
		if err := e.joinLive("alice", "show"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		remove := &command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"bob"}}
		e.store.quietly(func() { e.do(remove) })
		if err := e.joinLive("bob", "show"); err != nil {
			t.Fatal(err)
		}
		e.shout("show", "alice", "one")
		bob.wantCIDs("one")
		alice.event("removed")
		alice.wantCIDs("one")

		if !e.session("bob").leaveLive("show") {
			t.Fatal("bob is not in the group after a removal before he joined")
		}
		info, _, _ := e.store.Group("show", "bob")
		e.do(remove)
		alice.event("removed") // and so the feed has read it
		if err := e.session("bob").joinLive("show", info.Arrival, 0); err != nil {
			t.Fatal(err)
		}
		bob.event("removed")
		e.shout("show", "alice", "two")
		alice.wantCIDs("two")
		synctest.Wait()
		bob.quiet()
	})
}

// A user who was removed and joins again before the removal was pushed would get it after
// joining.
func TestLiveRejoinWaitsForTheRemoval(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("show", command.GroupLive, "alice")
		bob := e.online("bob", codec)
		if err := e.joinLive("bob", "show"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		e.store.quietly(func() {
			e.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"bob"}})
		})
		if err := e.joinLive("bob", "show"); err == nil || refusalOf(err).code != protocol.CodeUnavailable {
			t.Errorf("joining before the removal is told = %v, want unavailable", err)
		}
		e.store.wakeGroups()
		bob.event("removed")
		synctest.Wait()
		if err := e.joinLive("bob", "show"); err != nil {
			t.Fatal(err)
		}
		e.shout("show", "alice", "again")
		bob.wantCIDs("again")
	})
}

// A session of a live group learns of its removal however many events came with
// it, and is out when that is not known any more.
func TestLiveSessionThatMissedEvents(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("show", command.GroupLive, "alice")
		bob, carol := e.online("bob", codec), e.online("carol", codec)
		for _, user := range []command.UserID{"bob", "carol"} {
			if err := e.joinLive(user, "show"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		muted := int64(1) << 50
		e.store.quietly(func() {
			e.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"bob"}})
			for i := range 200 {
				e.do(&command.SetMember{Group: "show", By: "alice", User: command.UserID(fmt.Sprint("u", i)), MutedUntil: &muted})
			}
		})
		e.shout("show", "alice", "after")
		bob.event("removed")
		carol.event("removed")
		carol.wantLive("after")
		synctest.Wait()
		bob.quiet()
		if !e.session("carol").inLive("show") {
			t.Fatal("carol is out, whom nobody removed")
		}

		carol.pushes = nil
		e.store.quietly(func() {
			e.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"carol"}})
			for i := range 300 {
				e.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{command.UserID(fmt.Sprint("u", i))}})
			}
		})
		e.shout("show", "alice", "later")
		out := carol.event("removed")
		if fmt.Sprint(out["users"]) != "[carol]" || out["by"] != "" {
			t.Errorf("event = %v, want carol removed by nobody", out)
		}
		synctest.Wait()
		carol.quiet()
		if e.session("carol").inLive("show") {
			t.Error("carol is in the group, though nobody knows that she is")
		}
		if err := e.joinLive("carol", "show"); err != nil {
			t.Fatal(err)
		}
		e.shout("show", "alice", "again")
		carol.wantCIDs("again")
	})
}

// A member who may read from joining on gets recalls from there on.
func TestRecallsBeforeTheJoinAreNotPushed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "carol")
		for _, cid := range []string{"m1", "m2", "m3"} {
			e.post("team", "carol", cid)
		}
		ranges := func(c *client) string { return fmt.Sprint(pushed(c, "onRecall")["ranges"]) }
		alice, bob := e.dial(codec), e.online("bob", codec)
		alice.login("alice", "phone", obj{"recents": "off", "groupBacklog": 0})
		alice.push("onSynced")
		point := e.store.Cursor(command.GroupID("team").Key(), e.store.state.GroupArrival("team"))
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "carol", "m4")
		e.post("team", "carol", "m5")
		bob.wantLive("m4", "m5")
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 2})
		if got := ranges(alice); got != "[[2 2]]" {
			t.Errorf("alice is told of %s", got)
		}
		e.do(&command.DeleteMessagesFrom{Group: "team", Sender: "carol"})
		if got := ranges(alice); got != "[[1 5]]" {
			t.Errorf("alice is told of %s", got)
		}
		if got := ranges(bob); got != "[[4 5]]" { // and of nothing before
			t.Errorf("bob is told of %s", got)
		}
		// The same at a login.
		laptop := e.dial(codec)
		laptop.login("bob", "laptop", obj{"groups": obj{"team": point}})
		if got := ranges(laptop); got != "[[4 5]]" {
			t.Errorf("bob is told of %s at his login", got)
		}
		laptop.push("onSynced")
		e.post("team", "carol", "m6")
		laptop.wantLive("m6")
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 6})
		if got := ranges(laptop); got != "[[6 6]]" {
			t.Errorf("bob is told of %s", got)
		}

		// His return begins anew.
		e.do(&command.LeaveGroup{Group: "team", User: "bob"})
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "carol", "m7")
		laptop.wantLive("m7")
		laptop.pushes = nil
		e.post("team", "carol", "m8")
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 1})
		e.do(&command.DeleteMessagesFrom{Group: "team", Sender: "carol"})
		if got := ranges(laptop); got != "[[7 8]]" {
			t.Errorf("bob is told of %s after his return", got)
		}
	})
}
