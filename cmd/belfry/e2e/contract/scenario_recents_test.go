package contract

// Scenarios 9 to 11: recents.

import (
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestScenario09QuietRecents(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", nil)
		alice := w.online(w.alice, "phone", nil)
		read := alice.sends(w.bob, "read")
		check(t, "live", phone.LiveMessage(), read[0].at(w.bob, 1))
		phone.AckAll()
		phone.DropWhenHandled()
		carol := w.online(w.carol, "phone", nil)
		unread := carol.sends(w.bob, "unread")
		w.arrived(w.bob, "u:"+w.carol, 1)

		// What is unread is offline, whatever is asked of recents.
		conversations := []any{entry(w.bob, unread[0], 1, 0, 1), entry(w.bob, read[0], 1, 1, 0)}
		for _, c := range []struct {
			mode     string
			messages []any
			synced   obj
		}{
			{"quiet", seenBy(w.bob, 1, unread...), syncedArgs(1, 1, conversations...)},
			{"off", seenBy(w.bob, 1, unread...), syncedArgs(1, 1)},
			{"on", append(seenBy(w.bob, 1, unread...), seenBy(w.bob, 1, read...)...), syncedArgs(1, 1, conversations...)},
		} {
			if c.mode == "off" {
				delete(c.synced, "conversations")
				c.synced["users"] = conversations[:1]
			}
			device := w.login(w.bob, c.mode, obj{"recents": c.mode, "autoRead": false})
			all := device.Pushes()
			check(t, c.mode+": messages", messagesIn(all), c.messages)
			check(t, c.mode+": onSynced", syncedIn(all), c.synced)
			device.Idle()
		}

		phone.Login(nil)
		phone.Pushes()
		phone.AckAll()
		phone.Request("ping", nil)
		quiet := w.login(w.bob, "quiet", obj{"recents": "quiet"})
		all := quiet.Pushes()
		check(t, "nothing unread: messages", messagesIn(all), []any{})
		check(t, "nothing unread: onSynced", syncedIn(all),
			syncedArgs(0, 0, entry(w.bob, unread[0], 1, 1, 0), entry(w.bob, read[0], 1, 1, 0)))
		off := w.login(w.bob, "off", obj{"recents": "off"})
		all = off.Pushes()
		check(t, "off: messages", messagesIn(all), []any{})
		if _, has := syncedIn(all)["conversations"]; has {
			t.Errorf("onSynced has conversations: %v", syncedIn(all))
		}
		namesField(t, w.unsynced(w.bob, "bad", obj{"recents": "loud"}), "recents")
	})
}

// unsynced is a login that is refused as bad_request.
func (w *world) unsynced(user, device string, args obj) *wstest.Error {
	w.t.Helper()
	c := w.device(w.t, user, device, w.codec)
	c.Connect(wstest.DialOptions{})
	return c.Refused("login", c.LoginArgs(args), "bad_request")
}

func TestScenario10CursorCoversLastMessage(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		alice := w.online(w.alice, "phone", nil)
		covered := alice.sends(w.bob, "covered")
		for _, c := range []*device{phone, laptop} {
			check(t, "live", c.LiveMessage(), covered[0].at(w.bob, 1))
		}
		phone.AckAll()
		check(t, "onReadReport", laptop.Expect("onReadReport"), obj{"conv": "u:" + w.alice, "seq": 1})
		phone.DropWhenHandled() // with the cursor of covered

		carol := w.online(w.carol, "phone", nil)
		missed := carol.sends(w.bob, "missed")
		check(t, "live", laptop.LiveMessage(), missed[0].at(w.bob, 1))
		laptop.AckAll()
		laptop.Request("ping", nil)

		conversations := []any{entry(w.bob, missed[0], 1, 1, 0), entry(w.bob, covered[0], 1, 1, 0)}
		phone.Resume(nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, missed...))
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, conversations...))
		phone.DropWhenHandled()
		phone.Resume(nil)
		all = phone.Pushes()
		check(t, "messages when it has all", messagesIn(all), []any{})
		check(t, "onSynced when it has all", syncedIn(all), syncedArgs(0, 0, conversations...))

		// The list itself has both, with their messages.
		check(t, "getRecents", phone.Request("getRecents", nil), obj{"conversations": []any{
			with(conversations[0].(obj), obj{"last": missed[0].at(w.bob, 1)}),
			with(conversations[1].(obj), obj{"last": covered[0].at(w.bob, 1)}),
		}})
	})
}

// With the real limit of 100, over conversations that bob opened himself.
func TestScenario11LeastRecentLeaves(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		var m []sentMessage
		for i := range 101 {
			m = append(m, bob.sends(w.user(fmt.Sprintf("c%03d", i)), "hello")...)
		}
		var latest, conversations []any // oldest first, newest first
		for _, sent := range m[1:] {
			latest = append(latest, sent.at(w.bob, 1))
			conversations = append(conversations, entry(w.bob, sent, 1, 0, 0))
		}
		slices.Reverse(conversations)

		fresh := w.login(w.bob, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages", messagesIn(all), latest)
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, conversations...))
		check(t, "history of the one that left", fresh.Request("getMessage", obj{"conv": "u:" + m[0].to}),
			page(1, 1, false, seenBy(w.bob, 1, m[0])))

		// A new message brings it back, and the next one goes.
		again := bob.sends(m[0].to, "again")
		check(t, "live", fresh.LiveMessage(), again[0].at(w.bob, 2))
		list := fresh.Request("getRecents", nil)["conversations"].([]any)
		if len(list) != 100 {
			t.Fatalf("getRecents has %d conversations, want 100", len(list))
		}
		check(t, "first of getRecents", list[0],
			with(entry(w.bob, again[0], 2, 0, 0), obj{"last": again[0].at(w.bob, 2)}))
		check(t, "last of getRecents", list[99],
			with(entry(w.bob, m[2], 1, 0, 0), obj{"last": m[2].at(w.bob, 1)}))
	})
}

// With a small limit, over conversations that others opened: what is out of
// recents is still unread, pushed and counted.
func TestScenario11UnreadOutlivesRecents(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recents=5"), func(t *testing.T, w *world) {
		var m []sentMessage
		var queue, conversations []any
		for i := range 6 {
			from := w.online(w.user(fmt.Sprintf("c%d", i)), "phone", nil)
			sent := from.sends(w.bob, "hello")
			w.arrived(w.bob, "u:"+from.User, 1)
			m = append(m, sent...)
			queue = append(queue, sent[0].at(w.bob, 1))
			conversations = append(conversations, entry(w.bob, sent[0], 1, 0, 1))
		}
		slices.Reverse(conversations)
		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), queue)
		check(t, "onSynced", syncedIn(all), with(syncedArgs(6, 6, conversations[:5]...), obj{"users": conversations[5:]}))
		check(t, "history of the one that left", bob.Request("getMessage", obj{"conv": "u:" + m[0].from}),
			page(1, 1, false, seenBy(w.bob, 1, m[0])))
	})
}

// TestUnreadUnmuted mutes one of two conversations and one of two groups: their
// unread counts in the total alone.
func TestUnreadUnmuted(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, carol := w.online(w.alice, "phone", nil), w.online(w.carol, "phone", nil)
		loud, quiet := w.alice+"-loud", w.alice+"-quiet"
		for _, group := range []string{loud, quiet} {
			alice.Request("createGroup", obj{"group": group, "kind": "private", "members": []any{w.bob}})
		}
		alice.sends(w.bob, "a1", "a2")
		carol.sends(w.bob, "c1")
		for group, texts := range map[string]int{loud: 4, quiet: 8} {
			for n := range texts {
				alice.Request("send", obj{"conv": "g:" + group, "cid": fmt.Sprint(group, n), "body": obj{"text": "hi"}})
			}
		}
		w.arrived(w.bob, "u:"+w.carol, 1)
		phone := w.online(w.bob, "phone", obj{"autoRead": false, "groupBacklog": 0})
		for _, conv := range []string{"u:" + w.carol, "g:" + quiet} {
			phone.Request("setConversation", obj{"conv": conv, "muted": true})
		}
		tablet := w.login(w.bob, "tablet", obj{"autoRead": false, "groupBacklog": 0})
		checkHas(t, "onSynced", syncedIn(tablet.Pushes()), obj{"unreadTotal": 15, "unreadUnmuted": 6})
	})
}
