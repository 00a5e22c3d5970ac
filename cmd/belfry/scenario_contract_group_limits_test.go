package main

// The contract on what is limited: members, groups of a user, messages to a
// group.

import (
	"errors"
	"fmt"
	"testing"
)

// limited requires a refusal that says when to try again.
func (c *wsClient) limited(op string, args obj) {
	c.t.Helper()
	if err := c.refused(op, args, "rate_limited"); err.RetryAfterMS <= 0 {
		c.t.Errorf("%s: %s %v: rate_limited without retryAfterMs: %v", c.name(), op, args, err)
	}
}

func TestContractGroupMembersLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startServer(t, "--group-change-rate=20:4000"), codecMsgpack) // and so many new users at once
	alice := w.online(w.alice, "phone", nil)
	bob := w.online(w.bob, "phone", nil)
	var users []any
	for i := range 2000 {
		users = append(users, w.user(fmt.Sprintf("user%d", i)))
	}
	id := alice.group("private", obj{"members": users[:199]})
	check(t, "addMembers beyond 200", alice.request("addMembers", obj{"group": id, "users": []any{w.bob}}),
		obj{"added": []any{}, "failed": failures("rate_limited", w.bob)})
	check(t, "removeMembers", alice.request("removeMembers", obj{"group": id, "users": users[:1]}), removed(users[0].(string)))
	check(t, "addMembers up to 200", alice.request("addMembers", obj{"group": id, "users": []any{w.bob, w.carol}}),
		obj{"added": []any{w.bob}, "failed": failures("rate_limited", w.carol)})
	bob.event(id, "joined", w.alice, w.bob)
	check(t, "members", len(alice.members(id)), 200)

	id = alice.group("public", obj{"members": users[:499]})
	for at := 499; at < 1999; at += 100 {
		part := users[at:min(at+100, 1999)]
		check(t, "addMembers", alice.request("addMembers", obj{"group": id, "users": part})["failed"], []any{})
	}
	checkHas(t, "getGroup", alice.request("getGroup", obj{"group": id}), obj{"memberCount": 2000})
	check(t, "addMembers beyond 2,000", alice.request("addMembers", obj{"group": id, "users": users[1999:]}),
		obj{"added": []any{}, "failed": failures("rate_limited", users[1999].(string))})
	m := alice.tells(id, "m1") // all of them are members
	check(t, "seq", m[0].reply["seq"], 1)

	// A room that is full.
	id = alice.group("chatroom", obj{"maxMembers": 2})
	bob.request("joinGroup", obj{"group": id})
	carol := w.online(w.carol, "phone", nil)
	carol.limited("joinGroup", obj{"group": id})
	bob.request("leaveGroup", obj{"group": id})
	check(t, "joinGroup", carol.request("joinGroup", obj{"group": id}), obj{"cursor": someText})
}

func TestContractGroupsOfUser(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t, "--max-groups=3", "--max-owned-groups=2"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		var ids []string
		for _, c := range []*wsClient{alice, alice, carol, carol} {
			ids = append(ids, c.group("chatroom", nil))
			w.listed(c.User, ids[len(ids)-1], true)
		}
		for _, kind := range []string{"private", "live"} {
			alice.limited("createGroup", obj{"kind": kind})
		}
		for _, id := range ids[:3] {
			bob.request("joinGroup", obj{"group": id})
			w.listed(w.bob, id, true)
		}
		bob.limited("joinGroup", obj{"group": ids[3]})
		bob.limited("createGroup", obj{"kind": "private"})
		bob.request("joinGroup", obj{"group": ids[0]}) // so already
		bob.request("send", obj{"conv": "u:" + w.carol, "cid": "1", "body": "I know you"})
		check(t, "addMembers", carol.request("addMembers", obj{"group": ids[3], "users": []any{w.bob}}),
			obj{"added": []any{}, "failed": failures("rate_limited", w.bob)})
		check(t, "getGroups", len(bob.groups()), 3)

		bob.request("leaveGroup", obj{"group": ids[0]})
		w.listed(w.bob, ids[0], false)
		check(t, "joinGroup", bob.request("joinGroup", obj{"group": ids[3]}), obj{"cursor": someText})
		alice.request("dismissGroup", obj{"group": ids[1]})
		w.listed(w.alice, ids[1], false)
		alice.group("private", nil)

		// Requests that are on their way together keep the limit too.
		dave := w.online(w.user("dave"), "phone", nil)
		errs := make(chan error)
		for range 8 {
			go func() {
				ctx, cancel := dave.ctx()
				defer cancel()
				_, err := dave.conn.call(ctx, "createGroup", obj{"kind": "chatroom"})
				errs <- err
			}()
		}
		made := 0
		for range 8 {
			if err := <-errs; err == nil {
				made++
			} else if refused, ok := errors.AsType[*wireError](err); !ok || refused.Code != "rate_limited" {
				t.Errorf("createGroup: %v, want rate_limited", err)
			}
		}
		check(t, "groups that dave made", made, 2)
		check(t, "getGroups", len(dave.groups()), 2)
	})
}

func TestContractGroupRate(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t, "--group-rate=2:5"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		id, other := w.team(alice, "private", w.bob), w.team(alice, "private", w.bob)
		var m []groupMessage
		var refusal *wireError
		for i := 0; refusal == nil; i++ { // whoever sends
			if i == 20 {
				t.Fatal("20 messages at once to a group that takes 5")
			}
			c := []*wsClient{alice, bob}[i%2]
			args := obj{"conv": "g:" + id, "cid": fmt.Sprint(i), "body": i}
			reply, err := c.try("send", args)
			if refusal = err; err == nil {
				m = append(m, groupMessage{id, c.User, args, reply})
			}
		}
		if refusal.Code != "rate_limited" || refusal.RetryAfterMS <= 0 || refusal.RetryAfterMS > 1000 {
			t.Errorf("the %dth: %v, retry after %d ms", len(m)+1, refusal, refusal.RetryAfterMS)
		}
		if len(m) < 5 {
			t.Errorf("%d messages, want a burst of 5", len(m))
		}
		// Others are not concerned; nothing of what was refused is stored.
		alice.tells(other, "other")
		alice.sends(w.bob, "one-to-one")
		check(t, "getMessage", alice.request("getMessage", obj{"conv": "g:" + id}), page(1, len(m), false, objs(m...)))
		// A repeat of what is stored is none; later there is room again.
		eventually(t, "there is room again", func() bool {
			_, err := alice.try("send", obj{"conv": "g:" + id, "cid": "later", "body": 1})
			return err == nil
		})
		// What is online only counts as well.
		live := str(t, alice.request("createGroup", obj{"kind": "live"}), "group")
		alice.request("joinGroup", obj{"group": live})
		refusal = nil
		for i := 0; i < 20 && refusal == nil; i++ {
			_, refusal = alice.try("send", obj{"conv": "g:" + live, "cid": fmt.Sprint(i), "body": 1})
		}
		if refusal == nil || refusal.Code != "rate_limited" || refusal.RetryAfterMS <= 0 {
			t.Errorf("20 messages at once to a live group that takes 5: %v", refusal)
		}
	})
}
