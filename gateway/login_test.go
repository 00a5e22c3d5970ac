package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// synced reads up to onSynced, acks all, and gives the cids that came before, the
// ops of other pushes, and onSynced, with all parts of its lists.
func (c *client) synced() (cids, others []string, synced obj) {
	c.t.Helper()
	parts := obj{}
	join := func(args obj) {
		for _, list := range []string{"lost", "conversations", "users", "groups"} {
			if part, ok := args[list].([]any); ok {
				all, _ := parts[list].([]any)
				parts[list] = append(all, part...)
			}
		}
	}
	for {
		var frame obj
		if len(c.pushes) > 0 {
			frame, c.pushes = c.pushes[0], c.pushes[1:]
		} else {
			frame = c.next()
		}
		args, _ := frame["args"].(obj)
		switch frame["op"] {
		case "onNewMessage":
			for _, m := range args["messages"].([]any) {
				cids = append(cids, m.(obj)["cid"].(string))
			}
			c.notice("ack", obj{"d": args["d"]})
		case "onConversations":
			join(args)
		case "onSynced":
			join(args)
			maps.Copy(args, parts)
			return cids, others, args
		default:
			others = append(others, frame["op"].(string))
		}
	}
}

// entry gives the entry of a conversation in a list of onSynced.
func entry(synced obj, list, conv string) obj {
	entries, _ := synced[list].([]any)
	for _, c := range entries {
		if c.(obj)["conv"] == conv {
			return c.(obj)
		}
	}
	return nil
}

func convs(synced obj, list string) (names []string) {
	for _, c := range synced[list].([]any) {
		names = append(names, c.(obj)["conv"].(string))
	}
	return names
}

// numbers are the numbers from a to b, inclusive, behind a prefix.
func numbers(prefix string, a, b int) (all []string) {
	for i := a; i <= b; i++ {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

func wantList(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestLoginPushesBacklogOfGroups(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob", "carol")
		for i := range 50 {
			e.post("team", "alice", fmt.Sprint("m", i+1))
		}
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		cids, _, synced := bob.synced()
		wantList(t, "pushed", cids, numbers("m", 31, 50))
		team := entry(synced, "conversations", "g:team")
		if team == nil || number(t, team, "unread") != 50 || number(t, team, "lastSeq") != 50 || number(t, team, "readSeq") != 0 || team["cursor"] == nil {
			t.Errorf("entry of the group = %v", team)
		}
		if number(t, synced, "unreadTotal") != 50 || number(t, synced, "offline") != 0 {
			t.Errorf("onSynced = %v", synced)
		}
		wantList(t, "groups", convs(synced, "groups"), nil)

		// With its cursor: what came after it, and what was taken away.
		sent := e.post("team", "alice", "m51")
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 7})
		again := e.dial(codec)
		again.login("bob", "laptop", obj{"groups": obj{"team": team["cursor"]}})
		cids, others, synced := again.synced()
		wantList(t, "pushed after the cursor", cids, []string{"m51"})
		wantList(t, "changes", others, []string{"onRecall"})
		if team := entry(synced, "conversations", "g:team"); number(t, team, "unread") != 50 || number(t, team, "lastSeq") != int64(sent.Seq) {
			t.Errorf("entry of the group = %v", team)
		}

		none := e.dial(codec)
		none.login("bob", "watch", obj{"groupBacklog": 0})
		cids, _, _ = none.synced()
		wantList(t, "pushed without backlog", cids, []string{"m51"}) // as the last of recents
		quiet := e.dial(codec)
		quiet.login("bob", "tv", obj{"groupBacklog": 0, "recents": "quiet"})
		cids, _, _ = quiet.synced()
		wantList(t, "pushed without backlog and last messages", cids, nil)
		off := e.dial(codec)
		off.login("bob", "car", obj{"groupBacklog": 0, "recents": "off"})
		_, _, synced = off.synced()
		wantList(t, "groups with recents off", convs(synced, "groups"), []string{"g:team"})
		if synced["conversations"] != nil {
			t.Errorf("conversations = %v with recents off", synced["conversations"])
		}
		spoiled := e.dial(codec)
		spoiled.login("bob", "fridge", obj{"groups": obj{"team": "none of ours"}})
		if _, _, synced = spoiled.synced(); synced["reset"] != true {
			t.Errorf("onSynced = %v after a malformed cursor, want reset", synced)
		}
	})
}

func TestLoginOrderAndMergedRecents(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.do(&command.Configure{Version: 1, Limits: command.Limits{Recents: 4}})
		for i, id := range []command.GroupID{"old", "mid", "new"} {
			e.group(id, command.GroupPrivate, "alice", "bob")
			e.do(&command.Send{User: command.UserID(fmt.Sprint("friend", i)), To: "bob", CID: fmt.Sprint("f", i), Body: []byte{0xc0}})
			time.Sleep(time.Second)
			e.post(id, "alice", string(id)+"1")
			e.post(id, "alice", string(id)+"2")
			time.Sleep(time.Second)
		}
		e.do(&command.ReadGroup{Group: "mid", User: "bob", Seq: 2})
		e.do(&command.ReadReport{User: "bob", Peer: "friend0", Seq: 1})
		e.do(&command.ReadReport{User: "bob", Peer: "friend2", Seq: 1})
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		cids, _, synced := bob.synced()
		// The queue; groups, the newest first; last messages: friend0 is the 6th
		// and not among the recents, old the 5th.
		wantList(t, "pushed", cids, strings.Fields("f1 new1 new2 old1 old2 f2 mid2"))
		wantList(t, "conversations", convs(synced, "conversations"), []string{"g:new", "u:friend2", "g:mid", "u:friend1"})
		wantList(t, "groups", convs(synced, "groups"), []string{"g:old"})
		if got := number(t, synced, "unreadTotal"); got != 5 {
			t.Errorf("unreadTotal = %d, want 5", got)
		}
		recents := bob.call("getRecents", nil)
		wantList(t, "getRecents", convs(recents, "conversations"), []string{"g:new", "u:friend2", "g:mid", "u:friend1"})
		for _, c := range recents["conversations"].([]any) {
			last := c.(obj)["last"].(obj)
			if last["conv"] != c.(obj)["conv"] || number(t, last, "seq") != number(t, c.(obj), "lastSeq") {
				t.Errorf("last of %v = %v", c.(obj)["conv"], last)
			}
		}
	})
}

func TestLoginBacklogIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.LoginBacklog = Backlog{Messages: 25, Bytes: 1 << 20} })
		for _, id := range []command.GroupID{"a", "b", "c"} {
			e.group(id, command.GroupPrivate, "alice", "bob")
			for i := range 20 {
				e.post(id, "alice", fmt.Sprint(id, i+1))
			}
			time.Sleep(time.Second)
		}
		bob := e.dial(protocol.JSON)
		bob.login("bob", "phone", obj{"recents": "quiet"})
		cids, _, synced := bob.synced()
		wantList(t, "pushed", cids, append(numbers("c", 1, 20), numbers("b", 16, 20)...))
		if got := number(t, synced, "unreadTotal"); got != 60 {
			t.Errorf("unreadTotal = %d, want 60", got)
		}
	})
}

// TestLoginDuringLiveMessages logs in again and again while messages flow: none
// comes twice, none is missing.
func TestLoginDuringLiveMessages(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.unlimited()
		e.group("team", command.GroupPrivate, "alice", "bob")
		const rounds, each = 20, 7
		for r := range rounds {
			bob := e.dial(codec)
			id := bob.request("login", obj{"token": testToken("bob"), "device": fmt.Sprint(r % 16), "groupBacklog": 100})
			for i := range each {
				e.post("team", "alice", fmt.Sprint(r*each+i))
				if i%3 == r%3 {
					time.Sleep(time.Microsecond)
				}
			}
			synctest.Wait()
			bob.reply(id)
			seen, _, _ := bob.synced()
			e.post("team", "alice", fmt.Sprint("end", r))
			for {
				cids := bob.cids()
				seen = append(seen, cids...)
				if slices.Contains(cids, fmt.Sprint("end", r)) {
					break
				}
			}
			seen = slices.DeleteFunc(seen, func(cid string) bool { return strings.HasPrefix(cid, "end") })
			wantList(t, fmt.Sprint("round ", r), seen, numbers("", r*each, r*each+each-1))
			e.do(&command.ReadGroup{Group: "team", User: "bob", Seq: 1 << 40})
			bob.ws.CloseNow()
		}
	})
}

// A partialStore has groups whose shard does not serve.
type partialStore struct {
	*testStore
	away map[command.GroupID]bool // guarded by mu
}

func (s *partialStore) SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncAsk, backlog, most int) ([]query.GroupSyncItem, []query.GroupSyncAsk) {
	var here, left []query.GroupSyncAsk
	s.mu.Lock()
	for _, a := range asks {
		if s.away[a.Group] {
			left = append(left, a)
		} else {
			here = append(here, a)
		}
	}
	s.mu.Unlock()
	views, _ := s.testStore.SyncGroups(ctx, user, here, backlog, most)
	return views, left
}

func TestLoginWithGroupsAway(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *partialStore
		e := newEdge(t, func(c *Config) {
			store = &partialStore{testStore: c.Backend.(*testStore), away: map[command.GroupID]bool{"away": true}}
			c.Backend = store
		})
		e.group("here", command.GroupPrivate, "alice", "bob")
		e.group("away", command.GroupPrivate, "alice", "bob")
		e.post("here", "alice", "h1")
		e.post("away", "alice", "a1")
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		cids, _, synced := bob.synced()
		wantList(t, "pushed", cids, []string{"h1"})
		wantList(t, "conversations", convs(synced, "conversations"), []string{"g:here"})
		bob.refused("getRecents", nil, "unavailable")
		e.post("here", "alice", "h2")
		bob.wantCIDs("h2")
		e.post("away", "alice", "a2")
		synctest.Wait()
		bob.quiet()
		store.mu.Lock()
		store.away = nil
		store.mu.Unlock()
		bob.wantCIDs("a1", "a2")
		e.post("away", "alice", "a3")
		bob.wantCIDs("a3")
	})
}

// TestLateGroupRefusesCursor has a group come late that refuses the device's cursor: its
// next login is told.
func TestLateGroupRefusesCursor(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *partialStore
		e := newEdge(t, func(c *Config) {
			store = &partialStore{testStore: c.Backend.(*testStore), away: map[command.GroupID]bool{"away": true}}
			c.Backend = store
		})
		e.group("away", command.GroupPrivate, "alice", "bob")
		e.post("away", "alice", "a1")
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		_, _, synced := bob.synced()
		args := obj{"since": synced["cursor"], "groups": obj{"away": "none"}}
		bob = e.dial(codec)
		bob.login("bob", "phone", args)
		if _, _, synced = bob.synced(); synced["reset"] != nil {
			t.Errorf("onSynced of a login without the group = %v, want no reset", synced)
		}
		store.mu.Lock()
		store.away = nil
		store.mu.Unlock()
		bob.wantClosed(1001)
		bob = e.dial(codec)
		bob.login("bob", "phone", args)
		cids, _, synced := bob.synced()
		wantList(t, "pushed", cids, []string{"a1"})
		if groups, _ := synced["resetGroups"].([]any); synced["reset"] != true || !slices.Equal(groups, []any{"away"}) {
			t.Errorf("onSynced = %v, want reset of the group alone", synced)
		}
	})
}

// TestLeftBeforeGroupCame has a member removed while their session still waits for the
// group's shard: it gets what came before, and the removal.
func TestLeftBeforeGroupCame(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var store *partialStore
		e := newEdge(t, func(c *Config) {
			store = &partialStore{testStore: c.Backend.(*testStore), away: map[command.GroupID]bool{"away": true}}
			c.Backend = store
		})
		e.group("away", command.GroupPrivate, "alice", "bob")
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		bob.synced()
		e.post("away", "alice", "before")
		e.do(&command.RemoveMembers{Group: "away", By: "alice", Users: []command.UserID{"bob"}})
		e.post("away", "alice", "after")
		synctest.Wait()
		store.mu.Lock()
		store.away = nil
		store.mu.Unlock()
		bob.event("created")
		bob.wantCIDs("before")
		bob.event("removed")
		time.Sleep(2 * lateRetry)
		bob.quiet()
	})
}

// TestLoginToManyGroups has more groups with unread than onSynced has room for.
func TestLoginToManyGroups(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		const groups = 1000
		for g := range groups {
			id := command.GroupID(fmt.Sprintf("%048d", g))
			e.group(id, command.GroupPrivate, "alice", "bob")
			e.post(id, "alice", fmt.Sprint(g))
			time.Sleep(time.Millisecond)
		}
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		cids, _, synced := bob.synced()
		if len(cids) != groups || cids[0] != fmt.Sprint(groups-1) {
			t.Errorf("%d messages, first %v, want one of each group, the newest first", len(cids), cids[0])
		}
		if got := number(t, synced, "unreadTotal"); got != groups {
			t.Errorf("unreadTotal = %d, want %d", got, groups)
		}
		if got := convs(synced, "conversations"); len(got) != 100 {
			t.Errorf("%d conversations, want 100", len(got))
		}
		list := convs(synced, "groups")
		if len(list) != groups-100 || list[0] != fmt.Sprintf("g:%048d", groups-101) || list[len(list)-1] != fmt.Sprintf("g:%048d", 0) {
			t.Errorf("%d groups with unread besides, from %v on", len(list), list[0])
		}
		for _, conv := range list {
			if entry(synced, "groups", conv)["cursor"] == nil {
				t.Fatalf("%s comes without its cursor", conv)
			}
		}
	})
}

// TestLoginGivesCursorsOfGroups checks that a cursor comes with the last message
// of a backlog, but not before changes that it would pass.
func TestLoginGivesCursorsOfGroups(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob")
		e.post("team", "alice", "m1")
		e.post("team", "alice", "m2")
		first := e.dial(codec)
		first.login("bob", "phone", nil)
		cursor := first.push("onNewMessage")["groupCursors"].(obj)["team"]
		synced := first.push("onSynced")
		if want := entry(synced, "conversations", "g:team")["cursor"]; cursor == nil || cursor != want {
			t.Errorf("cursor with the backlog = %v, want %v", cursor, want)
		}
		e.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 1})
		e.post("team", "alice", "m3")
		second := e.dial(codec)
		second.login("bob", "laptop", obj{"groups": obj{"team": cursor}})
		if args := second.push("onNewMessage"); args["groupCursors"] != nil {
			t.Errorf("cursors %v come before a recall", args["groupCursors"])
		}
		second.push("onRecall")
		if synced := second.push("onSynced"); entry(synced, "conversations", "g:team")["cursor"] == cursor {
			t.Error("onSynced has the old cursor")
		}
	})
}

// TestLoginWindowHoldsUpBacklog acks one message at a time.
func TestLoginWindowHoldsUpBacklog(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		pad := strings.Repeat("x", 10_000)
		var want []string
		for _, id := range []command.GroupID{"a", "b"} {
			e.group(id, command.GroupPrivate, "alice", "bob")
			for i := range 20 {
				cid := fmt.Sprint(id, i)
				body := append([]byte{0xda, byte(len(pad) >> 8), byte(len(pad) & 0xff)}, pad...)
				e.do(&command.SendGroup{Group: id, User: "alice", CID: cid, Body: body})
				want = append(want, cid)
			}
			time.Sleep(time.Second)
		}
		want = append(want[20:], want[:20]...) // the newest group first
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		e.post("a", "alice", "live")
		synctest.Wait()
		for len(want) > 0 {
			args := bob.push("onNewMessage")
			messages := args["messages"].([]any)
			if len(messages) > 6 {
				t.Fatalf("%d messages of 10,000 bytes in a frame", len(messages))
			}
			for _, m := range messages {
				if cid := m.(obj)["cid"]; cid != want[0] {
					t.Fatalf("message %v, want %v", cid, want[0])
				}
				want = want[1:]
			}
			synctest.Wait()
			if len(want) > 0 {
				bob.quiet()
			}
			bob.notice("ack", obj{"d": args["d"]})
		}
		bob.push("onSynced")
		bob.wantCIDs("live")
	})
}

// TestMergeLostKeepsGroupsApart has more runs than onSynced tells apart.
func TestMergeLostKeepsGroupsApart(t *testing.T) {
	var lost []query.Lost
	for _, l := range []query.Lost{{Peer: "bob"}, {Group: "a"}, {Group: "b"}} {
		for i := range uint64(maxLost) {
			l.From, l.To, l.Count = 3*i+1, 3*i+2, 2
			lost = append(lost, l)
		}
	}
	got := mergeLost(lost)
	want := []query.Lost{
		{Peer: "bob", From: 1, To: 3*maxLost - 1, Count: 2 * maxLost},
		{Group: "a", From: 1, To: 3*maxLost - 1, Count: 2 * maxLost},
		{Group: "b", From: 1, To: 3*maxLost - 1, Count: 2 * maxLost},
	}
	if !slices.Equal(got, want) {
		t.Errorf("mergeLost = %+v, want %+v", got, want)
	}
}

// TestLateGroupGoesOnBehindItsBacklog has a group that came late hear of a message
// while the pump is at other groups: its backlog is to be pushed first.
func TestLateGroupGoesOnBehindItsBacklog(t *testing.T) {
	store := newTestStore(t)
	e := &edge{t: t, store: store}
	e.group("away", command.GroupPrivate, "alice", "bob")
	e.post("away", "alice", "a1")
	s := bareSession(newBareGateway(t, store), protocol.JSON)
	s.attach("away", false, 0)
	asks := []query.GroupSyncAsk{{Group: "away"}}
	views, left := store.SyncGroups(t.Context(), "bob", asks, 20, 100)
	views = s.placeGroups(asks, views, left)
	sub := s.subscription("away")
	e.post("away", "alice", "a2")
	for _, _, at, _ := sub.feed.next(sub); at == views[0].Arrival; _, _, at, _ = sub.feed.next(sub) {
		time.Sleep(time.Millisecond)
	}
	s.queueLate(views)
	if s.popReady() != nil {
		t.Fatal("the group goes on before its backlog is pushed")
	}
	p := new(pumpState)
	if !s.nextLate() {
		t.Fatal("nothing came late")
	}
	for s.sync != nil {
		s.pushSync(p)
	}
	if sub.pushedTo != views[0].Arrival || s.window.last != 1 {
		t.Errorf("told up to %d with %d frames, want %d with 1", sub.pushedTo, s.window.last, views[0].Arrival)
	}
	if s.pushGroups(p); sub.pushedTo == views[0].Arrival || s.window.last != 2 {
		t.Errorf("told up to %d with %d frames, want what came after %d", sub.pushedTo, s.window.last, views[0].Arrival)
	}
}
