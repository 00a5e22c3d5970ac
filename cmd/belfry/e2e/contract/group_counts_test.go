package contract

// What a client needs to know to count unread messages of groups as the server does, and
// which groups it has to fetch again.

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// counts returns what the next onGroupEvent about a group says of counting: false, or nil
// for nothing.
func (c *device) counts(group, event string) any {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.NextOf(ctx, func(p wstest.Push) bool { return p.Op == "onGroupEvent" && p.Args["group"] == group })
	c.Must(err, "expecting "+event+" of "+group)
	if p.Args["event"] != event {
		c.T.Errorf("%s: onGroupEvent is %v, want %s", c.Name(), p.Args, event)
	}
	return p.Args["counts"]
}

func TestContractGroupsThatCountNone(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		open := func(name, kind string) string {
			id := w.user(name)
			alice.Request("createGroup", obj{"group": id, "kind": kind, "members": texts(w.bob)})
			return id
		}
		room, team := open("room", "chatroom"), open("team", "private")
		check(t, "made, none", bob.counts(room, "created"), false)
		check(t, "made", bob.counts(team, "created"), nil)
		check(t, "made, none, to who made it", alice.counts(room, "created"), false)
		check(t, "made, to who made it", alice.counts(team, "created"), nil)
		alice.Request("addMembers", obj{"group": room, "users": texts(w.carol)})
		check(t, "joined, none", bob.counts(room, "joined"), false)
		alice.Request("setMember", obj{"group": room, "user": w.bob, "role": "admin"})
		check(t, "another event", bob.counts(room, "roleChanged"), nil)

		// A live group has no messages to count.
		alice.Request("createGroup", obj{"group": w.user("show"), "kind": "live"})
		alice.Request("setGroup", obj{"group": w.user("show"), "mutedAll": true})
		check(t, "changed, live", alice.counts(w.user("show"), "changed"), nil)

		// In every list.
		r, m := alice.tells(room, "r1"), alice.tells(team, "m1")
		bob.hears(r[0])
		bob.hears(m[0])
		for _, op := range []string{"getRecents", "getConversations"} {
			list := bob.Request(op, nil)["conversations"]
			check(t, op, entryOf("g:"+room, list), with(groupEntry(r[0], 0, -1), obj{"last": r[0].obj()}))
			check(t, op, entryOf("g:"+team, list), with(groupEntry(m[0], 0, 1), obj{"last": m[0].obj()}))
		}
		fresh := w.login(w.bob, "fresh", nil)
		listed := syncedIn(fresh.Pushes())["conversations"]
		check(t, "onSynced", entryOf("g:"+room, listed), groupEntry(r[0], 0, -1))
		check(t, "onSynced", entryOf("g:"+team, listed), groupEntry(m[0], 0, 1))

		// A device without the group's cursor is told, however few it wants to hear of.
		quiet := w.login(w.bob, "quiet", obj{"recents": "off"})
		groups := syncedIn(quiet.Pushes())["groups"]
		check(t, "groups without recents", entryOf("g:"+room, groups), groupEntry(r[0], 0, -1))
		check(t, "groups without recents", entryOf("g:"+team, groups), groupEntry(m[0], 0, 1))
		bob.DropWhenHandled()
		bob.resumeGroups(obj{"recents": "off"})
		check(t, "groups that the device knows", syncedIn(bob.Pushes())["groups"], []any{groupEntry(m[0], 0, 1)})

		// The setting can change, under a device that is there and one that is away.
		change := func(unread bool) { alice.Request("setGroup", obj{"group": team, "unread": unread}) }
		change(false)
		check(t, "changed to none", bob.counts(team, "changed"), false)
		alice.Request("setGroup", obj{"group": team, "name": "another"})
		check(t, "changed otherwise", bob.counts(team, "changed"), false)
		change(true)
		check(t, "changed back", bob.counts(team, "changed"), nil)
		bob.DropWhenHandled()
		later := open("later", "chatroom")
		w.listed(w.bob, later, true)
		change(false)
		bob.resumeGroups(nil)
		news := func(id, event, by string, more obj) any {
			return []any{"onGroupEvent", with(obj{"group": id, "event": event, "by": by, "time": someInt, "counts": false}, more)}
		}
		check(t, "told when back", changesIn(bob.Pushes()), []any{
			news(later, "joined", "", obj{"users": texts(w.bob), "cursor": someText}), news(team, "changed", w.alice, nil),
		})
	})
}

// A cursor of a group that is refused concerns that group alone.
func TestContractGroupCursorsRefused(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		one, two := w.groupOf(alice, "private", w.bob), w.groupOf(alice, "private", w.bob)
		room := w.groupOf(alice, "chatroom", w.bob)
		a, c := alice.tells(one, "a1", "a2"), alice.tells(room, "c1")
		alice.tells(two, "b1")
		u := alice.sends(w.bob, "u1")
		w.arrived(w.bob, "u:"+w.alice, 1)
		bob := w.login(w.bob, "phone", nil)
		bob.Pushes()
		bob.AckAll()
		bob.resumeGroups(nil) // with all cursors, which onSynced has
		bob.Pushes()
		since, good := bob.Cursor, with(bob.GroupCursors, nil)
		login := func(since string, groups, more obj) []wstest.Push {
			t.Helper()
			bob.Login(with(obj{"since": since, "groups": groups}, more))
			return bob.Pushes()
		}

		check(t, "all cursors good", syncedIn(login(since, good, nil))["resetGroups"], nil)
		all := login(since, with(good, obj{one: good[two]}), nil)
		check(t, "messages", messagesIn(all), objs(a...))
		for _, p := range all {
			if p.Op == "onNewMessage" && p.Args["groupCursors"] != nil {
				t.Errorf("the cursor of a group comes before the device knows that its own was refused: %v", p.Args)
			}
		}
		checkHas(t, "onSynced", syncedIn(all), obj{"reset": true, "resetGroups": texts(one)})
		check(t, "the entry", entryOf("g:"+one, syncedIn(all)["conversations"]), groupEntry(a[1], 0, 2))

		// Nothing that is told otherwise: read, counting none, and without recents.
		bob.Request("readReport", obj{"conv": "g:" + one, "seq": 2})
		bob.Request("readReport", obj{"conv": "g:" + two, "seq": 1})
		all = login(since, with(good, obj{one: "garbage", room: "0"}), obj{"recents": "off"})
		check(t, "messages", messagesIn(all), []any{})
		checkHas(t, "onSynced without recents", syncedIn(all), obj{"reset": true})
		check(t, "the groups", sorted(syncedIn(all)["resetGroups"].([]any)), sorted(texts(one, room)))
		groups := syncedIn(all)["groups"]
		check(t, "entry of one", entryOf("g:"+one, groups), groupEntry(a[1], 2, 0))
		check(t, "entry of room", entryOf("g:"+room, groups), groupEntry(c[0], 0, -1))
		check(t, "entry of two", entryOf("g:"+two, groups), obj(nil))

		// With the user's own cursor refused all is in doubt.
		all = login("garbage", with(good, obj{one: "garbage"}), nil)
		checkHas(t, "onSynced", syncedIn(all), obj{"reset": true})
		check(t, "the groups", syncedIn(all)["resetGroups"], nil)
		check(t, "the last message", messagesOf("u:"+w.alice, all), seenBy(w.bob, 1, u...))
	})
}
