package contract

// The contract on logins of members: backlog, cursors, unread, recents merged
// with one-to-one conversations, what limits took away.

import (
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractGroupBacklog(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		id := w.groupOf(alice, "public", w.bob)
		m := alice.tells(id, numbered("m", 110)...)
		for _, c := range []struct {
			args obj
			want []groupMessage
		}{
			{nil, m[90:]},
			{obj{"groupBacklog": 0, "recents": "quiet"}, nil},
			{obj{"groupBacklog": 0}, m[109:]}, // through recents
			{obj{"groupBacklog": 1}, m[109:]},
			{obj{"groupBacklog": 7, "recents": "off"}, m[103:]},
			{obj{"groupBacklog": 100}, m[10:]},
			// A cursor that is no good counts as none.
			{obj{"groups": obj{id: "garbage"}}, m[90:]},
			{obj{"groups": obj{id: alice.Cursor}}, m[90:]},
			{obj{"groups": obj{"no.such.group": "garbage"}}, m[90:]},
			{obj{"groups": obj{}}, m[90:]},
		} {
			bob := w.login(w.bob, "phone", c.args)
			all := bob.Pushes()
			check(t, fmt.Sprint("messages with ", c.args), messagesIn(all), objs(c.want...))
			synced := syncedIn(all)
			check(t, "unreadTotal", synced["unreadTotal"], 110)
			if c.args["recents"] == "off" {
				delete(synced, "conversations")
				entry := entryOf("g:"+id, synced["groups"])
				check(t, "groups without recents", entry, groupEntry(m[109], 0, 110))
			} else {
				check(t, "conversations", synced["conversations"], []any{groupEntry(m[109], 0, 110)})
				check(t, "groups", synced["groups"], []any{})
			}
			bob.DropWhenHandled()
		}
		for _, bad := range []obj{
			{"groupBacklog": -1}, {"groupBacklog": 101}, {"groupBacklog": "20"}, {"groupBacklog": 1.5},
			{"groups": []any{}}, {"groups": obj{id: 7}}, {"groups": "x"},
		} {
			err := w.unsynced(w.bob, "bad", bad)
			for field := range bad {
				namesField(t, err, field)
			}
		}

		// Who wrote all of it has nothing unread.
		fresh := w.login(w.alice, "fresh", nil)
		all := fresh.Pushes()
		check(t, "messages of the writer", messagesIn(all), objs(m[109])) // through recents
		check(t, "onSynced of the writer", syncedIn(all), syncedArgs(0, 0, groupEntry(m[109], 110, 0)))
	})
}

// What groupCursors said, given back as groups, gives exactly what came after.
func TestContractGroupCursors(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "--group-rate=0")
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		one := w.groupOf(alice, "private", w.bob, w.carol)
		two := w.groupOf(alice, "chatroom", w.bob)
		a := alice.tells(one, "a1", "a2")
		bob.hears(a...)
		w.passed(alice, a[1].time())
		b := alice.tells(two, "b1")
		bob.hears(b...)
		bob.DropWhenHandled() // nothing acked
		for _, id := range []string{one, two} {
			if _, ok := bob.GroupCursors[id].(string); !ok {
				t.Fatalf("no cursor of %s after live messages: %v", id, bob.GroupCursors)
			}
		}

		none := func(what string) {
			t.Helper()
			bob.resumeGroups(nil)
			all := bob.Pushes()
			check(t, what, append(messagesIn(all), changesIn(all)...), []any{})
			bob.DropWhenHandled()
		}
		bob.resumeGroups(nil)
		all := bob.Pushes()
		check(t, "nothing came after", append(messagesIn(all), changesIn(all)...), []any{})
		checkHas(t, "onSynced", syncedIn(all), obj{"unreadTotal": 2, "conversations": []any{
			groupEntry(b[0], 0, -1), groupEntry(a[1], 0, 2),
		}})
		bob.DropWhenHandled()

		// Unread or read, by others or from another device, recalls and deletions.
		desk := w.online(w.bob, "desk", nil)
		a = append(a, alice.tells(one, "a3", "a4")...)
		desk.hears(a[2:]...)
		a = append(a, desk.tells(one, "a5")...)
		a = append(a, carol.tells(one, "a6", "a7")...)
		desk.hears(a[5:]...)
		b = append(b, alice.tells(two, "b2")...)
		alice.Request("recall", obj{"conv": "g:" + one, "seq": 1}) // which bob has
		alice.Request("recall", obj{"conv": "g:" + one, "seq": 4}) // which he has not
		desk.Request("deleteMessage", obj{"conv": "g:" + one, "seqs": []any{2, 3}})
		cursors := bob.GroupCursors
		bob.resumeGroups(nil)
		all = bob.Pushes()
		check(t, "one", messagesOf("g:"+one, all), objs(a[4:]...))
		check(t, "two", messagesOf("g:"+two, all), objs(b[1]))
		gone := recalls(t, one, w.alice, all...)
		if _, ok := gone[1]; !ok || len(gone) > 2 {
			t.Errorf("onRecall names %v, want 1", gone)
		}
		deleted := map[any]bool{}
		for _, p := range all {
			if p.Op == "onMessageDeleted" && p.Args["conv"] == "g:"+one {
				for _, seq := range p.Args["seqs"].([]any) {
					deleted[seq] = true
				}
			}
		}
		if !deleted[int64(2)] {
			t.Errorf("onMessageDeleted names %v, want 2", deleted)
		}
		checkHas(t, "onSynced", syncedIn(all), obj{"offline": 0, "unreadTotal": 2, "lost": []any{}})
		bob.DropWhenHandled()
		none("nothing came after the sync")

		// More than the backlog: the newest unread, and the rest by pages.
		a = append(a, alice.tells(one, numbered("more", 30)...)...)
		bob.resumeGroups(obj{"groupBacklog": 10})
		all = bob.Pushes()
		check(t, "more than the backlog", messagesOf("g:"+one, all), objs(a[27:]...))
		check(t, "unreadTotal", syncedIn(all)["unreadTotal"], 32)
		bob.DropWhenHandled()
		none("nothing came after a part")

		// The old cursors are still good, also after a crash.
		w.Kill()
		w.Restart()
		bob.GroupCursors = cursors
		bob.resumeGroups(obj{"groupBacklog": 100})
		all = bob.Pushes()
		check(t, "one after a crash", messagesOf("g:"+one, all), objs(a[4:]...))
		check(t, "two after a crash", messagesOf("g:"+two, all), objs(b[1]))
		bob.DropWhenHandled()
		none("nothing came after the second sync")

		// Somebody else's cursor, or one of another group, is none.
		bob.Login(obj{"since": bob.Cursor, "groups": obj{two: bob.GroupCursors[one]}, "recents": "quiet"})
		check(t, "two with a cursor of one", messagesOf("g:"+two, bob.Pushes()), []any{})
	})
}

// One list by time, one sum of what is unread.
func TestContractGroupsAmongConversations(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recents=4"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		var ids []string
		for _, kind := range []string{"private", "public", "chatroom"} {
			ids = append(ids, w.groupOf(alice, kind, w.bob))
		}
		quiet := w.groupOf(alice, "private", w.bob) // nothing is ever said there
		g0 := alice.tells(ids[0], "g0")
		w.passed(alice, g0[0].time())
		u0 := alice.sends(w.bob, "u0")
		w.passed(alice, u0[0].time())
		g1 := alice.tells(ids[1], "g1", "g1 again")
		w.passed(alice, g1[1].time())
		u1 := carol.sends(w.bob, "u1")
		w.passed(alice, u1[0].time())
		g2 := alice.tells(ids[2], "g2")
		w.arrived(w.bob, "u:"+w.alice, 1)
		w.arrived(w.bob, "u:"+w.carol, 1)

		list := []any{
			groupEntry(g2[0], 0, -1), entry(w.bob, u1[0], 1, 0, 1), groupEntry(g1[1], 0, 2), entry(w.bob, u0[0], 1, 0, 1),
		}
		bob := w.login(w.bob, "phone", obj{"autoRead": false})
		all := bob.Pushes()
		synced := syncedIn(all)
		check(t, "onSynced", synced, with(syncedArgs(2, 5, list...), obj{"groups": []any{groupEntry(g0[0], 0, 1)}}))
		check(t, "one-to-one", append(messagesOf("u:"+w.alice, all), messagesOf("u:"+w.carol, all)...),
			append(seenBy(w.bob, 1, u0...), seenBy(w.bob, 1, u1...)...))
		for i, m := range [][]groupMessage{g0, g1, g2} { // the last through recents
			check(t, "group", messagesOf("g:"+ids[i], all), objs(m...))
		}
		check(t, "all", len(messagesIn(all)), 6)
		withLast := func(e any, last obj) obj { return with(e.(obj), obj{"last": last}) }
		recents := []any{
			withLast(list[0], g2[0].obj()), withLast(list[1], u1[0].at(w.bob, 1)),
			withLast(list[2], g1[1].obj()), withLast(list[3], u0[0].at(w.bob, 1)),
		}
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": recents})

		// A new message brings its group to the front, and the fourth is out.
		w.passed(alice, g2[0].time())
		next := alice.tells(ids[0], "again")
		bob.hears(next...)
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{
			withLast(groupEntry(next[0], 0, 2), next[0].obj()), recents[0], recents[1], recents[2],
		}})
		// Settings stand in the list.
		bob.Request("setConversation", obj{"conv": "g:" + ids[0], "muted": true, "pinned": true})
		fresh := w.login(w.bob, "fresh", obj{"recents": "quiet", "autoRead": false})
		got := syncedIn(fresh.Pushes())["conversations"].([]any)
		check(t, "the first of conversations", got[0], with(groupEntry(next[0], 0, 2), obj{"muted": true, "pinned": true}))
		bob.Request("setConversation", obj{"conv": "g:" + ids[0], "muted": false, "pinned": false})
		check(t, "getRecents", bob.Request("getRecents", nil)["conversations"].([]any)[0],
			withLast(groupEntry(next[0], 0, 2), next[0].obj()))
		for _, c := range []*device{bob, fresh} {
			if slices.ContainsFunc(c.Request("getRecents", nil)["conversations"].([]any), func(e any) bool {
				return e.(obj)["conv"] == "g:"+quiet
			}) {
				t.Errorf("a group without messages is among the recents")
			}
		}
	})
}

// Past --group-bytes the oldest leave, and are lost for whom they were unread.
func TestContractGroupLost(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0", "--group-bytes=64KiB"), func(t *testing.T, w *world) {
		const total = 100
		alice := w.online(w.alice, "phone", nil)
		carol := w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "public", w.bob, w.carol)
		conv := "g:" + id
		var m []groupMessage
		fill := func(n int) {
			t.Helper()
			for range n {
				m = append(m, alice.tellBody(id, fmt.Sprint(len(m)), obj{"fill": make([]byte, 1000)}, nil))
			}
		}
		fill(5)
		before := w.login(w.bob, "before", nil)
		before.Pushes() // holds 1 to 5
		before.DropWhenHandled()
		carol.Request("readReport", obj{"conv": conv, "seq": 3})
		fill(total - 5)

		bob := w.login(w.bob, "phone", obj{"groupBacklog": 100})
		all := bob.Pushes()
		left := len(messagesIn(all))
		if left < total/3 || left > total*3/4 {
			t.Fatalf("%d messages of 1 KB are left in 64 KiB", left)
		}
		gone := total - left
		lost := func(from, to int) []any {
			return []any{obj{"conv": conv, "from": from, "to": to, "count": to - from + 1}}
		}
		check(t, "messages", messagesIn(all), objs(m[gone:]...))
		check(t, "onSynced", syncedIn(all), with(syncedArgs(0, left, groupEntry(m[total-1], 0, left)), obj{"lost": lost(1, gone)}))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": conv, "limit": 100}),
			page(1, total, false, objs(m[gone:]...), gap(1, gone, "evicted")))
		// Above the read cursor, and after the device's.
		quiet := obj{"groupBacklog": 0, "recents": "quiet"}
		check(t, "lost of who read some", syncedIn(w.login(w.carol, "fresh", quiet).Pushes())["lost"], lost(4, gone))
		before.resumeGroups(quiet)
		// Where exactly the device stood among what is gone, nobody can say.
		some := syncedIn(before.Pushes())["lost"].([]any)
		if len(some) != 1 || wstest.Num(t, some[0].(obj), "from") > 6 || wstest.Num(t, some[0].(obj), "to") != int64(gone) {
			t.Errorf("lost of a device that has 5: %v, want at least 6 to %d", some, gone)
		}
		// The sender misses none of their own.
		check(t, "lost of the sender", syncedIn(w.login(w.alice, "fresh", quiet).Pushes())["lost"], []any{})
		// Until a report passes them.
		fresh := w.device(t, w.bob, "fresh", w.codec)
		for _, c := range []struct {
			seq  int
			lost []any
		}{{2, lost(3, gone)}, {gone, []any{}}} {
			check(t, "readReport", bob.Request("readReport", obj{"conv": conv, "seq": c.seq}), obj{"unread": left})
			fresh.Login(quiet)
			check(t, "lost after a report", syncedIn(fresh.Pushes())["lost"], c.lost)
		}
		// A device that holds something newer missed nothing.
		full := w.online(w.carol, "full", quiet)
		full.hears(alice.tells(id, "newer")...)
		full.DropWhenHandled()
		full.resumeGroups(quiet)
		check(t, "lost of a device that holds something newer", syncedIn(full.Pushes())["lost"], []any{})
	})
}

// In all a login pushes so much of the backlogs, of the newest groups first.
func TestContractGroupLoginBacklog(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0", "--login-backlog=25:1MiB"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		var ids []string
		var m [][]groupMessage
		for range 3 {
			id := w.groupOf(alice, "private", w.bob)
			sent := alice.tells(id, numbered("m", 10)...)
			w.passed(alice, sent[9].time())
			ids, m = append(ids, id), append(m, sent)
		}
		bob := w.login(w.bob, "phone", obj{"recents": "quiet"})
		all := bob.Pushes()
		check(t, "the newest group", messagesOf("g:"+ids[2], all), objs(m[2]...))
		check(t, "the one before", messagesOf("g:"+ids[1], all), objs(m[1]...))
		check(t, "the oldest", messagesOf("g:"+ids[0], all), objs(m[0][5:]...))
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 30,
			groupEntry(m[2][9], 0, 10), groupEntry(m[1][9], 0, 10), groupEntry(m[0][9], 0, 10)))
	})
}

// A device that comes back with its cursor is told which groups its user came to and
// left meanwhile, and with a group's cursor that it was renamed; one without is not.
func TestContractMembershipsWhileAway(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		named := func(name string, members ...string) string {
			id := w.user(name)
			alice.Request("createGroup", obj{"group": id, "kind": "private", "name": "n", "members": texts(members...)})
			return id
		}
		kept, left, removed, over, known := named("kept", w.bob), named("left", w.bob), named("removed", w.bob), named("over", w.bob), named("known", w.bob)
		for _, id := range []string{kept, left, removed, over, known} {
			w.listed(w.bob, id, true)
			alice.Say("g:"+id, "hello")
		}
		bob := w.login(w.bob, "phone", nil)
		bob.Pushes()
		bob.AckAll()
		other := w.online(w.bob, "other", nil)
		bob.DropWhenHandled()

		joined := named("joined", w.bob)
		other.Request("leaveGroup", obj{"group": left})
		alice.Request("removeMembers", obj{"group": removed, "users": []any{w.bob}})
		alice.Request("dismissGroup", obj{"group": over})
		other.Request("leaveGroup", obj{"group": known})
		alice.Request("addMembers", obj{"group": known, "users": []any{w.bob}})
		alice.Request("setGroup", obj{"group": kept, "name": "another"})
		alice.Request("setGroup", obj{"group": joined, "name": "another"}) // of which the device knows nothing yet
		for _, id := range []string{left, removed, over} {
			w.listed(w.bob, id, false)
		}
		for _, id := range []string{joined, known} {
			w.listed(w.bob, id, true)
		}
		news := func(id, event, by string, users ...any) any {
			args := obj{"group": id, "event": event, "by": by, "time": someInt}
			if len(users) > 0 {
				args["users"] = users
			}
			if event == "joined" {
				args["cursor"] = someText
			}
			return []any{"onGroupEvent", args}
		}
		bob.resumeGroups(nil)
		all := bob.Pushes()
		check(t, "told when back", changesIn(all), []any{
			news(joined, "joined", "", w.bob), news(left, "left", "", w.bob), news(removed, "removed", "", w.bob),
			news(over, "dismissed", "", w.bob), news(known, "joined", "", w.bob), news(kept, "changed", w.alice),
		})
		bob.DropWhenHandled()

		// With the cursors that came of it there is nothing more, though a transfer is a letter too.
		cursors := with(bob.GroupCursors, nil)
		for _, p := range all {
			if cursor, ok := p.Args["cursor"]; ok && p.Op == "onGroupEvent" {
				cursors = with(cursors, obj{p.Args["group"].(string): cursor})
			}
		}
		alice.Request("setGroup", obj{"group": kept, "owner": w.bob})
		other.Request("answerOwner", obj{"group": kept, "accept": true})
		bob.Resume(obj{"groups": cursors})
		check(t, "told again", changesIn(bob.Pushes()), []any{news(joined, "changed", w.alice)})
		fresh := w.login(w.bob, "fresh", nil)
		check(t, "told to a new device", changesIn(fresh.Pushes()), []any{})
	})
}
