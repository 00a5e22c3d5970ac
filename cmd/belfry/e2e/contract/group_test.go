package contract

// The contract on groups as such: making, changing and ending them, and what
// their members are told.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractGroupCreate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		desk := w.online(w.alice, "desk", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		properties := obj{"topic": "bells", "icon": []byte{1, 2}, "n": int64(7), "deep": obj{"list": []any{1.5, nil, true}}}
		var ids []any
		for _, kind := range []string{"private", "public", "chatroom"} {
			id := w.user(kind)
			check(t, "createGroup", alice.Request("createGroup", obj{
				"group": id, "kind": kind, "name": "Ringers ✓", "members": []any{w.bob}, "properties": properties,
			}), obj{"group": id, "cursor": someText})
			for _, c := range []*device{alice, desk, bob} {
				c.event(id, "created", w.alice)
			}
			for user, role := range map[string]string{w.alice: "owner", w.bob: "member"} {
				c := map[string]*device{w.alice: desk, w.bob: bob}[user]
				checkHas(t, "getGroup", c.Request("getGroup", obj{"group": id}), obj{
					"group": id, "kind": kind, "name": "Ringers ✓", "owner": w.alice, "memberCount": 2, "lastSeq": 0,
					"role": role, "properties": properties,
				})
			}
			check(t, "members", bob.members(id), obj{w.alice: "owner", w.bob: "member"})
			carol.Refused("createGroup", obj{"group": id, "kind": kind}, "conflict")
			ids = append(ids, id)
		}
		w.listed(w.alice, w.user("chatroom"), true)
		w.listed(w.bob, w.user("chatroom"), true)
		for _, c := range []*device{alice, bob} {
			check(t, "getGroups of "+c.User, sorted(texts(c.groups()...)), sorted(ids))
			for _, e := range c.Request("getGroups", nil)["groups"].([]any) {
				checkHas(t, "getGroups", e.(obj), obj{
					"kind": strings.TrimSuffix(e.(obj)["group"].(string), w.user("")), "name": "Ringers ✓", "owner": w.alice,
				})
			}
		}
		check(t, "getGroups of a stranger", carol.Request("getGroups", nil), obj{"groups": []any{}, "more": false})

		// Without a name it is made up, each time another. Members are a set.
		args := obj{"kind": "private", "members": []any{w.alice, w.bob, w.bob}}
		first := alice.RequestAs(5000, "createGroup", args)
		again := alice.RequestAs(5000, "createGroup", args) // a repeat
		check(t, "the same request again", again, first)
		other := alice.RequestAs(5001, "createGroup", args)
		id := wstest.Str(t, first, "group")
		if len(id) < 1 || len(id) > 48 || strings.ContainsAny(id, " \t") || other["group"] == id {
			t.Errorf("groups %q and %q were made up", id, other["group"])
		}
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member"})
		bob.event(id, "created", w.alice)
		bob.event(wstest.Str(t, other, "group"), "created", w.alice)
		bob.Idle()
		carol.Idle()
	})
}

// Every property of a kind can be set when the group is made.
func TestContractGroupProperties(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		// A chatroom that is not one: by approval, for two, with unread, since join.
		id := alice.group("chatroom", obj{"join": "approve", "maxMembers": 2, "unread": true, "history": "sinceJoin"})
		alice.tells(id, "before")
		check(t, "joinGroup", bob.Request("joinGroup", obj{"group": id}), obj{"pending": true})
		alice.event(id, "joinRequested", w.bob, w.bob)
		alice.Request("answerJoin", obj{"group": id, "user": w.bob, "accept": true})
		bob.event(id, "joined", w.alice, w.bob)
		bob.Refused("addMembers", obj{"group": id, "users": []any{w.carol}}, "forbidden")
		check(t, "addMembers beyond maxMembers", alice.Request("addMembers", obj{"group": id, "users": []any{w.carol}}),
			obj{"added": []any{}, "failed": failures("rate_limited", w.carol)})
		m := alice.tells(id, "m2")
		bob.hears(m...)
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "g:" + id}),
			page(1, 2, false, objs(m...), gap(1, 1, "notMember")))
		w.listed(w.bob, id, true)
		fresh := w.login(w.bob, "fresh", nil)
		check(t, "unreadTotal", syncedIn(fresh.Pushes())["unreadTotal"], 1)

		// A private group that anybody may join, who then reads all of it, unread by
		// nobody.
		id = alice.group("private", obj{"join": "open", "history": "all", "unread": false})
		old := alice.tells(id, "old")
		check(t, "joinGroup", bob.Request("joinGroup", obj{"group": id}), obj{"cursor": someText})
		bob.event(id, "joined", w.bob, w.bob)
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "g:" + id}), page(1, 1, false, objs(old...)))

		// A public one by invitation, of any member.
		id = alice.group("public", obj{"join": "invite", "members": []any{w.bob}})
		w.online(w.carol, "phone", nil).Refused("joinGroup", obj{"group": id}, "forbidden")
		check(t, "addMembers", bob.Request("addMembers", obj{"group": id, "users": []any{w.carol}}),
			obj{"added": []any{w.carol}, "failed": []any{}})
		for _, bad := range []obj{
			{"join": "sometimes"}, {"join": 1}, {"history": "some"}, {"unread": "yes"}, {"maxMembers": -1}, {"maxMembers": "2"},
		} {
			err := alice.Refused("createGroup", with(bad, obj{"kind": "public"}), "bad_request")
			for field := range bad {
				namesField(t, err, field)
			}
		}
	})
}

func TestContractGroupSet(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		dave := w.online(w.user("dave"), "phone", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol)
		for _, c := range []*device{bob, carol} {
			c.event(id, "created", w.alice)
		}
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "admin"})
		for _, c := range []*device{alice, bob, carol} {
			c.event(id, "roleChanged", w.alice, w.bob)
		}
		known := obj{"group": id, "kind": "private", "name": "", "owner": w.alice, "memberCount": 3, "lastSeq": 0, "properties": obj{}}
		for _, set := range []obj{
			{"name": "a"}, {"properties": obj{"k": "v"}}, {"name": "", "properties": obj{}}, {"name": "b", "properties": obj{"k": []any{}}},
		} {
			check(t, "setGroup", alice.Request("setGroup", with(set, obj{"group": id})), obj{})
			for key, value := range set {
				known[key] = value
			}
			for _, c := range []*device{alice, bob, carol} {
				c.event(id, "changed", w.alice)
				checkHas(t, "getGroup", c.Request("getGroup", obj{"group": id}), known)
			}
		}
		for _, set := range []obj{{"name": "c"}, {"properties": obj{}}, {"owner": w.carol}} {
			carol.Refused("setGroup", with(set, obj{"group": id}), "forbidden")
			dave.Refused("setGroup", with(set, obj{"group": id}), "forbidden")
			dave.Refused("setGroup", with(set, obj{"group": "no.such.group"}), "not_found")
		}

		// Only the owner transfers, and only to a member, who has to accept.
		bob.Refused("setGroup", obj{"group": id, "owner": w.bob}, "forbidden")
		alice.Refused("setGroup", obj{"group": id, "owner": dave.User}, "not_found")
		for _, c := range []*device{bob, carol} {
			c.Refused("answerOwner", obj{"group": id, "accept": true}, "not_found")
			check(t, "a refusal of nothing", c.Request("answerOwner", obj{"group": id, "accept": false}), obj{})
		}
		dave.Refused("answerOwner", obj{"group": id, "accept": true}, "forbidden")
		offer := func(to string) {
			t.Helper()
			check(t, "offer", alice.Request("setGroup", obj{"group": id, "owner": to}), obj{"pending": true})
			check(t, "offer again", alice.Request("setGroup", obj{"group": id, "owner": to}), obj{"pending": true})
			for _, c := range []*device{alice, bob, carol} {
				c.event(id, "ownerOffered", w.alice, to)
				checkHas(t, "getGroup", c.Request("getGroup", obj{"group": id}), obj{"owner": w.alice, "ownerOffered": to})
			}
		}
		none := func(by string) {
			t.Helper()
			for _, c := range []*device{alice, bob, carol} {
				c.event(id, "ownerOffered", by)
				if group := c.Request("getGroup", obj{"group": id}); group["owner"] != w.alice || group["ownerOffered"] != nil {
					t.Errorf("getGroup after an offer is over = %v", group)
				}
			}
		}
		offer(w.carol)
		carol.Request("answerOwner", obj{"group": id, "accept": false})
		none(w.carol)
		offer(w.bob)
		check(t, "an offer withdrawn", alice.Request("setGroup", obj{"group": id, "owner": w.alice}), obj{})
		none(w.alice)
		bob.Refused("answerOwner", obj{"group": id, "accept": true}, "not_found")
		offer(w.bob)
		offer(w.carol)
		bob.Refused("answerOwner", obj{"group": id, "accept": true}, "not_found")
		check(t, "transfer", carol.Request("answerOwner", obj{"group": id, "accept": true}), obj{})
		check(t, "transfer again", carol.Request("answerOwner", obj{"group": id, "accept": true}), obj{})
		for _, c := range []*device{alice, bob, carol} {
			checkHas(t, "getGroup", c.Request("getGroup", obj{"group": id}), obj{"owner": w.carol})
			p := c.Expect("onGroupEvent")
			checkHas(t, "onGroupEvent of a transfer", p, obj{"group": id, "by": w.carol, "time": someInt})
			if e := p["event"]; e != "roleChanged" {
				t.Errorf("onGroupEvent of a transfer = %v", p)
			}
		}
		if roles := bob.members(id); roles[w.carol] != "owner" || roles[w.alice] == "owner" || roles[w.bob] != "admin" {
			t.Errorf("roles after a transfer: %v", roles)
		}
		alice.Refused("dismissGroup", obj{"group": id}, "forbidden")
		carol.Request("setGroup", obj{"group": id, "name": "mine"})
		for _, c := range []*device{alice, bob, carol} {
			c.event(id, "changed", w.carol)
			c.Idle()
		}
		dave.Idle()
	})
}

func TestContractGroupDismiss(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t)
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.user("belfry")
		alice.Request("createGroup", obj{"group": id, "kind": "private", "members": []any{w.bob, w.carol}})
		w.listed(w.bob, id, true)
		for _, c := range []*device{alice, bob, carol} {
			c.event(id, "created", w.alice)
		}
		m := alice.tells(id, "m1", "m2", "m3")
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "admin"})
		for _, c := range []*device{alice, bob, carol} {
			c.event(id, "roleChanged", w.alice, w.bob)
		}
		for _, c := range []*device{bob, carol} {
			c.hears(m...)
			c.Refused("dismissGroup", obj{"group": id}, "forbidden")
		}
		w.online(w.user("dave"), "phone", nil).Refused("dismissGroup", obj{"group": id}, "forbidden")
		for range 2 { // a repeat
			check(t, "dismissGroup", alice.RequestAs(7000, "dismissGroup", obj{"group": id}), obj{})
		}
		for _, c := range []*device{alice, bob, carol} {
			c.event(id, "dismissed", w.alice)
			for _, op := range []string{"getMessage", "send", "readReport"} {
				c.Refused(op, obj{"conv": "g:" + id, "cid": "x", "body": 1, "seq": 1}, "not_found")
			}
			for _, op := range []string{"getGroup", "getMembers", "joinGroup"} {
				c.Refused(op, obj{"group": id}, "not_found")
			}
			w.listed(c.User, id, false)
			check(t, "getRecents", c.Request("getRecents", nil), obj{"conversations": []any{}})
			fresh := w.login(c.User, "fresh", nil)
			all := fresh.Pushes()
			check(t, "messages", messagesIn(all), []any{})
			check(t, "onSynced", syncedIn(all), syncedArgs(0, 0))
			c.Idle()
		}

		// The id stays taken for 30 days, and goes on with its seq.
		again := obj{"group": id, "kind": "public"}
		bob.Refused("createGroup", again, "conflict")
		w.PassTime(29 * 24 * 60 * 60 * 1e9)
		bob = w.online(w.bob, "later", nil)
		bob.Refused("createGroup", again, "conflict")
		w.PassTime(25 * 60 * 60 * 1e9)
		bob = w.online(w.bob, "much later", nil)
		check(t, "createGroup after 30 days", bob.Request("createGroup", again), obj{"group": id, "cursor": someText})
		bob.event(id, "created", w.bob)
		check(t, "members", bob.members(id), obj{w.bob: "owner"})
		next := bob.tells(id, "m4")
		check(t, "seq", next[0].reply["seq"], 4)
		got := bob.Request("getMessage", obj{"conv": "g:" + id})
		check(t, "messages", got["messages"], objs(next...))
		check(t, "covered", []any{got["from"], got["to"], got["more"]}, []any{1, 4, false})
	})
}

// Its last owner may make a dismissed group again at once. What was said before
// is gone.
func TestContractGroupMadeAgain(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		id := w.user("belfry")
		made := obj{"group": id, "kind": "chatroom", "members": []any{w.bob}}
		for round := range 3 {
			check(t, "createGroup", alice.Request("createGroup", made), obj{"group": id, "cursor": someText})
			for _, c := range []*device{alice, bob} {
				c.event(id, "created", w.alice)
			}
			m := alice.tells(id, "m1", "m2")
			check(t, "seq", m[0].reply["seq"], 2*round+1)
			bob.hears(m...)
			check(t, "messages", bob.Request("getMessage", obj{"conv": "g:" + id})["messages"], objs(m...))
			for _, c := range []*device{alice, bob} {
				w.listed(c.User, id, true)
			}
			alice.Request("dismissGroup", obj{"group": id})
			for _, c := range []*device{alice, bob} {
				c.event(id, "dismissed", w.alice)
				c.Idle()
			}
		}
		bob.Refused("createGroup", made, "conflict")
	})
}

// Every op of the table, with one thing wrong at a time.
func TestContractGroupArguments(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := alice.group("public", obj{"name": "before", "members": []any{w.bob}})
		before := alice.Request("getGroup", obj{"group": id})
		good := map[string]obj{
			"createGroup":   {"group": w.user("other"), "kind": "public"},
			"joinGroup":     {"group": id},
			"leaveGroup":    {"group": id},
			"dismissGroup":  {"group": id},
			"answerJoin":    {"group": id, "user": w.carol, "accept": true},
			"addMembers":    {"group": id, "users": []any{w.carol}},
			"removeMembers": {"group": id, "users": []any{w.bob}},
			"setMember":     {"group": id, "user": w.bob, "role": "admin"},
			"setGroup":      {"group": id, "name": "after"},
			"getGroup":      {"group": id},
			"getMembers":    {"group": id},
		}
		long := strings.Repeat("x", 65)
		ids := []any{7, "", "a b", "grüße", strings.Repeat("g", 49), "a\tb", []any{}}
		users := []any{missing, 7, "", "b b", "bøb", long}
		many := make([]any, 101)
		for i := range many {
			many[i] = fmt.Sprintf("user%d", i)
		}
		lists := []any{missing, 7, "bob", []any{}, many, []any{7}, []any{"b b"}, []any{""}, obj{}}
		names := []any{7, strings.Repeat("x", 257), strings.Repeat("ü", 129), []any{}}
		type bad struct {
			op, field string
			values    []any
		}
		cases := []bad{
			{"createGroup", "kind", []any{missing, "", "Private", "group", 7}},
			{"createGroup", "name", names},
			{"createGroup", "members", []any{7, "bob", []any{7}, []any{"b b"}, []any{""}}},
			{"createGroup", "properties", []any{7, "x", []any{}, true}},
			{"answerJoin", "user", users},
			{"answerJoin", "accept", []any{missing, "yes", 1}},
			{"addMembers", "users", lists},
			{"removeMembers", "users", lists},
			{"setMember", "user", users},
			{"setMember", "role", []any{"owner", "boss", "", 7}},
			{"setMember", "mutedUntil", []any{"1", 1.5, -1, true}},
			{"setGroup", "name", names},
			{"setGroup", "properties", []any{7, "x", []any{}, true}},
			{"setGroup", "owner", []any{7, "b b", long}},
			{"getMembers", "after", []any{7, "b b", long}},
			{"getMembers", "limit", []any{0, -1, 101, "20", 1.5}},
			{"getGroups", "after", []any{7, "b b", long}},
			{"getGroups", "limit", []any{0, -1, 101, "20", 1.5}},
		}
		for op := range good {
			values := ids
			if op != "createGroup" {
				values = append([]any{missing, nil}, ids...)
			}
			cases = append(cases, bad{op, "group", values})
		}
		for _, c := range cases {
			for _, value := range c.values {
				args := with(good[c.op], obj{c.field: value})
				if value == missing {
					delete(args, c.field)
				}
				if value == "" && c.op == "createGroup" && c.field == "group" {
					continue // as if absent, or not
				}
				namesField(t, alice.Refused(c.op, args, "bad_request"), c.field)
			}
		}
		// What is too large is named too, by one code or the other.
		for _, op := range []string{"createGroup", "setGroup"} {
			_, err := alice.Try(op, with(good[op], obj{"properties": obj{"k": strings.Repeat("x", 8<<10)}}))
			if err == nil || err.Code != "bad_request" && err.Code != "too_large" {
				t.Errorf("%s with properties beyond 8 KiB: %v", op, err)
			} else {
				namesField(t, err, "properties")
			}
		}
		for op, args := range good {
			if op != "createGroup" {
				alice.Refused(op, with(args, obj{"group": "no.such.group"}), "not_found")
			}
			for i, args := range []any{[]any{}, "args", 7, true} {
				frame, err := w.codec.Encode(obj{"id": 1_000_000 + i, "op": op, "args": args})
				alice.Must(err, "encode")
				if _, refusal := alice.Answer(int64(1_000_000+i), frame); refusal == nil || refusal.Code != "bad_request" {
					t.Errorf("%s with args %v: %v, want bad_request", op, args, refusal)
				}
			}
		}
		check(t, "getGroup", alice.Request("getGroup", obj{"group": id}), before)
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member"})
		check(t, "groups", texts(alice.groups()...), []any{id})

		// And what is just small enough.
		fits := obj{"k": strings.Repeat("x", 8<<10-16)}
		alice.Request("setGroup", obj{"group": id, "name": strings.Repeat("ü", 128), "properties": fits})
		checkHas(t, "getGroup", alice.Request("getGroup", obj{"group": id}), obj{"name": strings.Repeat("ü", 128), "properties": fits})
		alice.group("private", obj{"group": strings.Repeat("g", 48-len(w.user(""))) + w.user("")})
	})
}

func TestContractGroupsBeforeLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.Start(t), wstest.JSON)
	c := w.device(t, w.bob, "phone", w.codec)
	c.Connect(wstest.DialOptions{})
	for _, op := range []string{
		"createGroup", "joinGroup", "leaveGroup", "dismissGroup", "answerJoin", "addMembers", "removeMembers", "setMember",
		"setGroup", "getGroup", "getMembers", "getGroups",
	} {
		c.Refused(op, obj{"group": "team"}, "unauthorized")
	}
}
