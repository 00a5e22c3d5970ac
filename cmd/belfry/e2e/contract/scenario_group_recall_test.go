package contract

// Scenario 14 within groups: recall by sender and by admin.

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// gone takes the next onRecall about a group and requires that it, or it with
// those behind, names these seqs.
func (c *device) gone(group, by string, seqs ...int64) {
	c.T.Helper()
	got := map[int64]string{}
	for len(got) < len(seqs) {
		for seq, sender := range recalls(c.T, group, by, wstest.Push{Op: "onRecall", Args: c.Expect("onRecall")}) {
			got[seq] = sender
		}
	}
	for _, seq := range seqs {
		if _, ok := got[seq]; !ok || len(got) != len(seqs) {
			c.T.Fatalf("%s: onRecall names %v, want %v", c.Name(), got, seqs)
		}
	}
}

func TestScenario14RecallInGroup(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		dave := w.user("dave")
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		desk := w.online(w.bob, "desk", nil)
		phone := w.online(w.carol, "phone", nil)
		tablet := w.online(w.carol, "tablet", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol)
		conv := "g:" + id
		m := bob.tells(id, "m1", "m2", "m3")
		for _, c := range []*device{alice, desk, phone, tablet} {
			c.hears(m...)
		}
		tablet.DropWhenHandled() // holds m1 to m3, and a cursor

		recall := func(c *device, seq int) {
			t.Helper()
			check(t, "recall", c.Request("recall", obj{"conv": conv, "seq": seq}), obj{})
		}
		phone.Refused("recall", obj{"conv": conv, "seq": 1}, "forbidden") // somebody else's
		bob.Refused("recall", obj{"conv": conv, "seq": 4}, "not_found")
		w.online(dave, "phone", nil).Refused("recall", obj{"conv": conv, "seq": 1}, "forbidden")
		for range 2 { // done already: ok, and nobody is told again
			recall(bob, 3)
		}
		for _, c := range []*device{alice, bob, desk, phone} {
			c.gone(id, w.bob, 3)
		}
		recall(alice, 1) // the owner, somebody else's
		for _, c := range []*device{alice, bob, desk, phone} {
			c.gone(id, w.alice, 1)
		}

		// Never a last message, never unread, a gap with its reason.
		history := page(1, 3, false, objs(m[1]), gap(1, 1, "recalled"), gap(3, 3, "recalled"))
		only := groupEntry(m[1], 0, 1)
		tablet.resumeGroups(nil)
		all := tablet.Pushes()
		check(t, "messages of who was away", messagesIn(all), []any{})
		missed := obj{}
		for _, p := range all {
			if by, _ := p.Args["by"].(string); p.Op == "onRecall" {
				for seq := range recalls(t, id, by, p) {
					missed[fmt.Sprint(seq)] = by
				}
			}
		}
		check(t, "onRecall for who was away", missed, obj{"1": w.alice, "3": w.bob})
		check(t, "onSynced of who was away", syncedIn(all), syncedArgs(0, 1, only))
		fresh := w.login(w.carol, "fresh", nil)
		all = fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), objs(m[1]))
		check(t, "changes of a new device", changesIn(all), []any{})
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(0, 1, only))
		for _, c := range []*device{alice, desk, fresh, tablet} {
			check(t, "getMessage", c.Request("getMessage", obj{"conv": conv}), history)
		}

		// If none is left the conversation leaves the list. The number stays taken.
		recall(bob, 2)
		for _, c := range []*device{alice, bob, desk, phone, tablet, fresh} {
			c.gone(id, w.bob, 2)
			check(t, "getRecents", c.Request("getRecents", nil), obj{"conversations": []any{}})
		}
		check(t, "readReport", fresh.Request("readReport", obj{"conv": conv, "seq": 3}), obj{"unread": 0})
		next := bob.tells(id, "m4")
		check(t, "seq", next[0].reply["seq"], 4)
		for _, c := range []*device{alice, desk, phone, tablet, fresh} {
			c.hears(next...)
		}
	})
}

func TestScenario14RecallTooLateInGroup(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recall-window=1s"), func(t *testing.T, w *world) {
		dave := w.user("dave")
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol, dave)
		conv := "g:" + id
		alice.Request("setMember", obj{"group": id, "user": w.carol, "role": "admin"})
		m := bob.tells(id, "m1", "m2", "m3", "m4")
		mine := alice.tells(id, "m5")
		carol.hears(m...)
		w.passed(bob, mine[0].time()+1000)
		bob.Refused("recall", obj{"conv": conv, "seq": 1}, "too_late")
		// Owner and admins may take back any message at any time, the owner's too.
		for _, c := range []struct {
			by  *device
			seq int64
		}{{alice, 1}, {carol, 2}, {carol, 5}} {
			check(t, "recall", c.by.Request("recall", obj{"conv": conv, "seq": c.seq}), obj{})
			bob.gone(id, c.by.User, c.seq)
		}
		// An admin no more.
		alice.Request("setMember", obj{"group": id, "user": w.carol, "role": "member"})
		carol.Refused("recall", obj{"conv": conv, "seq": 3}, "forbidden")
		// A member no more.
		bob.Request("leaveGroup", obj{"group": id})
		bob.Refused("recall", obj{"conv": conv, "seq": 3}, "forbidden")
		check(t, "getMessage", carol.Request("getMessage", obj{"conv": conv}),
			page(1, 5, false, objs(m[2:]...), gap(1, 2, "recalled"), gap(5, 5, "recalled")))
		check(t, "onSynced", syncedIn(w.login(dave, "phone", nil).Pushes()), syncedArgs(0, 2, groupEntry(m[3], 0, 2)))
	})
}
