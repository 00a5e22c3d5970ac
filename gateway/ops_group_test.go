package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// text gives a value of a reply as JSON, which is the same for both codecs.
func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// enter logs users in, on a phone each, and gives their clients by name.
func enter(e *edge, codec protocol.Codec, users ...string) map[string]*client {
	clients := make(map[string]*client)
	for _, user := range users {
		clients[user] = e.dial(codec)
		clients[user].login(user, "phone", nil)
		clients[user].push("onSynced")
	}
	return clients
}

func TestGroupFromBeginningToEnd(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := enter(newEdge(t, nil), codec, "alice", "bob", "carol")
		alice, bob, carol := c["alice"], c["bob"], c["carol"]
		ok := alice.call("createGroup", obj{
			"group": "team", "kind": "private", "name": "The team", "members": []any{"bob", "bob", "alice"}, "properties": obj{"color": "red"},
		})
		if ok["group"] != "team" || ok["cursor"] == "" || len(ok) != 2 {
			t.Errorf("createGroup = %v", ok)
		}
		carol.refused("send", obj{"conv": "g:team", "cid": "1", "body": 1}, "forbidden")
		carol.refused("getMessage", obj{"conv": "g:team"}, "forbidden")
		carol.refused("getGroup", obj{"group": "team"}, "forbidden")
		carol.refused("getMembers", obj{"group": "team"}, "forbidden")
		carol.refused("joinGroup", obj{"group": "team"}, "forbidden")
		carol.refused("typing", obj{"conv": "g:team"}, "forbidden")
		for i := range 3 {
			if sent := alice.say("g:team", fmt.Sprint("m", i)); number(t, sent, "seq") != int64(i+1) {
				t.Fatalf("send = %v, want seq %d", sent, i+1)
			}
		}
		if again := alice.say("g:team", "m1"); again["duplicate"] != true || number(t, again, "seq") != 2 {
			t.Errorf("repeat = %v, want the first answer", again)
		}
		got := bob.call("getGroup", obj{"group": "team"})
		want := `{"group":"team","kind":"private","lastSeq":3,"memberCount":2,"name":"The team","owner":"alice","properties":{"color":"red"},` +
			`"role":"member","settings":{"history":"sinceJoin","join":"invite","maxMembers":200,"stored":true,"unread":true}}`
		if text(t, got) != want {
			t.Errorf("getGroup = %s, want %s", text(t, got), want)
		}
		page := bob.call("getMessage", obj{"conv": "g:team", "limit": 2})
		if messages := page["messages"].([]any); len(messages) != 2 || messages[1].(obj)["conv"] != "g:team" ||
			messages[1].(obj)["from"] != "alice" || number(t, messages[1].(obj), "seq") != 3 || page["more"] != true {
			t.Errorf("getMessage = %s", text(t, page))
		}
		if ok := bob.call("readReport", obj{"conv": "g:team", "seq": 2}); number(t, ok, "unread") != 1 {
			t.Errorf("readReport = %v, want 1 unread", ok)
		}

		if ok := bob.call("addMembers", obj{"group": "team", "users": []any{"carol", "alice", "bob"}}); text(t, ok) != `{"added":["carol","alice","bob"],"failed":[]}` {
			t.Errorf("addMembers = %s", text(t, ok))
		}
		page = carol.call("getMessage", obj{"conv": "g:team"})
		if gaps := text(t, page["gaps"]); len(page["messages"].([]any)) != 0 || gaps != `[{"from":1,"reason":"notMember","to":3}]` {
			t.Errorf("who joined later reads %s", text(t, page))
		}
		members := carol.call("getMembers", obj{"group": "team", "limit": 2})
		if text(t, members) != `{"members":[{"role":"owner","user":"alice"},{"role":"member","user":"bob"}],"more":true}` {
			t.Errorf("getMembers = %s", text(t, members))
		}
		members = carol.call("getMembers", obj{"group": "team", "after": "bob"})
		if text(t, members) != `{"members":[{"role":"member","user":"carol"}],"more":false}` {
			t.Errorf("getMembers after bob = %s", text(t, members))
		}

		bob.refused("recall", obj{"conv": "g:team", "seq": 1}, "forbidden")
		bob.refused("setMember", obj{"group": "team", "user": "carol", "mutedUntil": 1}, "forbidden")
		bob.refused("removeMembers", obj{"group": "team", "users": []any{"carol"}}, "forbidden")
		bob.refused("dismissGroup", obj{"group": "team"}, "forbidden")
		alice.call("recall", obj{"conv": "g:team", "seq": 1})
		alice.call("recall", obj{"conv": "g:team", "seq": 1}) // is so already
		bob.call("deleteMessage", obj{"conv": "g:team", "seqs": []any{2}})
		page = bob.call("getMessage", obj{"conv": "g:team"})
		if gaps := text(t, page["gaps"]); gaps != `[{"from":1,"reason":"recalled","to":1},{"from":2,"reason":"deleted","to":2}]` {
			t.Errorf("gaps = %s", gaps)
		}
		bob.call("setConversation", obj{"conv": "g:team", "muted": true, "pinned": true})
		bob.call("deleteConversation", obj{"conv": "g:team", "messages": true})

		until := time.Now().Add(time.Hour).UnixMilli()
		alice.call("setMember", obj{"group": "team", "user": "carol", "mutedUntil": until})
		carol.refused("send", obj{"conv": "g:team", "cid": "1", "body": 1}, "forbidden")
		carol.refused("send", obj{"conv": "g:team", "cid": "1", "body": 1, "ttl": 0}, "forbidden")
		members = bob.call("getMembers", obj{"group": "team", "after": "bob"})
		if number(t, members["members"].([]any)[0].(obj), "mutedUntil") != until {
			t.Errorf("getMembers = %s, want carol muted", text(t, members))
		}
		alice.call("setMember", obj{"group": "team", "user": "carol", "mutedUntil": 0, "role": "admin"})
		carol.call("setGroup", obj{"group": "team", "name": "Us"})
		carol.refused("setGroup", obj{"group": "team", "owner": "carol"}, "forbidden")
		alice.refused("leaveGroup", obj{"group": "team"}, "forbidden") // the owner transfers it first
		if ok := alice.call("setGroup", obj{"group": "team", "owner": "carol"}); ok["pending"] != true {
			t.Errorf("setGroup with another owner = %v, want it pending", ok)
		}
		if ok := bob.call("getGroup", obj{"group": "team"}); ok["owner"] != "alice" || ok["ownerOffered"] != "carol" {
			t.Errorf("getGroup = %v, want alice's, and carol asked", ok)
		}
		bob.refused("answerOwner", obj{"group": "team", "accept": true}, "not_found")
		carol.call("answerOwner", obj{"group": "team", "accept": true})
		carol.call("answerOwner", obj{"group": "team", "accept": true}) // is so already
		alice.call("leaveGroup", obj{"group": "team"})
		alice.call("leaveGroup", obj{"group": "team"}) // is so already
		alice.refused("getMessage", obj{"conv": "g:team"}, "forbidden")
		if ok := carol.call("removeMembers", obj{"group": "team", "users": []any{"bob", "dave", "bob"}}); text(t, ok) != `{"failed":[{"code":"not_found","user":"dave"}],"removed":["bob"]}` {
			t.Errorf("removeMembers = %s", text(t, ok))
		}
		bob.refused("send", obj{"conv": "g:team", "cid": "1", "body": 1}, "forbidden")
		if groups := carol.call("getGroups", nil); text(t, groups) != `{"groups":[{"group":"team","kind":"private","lastSeq":3,"memberCount":1,"name":"Us","owner":"carol","role":"owner"}],"more":false}` {
			t.Errorf("getGroups = %s", text(t, groups))
		}
		carol.call("dismissGroup", obj{"group": "team"})
		carol.refused("getGroup", obj{"group": "team"}, "not_found")
		if groups := carol.call("getGroups", nil); text(t, groups) != `{"groups":[],"more":false}` {
			t.Errorf("getGroups = %s", text(t, groups))
		}
	})
}

func TestEverySettingOfAGroup(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		alice := enter(newEdge(t, nil), codec, "alice")["alice"]
		for kind, settings := range map[string]string{
			"private":  `{"history":"sinceJoin","join":"invite","maxMembers":200,"stored":true,"unread":true}`,
			"public":   `{"history":"sinceJoin","join":"approve","maxMembers":2000,"stored":true,"unread":true}`,
			"chatroom": `{"history":"all","join":"open","maxMembers":10000,"stored":true,"unread":false}`,
			"live":     `{"history":"none","join":"open","stored":false,"unread":false}`,
		} {
			alice.call("createGroup", obj{"group": kind, "kind": kind})
			if got := text(t, alice.call("getGroup", obj{"group": kind})["settings"]); got != settings {
				t.Errorf("settings of %s = %s, want %s", kind, got, settings)
			}
		}
		alice.call("createGroup", obj{"group": "own", "kind": "private", "maxMembers": 2, "join": "open", "history": "all", "unread": false})
		if got := text(t, alice.call("getGroup", obj{"group": "own"})["settings"]); got != `{"history":"all","join":"open","maxMembers":2,"stored":true,"unread":false}` {
			t.Errorf("settings = %s", got)
		}
		if ok := alice.call("createGroup", obj{"group": "small", "kind": "private", "maxMembers": 2, "members": []any{"bob", "carol"}}); text(t, ok["failed"]) != `[{"code":"rate_limited","user":"carol"}]` {
			t.Errorf("createGroup with too many members = %s", text(t, ok))
		}
		alice.refused("createGroup", obj{"group": "small", "kind": "public"}, "conflict")
		if got := alice.call("getGroup", obj{"group": "small"}); text(t, got["properties"]) != `{}` {
			t.Errorf("getGroup of a group without properties = %s", text(t, got))
		}
		for kind, stored := range map[string]bool{"private": true, "public": true, "chatroom": true, "live": false} {
			alice.refused("createGroup", obj{"kind": kind, "stored": !stored}, "bad_request")
			alice.call("createGroup", obj{"kind": kind, "stored": stored})
		}
	})
}

func TestGroupIDIsMadeUp(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := enter(e, codec, "alice")["alice"]
		create := func(id int) string {
			alice.frame(obj{"id": id, "op": "createGroup", "args": obj{"kind": "private"}})
			ok, is := alice.reply(uint64(id))["ok"].(obj)
			if !is {
				t.Fatal("createGroup failed")
			}
			return ok["group"].(string)
		}
		first := create(500)
		if _, err := ulid.ParseStrict(first); err != nil {
			t.Errorf("group %q: %v", first, err)
		}
		if again := create(500); again != first {
			t.Errorf("a repeat made %q, want %q", again, first)
		}
		if other := create(501); other == first {
			t.Errorf("another request got the same group")
		}
		// What a repeat finds when the first got no answer.
		s := e.gateway.sessionsOf("alice")[0]
		s.mu.Lock()
		s.answers = nil
		s.mu.Unlock()
		if again := create(500); again != first {
			t.Errorf("a repeat of what got no answer made %q, want %q", again, first)
		}
	})
}

// A repeat of a change gets its first answer, whatever has happened since.
func TestRepeatedGroupChange(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := enter(e, codec, "alice", "bob")
		alice, bob := c["alice"], c["bob"]
		alice.call("createGroup", obj{"group": "room", "kind": "chatroom"})
		request := func(c *client, id uint64, op string, args obj) string {
			c.t.Helper()
			c.frame(obj{"id": id, "op": op, "args": args})
			return text(t, c.reply(id))
		}
		first := request(bob, 500, "joinGroup", obj{"group": "room"})
		if !strings.HasPrefix(first, `{"id":500,"ok":{"cursor":"`) {
			t.Fatalf("joinGroup = %s", first)
		}
		bob.call("leaveGroup", obj{"group": "room"})
		if again := request(bob, 500, "joinGroup", obj{"group": "room"}); again != first {
			t.Errorf("repeat = %s, want %s", again, first)
		}
		bob.refused("send", obj{"conv": "g:room", "cid": "1", "body": 1}, "forbidden")
		bob.call("joinGroup", obj{"group": "room"}) // another request does join
		alice.say("g:room", "one")
		read := request(bob, 600, "readReport", obj{"conv": "g:room", "seq": 1})
		added := request(alice, 700, "addMembers", obj{"group": "room", "users": []any{"carol"}})
		alice.call("removeMembers", obj{"group": "room", "users": []any{"carol", "bob"}})
		if again := request(alice, 700, "addMembers", obj{"group": "room", "users": []any{"carol"}}); again != added {
			t.Errorf("repeat = %s, want %s", again, added)
		}
		if again := request(bob, 600, "readReport", obj{"conv": "g:room", "seq": 1}); again != read {
			t.Errorf("repeat = %s, want %s", again, read)
		}
		// The same id for something else is something else.
		if other := request(alice, 700, "addMembers", obj{"group": "room", "users": []any{"dave"}}); other != `{"id":700,"ok":{"added":["dave"],"failed":[]}}` {
			t.Errorf("another request of the same id = %s", other)
		}
		members := text(t, alice.call("getMembers", obj{"group": "room"})["members"])
		if members != `[{"role":"owner","user":"alice"},{"role":"member","user":"dave"}]` {
			t.Errorf("members = %s", members)
		}
		s := e.gateway.sessionsOf("alice")[0]
		for i := range 2 * keptRequests {
			alice.call("setGroup", obj{"group": "room", "name": fmt.Sprint(i)})
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.answers) != keptRequests {
			t.Errorf("%d answers are kept, want %d", len(s.answers), keptRequests)
		}
	})
}

func TestLimitsOfGroupsPerUser(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.MaxGroups, c.MaxOwnedGroups = 3, 2 })
		c := enter(e, codec, "alice", "bob", "carol")
		alice, bob, carol := c["alice"], c["bob"], c["carol"]
		for _, group := range []string{"a1", "a2"} {
			alice.call("createGroup", obj{"group": group, "kind": "chatroom"})
		}
		alice.refused("createGroup", obj{"group": "a3", "kind": "chatroom"}, "rate_limited")
		for _, group := range []string{"b1", "b2"} {
			bob.call("createGroup", obj{"group": group, "kind": "chatroom"})
		}
		alice.call("joinGroup", obj{"group": "b1"})
		if err := alice.refused("joinGroup", obj{"group": "b2"}, "rate_limited"); number(t, err, "retryAfterMs") != time.Hour.Milliseconds() {
			t.Errorf("retryAfterMs = %v, want an hour", err["retryAfterMs"])
		}
		alice.call("joinGroup", obj{"group": "b1"}) // is so already
		alice.say("u:bob", "hello")                 // so that alice knows bob
		if ok := bob.call("addMembers", obj{"group": "b2", "users": []any{"alice", "carol"}}); text(t, ok) != `{"added":["carol"],"failed":[{"code":"rate_limited","user":"alice"}]}` {
			t.Errorf("addMembers = %s", text(t, ok))
		}
		if ok := bob.call("addMembers", obj{"group": "b1", "users": []any{"alice"}}); text(t, ok) != `{"added":["alice"],"failed":[]}` {
			t.Errorf("addMembers of who is there = %s", text(t, ok))
		}
		carol.refused("addMembers", obj{"group": "b1", "users": []any{"alice"}}, "forbidden")
		alice.say("u:carol", "hello")
		if ok := carol.call("createGroup", obj{"group": "c1", "kind": "private", "members": []any{"alice"}}); text(t, ok["failed"]) != `[{"code":"rate_limited","user":"alice"}]` {
			t.Errorf("createGroup = %s", text(t, ok))
		}
		bob.call("setGroup", obj{"group": "b1", "owner": "alice"})
		alice.refused("answerOwner", obj{"group": "b1", "accept": true}, "rate_limited")
		alice.call("answerOwner", obj{"group": "b1", "accept": false})
		if ok := bob.call("getGroup", obj{"group": "b1"}); ok["owner"] != "bob" || ok["ownerOffered"] != nil {
			t.Errorf("getGroup = %v, want bob's still", ok)
		}
		carol.call("setGroup", obj{"group": "c1", "owner": "carol"}) // is so already
		carol.call("createGroup", obj{"group": "c2", "kind": "public"})
		alice.refused("joinGroup", obj{"group": "c2"}, "rate_limited") // not even a request
	})
}

// Groups that a user was added to by somebody they have never written to have a limit of
// their own until they write there.
func TestUnsolicitedGroups(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.MaxGroups = 3 })
		c := enter(e, codec, "alice", "bob", "mal", "max")
		alice, bob, mal := c["alice"], c["bob"], c["mal"]
		alice.say("u:bob", "hello")
		for i := range 3 {
			group := fmt.Sprint("m", i)
			if ok := mal.call("createGroup", obj{"group": group, "kind": "private", "members": []any{"alice"}}); ok["failed"] != nil {
				t.Fatalf("createGroup = %v, want alice in it", ok)
			}
			if e := alice.event("created"); e["cursor"] == nil {
				t.Errorf("onGroupEvent = %v, want a cursor of who is put in", e)
			}
		}
		mal.call("setGroup", obj{"group": "m0", "owner": "alice"})
		alice.call("answerOwner", obj{"group": "m0", "accept": false})
		mal.call("dismissGroup", obj{"group": "m2"})
		for _, group := range []string{"m2", "m3"} {
			ok := c["max"].call("createGroup", obj{"group": group + "-max", "kind": "private", "members": []any{"alice"}})
			if full := group == "m3"; (ok["failed"] != nil) != full {
				t.Errorf("createGroup of %s = %v, want alice to fail: %v", group, ok, full)
			}
		}
		c["max"].call("createGroup", obj{"group": "xm2", "kind": "chatroom"})
		bob.call("createGroup", obj{"group": "b1", "kind": "chatroom"})
		alice.call("createGroup", obj{"group": "a1", "kind": "private"})
		alice.call("joinGroup", obj{"group": "b1"})
		if ok := bob.call("createGroup", obj{"group": "b2", "kind": "private", "members": []any{"alice"}}); ok["failed"] != nil {
			t.Errorf("createGroup of a friend = %v, want alice in it", ok)
		}
		alice.refused("joinGroup", obj{"group": "xm2"}, "rate_limited") // a1, b1 and b2
		alice.call("leaveGroup", obj{"group": "b1"})
		alice.say("g:m1", "who are you?") // counts from here on
		alice.refused("joinGroup", obj{"group": "xm2"}, "rate_limited")
		alice.call("leaveGroup", obj{"group": "m1"})
		alice.call("joinGroup", obj{"group": "xm2"})
	})
}

func TestJoinOnApproval(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.MaxGroups = 1 })
		c := enter(e, codec, "alice", "bob", "carol")
		alice, bob, carol := c["alice"], c["bob"], c["carol"]
		alice.call("createGroup", obj{"group": "club", "kind": "public"})
		for range 2 {
			if ok := bob.call("joinGroup", obj{"group": "club", "message": "hi"}); text(t, ok) != `{"pending":true}` {
				t.Errorf("joinGroup = %s", text(t, ok))
			}
		}
		carol.call("joinGroup", obj{"group": "club"})
		if ok := bob.call("getGroup", obj{"group": "club"}); ok["role"] != nil || ok["requests"] != nil || number(t, ok, "memberCount") != 1 {
			t.Errorf("getGroup of who waits = %s", text(t, ok))
		}
		requests := alice.call("getGroup", obj{"group": "club"})["requests"].([]any)
		if len(requests) != 2 || requests[0].(obj)["user"] != "bob" || requests[0].(obj)["message"] != "hi" || requests[1].(obj)["message"] != nil {
			t.Errorf("requests = %s", text(t, requests))
		}
		bob.refused("answerJoin", obj{"group": "club", "user": "bob", "accept": true}, "forbidden")
		alice.call("answerJoin", obj{"group": "club", "user": "bob", "accept": true})
		carol.call("createGroup", obj{"group": "full", "kind": "private"})
		alice.refused("answerJoin", obj{"group": "club", "user": "carol", "accept": true}, "rate_limited")
		alice.call("answerJoin", obj{"group": "club", "user": "carol", "accept": false})
		bob.call("joinGroup", obj{"group": "club"}) // is so already
		if ok := bob.call("getGroup", obj{"group": "club"}); ok["role"] != "member" || number(t, ok, "memberCount") != 2 {
			t.Errorf("getGroup of a member = %s", text(t, ok))
		}
		alice.refused("answerJoin", obj{"group": "club", "user": "dave", "accept": true}, "not_found")
	})
}

func TestWhoCannotBeAdded(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.KnownUsersOnly = true })
		c := enter(e, codec, "alice", "bob", "carol")
		alice, bob, carol := c["alice"], c["bob"], c["carol"]
		bob.call("block", obj{"user": "alice"})
		ok := alice.call("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob", "nobody", "carol", "nobody"}})
		want := `[{"code":"forbidden","user":"bob"},{"code":"not_found","user":"nobody"}]`
		if text(t, ok["failed"]) != want {
			t.Errorf("createGroup = %s, want failed %s", text(t, ok), want)
		}
		ok = alice.call("addMembers", obj{"group": "team", "users": []any{"bob", "nobody"}})
		if text(t, ok) != `{"added":[],"failed":`+want+`}` {
			t.Errorf("addMembers = %s", text(t, ok))
		}
		e.store.mu.Lock()
		e.store.away = "carol"
		e.store.mu.Unlock()
		if ok := alice.call("addMembers", obj{"group": "team", "users": []any{"carol", "bob"}}); text(t, ok["failed"].([]any)[0]) != `{"code":"unavailable","user":"carol"}` {
			t.Errorf("addMembers of who cannot be asked about = %s", text(t, ok))
		}
		// Who may not add does not learn why they could not be added.
		bob.refused("addMembers", obj{"group": "team", "users": []any{"nobody"}}, "forbidden")
		alice.refused("addMembers", obj{"group": "nothing", "users": []any{"nobody"}}, "not_found")
		if ok := carol.call("addMembers", obj{"group": "team", "users": []any{"bob"}}); text(t, ok) != `{"added":["bob"],"failed":[]}` {
			t.Errorf("addMembers by who is not blocked = %s", text(t, ok))
		}
	})
}

func TestGroupRequestsWhileTheStoreIsDown(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := enter(e, codec, "alice")["alice"]
		alice.call("createGroup", obj{"group": "team", "kind": "private"})
		e.store.setDown(true)
		for op, args := range map[string]obj{
			"createGroup": {"kind": "private"}, "joinGroup": {"group": "team"}, "leaveGroup": {"group": "team"},
			"dismissGroup": {"group": "team"}, "answerJoin": {"group": "team", "user": "bob", "accept": true},
			"addMembers": {"group": "team", "users": []any{"bob"}}, "removeMembers": {"group": "team", "users": []any{"bob"}},
			"setMember": {"group": "team", "user": "bob"}, "setGroup": {"group": "team"}, "getGroup": {"group": "team"},
			"getMembers": {"group": "team"}, "getGroups": nil, "send": {"conv": "g:team", "cid": "1", "body": 1},
			"getMessage": {"conv": "g:team"}, "readReport": {"conv": "g:team", "seq": 1}, "recall": {"conv": "g:team", "seq": 1},
			"deleteMessage": {"conv": "g:team", "seqs": []any{1}}, "deleteConversation": {"conv": "g:team"},
			"setConversation": {"conv": "g:team", "muted": true},
		} {
			alice.refused(op, args, "unavailable")
		}
		e.store.setDown(false)
		if groups := alice.call("getGroups", nil)["groups"].([]any); len(groups) != 1 {
			t.Errorf("groups = %s, want the one of before", text(t, groups))
		}
	})
}

// Sends of one session to one group keep their order, however they are mixed
// with sends to users.
func TestGroupSendsKeepTheirOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := enter(e, codec, "alice")["alice"]
		alice.call("createGroup", obj{"group": "team", "kind": "private"})
		e.store.hold()
		var ids []uint64
		for i := range 20 {
			conv := []string{"g:team", "u:bob"}[i%2]
			ids = append(ids, alice.request("send", obj{"conv": conv, "cid": fmt.Sprint(i), "body": i}))
		}
		e.store.release()
		for i, id := range ids {
			if ok, is := alice.reply(id)["ok"].(obj); !is || number(t, ok, "seq") != int64(i/2+1) {
				t.Fatalf("send %d = %v, want seq %d", i, ok, i/2+1)
			}
		}
	})
}

func TestTypingInAGroup(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := enter(e, codec, "alice", "bob")
		c["alice"].call("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
		c["alice"].notice("typing", obj{"conv": "g:team"})
		args := pushed(c["bob"], "onTyping")
		if args["user"] != "alice" || args["conv"] != "g:team" {
			t.Errorf("onTyping = %v", args)
		}
	})
}

// pushed gives the args of the next push of an op, whatever comes before it.
func pushed(c *client, op string) obj {
	c.t.Helper()
	for {
		i := slices.IndexFunc(c.pushes, func(frame obj) bool { return frame["op"] == op })
		if i >= 0 {
			args := c.pushes[i]["args"].(obj)
			c.pushes = c.pushes[i+1:]
			return args
		}
		c.pushes = append(c.pushes[:0], c.next())
	}
}

func TestFailuresOfMembers(t *testing.T) {
	f := make(failures)
	f.add([]command.MemberFailure{{User: "b", Code: command.CodeForbidden}, {User: "d", Code: command.CodeGap}})
	done, failed := f.split([]string{"a", "b", "a", "c", "d", "b"})
	want := []protocol.MemberFailure{{User: "b", Code: protocol.CodeForbidden}, {User: "d", Code: protocol.CodeInternal}}
	if !slices.Equal(done, []string{"a", "c"}) || !slices.Equal(failed, want) {
		t.Errorf("sort = %v, %v; want [a c], %v", done, failed, want)
	}
}
