package contract

// The contract on repeats: every changing request on a group is safe to make
// again, and under the same id in the same session gets its first answer.

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
)

func TestContractGroupRepeats(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		dave := w.user("dave")
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		id := alice.group("private", obj{"name": "first", "members": []any{w.bob}})
		conv := "g:" + id
		bob.event(id, "created", w.alice)
		m := alice.tells(id, "m1", "m2", "m3")
		bob.hears(m...)

		// Each request is made, undone or overtaken, and made again by its id: it
		// answers as it did and changes nothing.
		next := int64(5000)
		twice := func(op string, args, ok obj, between func()) {
			t.Helper()
			next++
			args = with(args, obj{"group": id, "conv": conv})
			check(t, op, alice.RequestAs(next, op, args), ok)
			between()
			check(t, op+" again", alice.RequestAs(next, op, args), ok)
		}
		users := obj{"users": []any{w.carol, dave}}
		twice("addMembers", users, added(w.carol, dave), func() {
			check(t, "removeMembers", alice.Request("removeMembers", obj{"group": id, "users": []any{w.carol}}), removed(w.carol))
		})
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member", dave: "member"})
		for _, c := range []*device{alice, bob} {
			c.event(id, "joined", w.alice, w.carol, dave)
			c.event(id, "removed", w.alice, w.carol)
		}
		twice("removeMembers", obj{"users": []any{dave}}, removed(dave), func() { alice.invite(id, dave) })
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member", dave: "member"})
		for _, c := range []*device{alice, bob} {
			c.event(id, "removed", w.alice, dave)
			c.event(id, "joined", w.alice, dave)
		}
		twice("setMember", obj{"user": dave, "role": "admin"}, obj{}, func() {
			alice.Request("setMember", obj{"group": id, "user": dave, "role": "member"})
		})
		check(t, "members", alice.members(id), obj{w.alice: "owner", w.bob: "member", dave: "member"})
		twice("setGroup", obj{"name": "second"}, obj{}, func() { alice.Request("setGroup", obj{"group": id, "name": "third"}) })
		checkHas(t, "getGroup", alice.Request("getGroup", obj{"group": id}), obj{"name": "third"})
		for _, c := range []*device{alice, bob} {
			for range 2 {
				c.event(id, "roleChanged", w.alice, dave)
			}
			for range 2 {
				c.event(id, "changed", w.alice)
			}
		}
		for op, args := range map[string]obj{
			"recall":             {"seq": 1},
			"deleteMessage":      {"seqs": []any{2}},
			"deleteConversation": {"messages": false},
		} {
			twice(op, args, obj{}, func() {})
		}
		twice("setConversation", obj{"pinned": true}, obj{}, func() {
			alice.Request("setConversation", obj{"conv": conv, "pinned": false})
		})
		last := alice.tells(id, "m4")
		bob.gone(id, w.alice, 1)
		bob.hears(last...)
		check(t, "getRecents", alice.Request("getRecents", nil), obj{"conversations": []any{
			with(groupEntry(last[0], 4, 0), obj{"last": last[0].obj()}),
		}})
		check(t, "getMessage", alice.Request("getMessage", obj{"conv": conv}),
			page(1, 4, false, objs(m[2], last[0]), gap(1, 1, "recalled"), gap(2, 2, "deleted")))
		alice.gone(id, w.alice, 1)

		// Made again as a new request, what is already so answers ok, and nobody is
		// told.
		for _, c := range []struct {
			op   string
			args obj
		}{
			{"setMember", obj{"user": dave, "role": "member"}},
			{"recall", obj{"seq": 1}},
			{"deleteMessage", obj{"seqs": []any{2}}},
			{"setConversation", obj{"pinned": false}},
		} {
			check(t, c.op, alice.Request(c.op, with(c.args, obj{"group": id, "conv": conv})), obj{})
		}
		for _, pinned := range []bool{true, false} {
			check(t, "onConversationChanged", alice.Expect("onConversationChanged"), obj{"conv": conv, "muted": false, "pinned": pinned, "unread": false})
		}
		alice.Idle()
		bob.Idle()
	})
}
