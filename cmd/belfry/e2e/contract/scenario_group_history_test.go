package contract

// Scenarios 8 and 12: what a group's members get who were away, or came later.

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestScenario08GroupWhileOneIsAway(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		const total = 50
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol)
		bob.event(id, "created", w.alice)
		conv := "g:" + id
		var m []groupMessage
		for i := range total {
			sender, hearer := alice, bob
			if i%2 == 1 {
				sender, hearer = bob, alice
			}
			m = append(m, sender.tells(id, fmt.Sprintf("m%d", i+1))...)
			check(t, "seq", m[i].reply["seq"], i+1)
			hearer.hears(m[i])
		}

		phone := w.login(w.carol, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), objs(m[30:]...))
		check(t, "changes", changesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, total, groupEntry(m[total-1], 0, total)))

		// Pages by seq give the rest.
		var rest []any
		for before, more := 31, true; more; before -= 20 {
			got := phone.Request("getMessage", obj{"conv": conv, "before": before})
			more = before > 21
			check(t, "getMessage", got, page(max(1, before-20), before-1, more, objs(m[max(0, before-21):before-1]...)))
			rest = append(got["messages"].([]any), rest...)
		}
		check(t, "all pages", rest, objs(m[:30]...))

		// Acks move no group's cursor: another device gets the same, and the same
		// device again.
		phone.AckAll()
		phone.Request("ping", nil)
		for _, device := range []string{"laptop", "phone"} {
			again := w.login(w.carol, device, nil)
			all = again.Pushes()
			check(t, "messages after an ack", messagesIn(all), objs(m[30:]...))
			check(t, "unread after an ack", syncedIn(all)["unreadTotal"], total)
			again.Logout()
		}

		// A sender's cursor is at their own message.
		for _, c := range []struct {
			user         string
			read, unread int
		}{{w.alice, 49, 1}, {w.bob, 50, 0}} {
			quiet := w.login(c.user, "quiet", obj{"recents": "quiet"})
			all := quiet.Pushes()
			check(t, "messages of a sender", messagesIn(all), objs(m[50-c.unread:]...))
			check(t, "onSynced of a sender", syncedIn(all), syncedArgs(0, c.unread, groupEntry(m[total-1], c.read, c.unread)))
		}

		carol := w.online(w.carol, "tablet", obj{"recents": "off", "groupBacklog": 0})
		check(t, "readReport", carol.Request("readReport", obj{"conv": conv, "seq": 20}), obj{"unread": 30})
		live := alice.tells(id, "m51")
		carol.hears(live...)
		bob.hears(live...)
		fresh := w.login(w.carol, "fresh", nil)
		all = fresh.Pushes()
		check(t, "messages after a report", messagesIn(all), objs(append(m[31:], live...)...))
		check(t, "onSynced after a report", syncedIn(all), syncedArgs(0, 31, groupEntry(live[0], 20, 31)))
		for _, c := range []*device{alice, bob, carol, fresh} {
			c.Idle()
		}
	})
}

// hundred sends a hundred messages to a group at once, and gives what the sender
// can read of them.
func (c *device) hundred(group string) []any {
	c.T.Helper()
	c.Background("g:"+group, "m", 100, cidBody)()
	messages := c.Request("getMessage", obj{"conv": "g:" + group, "limit": 100})["messages"].([]any)
	if len(messages) != 100 {
		c.T.Fatalf("%s: %d messages in %s, want 100", c.Name(), len(messages), group)
	}
	return messages
}

func TestScenario12SinceJoin(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		for _, kind := range []string{"private", "public"} {
			id := w.groupOf(alice, kind, w.bob)
			conv := "g:" + id
			alice.hundred(id)
			carol.Refused("getMessage", obj{"conv": conv}, "forbidden")
			if kind == "private" {
				check(t, "addMembers", bob.Request("addMembers", obj{"group": id, "users": []any{w.carol}}),
					obj{"added": []any{w.carol}, "failed": []any{}})
			} else {
				check(t, "joinGroup", carol.Request("joinGroup", obj{"group": id}), obj{"pending": true})
				carol.Refused("getMessage", obj{"conv": conv}, "forbidden")
				alice.Request("answerJoin", obj{"group": id, "user": w.carol, "accept": true})
			}
			// Nothing below her join, however she asks, and nothing counts.
			before := gap(1, 100, "notMember")
			check(t, "newest", carol.Request("getMessage", obj{"conv": conv}), page(1, 100, false, []any{}, before))
			laptop := w.device(t, w.carol, "laptop", w.codec)
			w.listed(w.carol, id, true)
			laptop.Login(nil)
			all := laptop.Pushes()
			check(t, "messages", messagesOf(conv, all), []any{})
			check(t, "unreadTotal", syncedIn(all)["unreadTotal"], 0)
			laptop.Logout()

			m := alice.tells(id, "m101", "m102", "m103")
			carol.hears(m...)
			for _, c := range []struct{ args, want obj }{
				{obj{}, page(1, 103, false, objs(m...), before)},
				{obj{"limit": 2}, page(102, 103, true, objs(m[1:]...))},
				{obj{"before": 102}, page(1, 101, false, objs(m[0]), before)},
				{obj{"before": 101}, page(1, 100, false, []any{}, before)},
				{obj{"after": 0, "limit": 1}, page(1, 101, true, objs(m[0]), before)},
				{obj{"after": 98}, page(99, 103, false, objs(m...), gap(99, 100, "notMember"))},
				{obj{"range": []any{90, 101}}, page(90, 101, false, objs(m[0]), gap(90, 100, "notMember"))},
				{obj{"range": []any{7, 7}}, page(7, 7, false, []any{}, gap(7, 7, "notMember"))},
			} {
				check(t, fmt.Sprint("getMessage ", c.args), carol.Request("getMessage", with(c.args, obj{"conv": conv})), c.want)
			}
			laptop.Login(nil)
			all = laptop.Pushes()
			check(t, "messages", messagesOf(conv, all), objs(m...))
			// Before her first report her cursor is where she joined, or at 0: what
			// counts is unread.
			got := entryOf(conv, syncedIn(all)["conversations"])
			delete(got, "readSeq")
			want := groupEntry(m[2], 0, 3)
			delete(want, "readSeq")
			check(t, "entry", got, want)
			laptop.Request("readReport", obj{"conv": conv, "seq": 103})
			laptop.Logout()

			// Leaving ends access, joining again starts at the new join.
			check(t, "leaveGroup", carol.Request("leaveGroup", obj{"group": id}), obj{})
			carol.Refused("getMessage", obj{"conv": conv, "range": []any{101, 103}}, "forbidden")
			alice.tells(id, "m104")
			alice.Request("addMembers", obj{"group": id, "users": []any{w.carol}})
			again := alice.tells(id, "m105")
			carol.hears(again...)
			check(t, "getMessage after a second join", carol.Request("getMessage", obj{"conv": conv, "after": 99}),
				page(100, 105, false, objs(again...), gap(100, 104, "notMember")))
			// The others have all.
			check(t, "getMessage of bob", bob.Request("getMessage", obj{"conv": conv, "after": 102}),
				alice.Request("getMessage", obj{"conv": conv, "after": 102}))
			carol.Request("readReport", obj{"conv": conv, "seq": 105})
		}
	})
}

func TestScenario12All(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := alice.group("chatroom", nil)
		conv := "g:" + id
		history := alice.hundred(id)
		carol := w.online(w.carol, "phone", nil)
		carol.Refused("getMessage", obj{"conv": conv}, "forbidden")
		check(t, "joinGroup", carol.Request("joinGroup", obj{"group": id}), obj{"cursor": someText})
		check(t, "getMessage", carol.Request("getMessage", obj{"conv": conv, "limit": 100}), page(1, 100, false, history))
		check(t, "a page", carol.Request("getMessage", obj{"conv": conv, "before": 51, "limit": 10}), page(41, 50, true, history[40:50]))
		m := alice.tells(id, "m101")
		carol.hears(m...)

		// A chatroom has no unread, and so no backlog: the last message comes
		// through recents.
		w.listed(w.carol, id, true)
		laptop := w.login(w.carol, "laptop", nil)
		all := laptop.Pushes()
		check(t, "messages", messagesIn(all), objs(m...))
		synced := syncedIn(all)
		check(t, "unreadTotal", synced["unreadTotal"], 0)
		got := entryOf(conv, synced["conversations"])
		delete(got, "readSeq")
		want := groupEntry(m[0], 0, -1)
		delete(want, "readSeq")
		check(t, "entry", got, want)
		carol.Request("leaveGroup", obj{"group": id})
		carol.Refused("getMessage", obj{"conv": conv}, "forbidden")
	})
}

func TestScenario12Live(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := wstest.Str(t, alice.Request("createGroup", obj{"kind": "live"}), "group")
		alice.Request("joinGroup", obj{"group": id})
		bob := w.online(w.bob, "phone", nil)
		check(t, "joinGroup", bob.Request("joinGroup", obj{"group": id}), obj{})
		reply := alice.Request("send", obj{"conv": "g:" + id, "cid": "1", "body": "now"})
		check(t, "reply", reply, obj{"id": someText, "time": someInt})
		check(t, "live", bob.hear(), obj{
			"id": reply["id"], "conv": "g:" + id, "from": w.alice, "time": reply["time"], "cid": "1", "body": "now", "ephemeral": true,
		})
		for _, c := range []*device{alice, bob} {
			check(t, "getMessage", c.Request("getMessage", obj{"conv": "g:" + id}), page(0, 0, false, []any{}))
			check(t, "getRecents", c.Request("getRecents", nil), obj{"conversations": []any{}})
			device := w.login(c.User, "fresh", nil)
			all := device.Pushes()
			check(t, "messages", messagesIn(all), []any{})
			check(t, "onSynced", syncedIn(all), syncedArgs(0, 0))
		}
	})
}
