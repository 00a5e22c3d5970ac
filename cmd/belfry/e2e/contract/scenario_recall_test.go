package contract

// Scenarios 14 and 26: recall, for those who are there and those who were away.

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func onRecall(peer string, by string, ranges ...any) obj {
	return obj{"conv": "u:" + peer, "ranges": ranges, "by": by}
}

func TestScenario14Recall(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		desk := w.online(w.alice, "desk", nil)
		phone := w.online(w.bob, "phone", manual)
		laptop := w.online(w.bob, "laptop", manual)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i, sent := range m {
			check(t, "live", phone.LiveMessage(), sent.at(w.bob, i+1))
			check(t, "live", laptop.LiveMessage(), sent.at(w.bob, i+1))
			check(t, "live", desk.LiveMessage(), sent.at(w.alice, i+1))
		}
		laptop.DropWhenHandled() // holds m1 to m3

		refused := func(c *device, conv string, seq int, code string) {
			t.Helper()
			c.Refused("recall", obj{"conv": "u:" + conv, "seq": seq}, code)
		}
		refused(phone, w.alice, 2, "forbidden") // somebody else's
		refused(alice, w.bob, 4, "not_found")   // beyond the newest
		refused(alice, w.carol, 1, "not_found") // no such conversation

		// One at a time: recalls that a session has not been told of yet may
		// come as one push.
		for _, seq := range []int{3, 1} {
			for range 2 { // done already: ok, and nobody is told again
				check(t, "recall", alice.Request("recall", obj{"conv": "u:" + w.bob, "seq": seq}), obj{})
			}
			at := []any{seq, seq}
			check(t, "caller", alice.Expect("onRecall"), onRecall(w.bob, w.alice, at))
			check(t, "caller's other device", desk.Expect("onRecall"), onRecall(w.bob, w.alice, at))
			check(t, "receiver", phone.Expect("onRecall"), onRecall(w.alice, w.alice, at))
		}

		// Never a last message, never unread, a gap with its reason.
		only := entry(w.bob, m[1], 2, 0, 1)
		history := page(1, 3, false, seenBy(w.bob, 2, m[1]), gap(1, 1, "recalled"), gap(3, 3, "recalled"))
		laptop.Resume(manual)
		all := laptop.Pushes()
		check(t, "messages", messagesIn(all), []any{})
		if got := recalledIn(t, all, "u:"+w.alice, w.alice); !got[1] || got[2] || !got[3] {
			t.Errorf("onRecall for who was away: seqs %v, want 1 and 3", got)
		}
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 1, only))
		fresh := w.login(w.bob, "fresh", manual)
		all = fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), seenBy(w.bob, 2, m[1]))
		check(t, "changes of a new device", changesIn(all), []any{})
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(1, 1, only))
		check(t, "getMessage", fresh.Request("getMessage", obj{"conv": "u:" + w.alice}), history)
		check(t, "getMessage of the sender", desk.Request("getMessage", obj{"conv": "u:" + w.bob}),
			page(1, 3, false, seenBy(w.alice, 2, m[1]), gap(1, 1, "recalled"), gap(3, 3, "recalled")))

		// If none is left the conversation leaves the list.
		check(t, "recall", alice.Request("recall", obj{"conv": "u:" + w.bob, "seq": 2}), obj{})
		for _, c := range []*device{phone, laptop, fresh} {
			check(t, "receiver", c.Next().Args, onRecall(w.alice, w.alice, []any{2, 2}))
			check(t, "getRecents", c.Request("getRecents", nil), obj{"conversations": []any{}})
		}
		check(t, "getMessage", fresh.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 3, false, []any{}, gap(1, 3, "recalled")))
		// The number stays taken.
		next := alice.sends(w.bob, "m4")
		check(t, "m4", phone.LiveMessage(), next[0].at(w.bob, 4))
	})
}

// recalledIn gathers the seqs of all onRecall pushes for conv; how they are
// split into pushes and ranges is open.
func recalledIn(t testing.TB, all []wstest.Push, conv, by string) map[int64]bool {
	t.Helper()
	seqs := map[int64]bool{}
	for _, p := range all {
		if p.Op != "onRecall" {
			continue
		}
		if p.Args["conv"] != conv || p.Args["by"] != by {
			t.Fatalf("onRecall %v, want conv %s by %s", p.Args, conv, by)
		}
		for _, r := range p.Args["ranges"].([]any) {
			for seq := r.([]any)[0].(int64); seq <= r.([]any)[1].(int64); seq++ {
				seqs[seq] = true
			}
		}
	}
	return seqs
}

func TestScenario14RecallTooLate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recall-window=1s"), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2")
		check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))
		check(t, "live", bob.LiveMessage(), m[1].at(w.bob, 2))
		w.passed(alice, m[1].time()+1000)
		alice.Refused("recall", obj{"conv": "u:" + w.bob, "seq": 1}, "too_late")
		bob.Refused("recall", obj{"conv": "u:" + w.alice, "seq": 1}, "forbidden")
		next := alice.sends(w.bob, "m3")
		check(t, "nothing but the next message", bob.LiveMessage(), next[0].at(w.bob, 3))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 3, false, seenBy(w.bob, 1, append(m, next...)...)))
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{
			with(entry(w.bob, next[0], 3, 0, 3), obj{"last": next[0].at(w.bob, 3)}),
		}})
		alice.Idle()
	})
}

func TestScenario26PhoneReturnsAfterLaptopReadAll(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1")
		check(t, "live", phone.LiveMessage(), m[0].at(w.bob, 1))
		phone.DropWhenHandled()

		m = append(m, alice.sends(w.bob, "m2", "m3")...)
		sent := laptop.sends(w.alice, "from the laptop")
		m = append(m, sent...)
		check(t, "live at alice", alice.LiveMessage(), sent[0].at(w.alice, 4))
		m = append(m, alice.sends(w.bob, "m5")...)
		for seq := range 5 {
			if seq != 3 { // its own
				check(t, "live", laptop.LiveMessage(), m[seq].at(w.bob, seq+1))
			}
		}
		laptop.AckAll()
		laptop.Request("ping", nil)
		for _, seq := range []int{1, 3} {
			alice.Request("recall", obj{"conv": "u:" + w.bob, "seq": seq})
			check(t, "onRecall", laptop.Expect("onRecall"), onRecall(w.alice, w.alice, []any{seq, seq}))
		}

		// All of it: read elsewhere, sent from elsewhere, changes; what was
		// recalled meanwhile as a recall only.
		phone.Resume(nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all),
			[]any{m[1].at(w.bob, 2), m[3].at(w.bob, 4), m[4].at(w.bob, 5)})
		if got := recalledIn(t, all, "u:"+w.alice, w.alice); !got[1] || !got[3] || len(got) != 2 {
			t.Errorf("onRecall: seqs %v, want 1 and 3", got)
		}
		reports := 0
		for _, p := range all {
			switch p.Op {
			case "onReadReport":
				reports++
				check(t, "onReadReport", p.Args, obj{"conv": "u:" + w.alice, "seq": 5})
			case "onReadReceipt", "onMessageDeleted", "onConversationDeleted":
				t.Errorf("unexpected %s %v", p.Op, p.Args)
			}
		}
		if reports != 1 {
			t.Errorf("%d onReadReport in %v, want 1", reports, all)
		}
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[4], 5, 5, 0)))
		phone.Idle()
		phone.DropWhenHandled()
		phone.Resume(nil)
		check(t, "the next return", phone.Pushes()[0].Op, "onSynced")
	})
}

// The same for a device whose cursor is from before the first message ever.
func TestScenario26FromTheVeryBeginning(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		phone.DropWhenHandled()
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i := range m {
			check(t, "live", laptop.LiveMessage(), m[i].at(w.bob, i+1))
		}
		laptop.AckAll()
		laptop.Request("ping", nil)
		phone.Resume(nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
		check(t, "changes", changesIn(all), []any{[]any{"onReadReport", obj{"conv": "u:" + w.alice, "seq": 3}}})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[2], 3, 3, 0)))
	})
}
