package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// do runs a command that must succeed.
func (e *edge) do(cmd command.Command) command.Result {
	e.t.Helper()
	r, err := e.store.Propose(context.Background(), cmd)
	if err != nil || r.Code != command.OK {
		e.t.Fatalf("%T %+v = %+v, %v, want ok", cmd, cmd, r, err)
	}
	return r
}

// group makes a group of a kind whose first member owns it.
func (e *edge) group(id command.GroupID, kind command.GroupKind, members ...command.UserID) {
	e.t.Helper()
	e.do(&command.CreateGroup{Group: id, By: members[0], Owner: members[0], Kind: kind, Settings: kind.Settings(), Members: members[1:]})
}

// post sends to a group in the store, from no session.
func (e *edge) post(group command.GroupID, from command.UserID, cid string) command.Result {
	e.t.Helper()
	return e.postFrom(group, from, 0, cid)
}

func (e *edge) postFrom(group command.GroupID, from command.UserID, session command.SessionID, cid string) command.Result {
	e.t.Helper()
	body, err := protocol.EncodeBody(map[string]any{"text": cid})
	if err != nil {
		e.t.Fatal(err)
	}
	id := command.MsgID{}
	copy(id[:], fmt.Sprintf("%016s", cid))
	return e.do(&command.SendGroup{Group: group, User: from, Session: session, ID: id, CID: cid, Body: body})
}

// session gives a user's newest session.
func (e *edge) session(user command.UserID) *session {
	e.t.Helper()
	all := e.gateway.sessionsOf(user)
	if len(all) == 0 {
		e.t.Fatalf("%s has no session", user)
	}
	return all[len(all)-1]
}

// online logs a user in who has nothing to sync.
func (e *edge) online(user string, codec protocol.Codec) *client {
	e.t.Helper()
	c := e.dial(codec)
	c.login(user, "device of "+user, nil)
	c.push("onSynced")
	return c
}

// cids takes an onNewMessage, acks it, and gives the cids of its messages.
func (c *client) cids() []string {
	c.t.Helper()
	args := c.push("onNewMessage")
	var cids []string
	for _, m := range args["messages"].([]any) {
		cids = append(cids, m.(obj)["cid"].(string))
	}
	c.notice("ack", obj{"d": args["d"]})
	return cids
}

// wantCIDs takes onNewMessages until they held these messages.
func (c *client) wantCIDs(want ...string) {
	c.t.Helper()
	var got []string
	for len(got) < len(want) {
		got = append(got, c.cids()...)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		c.t.Fatalf("messages %v, want %v", got, want)
	}
}

// event takes an onGroupEvent.
func (c *client) event(event string) obj {
	c.t.Helper()
	args := c.push("onGroupEvent")
	if args["event"] != event {
		c.t.Fatalf("event %v, want %s", args, event)
	}
	return args
}

func TestGroupMessageReachesMembers(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob")
		phone := e.online("alice", codec)
		number1 := e.session("alice").id()
		laptop := e.dial(codec)
		laptop.login("alice", "laptop", nil)
		laptop.push("onSynced")
		bob, carol := e.online("bob", codec), e.online("carol", codec)

		sent := e.postFrom("team", "alice", number1, "hi")
		for name, c := range map[string]*client{"bob": bob, "alice's laptop": laptop} {
			args := c.push("onNewMessage")
			m := args["messages"].([]any)[0].(obj)
			if m["conv"] != "g:team" || m["from"] != "alice" || number(t, m, "seq") != 1 || number(t, m, "time") != sent.Time ||
				m["cid"] != "hi" || m["body"].(obj)["text"] != "hi" {
				t.Errorf("%s got %v", name, m)
			}
			if d := number(t, args, "d"); d != 1 {
				t.Errorf("%s: d = %d, want 1", name, d)
			}
			want := e.store.Cursor(command.GroupID("team").Key(), e.store.state.GroupArrival("team"))
			if args["cursor"] != nil || args["groupCursors"].(obj)["team"] != want {
				t.Errorf("%s got cursors %v %v, want that of the group, %s", name, args["cursor"], args["groupCursors"], want)
			}
		}
		synctest.Wait()
		phone.quiet()
		carol.quiet()
		// An ack reads nothing in a group.
		bob.notice("ack", obj{"d": 1})
		bob.call("ping", nil)
		synctest.Wait()
		if m, _ := e.store.state.Member("team", "bob"); m.Read != 0 {
			t.Errorf("bob's read cursor = %d after an ack, want 0", m.Read)
		}
	})
}

// TestGroupFramesAreShared has several groups and messages wait for one session:
// they leave in one frame.
func TestGroupFramesAreShared(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("a", command.GroupPrivate, "alice", "bob")
		e.group("b", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		e.post("a", "alice", "0")
		first := bob.push("onNewMessage") // its window is full now
		for i := range 5 {
			e.post("a", "alice", fmt.Sprint("a", i))
			e.post("b", "alice", fmt.Sprint("b", i))
		}
		synctest.Wait()
		bob.quiet()
		bob.notice("ack", obj{"d": first["d"]})
		args := bob.push("onNewMessage")
		var got []string
		for _, m := range args["messages"].([]any) {
			got = append(got, m.(obj)["cid"].(string))
		}
		// Which group comes first is for the feeds, which run beside each other.
		slices.SortStableFunc(got, func(x, y string) int { return strings.Compare(x[:1], y[:1]) })
		if want := "a0 a1 a2 a3 a4 b0 b1 b2 b3 b4"; strings.Join(got, " ") != want {
			t.Errorf("messages %v, want %s", got, want)
		}
		for _, group := range []command.GroupID{"a", "b"} {
			want := e.store.Cursor(command.GroupID(group).Key(), e.store.state.GroupArrival(group))
			if cursor := args["groupCursors"].(obj)[string(group)]; cursor != want {
				t.Errorf("cursor of %s = %v, want %s", group, cursor, want)
			}
		}
	})
}

func TestGroupMembershipBoundsWhatIsPushed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "carol")
		alice, bob := e.online("alice", codec), e.online("bob", codec)
		e.post("team", "carol", "before")
		alice.wantCIDs("before")

		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		alice.event("joined")
		if joined := bob.event("joined"); joined["by"] != "alice" || fmt.Sprint(joined["users"]) != "[bob]" || joined["group"] != "team" {
			t.Errorf("joined = %v", joined)
		}
		e.post("team", "carol", "within")
		bob.wantCIDs("within")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		bob.event("removed")
		e.post("team", "carol", "after")
		synctest.Wait()
		bob.quiet()
		if e.session("bob").subscription("team") != nil {
			t.Error("bob's session is subscribed after his removal")
		}

		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		bob.event("joined")
		e.post("team", "carol", "again")
		bob.wantCIDs("again")
		e.do(&command.LeaveGroup{Group: "team", User: "bob"})
		bob.event("left")
		e.do(&command.DismissGroup{Group: "team", By: "alice"})
		alice.wantCIDs("within")
		alice.event("removed")
		alice.wantCIDs("after")
		alice.event("joined")
		alice.wantCIDs("again")
		alice.event("left")
		alice.event("dismissed")
		synctest.Wait()
		bob.quiet()
		if n := len(e.gateway.feeds.all); n != 0 {
			t.Errorf("%d feeds are left, want none", n)
		}
		if n := len(e.store.groupWatchers); n != 0 {
			t.Errorf("%d groups are watched, want none", n)
		}
	})
}

// TestSlowMemberReadsUpToHisRemoval has the window hold up a member who leaves
// and comes back meanwhile.
func TestSlowMemberReadsUpToHisRemoval(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		e.post("team", "alice", "m0")
		synctest.Wait()
		e.post("team", "alice", "m1")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "alice", "while away")
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "alice", "m2")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "alice", "after")
		synctest.Wait()
		bob.wantCIDs("m0")
		bob.wantCIDs("m1")
		bob.event("removed")
		synctest.Wait()
		bob.quiet() // he is no member now, so that what he got before is his last
	})
}

func TestSlowMemberComesBack(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		e.post("team", "alice", "m0")
		synctest.Wait()
		e.post("team", "alice", "m1")
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "alice", "while away")
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		e.post("team", "alice", "m2")
		synctest.Wait()
		bob.wantCIDs("m0")
		bob.wantCIDs("m1")
		bob.event("removed")
		bob.event("joined")
		bob.wantCIDs("m2")
	})
}

func TestGroupRecallsAndDeletions(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob", "carol")
		bob := e.online("bob", codec)
		e.post("team", "alice", "m1")
		e.post("team", "carol", "m2")
		e.post("team", "alice", "m3")
		synctest.Wait()
		e.do(&command.RecallGroup{Group: "team", By: "carol", Seq: 2})
		e.do(&command.DeleteMessagesFrom{Group: "team", Sender: "alice"})
		bob.wantCIDs("m1", "m2", "m3")
		recall := bob.push("onRecall")
		if recall["conv"] != "g:team" || recall["by"] != "carol" || fmt.Sprint(recall["ranges"]) != "[[2 2]]" || recall["sender"] != nil {
			t.Errorf("onRecall = %v", recall)
		}
		deleted := bob.push("onRecall")
		if deleted["by"] != "" || deleted["sender"] != "alice" || fmt.Sprint(deleted["ranges"]) != "[[1 3]]" {
			t.Errorf("onRecall of a deletion = %v", deleted)
		}
		sent := e.post("team", "carol", "m4")
		bob.wantCIDs("m4")
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: sent.Seq, Silent: true})
		e.post("team", "carol", "m5")
		bob.wantCIDs("m5")
	})
}

func TestJoinRequestsAreForAdmins(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPublic, "alice")
		e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		alice, bob := e.online("alice", codec), e.online("bob", codec)
		e.do(&command.JoinGroup{Group: "team", User: "carol"})
		if args := alice.event("joinRequested"); fmt.Sprint(args["users"]) != "[carol]" {
			t.Errorf("joinRequested = %v", args)
		}
		synctest.Wait()
		bob.quiet()
		e.do(&command.SetMember{Group: "team", By: "alice", User: "bob", Role: command.RoleAdmin})
		bob.event("roleChanged")
		e.do(&command.JoinGroup{Group: "team", User: "dave"})
		bob.event("joinRequested")
		alice.event("roleChanged")
		alice.event("joinRequested")
		e.do(&command.SetMember{Group: "team", By: "alice", User: "bob", Role: command.RoleMember})
		bob.event("roleChanged")
		e.do(&command.JoinGroup{Group: "team", User: "erin"})
		alice.event("roleChanged")
		alice.event("joinRequested")
		synctest.Wait()
		bob.quiet()
	})
}

func TestMemberChangesReachOtherSessions(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob")
		e.post("team", "alice", "m1")
		e.post("team", "alice", "m2")
		phone := e.dial(codec)
		phone.login("bob", "phone", obj{"recents": "off", "groupBacklog": 0})
		phone.push("onSynced")
		here := e.session("bob").id()
		laptop := e.dial(codec)
		laptop.login("bob", "laptop", obj{"recents": "off", "groupBacklog": 0})
		laptop.push("onSynced")

		e.do(&command.ReadGroup{Group: "team", User: "bob", Session: here, Seq: 2})
		if args := laptop.push("onReadReport"); args["conv"] != "g:team" || number(t, args, "seq") != 2 {
			t.Errorf("onReadReport = %v", args)
		}
		e.do(&command.HideMessages{Group: "team", User: "bob", Session: here, Seqs: []uint64{1}})
		if args := laptop.push("onMessageDeleted"); args["conv"] != "g:team" || fmt.Sprint(args["seqs"]) != "[1]" {
			t.Errorf("onMessageDeleted = %v", args)
		}
		e.do(&command.HideGroup{Group: "team", User: "bob", Session: here, Messages: true})
		if args := laptop.push("onConversationDeleted"); args["conv"] != "g:team" || args["messages"] != true {
			t.Errorf("onConversationDeleted = %v", args)
		}
		synctest.Wait()
		phone.quiet()
		laptop.quiet()
	})
}

// TestDeletionComesAfterItsMessage has a session that is behind when another one
// deletes what it has yet to be pushed.
func TestDeletionComesAfterItsMessage(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		phone := e.online("bob", codec)
		e.post("team", "alice", "m1")
		synctest.Wait()
		e.post("team", "alice", "m2")
		e.do(&command.HideMessages{Group: "team", User: "bob", Session: 99, Seqs: []uint64{2}})
		synctest.Wait()
		phone.wantCIDs("m1")
		phone.wantCIDs("m2")
		phone.push("onMessageDeleted")
	})
}

// A stalledStore cannot read on in groups for a while.
type stalledStore struct {
	*testStore
	stalled int // reads that fail; guarded by mu
}

func (s *stalledStore) GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	s.mu.Lock()
	s.stalled--
	fail := s.stalled >= 0
	s.mu.Unlock()
	if fail {
		return store.ErrUnavailable
	}
	return s.testStore.GroupSince(group, after, b, maxMessages, maxBytes)
}

// TestDeletionOvertakesTheFeed has a session hear of a deletion before the feed
// has read the message: the session reads it first.
func TestDeletionOvertakesTheFeed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *stalledStore
		e := newEdge(t, func(c *Config) {
			store = &stalledStore{testStore: c.Backend.(*testStore)}
			c.Backend = store
		})
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		store.mu.Lock()
		store.stalled = 1
		store.mu.Unlock()
		e.post("team", "alice", "m1")
		synctest.Wait()
		e.do(&command.HideMessages{Group: "team", User: "bob", Session: 99, Seqs: []uint64{1}})
		bob.wantCIDs("m1")
		bob.push("onMessageDeleted")
		e.post("team", "alice", "m2")
		bob.wantCIDs("m2")
	})
}

// TestSessionOutlivesAnUnavailableStore has a session that is behind the cache
// when the store is away.
func TestSessionOutlivesAnUnavailableStore(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", codec)
		e.post("team", "alice", "m1")
		synctest.Wait()
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		synctest.Wait()
		e.store.setDown(true)
		bob.wantCIDs("m1")
		synctest.Wait()
		bob.quiet() // whether he has come back is not known
		e.store.setDown(false)
		bob.event("removed")
	})
}

// TestRemovalOfManyNamesNobody has an event that concerns too many users to name.
func TestRemovalOfManyNamesNobody(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		users := []command.UserID{"alice", "bob"}
		for i := range 600 {
			users = append(users, command.UserID(fmt.Sprint("user", i)))
		}
		e.group("room", command.GroupChatroom, append(users, "stays")...)
		bob, stays := e.online("bob", codec), e.online("stays", codec)
		e.post("room", "alice", "m1")
		synctest.Wait()
		e.do(&command.RemoveMembers{Group: "room", Users: users[1:]})
		e.post("room", "alice", "m2")
		synctest.Wait()
		bob.wantCIDs("m1")
		bob.event("removed")
		stays.wantCIDs("m1")
		stays.event("removed")
		stays.wantCIDs("m2")
		synctest.Wait()
		bob.quiet()
	})
}

// A mailStore has lost the letters of groups to their members.
type mailStore struct{ *stalledStore }

func (s mailStore) Since(user command.UserID, _ command.SessionID, after uint64, b *query.Updates, _, _ int) error {
	b.Reset()
	b.Through = after
	return nil
}

// TestRemovalStopsWhatNobodyStores has a feed that is behind with a removal when a
// message of ttl 0 comes, and a user's shard that has not heard of it.
func TestRemovalStopsWhatNobodyStores(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *stalledStore
		e := newEdge(t, func(c *Config) {
			store = &stalledStore{testStore: c.Backend.(*testStore)}
			c.Backend = mailStore{store}
		})
		e.group("team", command.GroupPrivate, "alice", "bob", "carol")
		bob, carol := e.online("bob", codec), e.online("carol", codec)
		store.mu.Lock()
		store.stalled = 1
		store.mu.Unlock()
		e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
		synctest.Wait()
		if _, err := e.store.SendLive(&command.SendGroup{Group: "team", User: "alice", CID: "live", Body: []byte{0xc0}}); err != nil {
			t.Fatal(err)
		}
		carol.event("removed")
		carol.wantCIDs("live")
		bob.event("removed")
		synctest.Wait()
		bob.quiet()
	})
}

// TestGroupMadeAgainOfAnotherKind has sessions that have not heard yet that the
// group of that name was dismissed.
func TestGroupMadeAgainOfAnotherKind(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *stalledStore
		e := newEdge(t, func(c *Config) {
			store = &stalledStore{testStore: c.Backend.(*testStore)}
			c.Backend = store
		})
		stall := func(n int) { store.mu.Lock(); store.stalled = n; store.mu.Unlock() }
		e.group("room", command.GroupLive, "alice")
		bob := e.online("bob", codec)
		s := e.session("bob")
		if err := e.joinLive("bob", "room"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stall(1)
		e.do(&command.DismissGroup{Group: "room", By: "alice"})
		synctest.Wait()
		e.group("room", command.GroupPrivate, "alice", "bob")
		e.post("room", "alice", "m1")
		bob.event("created")
		bob.wantCIDs("m1")

		stall(1 << 30)
		e.do(&command.DismissGroup{Group: "room", By: "alice"})
		synctest.Wait()
		e.group("room", command.GroupLive, "alice")
		if err := e.joinLive("bob", "room"); err == nil || refusalOf(err).code != protocol.CodeUnavailable {
			t.Errorf("joinLive before the end of the other is told = %v", err)
		}
		stall(0)
		bob.event("dismissed")
		synctest.Wait()
		if err := e.joinLive("bob", "room"); err != nil || !s.inLive("room") {
			t.Errorf("joinLive = %v", err)
		}
	})
}

// TestOwnChangesComeInOrder has a device find a deletion and what came after it at
// the same time.
func TestOwnChangesComeInOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("team", command.GroupPrivate, "alice", "bob")
		phone := e.dial(codec)
		phone.login("bob", "phone", nil)
		phone.push("onSynced")
		e.post("team", "alice", "before")
		first := phone.push("onNewMessage")
		e.do(&command.HideGroup{Group: "team", User: "bob", Session: 99, Messages: true})
		e.post("team", "alice", "after")
		synctest.Wait()
		phone.notice("ack", obj{"d": first["d"]})
		if args := phone.push("onConversationDeleted"); args["conv"] != "g:team" || number(t, args, "upTo") != 1 {
			t.Errorf("onConversationDeleted = %v, want up to 1", args)
		}
		phone.wantCIDs("after")
	})
}
