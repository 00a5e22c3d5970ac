package contract

// The contract on messages in groups: sending, reading, deleting, pages.

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractGroupSend(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		desk := w.online(w.alice, "desk", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "private", w.bob)
		conv := "g:" + id
		body := obj{"text": "grüße ✓", "bin": []byte{0, 255}, "big": int64(1) << 62, "half": 0.5, "none": nil}
		m := []groupMessage{alice.tellBody(id, "m1", body, obj{"mentions": []any{w.bob, w.carol}})}
		bob.hears(m...)
		desk.hears(m...) // the sender's other devices get it too

		// A repeat stores nothing; another body is a conflict. A cid is the sender's.
		again := with(m[0].reply, obj{"duplicate": true})
		check(t, "the same cid", alice.Request("send", m[0].args), again)
		check(t, "the same cid from elsewhere", desk.Request("send", with(m[0].args, obj{"retry": true})), again)
		alice.Refused("send", with(m[0].args, obj{"body": "another"}), "conflict")
		m = append(m, bob.tellBody(id, "m1", "bob's own", nil))
		alice.hears(m[1])
		desk.hears(m[1])

		for _, c := range []struct {
			args obj
			code string
		}{
			{obj{"conv": "g:no.such.group"}, "not_found"},
			{obj{"body": make([]byte, 13<<10)}, "too_large"},
			{obj{"ttl": 604801}, "bad_request"},
			{obj{"mentions": []any{"b b"}}, "bad_request"},
			{obj{"cid": ""}, "bad_request"},
		} {
			alice.Refused("send", with(obj{"conv": conv, "cid": "x", "body": 1}, c.args), c.code)
		}
		carol.Refused("send", obj{"conv": conv, "cid": "x", "body": 1}, "forbidden")
		carol.Refused("send", obj{"conv": conv, "cid": "x", "body": 1, "ttl": 0}, "forbidden")

		// Online only: to those who are there, stored nowhere.
		now := alice.Request("send", obj{"conv": conv, "cid": "now", "body": "look", "ttl": 0})
		check(t, "reply to ttl 0", now, obj{"id": someText, "time": someInt})
		for _, c := range []*device{desk, bob} {
			check(t, "ephemeral", c.hear(), obj{
				"id": now["id"], "conv": conv, "from": w.alice, "time": now["time"], "cid": "now", "body": "look", "ephemeral": true,
			})
		}
		// A short life.
		short := alice.tellBody(id, "short", "x", obj{"ttl": 5})
		m = append(m, alice.tellBody(id, "week", "x", obj{"ttl": 604800}))
		for _, c := range []*device{desk, bob} {
			c.hears(short, m[2])
		}
		w.passed(alice, short.time()+5000)
		history := page(1, 4, false, objs(m...), gap(3, 3, "expired"))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": conv}), history)
		fresh := w.login(w.bob, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages", messagesIn(all), objs(m[2]))
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 1, groupEntry(m[2], 2, 1)))

		// Killed right after the reply, it is there, once.
		m = append(m, alice.tells(id, "m5")...)
		w.Kill()
		w.Restart()
		alice.resumeGroups(nil)
		alice.Pushes()
		check(t, "the same cid after a crash", alice.Request("send", with(m[3].args, obj{"retry": true})),
			with(m[3].reply, obj{"duplicate": true}))
		check(t, "the first cid after a crash", alice.Request("send", m[0].args), again)
		check(t, "getMessage after a crash", alice.Request("getMessage", obj{"conv": conv}),
			page(1, 5, false, objs(m...), gap(3, 3, "expired")))
	})
}

func TestContractGroupReadReport(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol)
		conv := "g:" + id
		for _, c := range []*device{phone, laptop, carol} {
			c.event(id, "created", w.alice)
		}
		m := alice.tells(id, numbered("m", 6)...)
		for _, c := range []*device{phone, laptop, carol} {
			c.hears(m...)
		}
		report := func(seq, unread int) {
			t.Helper()
			check(t, "readReport", phone.Request("readReport", obj{"conv": conv, "seq": seq}), obj{"unread": unread})
		}
		state := func(unread int, entry obj) {
			t.Helper()
			fresh := w.login(w.bob, "fresh", obj{"recents": "quiet", "groupBacklog": 0})
			check(t, "onSynced", syncedIn(fresh.Pushes()), syncedArgs(0, unread, entry))
			fresh.Logout()
		}
		report(4, 2)
		check(t, "onReadReport", laptop.Expect("onReadReport"), obj{"conv": conv, "seq": 4})
		report(4, 2) // repeated, lower: nothing changes
		report(1, 2)
		state(2, groupEntry(m[5], 4, 2))

		// His own send moves it to the message.
		m = append(m, phone.tells(id, "mine")...)
		laptop.hears(m[6])
		check(t, "onReadReport of a send", laptop.Expect("onReadReport"), obj{"conv": conv, "seq": 7})
		alice.hears(m[6])
		carol.hears(m[6])
		state(0, groupEntry(m[6], 7, 0))
		report(6, 0)
		// Beyond the newest means the newest: the next is unread again.
		m = append(m, alice.tells(id, "m8")...)
		laptop.hears(m[7])
		report(1000, 0)
		check(t, "onReadReport", laptop.Expect("onReadReport"), obj{"conv": conv, "seq": 8})
		m = append(m, alice.tells(id, "m9")...)
		laptop.hears(m[8])
		phone.hears(m[7:]...)
		carol.hears(m[7:]...)
		state(1, groupEntry(m[8], 8, 1))

		// A repeat of a request gets its first answer.
		repeat := func(unread int) {
			t.Helper()
			check(t, "readReport", phone.RequestAs(9000, "readReport", obj{"conv": conv, "seq": 8}), obj{"unread": unread})
		}
		repeat(1)
		m = append(m, alice.tells(id, "m10")...)
		repeat(1)
		phone.hears(m[9])
		laptop.hears(m[9])
		carol.hears(m[9])
		// Nobody else hears of it: no receipts in groups.
		for _, c := range []*device{alice, phone, laptop, carol} {
			c.Idle()
		}
		for _, seq := range []any{0, -1, 1.5, "1"} {
			namesField(t, phone.Refused("readReport", obj{"conv": conv, "seq": seq}, "bad_request"), "seq")
		}
		phone.Refused("readReport", obj{"conv": "g:no.such.group", "seq": 1}, "not_found")
	})
}

// Pages of a group have a gap for every reason.
func TestContractGroupPages(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := alice.group("private", nil)
		conv := "g:" + id
		bob := w.online(w.bob, "phone", nil)
		alice.tells(id, "m1", "m2")
		alice.invite(id, w.bob)
		m := make([]groupMessage, 13) // by seq
		for seq := 3; seq <= 12; seq++ {
			more := obj{}
			if seq == 6 {
				more["ttl"] = 1
			}
			m[seq] = alice.tellBody(id, fmt.Sprint(seq), seq, more)
		}
		bob.Request("deleteMessage", obj{"conv": conv, "seqs": []any{8, 4, 7}})
		for _, seq := range []int{5, 12} {
			alice.Request("recall", obj{"conv": conv, "seq": seq})
		}
		w.passed(bob, m[6].time()+1000)

		// 3 and 9 to 11 are there.
		g1, g4, g5, g6 := gap(1, 2, "notMember"), gap(4, 4, "deleted"), gap(5, 5, "recalled"), gap(6, 6, "expired")
		g7, g12 := gap(7, 8, "deleted"), gap(12, 12, "recalled")
		at := func(seqs ...int) []any {
			list := []any{}
			for _, seq := range seqs {
				list = append(list, m[seq].obj())
			}
			return list
		}
		for _, c := range []struct{ args, want obj }{
			{obj{}, page(1, 12, false, at(3, 9, 10, 11), g1, g4, g5, g6, g7, g12)},
			{obj{"limit": 4}, page(1, 12, false, at(3, 9, 10, 11), g1, g4, g5, g6, g7, g12)},
			{obj{"limit": 3}, page(4, 12, true, at(9, 10, 11), g4, g5, g6, g7, g12)},
			{obj{"before": 9}, page(1, 8, false, at(3), g1, g4, g5, g6, g7)},
			{obj{"before": 3}, page(1, 2, false, at(), g1)},
			{obj{"before": 1}, page(0, 0, false, at())},
			{obj{"after": 0, "limit": 1}, page(1, 8, true, at(3), g1, g4, g5, g6, g7)},
			{obj{"after": 3, "limit": 1}, page(4, 9, true, at(9), g4, g5, g6, g7)},
			{obj{"after": 11}, page(12, 12, false, at(), g12)},
			{obj{"after": 12}, page(0, 0, false, at())},
			{obj{"range": []any{2, 5}}, page(2, 5, false, at(3), gap(2, 2, "notMember"), g4, g5)},
			{obj{"range": []any{8, 1000}}, page(8, 12, false, at(9, 10, 11), gap(8, 8, "deleted"), g12)},
			{obj{"range": []any{13, 20}}, page(0, 0, false, at())},
		} {
			got := bob.Request("getMessage", with(c.args, obj{"conv": conv}))
			if diff := difference(got, c.want); diff != "" {
				t.Errorf("getMessage %v: %s\ngot  %v\nwant %v", c.args, diff, got, c.want)
			}
		}
		bob.Refused("getMessage", obj{"conv": "g:no.such.group"}, "not_found")
	})
}

func TestContractGroupDeleteMessage(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		tablet := w.online(w.bob, "tablet", nil)
		id := w.groupOf(alice, "private", w.bob)
		conv := "g:" + id
		for _, c := range []*device{phone, laptop} {
			c.event(id, "created", w.alice)
		}
		m := alice.tells(id, "m1", "m2", "m3")
		for _, c := range []*device{phone, laptop, tablet} {
			c.hears(m...)
		}
		tablet.DropWhenHandled()
		for range 2 { // already gone: ok, and nobody is told again
			check(t, "deleteMessage", phone.Request("deleteMessage", obj{"conv": conv, "seqs": []any{3, 1}}), obj{})
		}
		phone.Refused("deleteMessage", obj{"conv": conv, "seqs": []any{2, 4}}, "not_found") // and 2 stays
		deleted := obj{"conv": conv, "seqs": []any{1, 3}}
		check(t, "onMessageDeleted", laptop.Expect("onMessageDeleted"), deleted)

		tablet.resumeGroups(nil)
		all := tablet.Pushes()
		check(t, "messages of who was away", messagesIn(all), []any{})
		check(t, "changes", changesIn(all), []any{[]any{"onMessageDeleted", deleted}})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 1, groupEntry(m[1], 0, 1)))
		fresh := w.login(w.bob, "fresh", nil)
		all = fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), objs(m[1]))
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(0, 1, groupEntry(m[1], 0, 1)))
		check(t, "getMessage", fresh.Request("getMessage", obj{"conv": conv}),
			page(1, 3, false, objs(m[1]), gap(1, 1, "deleted"), gap(3, 3, "deleted")))
		check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": conv}), page(1, 3, false, objs(m...)))
		for _, c := range []*device{phone, laptop, tablet, fresh} {
			c.Idle()
		}

		// Up to 256 for each member; with one more nothing of the request is hidden.
		alice.Background(conv, "more", 260, cidBody)()
		var seqs []any
		for seq := range 254 {
			seqs = append(seqs, seq+4)
		}
		for len(seqs) > 0 {
			n := min(100, len(seqs))
			check(t, "deleteMessage", phone.Request("deleteMessage", obj{"conv": conv, "seqs": seqs[:n]}), obj{})
			seqs = seqs[n:]
		}
		phone.Refused("deleteMessage", obj{"conv": conv, "seqs": []any{258, 259}}, "rate_limited")
		left := phone.Request("getMessage", obj{"conv": conv, "after": 257})["messages"].([]any)
		check(t, "what is left", len(left), 6)
		check(t, "unread", phone.Request("readReport", obj{"conv": conv, "seq": 1}), obj{"unread": 7})
	})
}

func TestContractGroupDeleteConversation(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		id := w.groupOf(alice, "private", w.bob)
		conv := "g:" + id
		for _, c := range []*device{phone, laptop} {
			c.event(id, "created", w.alice)
		}
		var m []groupMessage
		news := func(texts ...string) {
			t.Helper()
			for _, sent := range alice.tells(id, texts...) {
				m = append(m, sent)
				phone.hears(sent)
				laptop.hears(sent)
			}
		}
		news("m1", "m2")
		check(t, "deleteConversation", phone.Request("deleteConversation", obj{"conv": conv}), obj{})
		check(t, "onConversationDeleted", laptop.Expect("onConversationDeleted"), obj{"conv": conv, "messages": false, "upTo": 2})
		check(t, "getRecents", phone.Request("getRecents", nil), obj{"conversations": []any{}})
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": conv}), page(1, 2, false, objs(m...)))
		fresh := w.login(w.bob, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages of a new device", messagesIn(all), []any{})
		check(t, "onSynced of a new device", syncedIn(all), syncedArgs(0, 0))
		fresh.Logout()

		// He is a member still; a new message brings it back, alone unread.
		news("m3")
		back := w.login(w.bob, "back", nil)
		all = back.Pushes()
		check(t, "messages", messagesIn(all), objs(m[2]))
		entry := syncedIn(all)["conversations"].([]any)[0].(obj)
		checkHas(t, "entry", entry, obj{"conv": conv, "lastSeq": 3, "unread": 1})
		check(t, "unreadTotal", syncedIn(all)["unreadTotal"], 1)
		back.Logout()

		check(t, "deleteConversation", phone.Request("deleteConversation", obj{"conv": conv, "messages": true}), obj{})
		check(t, "onConversationDeleted", laptop.Expect("onConversationDeleted"), obj{"conv": conv, "messages": true, "upTo": 3})
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": conv}), page(1, 3, false, []any{}, gap(1, 3, "deleted")))
		check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": conv}), page(1, 3, false, objs(m...)))
		news("m4")
		list := laptop.Request("getRecents", nil)["conversations"].([]any)
		check(t, "getRecents", len(list), 1)
		checkHas(t, "getRecents", list[0].(obj), obj{"conv": conv, "lastSeq": 4, "unread": 1, "last": m[3].obj()})
		for _, c := range []*device{phone, laptop} {
			c.Idle()
		}
		phone.Refused("deleteConversation", obj{"conv": "g:no.such.group"}, "not_found")
		w.online(w.carol, "phone", nil).Refused("deleteConversation", obj{"conv": conv}, "forbidden")
	})
}

// A crash forgets nothing of a group.
func TestContractGroupRestart(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		dave := w.user("dave")
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := alice.group("public", obj{"name": "Ringers", "properties": obj{"k": []byte{1}}, "members": []any{w.bob, w.carol}})
		conv := "g:" + id
		w.listed(w.bob, id, true)
		alice.Request("setMember", obj{"group": id, "user": w.bob, "role": "admin"})
		alice.Request("setMember", obj{"group": id, "user": w.carol, "mutedUntil": 1 << 50})
		m := alice.tells(id, numbered("m", 6)...)
		bob.Request("recall", obj{"conv": conv, "seq": 2})
		bob.Request("deleteMessage", obj{"conv": conv, "seqs": []any{3}})
		bob.Request("readReport", obj{"conv": conv, "seq": 4})
		bob.Request("setConversation", obj{"conv": conv, "pinned": true})
		check(t, "joinGroup", w.online(dave, "phone", nil).Request("joinGroup", obj{"group": id}), obj{"pending": true})
		live := wstest.Str(t, alice.Request("createGroup", obj{"kind": "live", "name": "On air"}), "group")
		gone := wstest.Str(t, alice.Request("createGroup", obj{"kind": "private", "group": w.user("gone")}), "group")
		alice.Request("dismissGroup", obj{"group": gone})

		view := func(c *device) obj {
			t.Helper()
			return obj{
				"group": c.Request("getGroup", obj{"group": id}), "members": c.Request("getMembers", obj{"group": id}),
				"groups": c.Request("getGroups", nil), "recents": c.Request("getRecents", nil),
				"history": c.Request("getMessage", obj{"conv": conv}),
			}
		}
		before := map[*device]obj{}
		for _, c := range []*device{alice, bob, carol} {
			w.listed(c.User, id, true)
			before[c] = view(c)
		}
		check(t, "history of bob", before[bob]["history"], page(1, 6, false, objs(m[0], m[3], m[4], m[5]),
			gap(2, 2, "recalled"), gap(3, 3, "deleted")))

		for range 2 {
			w.Kill()
			w.Restart()
			for _, c := range []*device{alice, bob, carol} {
				c.Login(nil)
				all := c.Pushes()
				check(t, c.User+" after a crash", view(c), before[c])
				if c == bob {
					check(t, "onSynced", syncedIn(all), syncedArgs(0, 2, with(groupEntry(m[5], 4, 2), obj{"pinned": true})))
				}
			}
		}
		carol.Refused("send", obj{"conv": conv, "cid": "x", "body": 1}, "forbidden")
		checkHas(t, "live", alice.Request("getGroup", obj{"group": live}), obj{"kind": "live", "name": "On air", "owner": w.alice})
		carol.Refused("createGroup", obj{"kind": "private", "group": gone}, "conflict")
		check(t, "answerJoin", bob.Request("answerJoin", obj{"group": id, "user": dave, "accept": true}), obj{})
		alice.event(id, "joined", w.bob, dave)
		next := bob.tells(id, "m7")
		check(t, "seq", next[0].reply["seq"], 7)
		alice.hears(next...)
		carol.hears(next...)
	})
}

// What was read or deleted on another device comes to who was away, with his
// cursor.
func TestContractGroupChangesWhileAway(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		id := w.groupOf(alice, "private", w.bob)
		conv := "g:" + id
		m := alice.tells(id, "m1", "m2", "m3")
		phone.hears(m...)
		laptop.hears(m...)
		away := func(entry ...any) []any {
			t.Helper()
			laptop.resumeGroups(nil)
			all := laptop.Pushes()
			check(t, "messages", messagesIn(all), []any{})
			check(t, "conversations", syncedIn(all)["conversations"], append([]any{}, entry...))
			laptop.DropWhenHandled()
			return changesIn(all)
		}
		laptop.DropWhenHandled()
		phone.Request("readReport", obj{"conv": conv, "seq": 1})
		phone.Request("readReport", obj{"conv": conv, "seq": 2})
		check(t, "reports", away(groupEntry(m[2], 2, 1)), []any{[]any{"onReadReport", obj{"conv": conv, "seq": 2}}})
		check(t, "nothing more", away(groupEntry(m[2], 2, 1)), []any{})
		phone.Request("deleteConversation", obj{"conv": conv, "messages": true})
		// It leaves no entry that could carry a cursor, so it may come again.
		check(t, "a deletion", away(), []any{[]any{"onConversationDeleted", obj{"conv": conv, "messages": true, "upTo": 3}}})
	})
}

// Groups keep for seven days, whatever the history of users; nobody loses what
// is merely old.
func TestContractGroupExpiry(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t)
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := w.groupOf(alice, "public", w.bob)
		conv := "g:" + id
		m := alice.tells(id, "m1", "m2")
		w.PassTime(7*24*time.Hour - time.Minute)
		m = append(m, alice.tells(id, "m3")...)
		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), objs(m...))
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 3, groupEntry(m[2], 0, 3)))
		bob.DropWhenHandled()
		w.PassTime(time.Minute)
		bob.Login(nil)
		all = bob.Pushes()
		check(t, "messages after 7 days", messagesIn(all), objs(m[2]))
		check(t, "onSynced after 7 days", syncedIn(all), syncedArgs(0, 1, groupEntry(m[2], 0, 1)))
		check(t, "getMessage after 7 days", bob.Request("getMessage", obj{"conv": conv}),
			page(1, 3, false, objs(m[2]), gap(1, 2, "expired")))
		w.PassTime(7 * 24 * time.Hour)
		fresh := w.login(w.bob, "fresh", nil)
		all = fresh.Pushes()
		check(t, "messages after 14 days", messagesIn(all), []any{})
		check(t, "onSynced after 14 days", syncedIn(all), syncedArgs(0, 0))
		check(t, "getMessage after 14 days", fresh.Request("getMessage", obj{"conv": conv}),
			page(1, 3, false, []any{}, gap(1, 3, "expired")))
		// The group is there still, and its seq goes on.
		next := w.online(w.alice, "later", nil).tells(id, "m4")
		fresh.hears(next...)
		check(t, "seq", next[0].reply["seq"], 4)
	})
}
