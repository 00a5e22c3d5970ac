package contract

// The contract on who is in a group, who may do what there, and what the others
// are told.

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func added(users ...string) obj { return obj{"added": texts(users...), "failed": []any{}} }

func removed(users ...string) obj { return obj{"removed": texts(users...), "failed": []any{}} }

// invite adds one user and requires that it works.
func (c *device) invite(group, user string) {
	c.T.Helper()
	check(c.T, "addMembers", c.Request("addMembers", obj{"group": group, "users": []any{user}}), added(user))
}

func TestContractGroupPrivate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		dave := w.online(w.user("dave"), "phone", nil)
		erin := w.online(w.user("erin"), "phone", nil)
		all := []*device{alice, bob, carol, dave}
		id := alice.group("private", nil)
		group := obj{"group": id}

		// By a member's invitation, of any member.
		for _, c := range all[1:] {
			c.Refused("joinGroup", group, "forbidden")
			c.Refused("addMembers", obj{"group": id, "users": []any{c.User}}, "forbidden")
		}
		alice.invite(id, w.bob)
		bob.invite(id, w.carol)
		carol.invite(id, dave.User)
		for i, c := range all {
			for j := max(i, 1); j < len(all); j++ {
				c.event(id, "joined", all[j-1].User, all[j].User)
			}
		}
		check(t, "members", dave.members(id), obj{w.alice: "owner", w.bob: "member", w.carol: "member", dave.User: "member"})
		// So already: ok, and nobody is told.
		check(t, "addMembers of a member", bob.Request("addMembers", obj{"group": id, "users": []any{w.carol}})["failed"], []any{})
		check(t, "joinGroup of a member", bob.Request("joinGroup", group), obj{"cursor": someText})

		// Owner and admins remove, and not the owner.
		for _, c := range all[1:] {
			c.Refused("removeMembers", obj{"group": id, "users": []any{w.alice}}, "forbidden")
		}
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "admin"})
		for _, c := range all {
			c.event(id, "roleChanged", w.alice, w.bob)
		}
		check(t, "removeMembers", bob.Request("removeMembers", obj{"group": id, "users": []any{w.alice, dave.User}}),
			obj{"removed": []any{dave.User}, "failed": failures("forbidden", w.alice)})
		for _, c := range all {
			c.event(id, "removed", w.bob, dave.User)
		}
		dave.outside(id)
		carol.Refused("removeMembers", obj{"group": id, "users": []any{w.bob}}, "forbidden")
		carol.Refused("removeMembers", obj{"group": id, "users": []any{erin.User}}, "forbidden")
		erin.Refused("removeMembers", obj{"group": id, "users": []any{w.bob}}, "forbidden")

		// Removed is no ban: a member may invite again.
		carol.invite(id, dave.User)
		for _, c := range all {
			c.event(id, "joined", w.carol, dave.User)
		}
		check(t, "leaveGroup", dave.Request("leaveGroup", group), obj{})
		for _, c := range all {
			c.event(id, "left", dave.User, dave.User)
		}
		dave.outside(id)
		check(t, "leaveGroup of no member", dave.Request("leaveGroup", group), obj{})
		check(t, "leaveGroup of no member", erin.Request("leaveGroup", group), obj{})
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "admin", w.carol: "member"})

		// Only members are told anything.
		m := carol.tells(id, "m1")
		alice.hears(m...)
		bob.hears(m...)
		for _, c := range append(all, erin) {
			c.Idle()
		}
	})
}

// outside requires that a group is closed to c's user.
func (c *device) outside(group string) {
	c.T.Helper()
	conv := "g:" + group
	for op, args := range map[string]obj{
		"send":          {"conv": conv, "cid": "x", "body": 1},
		"getMessage":    {"conv": conv},
		"readReport":    {"conv": conv, "seq": 1},
		"recall":        {"conv": conv, "seq": 1},
		"deleteMessage": {"conv": conv, "seqs": []any{1}},
		"getMembers":    {"group": group},
		"setMember":     {"group": group, "user": c.User, "role": "admin"},
		"setGroup":      {"group": group, "name": "x"},
		"dismissGroup":  {"group": group},
		"answerJoin":    {"group": group, "user": c.User, "accept": true},
	} {
		c.Refused(op, args, "forbidden")
	}
	if entry := entryOf(conv, c.Request("getRecents", nil)["conversations"]); entry != nil {
		c.T.Errorf("%s: getRecents has %v", c.Name(), entry)
	}
}

func TestContractGroupPublic(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		dave := w.online(w.user("dave"), "phone", nil)
		erin := w.online(w.user("erin"), "phone", nil)
		id := w.groupOf(alice, "public", w.bob, w.carol)
		group := obj{"group": id}
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "admin"})
		alice.event(id, "roleChanged", w.alice, w.bob)
		for _, c := range []*device{bob, carol} {
			c.event(id, "created", w.alice)
			c.event(id, "roleChanged", w.alice, w.bob)
		}

		pending := obj{"pending": true}
		for range 2 { // a repeat
			check(t, "joinGroup", dave.RequestAs(5000, "joinGroup", with(group, obj{"message": "let me in"})), pending)
		}
		for _, c := range []*device{alice, bob} { // owner and admins only
			c.event(id, "joinRequested", dave.User, dave.User)
		}
		dave.outside(id)
		answer := func(user string, accept bool) obj { return obj{"group": id, "user": user, "accept": accept} }
		carol.Refused("answerJoin", answer(dave.User, true), "forbidden")
		erin.Refused("answerJoin", answer(dave.User, true), "forbidden")
		carol.Refused("addMembers", obj{"group": id, "users": []any{dave.User}}, "forbidden")

		// Refused: the user is told nothing, and may ask again.
		check(t, "answerJoin", bob.Request("answerJoin", answer(dave.User, false)), obj{})
		dave.outside(id)
		check(t, "joinGroup again", dave.Request("joinGroup", group), pending)
		for _, c := range []*device{alice, bob} {
			c.event(id, "joinRequested", dave.User, dave.User)
		}
		for range 2 {
			check(t, "answerJoin", bob.RequestAs(5000, "answerJoin", answer(dave.User, true)), obj{})
		}
		for _, c := range []*device{alice, bob, carol, dave} {
			c.event(id, "joined", w.bob, dave.User)
		}
		check(t, "answerJoin of a member", alice.Request("answerJoin", answer(dave.User, true)), obj{})
		alice.Refused("answerJoin", answer(erin.User, true), "not_found") // who asked nothing
		check(t, "members", dave.members(id), obj{w.alice: "owner", w.bob: "admin", w.carol: "member", dave.User: "member"})

		// Who is an admin no more hears of requests no more.
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "member"})
		alice.Request("setMember", obj{"group": id, "user": w.carol, "role": "admin"})
		for _, c := range []*device{alice, bob, carol, dave} {
			c.event(id, "roleChanged", w.alice, w.bob)
			c.event(id, "roleChanged", w.alice, w.carol)
		}
		check(t, "joinGroup", erin.Request("joinGroup", group), pending)
		for _, c := range []*device{alice, carol} {
			c.event(id, "joinRequested", erin.User, erin.User)
		}
		carol.invite(id, erin.User) // an admin adds, which settles the request
		for _, c := range []*device{alice, bob, carol, dave, erin} {
			c.event(id, "joined", w.carol, erin.User)
		}
		for _, c := range []*device{alice, bob, carol, dave, erin} {
			c.Idle()
		}
	})
}

func TestContractGroupChatroom(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		id := alice.group("chatroom", nil)
		group := obj{"group": id}
		old := alice.tells(id, "old")
		bob.outside(id)
		for range 2 { // a repeat
			check(t, "joinGroup", bob.RequestAs(5000, "joinGroup", group), obj{"cursor": someText})
		}
		check(t, "joinGroup of a member", bob.Request("joinGroup", group), obj{"cursor": someText})
		for _, c := range []*device{alice, bob, laptop} { // all devices
			c.event(id, "joined", w.bob, w.bob)
		}
		m := alice.tells(id, "m2")
		bob.hears(m...)
		laptop.hears(m...)
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "g:" + id}), page(1, 2, false, objs(append(old, m...)...)))
		mine := bob.tells(id, "m3")
		alice.hears(mine...)
		laptop.hears(mine...) // the sender's other device
		check(t, "onReadReport of a send", laptop.Expect("onReadReport"), obj{"conv": "g:" + id, "seq": 3})

		// No unread: nothing is counted, reports are taken all the same.
		check(t, "readReport", bob.Request("readReport", obj{"conv": "g:" + id, "seq": 1}), obj{"unread": 0})
		w.listed(w.bob, id, true)
		fresh := w.login(w.bob, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages", messagesIn(all), objs(mine...)) // through recents
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, groupEntry(mine[0], 3, -1)))
		fresh.Logout()

		for range 2 {
			check(t, "leaveGroup", bob.RequestAs(5001, "leaveGroup", group), obj{})
		}
		for _, c := range []*device{alice, bob, laptop} {
			c.event(id, "left", w.bob, w.bob)
		}
		alice.tells(id, "after")
		bob.outside(id)
		for _, c := range []*device{alice, bob, laptop} {
			c.Idle()
		}
	})
}

func TestContractGroupRoles(t *testing.T) {
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
		set := func(c *device, user string, what obj) {
			t.Helper()
			check(t, "setMember", c.Request("setMember", with(what, obj{"group": id, "user": user})), obj{})
		}
		told := func(event, by, user string) {
			t.Helper()
			for _, c := range []*device{alice, bob, carol} {
				c.event(id, event, by, user)
			}
		}
		role := func(r string) obj { return obj{"role": r} }
		muted := func(until int64) obj { return obj{"mutedUntil": until} }
		for _, c := range []*device{bob, carol, dave} {
			for _, what := range []obj{role("admin"), muted(1 << 50)} {
				c.Refused("setMember", with(what, obj{"group": id, "user": w.carol}), "forbidden")
			}
		}
		alice.Refused("setMember", obj{"group": id, "user": dave.User, "role": "admin"}, "not_found")
		set(alice, w.bob, role("admin"))
		told("roleChanged", w.alice, w.bob)
		set(alice, w.bob, role("admin")) // so already
		checkHas(t, "getGroup", bob.Request("getGroup", obj{"group": id}), obj{"role": "admin"})

		// Muted, by an admin: nothing they send is taken, and they still hear all.
		conv := "g:" + id
		set(bob, w.carol, muted(1<<50))
		told("muted", w.bob, w.carol)
		carol.Refused("send", obj{"conv": conv, "cid": "1", "body": "x"}, "forbidden")
		carol.Refused("send", obj{"conv": conv, "cid": "1", "body": "x", "ttl": 0}, "forbidden")
		m := alice.tells(id, "m1")
		carol.hears(m...)
		bob.hears(m...)
		for _, e := range alice.Request("getMembers", obj{"group": id})["members"].([]any) {
			if user := e.(obj)["user"]; user == w.carol {
				check(t, "member", e, obj{"user": w.carol, "role": "member", "mutedUntil": 1 << 50})
			}
		}
		carol.Refused("setMember", obj{"group": id, "user": w.carol, "mutedUntil": 0}, "forbidden")
		set(bob, w.carol, muted(0))
		told("muted", w.bob, w.carol)
		m = append(m, carol.tells(id, "m2")...)
		// Until a time: after it they may write.
		now := wstest.Num(t, alice.Request("ping", nil), "serverTime")
		set(alice, w.carol, muted(now+2000))
		told("muted", w.alice, w.carol)
		carol.Refused("send", obj{"conv": conv, "cid": "m3", "body": "x"}, "forbidden")
		w.passed(carol, now+2000)
		m = append(m, carol.tells(id, "m4")...)
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": conv}), page(1, 3, false, objs(m...)))
		alice.hears(m[1:]...)
		bob.hears(m[1:]...)

		// An admin promotes neither the owner nor themself.
		for _, what := range []obj{role("member"), muted(1 << 50)} {
			bob.Refused("setMember", with(what, obj{"group": id, "user": w.alice}), "forbidden")
		}
		set(alice, w.bob, role("member"))
		told("roleChanged", w.alice, w.bob)
		bob.Refused("setMember", with(muted(1<<50), obj{"group": id, "user": w.carol}), "forbidden")
		check(t, "members", bob.members(id), obj{w.alice: "owner", w.bob: "member", w.carol: "member"})
		for _, c := range []*device{alice, bob, carol, dave} {
			c.Idle()
		}
	})
}

func TestContractGroupMemberPages(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		all := obj{w.alice: "owner"}
		var users []any
		for i := range 120 {
			users = append(users, w.user(fmt.Sprintf("user%03d", i)))
			all[users[i].(string)] = "member"
		}
		id := alice.group("private", obj{"members": users})
		check(t, "members", alice.members(id), all)
		checkHas(t, "getGroup", alice.Request("getGroup", obj{"group": id}), obj{"memberCount": 121})
		seen, after := map[any]bool{}, ""
		for pages := 1; ; pages++ {
			args := obj{"group": id} // 20 by default
			if after != "" {
				args["after"] = after
			}
			reply := alice.Request("getMembers", args)
			members := reply["members"].([]any)
			check(t, "members of a page", len(members), min(20, 121-20*(pages-1)))
			for _, e := range members {
				after = e.(obj)["user"].(string)
				seen[after] = true
			}
			if reply["more"] != true {
				check(t, "pages", pages, 7)
				break
			}
		}
		check(t, "users on all pages", len(seen), 121)
		check(t, "removeMembers", len(alice.Request("removeMembers", obj{"group": id, "users": users[:100]})["removed"].([]any)), 100)
		check(t, "members", len(alice.members(id)), 21)
	})
}

// Block keeps its user out of groups that the blocked one fills.
func TestContractGroupBlocked(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		bob.Request("block", obj{"user": w.alice})
		check(t, "onBlocked", bob.Expect("onBlocked"), obj{"user": w.alice, "blocked": true})
		// Alice's shard has heard of it once she cannot write to him.
		sends := 0
		wstest.Eventually(t, "alice is blocked", func() bool {
			sends++ // a repeat of one that was stored would never be refused
			_, err := alice.Try("send", obj{"conv": "u:" + w.bob, "cid": fmt.Sprint(sends), "body": "x"})
			return err != nil && err.Code == "forbidden"
		})
		id := alice.group("private", obj{"members": []any{w.carol}})
		check(t, "addMembers", alice.Request("addMembers", obj{"group": id, "users": []any{w.bob, w.user("dave")}}),
			obj{"added": []any{w.user("dave")}, "failed": failures("forbidden", w.bob)})
		// Nor by making a group: refused, or made without him.
		if reply, err := alice.Try("createGroup", obj{"kind": "private", "members": []any{w.bob}}); err == nil {
			check(t, "members", alice.members(wstest.Str(t, reply, "group")), obj{w.alice: "owner"})
		} else if err.Code != "forbidden" {
			t.Errorf("createGroup with who blocks: %v", err)
		}
		check(t, "getGroups", bob.Request("getGroups", nil), obj{"groups": []any{}, "more": false})
		bob.Idle()

		// Somebody else may add them, and unblocked they can be added.
		carol := w.online(w.carol, "phone", nil)
		carol.invite(id, w.bob)
		bob.event(id, "joined", w.carol, w.bob)
		alice.Request("removeMembers", obj{"group": id, "users": []any{w.bob}})
		bob.event(id, "removed", w.alice, w.bob)
		bob.Request("unblock", obj{"user": w.alice})
		wstest.Eventually(t, "bob can be added", func() bool {
			return len(alice.Request("addMembers", obj{"group": id, "users": []any{w.bob}})["failed"].([]any)) == 0
		})
		bob.event(id, "joined", w.alice, w.bob)
	})
}

// With --open-users=false only who has logged in can be added.
func TestContractGroupOpenUsers(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--open-users=false"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		w.online(w.bob, "phone", nil).Logout()
		id := alice.group("private", nil)
		check(t, "addMembers", alice.Request("addMembers", obj{"group": id, "users": []any{w.bob, w.carol}}),
			obj{"added": []any{w.bob}, "failed": failures("not_found", w.carol)})
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member"})
	})
}

func TestContractGroupPresence(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		asked := obj{"users": []any{w.bob}}
		check(t, "presence of a stranger", alice.Request("getPresence", asked), obj{"presence": obj{}})
		id := w.groupOf(alice, "private", w.bob)
		bob.event(id, "created", w.alice)
		w.listed(w.alice, id, true)
		check(t, "presence of who was put there", alice.Request("getPresence", asked), obj{"presence": obj{}})
		check(t, "presence of who made it", bob.Request("getPresence", obj{"users": []any{w.alice}}),
			obj{"presence": obj{w.alice: obj{"online": true, "lastSeen": someInt}}})
		bob.Request("send", obj{"conv": "g:" + id, "cid": "c", "body": "here I am"})
		alice.LiveMessage()
		online := obj{"presence": obj{w.bob: obj{"online": true, "lastSeen": someInt}}}
		wstest.Eventually(t, "bob is seen", func() bool { return difference(alice.Request("getPresence", asked), online) == "" })
		check(t, "subscribePresence", alice.Request("subscribePresence", asked), online)
		bob.Logout()
		check(t, "onPresence", alice.Expect("onPresence"), obj{"user": w.bob, "status": "offline", "time": someInt})
		alice.Request("removeMembers", obj{"group": id, "users": []any{w.bob}})
		w.listed(w.bob, id, false)
		check(t, "presence of who left", alice.Request("getPresence", asked), obj{"presence": obj{}})
	})
}

func TestContractGroupTyping(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "private", w.bob)
		bob.event(id, "created", w.alice)
		w.listed(w.alice, id, true)
		carol.Notice("typing", obj{"conv": "g:" + id}) // no member
		carol.Request("ping", nil)
		alice.Notice("typing", obj{"conv": "g:" + id})
		check(t, "onTyping", bob.Expect("onTyping"), obj{"user": w.alice, "conv": "g:" + id, "time": someInt})
		for _, c := range []*device{alice, bob, carol} {
			c.Idle()
		}
	})
}
