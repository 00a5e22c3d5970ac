package contract

// Scenarios 1 to 7: the offline queue, reports, expiry and limits.

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestScenario01OfflineMessagesComeInOrder(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i, sent := range m {
			if sent.seq() != int64(i+1) {
				t.Fatalf("seq of m%d = %d", i+1, sent.seq())
			}
		}
		w.arrived(w.bob, "u:"+w.alice, 3)

		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
		check(t, "changes", changesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(3, 3, entry(w.bob, m[2], 3, 0, 3)))
		cursorOnlyAtEnd(t, all)
		bob.Idle()

		// The same frame for live messages, numbered on.
		live := alice.sends(w.bob, "m4")
		check(t, "live", bob.LiveMessage(), live[0].at(w.bob, 4))
		bob.Idle()
		alice.Idle()
	})
}

func TestScenario02SecondDeviceGetsLastMessageThroughRecents(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		w.arrived(w.bob, "u:"+w.alice, 3)
		phone := w.login(w.bob, "phone", nil)
		check(t, "phone", messagesIn(phone.Pushes()), seenBy(w.bob, 1, m...))
		phone.AckAll()
		phone.Request("ping", nil)

		laptop := w.login(w.bob, "laptop", nil)
		all := laptop.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 3, m[2]))
		check(t, "changes", changesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[2], 3, 3, 0)))
		cursorOnlyAtEnd(t, all)
		check(t, "getMessage", laptop.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 3, false, seenBy(w.bob, 1, m...)))

		// Nobody but bob is told of an automatic read, and he only elsewhere.
		laptop.Idle()
		phone.Idle()
		alice.Idle()
	})
}

func TestScenario03OnlyReadReportDeletes(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		w.arrived(w.bob, "u:"+w.alice, 3)
		phone := w.login(w.bob, "phone", manual)
		check(t, "phone", messagesIn(phone.Pushes()), seenBy(w.bob, 1, m...))
		phone.AckAll()
		phone.Request("ping", nil)

		laptop := w.login(w.bob, "laptop", manual)
		all := laptop.Pushes()
		check(t, "laptop", messagesIn(all), seenBy(w.bob, 1, m...))
		check(t, "onSynced", syncedIn(all), syncedArgs(3, 3, entry(w.bob, m[2], 3, 0, 3)))

		check(t, "readReport", laptop.Request("readReport", obj{"conv": "u:" + w.alice, "seq": 3}), obj{"unread": 0})
		check(t, "onReadReport", phone.Expect("onReadReport"), obj{"conv": "u:" + w.alice, "seq": 3})
		check(t, "onReadReceipt", alice.Expect("onReadReceipt"), obj{"conv": "u:" + w.bob, "seq": 3, "time": someInt})

		read := entry(w.bob, m[2], 3, 3, 0)
		tablet := w.login(w.bob, "tablet", obj{"autoRead": false, "recents": "quiet"})
		all = tablet.Pushes()
		check(t, "tablet", messagesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, read))
		// With recents on it is the last message alone, and not as offline.
		watch := w.login(w.bob, "watch", manual)
		all = watch.Pushes()
		check(t, "watch", messagesIn(all), seenBy(w.bob, 3, m[2]))
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, read))

		for _, c := range []*device{alice, phone, laptop, tablet, watch} {
			c.Idle()
		}
	})
}

func TestScenario04PartialReadReport(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		w.arrived(w.bob, "u:"+w.alice, 3)
		bob := w.login(w.bob, "phone", manual)
		check(t, "first login", messagesIn(bob.Pushes()), seenBy(w.bob, 1, m...))
		check(t, "readReport", bob.Request("readReport", obj{"conv": "u:" + w.alice, "seq": 2}), obj{"unread": 1})
		check(t, "onReadReceipt", alice.Expect("onReadReceipt"), obj{"conv": "u:" + w.bob, "seq": 2, "time": someInt})
		bob.AckAll()
		bob.Logout()

		bob.Login(manual)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 3, m[2]))
		check(t, "onSynced", syncedIn(all), syncedArgs(1, 1, entry(w.bob, m[2], 3, 2, 1)))
		bob.Idle()
	})
}

func TestScenario05EverythingExpires(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--offline-ttl=4s", "--history-ttl=4s"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2")
		// getMessage is no command: it reads memory, so nothing but time passes.
		expired := page(1, 2, false, []any{}, gap(1, 2, "expired"))
		wstest.Eventually(t, "history of alice is empty", func() bool {
			return difference(alice.Request("getMessage", obj{"conv": "u:" + w.bob}), expired) == ""
		})

		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0))
		wstest.Eventually(t, "both have a number in bob's view", func() bool {
			return difference(bob.Request("getMessage", obj{"conv": "u:" + w.alice}), expired) == ""
		})
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{}})
		check(t, "getRecents", alice.Request("getRecents", nil), obj{"conversations": []any{}})

		next := alice.sends(w.bob, "m3")
		check(t, "m3", bob.LiveMessage(), next[0].at(w.bob, int(m[1].seq())+1))
		bob.Idle()
	})
}

func TestScenario06OverTheOfflineLimit(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--offline-max-messages=10"), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		before := w.online(w.bob, "before", manual) // holds a cursor from before the flood
		before.Logout()
		carol := w.online(w.carol, "phone", nil)
		quiet := carol.sends(w.bob, "quiet")
		w.arrived(w.bob, "u:"+w.carol, 1)
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, numbered("m", 12)...)
		w.arrived(w.bob, "u:"+w.alice, 12)

		conversations := []any{entry(w.bob, m[11], 12, 0, 9), entry(w.bob, quiet[0], 1, 0, 1)}
		queue := append(seenBy(w.bob, 1, quiet...), seenBy(w.bob, 4, m[3:]...)...)
		lost := with(syncedArgs(10, 10, conversations...), obj{"lost": []any{run(w.alice, 1, 3, 3)}})
		phone := w.device(t, w.bob, "phone", w.codec)
		for range 2 { // at every login until reported, also with everything acked
			phone.Login(manual)
			all := phone.Pushes()
			check(t, "messages", messagesIn(all), queue)
			check(t, "onSynced", syncedIn(all), lost)
			phone.AckAll()
			phone.DropWhenHandled()
		}
		phone.Login(manual)
		check(t, "messages", messagesIn(phone.Pushes()), queue)
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 12, false, seenBy(w.bob, 1, m...)))

		// A device with a cursor from before gets all that history holds. The
		// rule of lost is literal: above the read cursor and after the device's.
		before.Resume(manual)
		all := before.Pushes()
		check(t, "messages since", messagesIn(all), append(seenBy(w.bob, 1, quiet...), seenBy(w.bob, 1, m...)...))
		check(t, "onSynced since", syncedIn(all), lost)
		before.DropWhenHandled()
		before.Resume(manual)
		all = before.Pushes()
		check(t, "messages since the end", messagesIn(all), []any{})
		check(t, "onSynced since the end", syncedIn(all), syncedArgs(0, 10, conversations...))

		// A report passes them, first two, then all.
		tablet := w.device(t, w.bob, "tablet", w.codec)
		for _, c := range []struct {
			seq  int
			lost []any
		}{
			{2, []any{run(w.alice, 3, 3, 1)}},
			{3, []any{}},
		} {
			check(t, "readReport", phone.Request("readReport", obj{"conv": "u:" + w.alice, "seq": c.seq}), obj{"unread": 9})
			tablet.Login(manual)
			check(t, "lost after a report", syncedIn(tablet.Pushes())["lost"], c.lost)
			tablet.Logout()
		}
	})
}

// The same by bytes: the fullest conversation is the one with most bytes, not
// the one with most messages.
func TestScenario06OverTheOfflineLimitInBytes(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--offline-max-bytes=8KiB"), func(t *testing.T, w *world) {
		carol := w.online(w.carol, "phone", nil)
		many := carol.sends(w.bob, numbered("q", 5)...)
		w.arrived(w.bob, "u:"+w.carol, 5)
		alice := w.online(w.alice, "phone", nil)
		var big []sentMessage
		for _, cid := range numbered("b", 4) {
			big = append(big, alice.sendBody(w.bob, cid, obj{"fill": make([]byte, 3000)}, nil))
		}
		w.arrived(w.bob, "u:"+w.alice, 4)

		bob := w.login(w.bob, "phone", obj{"autoRead": false})
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), append(seenBy(w.bob, 1, many...), seenBy(w.bob, 3, big[2:]...)...))
		check(t, "onSynced", syncedIn(all), with(
			syncedArgs(7, 7, entry(w.bob, big[3], 4, 0, 2), entry(w.bob, many[4], 5, 0, 5)),
			obj{"lost": []any{run(w.alice, 1, 2, 2)}}))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 4, false, seenBy(w.bob, 1, big...)))
	})
}

// A life of 5 s is used in place of 60 s; 60 s is sent as well and must
// not have run out.
func TestScenario07ShortLife(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		desk := w.online(w.alice, "desk", nil)
		short := alice.sendBody(w.bob, "short", "gone in five seconds", obj{"ttl": 5})
		long := alice.sendBody(w.bob, "long", "gone in a minute", obj{"ttl": 60})
		gone := page(1, 2, false, []any{long.at(w.alice, 2)}, gap(1, 1, "expired"))
		wstest.Eventually(t, "the short message is gone", func() bool {
			return difference(alice.Request("getMessage", obj{"conv": "u:" + w.bob}), gone) == ""
		})
		if now := wstest.Num(t, alice.Request("ping", nil), "serverTime"); now < short.time()+5000 {
			t.Errorf("gone %d ms after it was sent with ttl 5", now-short.time())
		}
		w.arrived(w.bob, "u:"+w.alice, 2)

		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), []any{long.at(w.bob, 2)})
		check(t, "onSynced", syncedIn(all), syncedArgs(1, 1, entry(w.bob, long, 2, 0, 1)))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 2, false, []any{long.at(w.bob, 2)}, gap(1, 1, "expired")))
		bob.AckAll()
		check(t, "short at the sender's other device", desk.LiveMessage(), short.at(w.alice, 1))
		check(t, "long at the sender's other device", desk.LiveMessage(), long.at(w.alice, 2))

		// Online only: to the devices that are there, the sender's others too.
		args := obj{"conv": "u:" + w.bob, "cid": "now", "body": "look", "ttl": 0}
		reply := alice.Request("send", args)
		check(t, "reply to ttl 0", reply, obj{"id": someText, "time": someInt})
		for _, c := range []*device{bob, desk} {
			peer := sentMessage{from: w.alice, to: w.bob}.peerOf(c.User)
			check(t, "ephemeral at "+c.Name(), c.LiveMessage(), obj{
				"id": reply["id"], "conv": "u:" + peer, "from": w.alice, "time": reply["time"],
				"cid": "now", "body": "look", "ephemeral": true,
			})
		}
		for _, c := range []*device{alice, desk} {
			check(t, "repeat of ttl 0", c.Request("send", args), with(reply, obj{"duplicate": true}))
			c.Refused("send", with(args, obj{"body": "look here"}), "conflict")
		}
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 2, false, []any{long.at(w.bob, 2)}, gap(1, 1, "expired")))
		bob.Idle() // the repeats went to nobody
		bob.AckAll()
		bob.Logout()
		args["cid"] = "nobody there"
		check(t, "reply to ttl 0", alice.Request("send", args), obj{"id": someText, "time": someInt})
		bob.Login(nil)
		all = bob.Pushes()
		check(t, "messages", messagesIn(all), []any{long.at(w.bob, 2)}) // through recents
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, long, 2, 2, 0)))

		for _, ttl := range []any{604801, -1, "60", 1.5, true} {
			args := obj{"conv": "u:" + w.bob, "cid": "bad", "body": "x", "ttl": ttl}
			namesField(t, alice.Refused("send", args, "bad_request"), "ttl")
		}
		week := alice.sendBody(w.bob, "week", "x", obj{"ttl": 604800})
		check(t, "the next message", bob.LiveMessage(), week.at(w.bob, 3))
		alice.Idle()
	})
}
