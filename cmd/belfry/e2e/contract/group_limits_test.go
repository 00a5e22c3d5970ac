package contract

// The contract on what is limited: members, groups of a user, messages to a
// group.

import (
	"errors"
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// limited requires a refusal that says when to try again.
func (c *device) limited(op string, args obj) {
	c.T.Helper()
	if err := c.Refused(op, args, "rate_limited"); err.RetryAfterMS <= 0 {
		c.T.Errorf("%s: %s %v: rate_limited without retryAfterMs: %v", c.Name(), op, args, err)
	}
}

func TestContractGroupMembersLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.Start(t, "--group-change-rate=20:4000"), wstest.Msgpack) // and so many new users at once
	alice := w.online(w.alice, "phone", nil)
	bob := w.online(w.bob, "phone", nil)
	var users []any
	for i := range 2000 {
		users = append(users, w.user(fmt.Sprintf("user%d", i)))
	}
	id := alice.group("private", obj{"members": users[:199]})
	check(t, "addMembers beyond 200", alice.Request("addMembers", obj{"group": id, "users": []any{w.bob}}),
		obj{"added": []any{}, "failed": failures("rate_limited", w.bob)})
	check(t, "removeMembers", alice.Request("removeMembers", obj{"group": id, "users": users[:1]}), removed(users[0].(string)))
	check(t, "addMembers up to 200", alice.Request("addMembers", obj{"group": id, "users": []any{w.bob, w.carol}}),
		obj{"added": []any{w.bob}, "failed": failures("rate_limited", w.carol)})
	bob.event(id, "joined", w.alice, w.bob)
	check(t, "members", len(alice.members(id)), 200)

	id = alice.group("public", obj{"members": users[:499]})
	for at := 499; at < 1999; at += 100 {
		part := users[at:min(at+100, 1999)]
		check(t, "addMembers", alice.Request("addMembers", obj{"group": id, "users": part})["failed"], []any{})
	}
	checkHas(t, "getGroup", alice.Request("getGroup", obj{"group": id}), obj{"memberCount": 2000})
	check(t, "addMembers beyond 2,000", alice.Request("addMembers", obj{"group": id, "users": users[1999:]}),
		obj{"added": []any{}, "failed": failures("rate_limited", users[1999].(string))})
	m := alice.tells(id, "m1") // all of them are members
	check(t, "seq", m[0].reply["seq"], 1)

	// A room that is full.
	id = alice.group("chatroom", obj{"maxMembers": 2})
	bob.Request("joinGroup", obj{"group": id})
	carol := w.online(w.carol, "phone", nil)
	carol.limited("joinGroup", obj{"group": id})
	bob.Request("leaveGroup", obj{"group": id})
	check(t, "joinGroup", carol.Request("joinGroup", obj{"group": id}), obj{"cursor": someText})
}

func TestContractGroupsOfUser(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--max-groups=3", "--max-owned-groups=2"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		var ids []string
		for _, c := range []*device{alice, alice, carol, carol} {
			ids = append(ids, c.group("chatroom", nil))
			w.listed(c.User, ids[len(ids)-1], true)
		}
		for _, kind := range []string{"private", "live"} {
			alice.limited("createGroup", obj{"kind": kind})
		}
		for _, id := range ids[:3] {
			bob.Request("joinGroup", obj{"group": id})
			w.listed(w.bob, id, true)
		}
		bob.limited("joinGroup", obj{"group": ids[3]})
		bob.limited("createGroup", obj{"kind": "private"})
		bob.Request("joinGroup", obj{"group": ids[0]}) // so already
		bob.Request("send", obj{"conv": "u:" + w.carol, "cid": "1", "body": "I know you"})
		check(t, "addMembers", carol.Request("addMembers", obj{"group": ids[3], "users": []any{w.bob}}),
			obj{"added": []any{}, "failed": failures("rate_limited", w.bob)})
		check(t, "getGroups", len(bob.groups()), 3)

		bob.Request("leaveGroup", obj{"group": ids[0]})
		w.listed(w.bob, ids[0], false)
		check(t, "joinGroup", bob.Request("joinGroup", obj{"group": ids[3]}), obj{"cursor": someText})
		alice.Request("dismissGroup", obj{"group": ids[1]})
		w.listed(w.alice, ids[1], false)
		alice.group("private", nil)

		// Requests that are on their way together keep the limit too.
		dave := w.online(w.user("dave"), "phone", nil)
		errs := make(chan error)
		for range 8 {
			go func() {
				ctx, cancel := dave.Context()
				defer cancel()
				_, err := dave.Conn.Call(ctx, "createGroup", obj{"kind": "chatroom"})
				errs <- err
			}()
		}
		made := 0
		for range 8 {
			if err := <-errs; err == nil {
				made++
			} else if refused, ok := errors.AsType[*wstest.Error](err); !ok || refused.Code != "rate_limited" {
				t.Errorf("createGroup: %v, want rate_limited", err)
			}
		}
		check(t, "groups that dave made", made, 2)
		check(t, "getGroups", len(dave.groups()), 2)
	})
}

func TestContractGroupRate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=2:5"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		id, other := w.groupOf(alice, "private", w.bob), w.groupOf(alice, "private", w.bob)
		var m []groupMessage
		var refusal *wstest.Error
		for i := 0; refusal == nil; i++ { // whoever sends
			if i == 20 {
				t.Fatal("20 messages at once to a group that takes 5")
			}
			c := []*device{alice, bob}[i%2]
			args := obj{"conv": "g:" + id, "cid": fmt.Sprint(i), "body": i}
			reply, err := c.Try("send", args)
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
		check(t, "getMessage", alice.Request("getMessage", obj{"conv": "g:" + id}), page(1, len(m), false, objs(m...)))
		// A repeat of what is stored is none; later there is room again.
		wstest.Eventually(t, "there is room again", func() bool {
			_, err := alice.Try("send", obj{"conv": "g:" + id, "cid": "later", "body": 1})
			return err == nil
		})
		// What is online only counts as well.
		live := wstest.Str(t, alice.Request("createGroup", obj{"kind": "live"}), "group")
		alice.Request("joinGroup", obj{"group": live})
		refusal = nil
		for i := 0; i < 20 && refusal == nil; i++ {
			_, refusal = alice.Try("send", obj{"conv": "g:" + live, "cid": fmt.Sprint(i), "body": 1})
		}
		if refusal == nil || refusal.Code != "rate_limited" || refusal.RetryAfterMS <= 0 {
			t.Errorf("20 messages at once to a live group that takes 5: %v", refusal)
		}
	})
}
