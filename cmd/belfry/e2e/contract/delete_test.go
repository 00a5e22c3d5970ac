package contract

// The contract on deletion by the user: their other devices learn of it, live or by
// their cursor, and the peer keeps all.

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractDeleteMessage(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", manual)
		laptop := w.online(w.bob, "laptop", manual)
		tablet := w.online(w.bob, "tablet", manual)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i := range m {
			for _, c := range []*device{phone, laptop, tablet} {
				check(t, "live", c.LiveMessage(), m[i].at(w.bob, i+1))
			}
		}
		tablet.DropWhenHandled()
		conv := "u:" + w.alice
		for range 2 { // already gone: ok, and nobody is told again
			check(t, "deleteMessage", phone.Request("deleteMessage", obj{"conv": conv, "seqs": []any{3, 1}}), obj{})
		}
		phone.Refused("deleteMessage", obj{"conv": conv, "seqs": []any{4}}, "not_found")
		phone.Refused("deleteMessage", obj{"conv": conv, "seqs": []any{2, 4}}, "not_found") // and 2 stays
		check(t, "onMessageDeleted", laptop.Next(), wstest.Push{Op: "onMessageDeleted", Args: obj{"conv": conv, "seqs": []any{int64(1), int64(3)}}})

		left := entry(w.bob, m[1], 2, 0, 1)
		tablet.Resume(manual)
		all := tablet.Pushes()
		check(t, "messages", messagesIn(all), []any{})
		check(t, "changes", changesIn(all), []any{[]any{"onMessageDeleted", obj{"conv": conv, "seqs": []any{1, 3}}}})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 1, left))
		fresh := w.login(w.bob, "fresh", manual)
		all = fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), seenBy(w.bob, 2, m[1]))
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(1, 1, left))
		check(t, "getMessage", fresh.Request("getMessage", obj{"conv": conv}),
			page(1, 3, false, seenBy(w.bob, 2, m[1]), gap(1, 1, "deleted"), gap(3, 3, "deleted")))
		check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": "u:" + w.bob}),
			page(1, 3, false, seenBy(w.alice, 1, m...)))

		// A recall of what he deleted is no news to bob, but stands in alice's view.
		alice.Request("recall", obj{"conv": "u:" + w.bob, "seq": 3})
		next := alice.sends(w.bob, "m4")
		for _, c := range []*device{phone, laptop, tablet, fresh} {
			p := c.Next()
			if p.Op == "onRecall" {
				check(t, "onRecall", p.Args, onRecall(w.alice, w.alice, []any{3, 3}))
				p = c.Next()
			}
			check(t, "m4", p.Op, "onNewMessage")
			check(t, "m4", p.Args["messages"], seenBy(w.bob, 4, next...))
			c.Idle()
		}
	})
}

func TestContractDeleteConversation(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		conv := "u:" + w.alice
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", manual)
		laptop := w.online(w.bob, "laptop", manual)
		tablet := w.online(w.bob, "tablet", manual)
		var m []sentMessage
		news := func(texts ...string) {
			t.Helper()
			for _, sent := range alice.sends(w.bob, texts...) {
				m = append(m, sent)
				check(t, "live", phone.LiveMessage(), sent.at(w.bob, len(m)))
				check(t, "live", laptop.LiveMessage(), sent.at(w.bob, len(m)))
			}
		}
		news("m1", "m2")
		tablet.Message()
		tablet.Message()
		tablet.DropWhenHandled()

		check(t, "deleteConversation", phone.Request("deleteConversation", obj{"conv": conv}), obj{})
		deleted := obj{"conv": conv, "messages": false, "upTo": 2}
		check(t, "onConversationDeleted", laptop.Expect("onConversationDeleted"), deleted)
		check(t, "getRecents", phone.Request("getRecents", nil), obj{"conversations": []any{}})
		history := page(1, 2, false, seenBy(w.bob, 1, m...))
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": conv}), history)
		fresh := w.login(w.bob, "fresh", manual)
		all := fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), []any{})
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(0, 0))
		tablet.Resume(manual)
		all = tablet.Pushes()
		check(t, "onSynced of who was away", syncedIn(all), syncedArgs(0, 0))
		told := false
		for _, p := range all {
			if p.Op == "onConversationDeleted" {
				check(t, "onConversationDeleted", p.Args, deleted)
				told = true
			}
		}
		if !told {
			t.Errorf("no onConversationDeleted for who was away: %v", all)
		}
		fresh.Logout()
		tablet.Logout()

		// A new message brings it back, alone in the queue.
		news("m3")
		back := w.login(w.bob, "back", manual)
		all = back.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 3, m[2]))
		check(t, "onSynced", syncedIn(all), syncedArgs(1, 1, entry(w.bob, m[2], 3, 0, 1)))
		back.Logout()

		// With messages its history goes as well, in this view.
		check(t, "deleteConversation", phone.Request("deleteConversation", obj{"conv": conv, "messages": true}), obj{})
		check(t, "onConversationDeleted", laptop.Expect("onConversationDeleted"), obj{"conv": conv, "messages": true, "upTo": 3})
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": conv}), page(1, 3, false, []any{}, gap(1, 3, "deleted")))
		check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": "u:" + w.bob}),
			page(1, 3, false, seenBy(w.alice, 1, m...)))
		news("m4")
		check(t, "getRecents", laptop.Request("getRecents", nil), obj{"conversations": []any{
			with(entry(w.bob, m[3], 4, 0, 1), obj{"last": m[3].at(w.bob, 4)}),
		}})
		for _, c := range []*device{phone, laptop, alice} {
			c.Idle()
		}
	})
}

// What is gone before its time, because its ttl is over or its sender has deleted
// the conversation, is not sent once more by a client that is still in doubt.
func TestContractRetryOfWhatIsGone(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t, "--dedup-window=1s"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := w.groupOf(alice, "private", w.bob)
		first := func(m obj) obj { return with(m, obj{"duplicate": true}) }
		m := alice.sends(w.bob, "kept", "hidden", "wiped")
		short := alice.sendBody(w.bob, "short", "x", obj{"ttl": 1})
		told := alice.tells(id, "group kept")[0]
		brief := alice.tellBody(id, "group brief", "x", obj{"ttl": 1})
		w.passed(alice, brief.time()+1000)
		again := func(what string) {
			t.Helper()
			for _, s := range append(m, short) {
				check(t, what, alice.Request("send", with(s.args, obj{"retry": true})), first(s.reply))
				alice.Refused("send", with(s.args, obj{"retry": true, "body": "another"}), "conflict")
			}
			for _, g := range []groupMessage{told, brief} {
				check(t, what, alice.Request("send", with(g.args, obj{"retry": true})), first(g.reply))
				alice.Refused("send", with(g.args, obj{"retry": true, "body": "another"}), "conflict")
			}
		}
		again("beyond the window")
		alice.Request("deleteConversation", obj{"conv": "u:" + w.bob})
		alice.Request("deleteConversation", obj{"conv": "g:" + id})
		again("after deleteConversation")
		alice.Request("deleteConversation", obj{"conv": "u:" + w.bob, "messages": true})
		alice.Request("deleteConversation", obj{"conv": "g:" + id, "messages": true})
		again("after deleteConversation with its messages")
		w.Kill()
		w.Restart()
		alice.resumeGroups(nil)
		alice.Pushes()
		again("after a crash")
		w.arrived(w.bob, "u:"+w.alice, 4)
		bob := w.online(w.bob, "phone", nil)
		for conv, newest := range map[string]int64{"u:" + w.alice: 4, "g:" + id: 2} {
			check(t, "newest of "+conv, wstest.Num(t, bob.Request("getMessage", obj{"conv": conv}), "to"), newest)
		}
	})
}
