package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// unlimited switches the rate of groups off.
func (e *edge) unlimited() {
	e.t.Helper()
	e.do(&command.Configure{Version: 1, Limits: command.Limits{GroupRate: -1}})
}

// TestSlowMemberDelaysNobody has a member whose window is full while others get
// far more than a feed keeps; then they go on, from the store.
func TestSlowMemberDelaysNobody(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 2 })
		e.unlimited()
		e.group("room", command.GroupChatroom, "alice", "bob", "slow")
		bob, slow := e.online("bob", codec), e.online("slow", codec)
		const messages = 600
		pad := strings.Repeat("x", 1000)
		for m := range messages {
			e.do(&command.SendGroup{Group: "room", User: "alice", CID: fmt.Sprint(m), Body: []byte("\xda\x03\xe8" + pad)})
			if got := bob.cids(); got[0] != fmt.Sprint(m) {
				t.Fatalf("bob got message %v, want %d", got, m)
			}
			if kept := e.metric("belfry_gateway_feed_bytes"); kept > maxFeedBytes {
				t.Fatalf("%.0f bytes are kept for one that is behind, want at most %d", kept, maxFeedBytes)
			}
		}
		if misses := e.metric("belfry_gateway_feed_misses_total"); misses != 0 {
			t.Errorf("%.0f reads past the cache, want none by those that keep up", misses)
		}
		for m := 0; m < messages; {
			for _, cid := range slow.cids() {
				if cid != fmt.Sprint(m) {
					t.Fatalf("the slow member got message %s, want %d", cid, m)
				}
				m++
			}
		}
		synctest.Wait()
		if misses := e.metric("belfry_gateway_feed_misses_total"); misses == 0 {
			t.Error("no reads past the cache, though it cannot have held all")
		}
		if kept := e.metric("belfry_gateway_feed_bytes"); kept != 0 {
			t.Errorf("%.0f bytes are kept for nobody", kept)
		}
	})
}

// TestFeedServesBothCodecs has members of both codecs come and go while one of
// them is behind.
func TestFeedServesBothCodecs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.unlimited()
		e.group("room", command.GroupChatroom, "alice", "json", "msgpack")
		j := e.online("json", protocol.JSON)
		var want []string
		for m := range 10 {
			want = append(want, fmt.Sprint(m))
			e.post("room", "alice", fmt.Sprint(m))
			synctest.Wait()
		}
		m := e.dial(protocol.Msgpack) // what is kept is not in its codec
		m.login("msgpack", "phone", obj{"groupBacklog": 0, "recents": "off"})
		m.push("onSynced")
		e.post("room", "alice", "last")
		m.wantCIDs("last")
		j.wantCIDs(append(want, "last")...)
	})
}

// TestFeedOutlivesAnUnavailableStore has the store away while something comes.
func TestFeedOutlivesAnUnavailableStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob := e.online("bob", protocol.JSON)
		e.store.mu.Lock()
		e.store.apply(&command.SendGroup{Group: "team", User: "alice", CID: "m", Body: []byte{0xc0}})
		e.store.down = true
		e.store.mu.Unlock()
		synctest.Wait()
		bob.quiet()
		e.store.setDown(false)
		bob.wantCIDs("m")
	})
}

func TestManyGroupsShareTheFrame(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		const groups = 300
		for g := range groups {
			e.group(command.GroupID(fmt.Sprintf("%044d", g)), command.GroupPrivate, "alice", "bob")
		}
		bob := e.online("bob", codec)
		for g := range groups {
			e.post(command.GroupID(fmt.Sprintf("%044d", g)), "alice", fmt.Sprint(g))
		}
		synctest.Wait()
		got, frames := make(map[string]bool), 0
		for len(got) < groups {
			args := bob.push("onNewMessage")
			frames++
			cursors := args["groupCursors"].(obj)
			for _, m := range args["messages"].([]any) {
				cid, conv := m.(obj)["cid"].(string), m.(obj)["conv"].(string)
				if got[cid] {
					t.Errorf("message %s came twice", cid)
				}
				got[cid] = true
				if cursors[conv[2:]] == nil {
					t.Errorf("no cursor of %s with its message", conv)
				}
			}
			bob.notice("ack", obj{"d": args["d"]})
		}
		if frames > 8 {
			t.Errorf("%d frames for %d messages of as many groups", frames, groups)
		}
	})
}

// joinLive has a user's newest session join a group that stores nothing.
func (e *edge) joinLive(user command.UserID, group command.GroupID) error {
	e.t.Helper()
	info, _, err := e.store.Group(group, user)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.session(user).joinLive(group, info.Arrival, info.EndArrival)
}

func TestLiveGroup(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("live", command.GroupLive, "alice")
		alice, bob := e.online("alice", codec), e.online("bob", codec)
		for _, user := range []command.UserID{"alice", "bob"} {
			if s := e.session(user); s.inLive("live") || e.joinLive(user, "live") != nil || !s.inLive("live") {
				t.Fatalf("%s cannot join", user)
			}
		}
		shout := func(cid string) {
			t.Helper()
			if _, err := e.store.SendLive(&command.SendGroup{
				Group: "live", User: "alice", Session: e.session("alice").id(), CID: cid, Body: []byte{0xc0},
			}); err != nil {
				t.Fatal(err)
			}
		}
		shout("one")
		args := bob.push("onNewMessage")
		m := args["messages"].([]any)[0].(obj)
		if m["conv"] != "g:live" || m["from"] != "alice" || m["cid"] != "one" || m["ephemeral"] != true || m["seq"] != nil || args["groupCursors"] != nil {
			t.Errorf("onNewMessage = %v", args)
		}
		synctest.Wait()
		alice.quiet()
		if s := e.session("bob"); !s.leaveLive("live") || s.leaveLive("live") || s.inLive("live") {
			t.Error("bob cannot leave")
		}
		shout("two")
		synctest.Wait()
		bob.quiet()
		if err := e.joinLive("bob", "live"); err != nil {
			t.Fatal(err)
		}
		shout("three")
		bob.wantCIDs("three")
		e.do(&command.RemoveMembers{Group: "live", By: "alice", Users: []command.UserID{"bob"}})
		bob.event("removed")
		alice.event("removed")
		shout("four")
		synctest.Wait()
		bob.quiet()
		if e.session("bob").inLive("live") {
			t.Error("bob is in the group after his removal")
		}
		e.do(&command.DismissGroup{Group: "live", By: "alice"})
		alice.event("dismissed")
		synctest.Wait()
		if n := len(e.gateway.feeds.all); n != 0 {
			t.Errorf("%d feeds are left, want none", n)
		}
	})
}

// TestLiveGroupSkips has a session that is behind lose the oldest, and be told.
func TestLiveGroupSkips(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.group("live", command.GroupLive, "alice")
		bob := e.online("bob", codec)
		if err := e.joinLive("bob", "live"); err != nil {
			t.Fatal(err)
		}
		const lost = 44
		for i := range 1 + lost + maxGroupSignals {
			if _, err := e.store.SendLive(&command.SendGroup{Group: "live", User: "alice", CID: fmt.Sprint(i), Body: []byte{0xc0}}); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		bob.wantCIDs("0")
		args := bob.push("onNewMessage")
		if number(t, args, "skipped") != lost {
			t.Errorf("skipped = %v, want %d", args["skipped"], lost)
		}
		next := 1 + lost
		for {
			for _, m := range args["messages"].([]any) {
				if cid := m.(obj)["cid"]; cid != fmt.Sprint(next) {
					t.Fatalf("message %v, want %d", cid, next)
				}
				next++
			}
			bob.notice("ack", obj{"d": args["d"]})
			if next == 1+lost+maxGroupSignals {
				break
			}
			if args = bob.push("onNewMessage"); args["skipped"] != nil {
				t.Fatalf("skipped = %v twice", args["skipped"])
			}
		}
		synctest.Wait()
		if got := e.metric("belfry_gateway_group_messages_skipped_total"); got != lost {
			t.Errorf("%v are counted as skipped, want %d", got, lost)
		}
		if kept := e.metric("belfry_gateway_feed_bytes"); kept != 0 {
			t.Errorf("%.0f bytes are kept for nobody", kept)
		}
	})
}

func TestLiveGroupsOfASessionAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		e.online("bob", protocol.JSON)
		s := e.session("bob")
		e.store.setDown(true) // none of the groups exists, which nobody can say now
		defer e.store.setDown(false)
		for i := range maxLive + 1 {
			err := s.joinLive(command.GroupID(fmt.Sprint(i)), 0, 0)
			if refused := err != nil; refused != (i == maxLive) {
				t.Fatalf("join %d: %v", i, err)
			}
		}
	})
}

// TestFeedsShareAMemoryLimit has members of two groups fall behind when there is
// no memory for it: they read from the store.
func TestFeedsShareAMemoryLimit(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		const most = 2000
		e.gateway.feeds.max = most
		e.unlimited()
		e.group("a", command.GroupChatroom, "alice", "ann")
		e.group("b", command.GroupChatroom, "alice", "bob")
		ann, bob := e.online("ann", codec), e.online("bob", codec)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint(i))
			for _, id := range []command.GroupID{"a", "b"} {
				e.post(id, "alice", fmt.Sprint(i))
				synctest.Wait()
				if kept := e.metric("belfry_gateway_feed_bytes"); kept > most {
					t.Fatalf("%.0f bytes are kept, want at most %d", kept, most)
				}
			}
		}
		ann.wantCIDs(want...)
		bob.wantCIDs(want...)
	})
}

// TestForgottenEvents has more events than a group keeps while its feed cannot
// read: who has left meanwhile gets nothing more, the others go on.
func TestForgottenEvents(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *stalledStore
		e := newEdge(t, func(c *Config) {
			store = &stalledStore{testStore: c.Backend.(*testStore), stalled: 1 << 30}
			c.Backend = store
		})
		e.unlimited()
		e.group("room", command.GroupChatroom, "alice", "stays", "goes", "returns")
		stays, goes, returns := e.online("stays", codec), e.online("goes", codec), e.online("returns", codec)
		e.post("room", "alice", "before")
		for _, user := range []command.UserID{"goes", "returns"} {
			e.do(&command.LeaveGroup{Group: "room", User: user})
		}
		e.post("room", "alice", "between")
		for i := range 100 {
			e.do(&command.JoinGroup{Group: "room", User: command.UserID(fmt.Sprint("guest", i))})
		}
		e.do(&command.JoinGroup{Group: "room", User: "returns"})
		e.post("room", "alice", "after")
		synctest.Wait()
		store.mu.Lock()
		store.stalled = 0
		store.mu.Unlock()
		e.post("room", "alice", "end")
		told := func(c *client) (cids []string) {
			for len(cids) == 0 || cids[len(cids)-1] != "end" {
				frame := c.next()
				if frame["op"] != "onNewMessage" {
					continue
				}
				for _, m := range frame["args"].(obj)["messages"].([]any) {
					cids = append(cids, m.(obj)["cid"].(string))
				}
			}
			return cids
		}
		wantList(t, "who stays was told", told(stays), []string{"before", "between", "after", "end"})
		wantList(t, "who returns was told", told(returns), []string{"after", "end"})
		time.Sleep(time.Second) // until it was asked for again
		goes.quiet()
		if e.session("goes").subscription("room") != nil {
			t.Error("who has left is subscribed")
		}
	})
}

// TestFanOutAllocatesNothingForAMember hands a message to few members and to many.
func TestFanOutAllocatesNothingForAMember(t *testing.T) {
	most := 0.05
	if raceEnabled {
		most = 2 // sync.Pool drops a part of what it is given
	}
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		allocs := func(members int) float64 {
			store := newTestStore(t)
			store.apply(&command.Configure{Version: 1, Limits: command.Limits{GroupRate: -1}})
			store.apply(&command.CreateGroup{Group: "room", Owner: "alice", By: "alice", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings()})
			g := newBareGateway(t, store)
			var sessions []*session
			for i := range members {
				s := bareSession(g, codec)
				s.user = command.UserID(fmt.Sprint(i))
				sub, _, _ := s.attach("room", false, 0)
				sub.feed.setPosition(sub, store.state.GroupArrival("room"), false)
				if !sub.feed.park(sub) {
					t.Fatal("a fresh subscription is behind")
				}
				sessions = append(sessions, s)
			}
			f, p, n := g.feeds.all["room"], new(pumpState), 0
			f.reading = true // by this test, not by a pumper
			return testing.AllocsPerRun(500, func() {
				n++
				store.mu.Lock()
				store.apply(&command.SendGroup{Group: "room", User: "alice", CID: fmt.Sprint(n), Body: []byte{0xc0}})
				store.mu.Unlock()
				f.read(p)
				f.reading = true
				for _, s := range sessions {
					if s.ready.n != 1 {
						t.Fatal("a member is not told")
					}
					s.nextRound()
					s.checkDeadlines()
					pushed, _ := s.push(p)
					s.flush(pushed)
					s.ack(s.window.last)
				}
			})
		}
		if few, many := allocs(10), allocs(110); many-few > 100*most {
			t.Errorf("%s: %.1f allocations for 10 members, %.1f for 110, want none for each more", codec.Name(), few, many)
		}
	}
}
