package contract

// The contract on what a user's view shows: pages and their gaps, receipts,
// notes, settings, cursors, repeated requests.

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractPages(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		var m []sentMessage
		for i := range 10 {
			more := obj{}
			if i+1 == 4 {
				more["ttl"] = 1
			}
			m = append(m, alice.sendBody(w.bob, fmt.Sprint(i), i, more))
		}
		for i := range m {
			check(t, "live", bob.LiveMessage(), m[i].at(w.bob, i+1))
		}
		conv := "u:" + w.alice
		bob.Request("deleteMessage", obj{"conv": conv, "seqs": []any{6, 2, 5}})
		for _, seq := range []int{3, 10} {
			alice.Request("recall", obj{"conv": "u:" + w.bob, "seq": seq})
			check(t, "onRecall", bob.Expect("onRecall"), onRecall(w.alice, w.alice, []any{seq, seq}))
		}
		w.passed(bob, m[3].time()+1000)

		// 1 and 7 to 9 are there.
		g2, g3, g4 := gap(2, 2, "deleted"), gap(3, 3, "recalled"), gap(4, 4, "expired")
		g56, g10 := gap(5, 6, "deleted"), gap(10, 10, "recalled")
		at := func(seqs ...int) []any {
			list := []any{}
			for _, seq := range seqs {
				list = append(list, m[seq-1].at(w.bob, seq))
			}
			return list
		}
		for _, c := range []struct {
			args obj
			want obj
		}{
			{obj{}, page(1, 10, false, at(1, 7, 8, 9), g2, g3, g4, g56, g10)},
			{obj{"limit": 4}, page(1, 10, false, at(1, 7, 8, 9), g2, g3, g4, g56, g10)},
			{obj{"limit": 3}, page(2, 10, true, at(7, 8, 9), g2, g3, g4, g56, g10)},
			{obj{"limit": 2}, page(8, 10, true, at(8, 9), g10)},
			{obj{"before": 7, "limit": 1}, page(1, 6, false, at(1), g2, g3, g4, g56)},
			{obj{"before": 4}, page(1, 3, false, at(1), g2, g3)},
			{obj{"before": 9, "limit": 1}, page(8, 8, true, at(8))},
			{obj{"before": 100, "limit": 1}, page(9, 10, true, at(9), g10)},
			{obj{"before": 1}, page(0, 0, false, at())},
			{obj{"after": 0, "limit": 1}, page(1, 6, true, at(1), g2, g3, g4, g56)},
			{obj{"after": 1, "limit": 1}, page(2, 7, true, at(7), g2, g3, g4, g56)},
			{obj{"after": 8}, page(9, 10, false, at(9), g10)},
			{obj{"after": 9}, page(10, 10, false, at(), g10)},
			{obj{"after": 10}, page(0, 0, false, at())},
			{obj{"after": 1000}, page(0, 0, false, at())},
			{obj{"range": []any{2, 6}}, page(2, 6, false, at(), g2, g3, g4, g56)},
			{obj{"range": []any{5, 8}}, page(5, 8, false, at(7, 8), g56)},
			{obj{"range": []any{1, 9}, "limit": 2}, page(1, 7, true, at(1, 7), g2, g3, g4, g56)},
			{obj{"range": []any{9, 1000}}, page(9, 10, false, at(9), g10)},
			{obj{"range": []any{6, 6}}, page(6, 6, false, at(), gap(6, 6, "deleted"))},
			{obj{"range": []any{11, 20}}, page(0, 0, false, at())},
		} {
			got := bob.Request("getMessage", with(c.args, obj{"conv": conv}))
			if diff := difference(got, c.want); diff != "" {
				t.Errorf("getMessage %v: %s\ngot  %v\nwant %v", c.args, diff, got, c.want)
			}
		}
		// What bob deleted, alice keeps.
		check(t, "alice's view", alice.Request("getMessage", obj{"conv": "u:" + w.bob}), page(1, 10, false,
			append(seenBy(w.alice, 1, m[0], m[1]), seenBy(w.alice, 5, m[4:9]...)...), g3, g4, g10))
	})
}

// A page ends at 256 KiB, and what limits took is a gap like any other.
func TestContractEvictedAndLargePages(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--user-bytes=640KiB"), func(t *testing.T, w *world) {
		const total, size = 100, 11 << 10
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		var m []sentMessage
		for i := range total {
			m = append(m, alice.sendBody(w.bob, fmt.Sprint(i), obj{"fill": make([]byte, size), "i": i}, nil))
			check(t, "live", bob.LiveMessage(), m[i].at(w.bob, i+1))
			bob.AckAll()
		}
		conv := "u:" + w.alice
		first := 0 // seq of the oldest that is left
		for before, pages := total+1, 0; before > 1; pages++ {
			got := bob.Request("getMessage", obj{"conv": conv, "before": before, "limit": 100})
			messages := got["messages"].([]any)
			encoded, err := w.codec.Encode(obj{"messages": messages})
			if err != nil {
				t.Fatal(err)
			}
			// The first page ends because one more message has no room.
			one := len(encoded) / len(messages)
			if len(encoded) > 256<<10 || pages == 0 && len(encoded)+one < 255<<10 {
				t.Errorf("a page of %d messages, %d bytes, want one that fills 256 KiB", len(messages), len(encoded))
			}
			from, to := int(wstest.Num(t, got, "from")), int(wstest.Num(t, got, "to"))
			if to != before-1 || from > to {
				t.Fatalf("page before %d covers %d to %d", before, from, to)
			}
			// Either all is there, or the oldest are one gap.
			start := to - len(messages) + 1
			check(t, "messages", messages, seenBy(w.bob, start, m[start-1:to]...))
			if got["more"] == true {
				check(t, "page", []any{got["from"], got["gaps"]}, []any{start, []any{}})
			} else {
				first = start
				check(t, "last page", []any{got["from"], got["gaps"]}, []any{1, []any{gap(1, start-1, "evicted")}})
			}
			before = from
		}
		if first < total/3 || first > total*3/4 {
			t.Errorf("%d messages of 11 KiB are left in 640 KiB", total-first+1)
		}
	})
}

func TestContractSetConversation(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		m := bob.sends(w.alice, "m1")
		conv := "u:" + w.alice
		for _, c := range []struct{ set, want obj }{
			{obj{"muted": true}, obj{"muted": true}},
			{obj{"pinned": true}, obj{"muted": true, "pinned": true}},
			{obj{"muted": false}, obj{"pinned": true}},
			{obj{}, obj{"pinned": true}},
			{obj{"muted": true, "pinned": false}, obj{"muted": true}},
		} {
			check(t, "setConversation", bob.Request("setConversation", with(c.set, obj{"conv": conv})), obj{})
			check(t, "getRecents", bob.Request("getRecents", nil)["conversations"],
				[]any{with(with(entry(w.bob, m[0], 1, 0, 0), c.want), obj{"last": m[0].at(w.bob, 1)})})
		}
		fresh := w.login(w.bob, "fresh", obj{"recents": "quiet"})
		check(t, "onSynced", syncedIn(fresh.Pushes()), syncedArgs(0, 0, with(entry(w.bob, m[0], 1, 0, 0), obj{"muted": true})))
	})
}

// What a user sets of a conversation, and whom they block, their other devices are
// told, those that were away too, whatever they ask of recents.
func TestContractSettingsReachDevices(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1")
		for _, c := range []*device{phone, laptop} {
			check(t, "live", c.LiveMessage(), m[0].at(w.bob, 1))
			c.AckAll()
		}
		group := alice.group("private", obj{"members": []any{w.bob}})
		away := w.device(t, w.bob, "away", w.codec)
		away.Connect(wstest.DialOptions{})
		away.Login(nil)
		away.Pushes()
		alice.Say("g:"+group, "hello")
		away.Batch()
		for _, c := range []*device{phone, laptop} {
			c.Batch()
		}
		away.DropWhenHandled()
		var told []any
		hear := func(op string, args obj) {
			t.Helper()
			for _, c := range []*device{phone, laptop} {
				check(t, op, c.Expect(op), args)
			}
		}
		for _, conv := range []string{"u:" + w.alice, "g:" + group} {
			changed := obj{"conv": conv, "muted": false, "pinned": false, "unread": false}
			for _, key := range []string{"muted", "pinned", "unread"} {
				changed = with(changed, obj{key: true})
				phone.Request("setConversation", obj{"conv": conv, key: true})
				phone.Request("setConversation", obj{"conv": conv, key: true}) // which tells nobody
				hear("onConversationChanged", changed)
			}
			told = append(told, []any{"onConversationChanged", changed})
		}
		phone.Request("block", obj{"user": w.carol})
		hear("onBlocked", obj{"user": w.carol, "blocked": true})
		blocked := []any{"onBlocked", obj{"user": w.carol, "blocked": true}}

		// One-to-one first, then groups.
		away.Resume(obj{"recents": "off", "groups": away.GroupCursors})
		all := away.Pushes()
		check(t, "told when back", changesIn(all), []any{told[0], blocked, told[1]})
		marked := []any{syncedIn(all)["users"].([]any)[0].(obj)["markedUnread"], syncedIn(all)["groups"].([]any)[0].(obj)["markedUnread"]}
		check(t, "marked as unread", marked, []any{true, true})

		// A report or a message takes the mark back, an ack does not.
		for _, c := range []struct {
			conv string
			act  func()
		}{
			{"u:" + w.alice, func() { laptop.Request("readReport", obj{"conv": "u:" + w.alice, "seq": 1}) }},
			{"g:" + group, func() { laptop.Say("g:"+group, "mine") }},
		} {
			c.act()
			for _, d := range []*device{phone, laptop, away} {
				check(t, "unmarked", d.Expect("onConversationChanged"), obj{"conv": c.conv, "muted": true, "pinned": true, "unread": false})
			}
			phone.Request("setConversation", obj{"conv": c.conv, "unread": true})
			for _, d := range []*device{phone, laptop, away} {
				check(t, "marked", d.Expect("onConversationChanged"), obj{"conv": c.conv, "muted": true, "pinned": true, "unread": true})
			}
		}
		namesField(t, phone.Refused("setConversation", obj{"conv": "u:" + w.alice, "unread": 1}, "bad_request"), "unread")
		phone.Request("unblock", obj{"user": w.carol})
		for _, d := range []*device{phone, laptop, away} {
			check(t, "onBlocked", d.Expect("onBlocked"), obj{"user": w.carol, "blocked": false})
		}
	})
}

// What a member has set of a group is so again when they come back, however they left.
func TestContractGroupSettingsSurviveLeaving(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, bob := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil)
		id := w.groupOf(alice, "private", w.bob)
		group, conv := obj{"group": id}, "g:"+id
		bob.Request("setConversation", obj{"conv": conv, "muted": true, "pinned": true, "unread": true})
		is := func(when string, muted, pinned any) { // nil is not
			t.Helper()
			alice.Say(conv, when)
			fresh := w.login(w.bob, "fresh", obj{"autoRead": false})
			entry := syncedIn(fresh.Pushes())["conversations"].([]any)[0].(obj)
			check(t, when, []any{entry["conv"], entry["muted"], entry["pinned"], entry["markedUnread"]}, []any{conv, muted, pinned, nil})
			fresh.Logout()
		}
		back := func() {
			t.Helper()
			alice.Request("addMembers", with(group, obj{"users": []any{w.bob}}))
			w.listed(w.bob, id, true)
		}
		bob.Request("leaveGroup", group)
		back()
		is("left and back", true, true)
		bob.Request("setConversation", obj{"conv": conv, "muted": false})
		alice.Request("removeMembers", with(group, obj{"users": []any{w.bob}}))
		w.Kill()
		w.Restart()
		alice.resumeGroups(nil)
		alice.Pushes()
		back()
		is("removed and back after a crash", nil, true)
		bob.Login(nil)
		bob.Pushes()
		bob.Request("setConversation", obj{"conv": conv, "pinned": false})
		bob.Request("leaveGroup", group)
		back()
		is("taken back", nil, nil)
	})
}

func TestContractNoteToSelf(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		phone := w.online(w.bob, "phone", obj{"autoRead": false})
		laptop := w.online(w.bob, "laptop", obj{"autoRead": false})
		m := phone.sends(w.bob, "n1", "n2") // one entry each
		for i := range m {
			check(t, "seq", m[i].reply["seq"], i+1)
			check(t, "live", laptop.LiveMessage(), m[i].at(w.bob, i+1))
		}
		check(t, "repeat", phone.Request("send", m[0].args), with(m[0].reply, obj{"duplicate": true}))
		check(t, "getMessage", laptop.Request("getMessage", obj{"conv": "u:" + w.bob}),
			page(1, 2, false, seenBy(w.bob, 1, m...)))
		fresh := w.login(w.bob, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 2, m[1])) // through recents
		synced := syncedIn(all)
		check(t, "unread", []any{synced["offline"], synced["unreadTotal"]}, []any{0, 0})
		list := synced["conversations"].([]any)
		if len(list) != 1 || list[0].(obj)["unread"] != nil {
			t.Errorf("conversations %v, want the note, read", list)
		}
		check(t, "recall", phone.Request("recall", obj{"conv": "u:" + w.bob, "seq": 2}), obj{})
		for _, c := range []*device{phone, laptop, fresh} {
			check(t, "onRecall", c.Next(), wstest.Push{Op: "onRecall",
				Args: obj{"conv": "u:" + w.bob, "ranges": []any{[]any{int64(2), int64(2)}}, "by": w.bob}})
			c.Idle() // and no receipt
		}
	})
}

func TestContractMentions(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		mentions := []any{w.bob, w.carol}
		m := alice.sendBody(w.bob, "m1", "hey", obj{"mentions": mentions, "ttl": 600})
		check(t, "live", bob.LiveMessage(), m.at(w.bob, 1))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}), page(1, 1, false, seenBy(w.bob, 1, m)))
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{
			with(entry(w.bob, m, 1, 0, 1), obj{"last": m.at(w.bob, 1)}),
		}})
		reply := alice.Request("send", with(m.args, obj{"cid": "now", "ttl": 0}))
		check(t, "ephemeral", bob.LiveMessage(), obj{
			"id": reply["id"], "conv": "u:" + w.alice, "from": w.alice, "time": reply["time"], "cid": "now",
			"body": "hey", "ephemeral": true, "mentions": mentions,
		})
	})
}

// A receipt is in the peer's own numbers, here after bob's view left out what

// alice wrote while he had blocked her.
func TestContractReceipts(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, fmt.Sprintf("--shards=%d", harness.Shards)), func(t *testing.T, w *world) {
		alice := w.online(w.userOn("alice", func(shard int) bool { return shard == 0 }), "phone", nil)
		bob := w.online(w.userOn("bob", func(shard int) bool { return shard == 1 }), "phone", obj{"autoRead": false})
		toBob, toAlice := "u:"+bob.User, "u:"+alice.User
		receipt := func(seq int64) {
			t.Helper()
			check(t, "onReadReceipt", alice.Expect("onReadReceipt"), obj{"conv": toBob, "seq": seq, "time": someInt})
		}
		report := func(seq, unread int64) {
			t.Helper()
			check(t, "readReport", bob.Request("readReport", obj{"conv": toAlice, "seq": seq}), obj{"unread": unread})
		}
		m := alice.sends(bob.User, "m1")
		check(t, "live", bob.LiveMessage(), m[0].at(bob.User, 1))
		report(1, 0)
		receipt(1)

		inAlice, inBob := w.diverge(alice, bob)
		report(inBob, 0)
		receipt(inAlice)
		report(inBob, 0) // repeated, lower: nothing changes
		report(1, 0)
		next := alice.sends(bob.User, "next")
		check(t, "live", bob.LiveMessage(), obj{
			"id": next[0].reply["id"], "conv": toAlice, "from": alice.User, "seq": inBob + 1, "time": someInt,
			"cid": "next", "body": obj{"text": "next"},
		})
		alice.Idle() // no second receipt before the next reply

		// An ack is no receipt; a report of what an ack had read is.
		auto := w.login(bob.User, "auto", nil)
		auto.Pushes()
		auto.AckAll()
		check(t, "onReadReport", bob.Expect("onReadReport"), obj{"conv": toAlice, "seq": inBob + 1})
		alice.Idle()
		report(inBob+1, 0)
		receipt(inAlice + 1)

		// Who is away learns it at login, also of what is no longer stored.
		short := alice.sendBody(bob.User, "short", "x", obj{"ttl": 5})
		bob.Batch()
		alice.DropWhenHandled()
		w.passed(bob, short.time()+5000)
		report(inBob+2, 0)
		w.until(alice, func(all []wstest.Push) bool {
			return difference(changesIn(all), []any{[]any{"onReadReceipt",
				obj{"conv": toBob, "seq": inAlice + 2, "time": someInt}}}) == ""
		})
		list := alice.Request("getRecents", nil)["conversations"].([]any)
		check(t, "peerReadSeq", list[0].(obj)["peerReadSeq"], inAlice+2)
	})
}

// diverge has bob block alice while she writes, so that their views differ by
// what she wrote before her shard heard of it, and unblock her again. The last
// message is in both; it gives its seq in either view.
func (w *world) diverge(alice, bob *device) (inAlice, inBob int64) {
	w.t.Helper()
	at := observe(bob)
	for round := range 100 {
		ctx, cancel := alice.Context()
		forbidden := make(chan error, 1)
		go func() { forbidden <- untilForbidden(ctx, alice.Conn, "u:"+bob.User, fmt.Sprint(round)) }()
		at.until(inBob + 2) // she is at it
		bob.Request("block", obj{"user": alice.User})
		bob.Expect("onBlocked")
		err := <-forbidden
		cancel()
		alice.Must(err, "send until forbidden")
		bob.Request("unblock", obj{"user": alice.User})
		bob.Expect("onBlocked")
		last := fmt.Sprint("last", round)
		wstest.Eventually(w.t, "alice may write again", func() bool {
			reply, err := alice.Try("send", obj{"conv": "u:" + bob.User, "cid": last, "body": "x"})
			if err == nil {
				inAlice = wstest.Num(w.t, reply, "seq")
			}
			return err == nil
		})
		for {
			inBob = at.seqs[len(at.seqs)-1]
			if at.cids[inBob] == last {
				break
			}
			at.until(inBob + 1)
		}
		for i, seq := range at.seqs { // what is hidden takes no seq
			check(w.t, "seqs of "+bob.Name(), seq, at.seqs[0]+int64(i))
		}
		if inAlice != inBob {
			return inAlice, inBob
		}
	}
	w.t.Fatal("in 100 rounds alice's shard heard of the block before her next message")
	return 0, 0
}

// untilForbidden sends to conv, some at a time, until that is forbidden.
func untilForbidden(ctx context.Context, conn *wstest.Conn, conv, prefix string) error {
	var waiting []int64
	for i, end := 0, false; !end || len(waiting) > 0; i++ {
		if !end {
			request, err := conn.Start(ctx, "send", obj{"conv": conv, "cid": fmt.Sprint(prefix, ".", i), "body": i})
			if err != nil {
				return err
			}
			waiting = append(waiting, request)
		}
		if end || len(waiting) == 16 {
			_, err := conn.Reply(ctx, waiting[0])
			waiting = waiting[1:]
			refusal, ok := err.(*wstest.Error)
			switch {
			case ok && refusal.Code == "forbidden":
				end = true
			case err != nil:
				return err
			}
		}
	}
	return nil
}

// until resumes from one and the same cursor until the sync is as wanted: what

// another shard has to tell may be on its way still.
func (w *world) until(c *device, is func(all []wstest.Push) bool) {
	w.t.Helper()
	since := c.Cursor
	wstest.Eventually(w.t, "the sync has it", func() bool {
		c.Login(obj{"since": since})
		return is(c.Pushes())
	})
}

// A cursor that is no good counts as none, and the device is told.
func TestContractBadCursors(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2")
		w.arrived(w.bob, "u:"+w.alice, 2)
		bob := w.login(w.bob, "phone", manual)
		bob.Pushes()
		for _, since := range []string{
			"garbage", "0", alice.Cursor, bob.Cursor + "x", bob.Cursor[:len(bob.Cursor)-1], "x" + bob.Cursor[1:],
			"☃", string(make([]byte, 300)),
		} {
			bob.Login(with(manual, obj{"since": since}))
			all := bob.Pushes()
			check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
			check(t, "onSynced", syncedIn(all), with(syncedArgs(2, 2, entry(w.bob, m[1], 2, 0, 2)), obj{"reset": true}))
			cursorOnlyAtEnd(t, all)
		}
		bob.Resume(manual)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 2, entry(w.bob, m[1], 2, 0, 2)))
	})
}

// What a store that is gone has given out means nothing to the one begun in its
// place.
func TestContractCursorOfLostStore(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		old := alice.sends(w.bob, "old1", "old2")
		bob.Message()
		bob.Message()
		w.Stop()
		if err := os.RemoveAll(w.Path("store")); err != nil {
			t.Fatal(err)
		}
		w.Restart()
		alice.Resume(nil)
		all := alice.Pushes()
		check(t, "onSynced", syncedIn(all), with(syncedArgs(0, 0), obj{"reset": true}))
		m := alice.sends(w.bob, "m1", "m2", "m3")
		if m[0].seq() != 1 || m[0].reply["id"] == old[0].reply["id"] {
			t.Errorf("first message of the new store: %v", m[0].reply)
		}
		w.arrived(w.bob, "u:"+w.alice, 3)
		bob.Resume(nil)
		all = bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
		check(t, "onSynced", syncedIn(all), with(syncedArgs(3, 3, entry(w.bob, m[2], 3, 0, 3)), obj{"reset": true}))
	})
}

// A repeat of a request of one session gets its first answer.
func TestContractRepeatedRequests(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		conv := "u:" + w.alice
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i := range m {
			check(t, "live", bob.LiveMessage(), m[i].at(w.bob, i+1))
		}
		report := func(id int64, seq, unread int) {
			t.Helper()
			check(t, "readReport", bob.RequestAs(id, "readReport", obj{"conv": conv, "seq": seq}), obj{"unread": unread})
		}
		report(5000, 2, 1)
		m = append(m, alice.sends(w.bob, "m4")...)
		check(t, "live", bob.LiveMessage(), m[3].at(w.bob, 4))
		report(5000, 2, 1) // as it was then
		report(5001, 2, 2) // asked anew
		report(5000, 3, 1) // another request under that id
		report(5000, 2, 1) // so this is no repeat any more: the cursor stays at 3

		// A repeat changes nothing: unblock, then the first block once more.
		bob.RequestAs(6000, "block", obj{"user": w.carol})
		bob.RequestAs(6001, "unblock", obj{"user": w.carol})
		for range 20 { // requests that change nothing make none forgotten
			bob.Request("ping", nil)
		}
		bob.RequestAs(6000, "block", obj{"user": w.carol})
		check(t, "getBlocked", bob.Request("getBlocked", nil), obj{"users": []any{}})
		// Sixteen changing requests are remembered.
		for i := range int64(16) {
			bob.RequestAs(7000+i, "readReport", obj{"conv": conv, "seq": 3})
		}
		bob.RequestAs(6000, "block", obj{"user": w.carol})
		check(t, "getBlocked", bob.Request("getBlocked", nil), obj{"users": []any{w.carol}})
	})
}
