package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A mute lasts until its time, whatever its member or the owner does to the membership.
func TestContractMuteLasts(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, bob := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil)
		for _, kind := range []string{"private", "public", "chatroom", "live"} {
			id := w.user(kind)
			group := obj{"group": id}
			alice.Request("createGroup", with(group, obj{"kind": kind}))
			add := func() {
				t.Helper()
				switch kind {
				case "private":
					alice.Request("addMembers", with(group, obj{"users": []any{w.bob}}))
				case "public":
					check(t, "joinGroup", bob.Request("joinGroup", group), obj{"pending": true})
					alice.Request("answerJoin", with(group, obj{"user": w.bob, "accept": true}))
				default: // a session that is about to hear of its removal is told to try again
					ctx, cancel := bob.Context()
					defer cancel()
					_, err := persist(ctx, bob.Conn, "joinGroup", group)
					bob.Must(err, "joinGroup")
				}
			}
			says := 0
			silent := func(when string) {
				t.Helper()
				says++
				for _, more := range []obj{nil, {"ttl": 0}} {
					err := bob.Refused("send", with(obj{"conv": "g:" + id, "cid": fmt.Sprint(says), "body": 1}, more), "forbidden")
					check(t, when+", in "+kind, err.Message, "conv: you are muted in this group")
				}
			}
			until := time.Now().Add(time.Hour).UnixMilli()
			add()
			alice.Request("setMember", with(group, obj{"user": w.bob, "mutedUntil": until}))
			silent("muted")
			bob.Request("leaveGroup", group)
			add()
			silent("left and back")
			alice.Request("removeMembers", with(group, obj{"users": []any{w.bob}}))
			if kind == "live" {
				bob.Expect("onGroupEvent") // muted
				bob.Expect("onGroupEvent") // removed
			}
			add()
			silent("removed and back")
			alice.Request("dismissGroup", group)
			if kind == "live" {
				bob.Expect("onGroupEvent")
			}
			alice.Request("createGroup", with(group, obj{"kind": kind}))
			add()
			silent("dismissed and made again")
			if kind != "live" {
				bob.Request("leaveGroup", group)
				members := alice.Request("getMembers", group)["members"].([]any)
				check(t, "members while bob is away", len(members), 1)
				alice.Request("setMember", with(group, obj{"user": w.bob, "mutedUntil": 0})) // of who is no member
				alice.Refused("setMember", with(group, obj{"user": w.bob, "mutedUntil": 0}), "not_found")
				add()
			} else {
				alice.Request("setMember", with(group, obj{"user": w.bob, "mutedUntil": 0}))
			}
			bob.Request("send", obj{"conv": "g:" + id, "cid": "free", "body": 1})
		}
	})
}

// Who is banned cannot come to a group by any way until the ban is over or lifted.
func TestContractBan(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, bob, carol := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil), w.online(w.carol, "phone", nil)
		for _, kind := range []string{"private", "public", "chatroom", "live"} {
			id := w.user(kind)
			group := obj{"group": id}
			made := with(group, obj{"kind": kind, "join": "open"})
			if kind != "live" {
				made["members"] = []any{w.carol}
			}
			alice.Request("createGroup", made)
			bob.Request("joinGroup", group)
			ban := with(group, obj{"users": []any{w.bob}, "ban": 60})
			check(t, "ban", alice.Request("removeMembers", ban), obj{"removed": []any{w.bob}, "failed": []any{}})
			bob.Refused("send", obj{"conv": "g:" + id, "cid": "1", "body": 1}, "forbidden")
			err := bob.Refused("joinGroup", group, "forbidden")
			check(t, "joinGroup of "+kind, err.Message, "group: you are banned from it")
			if kind != "live" {
				alice.Request("setGroup", with(group, obj{"join": "approve"}))
				bob.Refused("joinGroup", group, "forbidden")
				check(t, "addMembers", alice.Request("addMembers", with(group, obj{"users": []any{w.bob}})),
					obj{"added": []any{}, "failed": failures("forbidden", w.bob)})
				carol.Refused("getBans", group, "forbidden")
				carol.Refused("unban", with(group, obj{"user": w.bob}), "forbidden")
				carol.Refused("removeMembers", ban, "forbidden")
				check(t, "a ban of nobody's", alice.Request("removeMembers", with(group, obj{"users": []any{w.alice}, "ban": 60})),
					obj{"removed": []any{}, "failed": failures("forbidden", w.alice)})
				alice.Refused("addMembers", ban, "bad_request")
			}
			// One who is no member.
			eve := w.user("eve")
			alice.Request("removeMembers", with(group, obj{"users": []any{eve}, "ban": 60}))
			check(t, "getBans", alice.Request("getBans", with(group, obj{"limit": 1})),
				obj{"bans": []any{obj{"user": w.bob, "until": someInt}}, "more": true})
			check(t, "getBans", alice.Request("getBans", with(group, obj{"after": w.bob})),
				obj{"bans": []any{obj{"user": eve, "until": someInt}}, "more": false})
			alice.Request("dismissGroup", group)
			alice.Request("createGroup", with(group, obj{"kind": kind}))
			bob.Refused("joinGroup", group, "forbidden")
			check(t, "unban", alice.Request("unban", with(group, obj{"user": eve})), obj{})
			check(t, "unban again", alice.Request("unban", with(group, obj{"user": eve})), obj{})
			alice.Request("unban", with(group, obj{"user": w.bob}))
			check(t, "getBans when it is over", alice.Request("getBans", group), obj{"bans": []any{}, "more": false})
			if kind == "private" {
				alice.Request("addMembers", with(group, obj{"users": []any{w.bob}}))
			} else {
				bob.Request("joinGroup", group)
			}
		}
		for _, op := range []string{"getBans", "unban"} {
			alice.Refused(op, obj{"group": w.user("none"), "user": w.bob}, "not_found")
		}
	})
}

// The administration bans, lists and lifts alike; nobody is spared.
func TestContractBanByAdministrator(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t)
	alice, bob := s.Login(t, "alice", "phone", nil), s.Login(t, "bob", "phone", nil)
	alice.Request("createGroup", obj{"group": "hall", "kind": "chatroom"})
	bob.Request("joinGroup", obj{"group": "hall"})
	call := func(status int, method, path string, in any) {
		t.Helper()
		if got, reply := s.Admin(method, path, in); got != status {
			t.Errorf("%s %s: %d, %v, want %d", method, path, got, reply, status)
		}
	}
	call(204, "PUT", "/v1/groups/hall/bans/bob", obj{"seconds": 60})
	call(204, "PUT", "/v1/groups/hall/bans/alice", obj{"seconds": 60})
	for _, c := range []*wstest.Client{alice, bob} {
		c.Refused("joinGroup", obj{"group": "hall"}, "forbidden")
	}
	call(204, "DELETE", "/v1/groups/hall/bans/bob", nil)
	bob.Request("joinGroup", obj{"group": "hall"})
	call(400, "PUT", "/v1/groups/hall/bans/bob", obj{"seconds": 0})
	call(404, "PUT", "/v1/groups/none/bans/bob", obj{"seconds": 1})
	call(404, "GET", "/v1/groups/none/bans", nil)
	alice.Refused("joinGroup", obj{"group": "hall"}, "forbidden")
	s.PassTime(61 * time.Second)
	alice.Request("joinGroup", obj{"group": "hall"})
}

// mutedAll lets only the owner and admins write.
func TestContractMutedAll(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, bob, carol := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil), w.online(w.carol, "phone", nil)
		for _, kind := range []string{"private", "chatroom", "live"} {
			id := w.user(kind)
			group := obj{"group": id}
			made := with(group, obj{"kind": kind, "mutedAll": true})
			if kind != "live" {
				made["members"] = []any{w.bob, w.carol}
			}
			alice.Request("createGroup", made)
			if kind == "live" {
				bob.Request("joinGroup", group)
				carol.Request("joinGroup", group)
			}
			checkHas(t, "settings", alice.Request("getGroup", group)["settings"].(obj), obj{"mutedAll": true})
			alice.Request("setMember", with(group, obj{"user": w.carol, "role": "admin"}))
			for _, more := range []obj{nil, {"ttl": 0}} {
				message := with(obj{"conv": "g:" + id, "cid": "1" + kind, "body": 1}, more)
				if more != nil {
					message["cid"] = "2" + kind
				}
				err := bob.Refused("send", message, "forbidden")
				check(t, "send", err.Message, "conv: all but the owner and admins are muted in this group (mutedAll)")
				carol.Request("send", message)
				alice.Request("send", message)
			}
			bob.Refused("setGroup", with(group, obj{"mutedAll": false}), "forbidden")
			carol.Request("setGroup", with(group, obj{"mutedAll": false}))
			bob.Request("send", obj{"conv": "g:" + id, "cid": "3" + kind, "body": 1})
		}
	})
}

// fieldOf is what a refusal is about.
func fieldOf(message string) string {
	field, _, _ := strings.Cut(message, ": ")
	return field
}

// A known setting is changed, or refused with its name: none is passed over.
func TestContractGroupSettings(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice, bob, carol := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil), w.online(w.carol, "phone", nil)
		group := obj{"group": w.user("club")}
		alice.Request("createGroup", with(group, obj{"kind": "public", "members": []any{w.bob, w.carol}}))
		alice.Request("setMember", with(group, obj{"user": w.bob, "role": "admin"}))
		want := obj{"maxMembers": 2000, "join": "approve", "history": "sinceJoin", "unread": true, "stored": true}
		for _, change := range []obj{{"join": "open"}, {"maxMembers": 3}, {"unread": false}, {"join": "invite", "unread": true}} {
			carol.Refused("setGroup", with(group, change), "forbidden")
			bob.Request("setGroup", with(group, change))
			for key, value := range change {
				want[key] = value
			}
			check(t, "settings", carol.Request("getGroup", group)["settings"], want)
		}
		bob.Refused("setGroup", with(group, obj{"history": "all"}), "forbidden")
		bob.Request("setGroup", with(group, obj{"history": "sinceJoin"})) // is so already
		alice.Request("setGroup", with(group, obj{"history": "all"}))
		for field, value := range map[string]any{
			"kind": "private", "stored": true, "members": []any{w.bob}, "settings": obj{"join": "open"}, "maxMembers": 10_001,
			"join": "closed", "history": "some", "unread": 1, "mutedAll": "yes",
		} {
			err := alice.Refused("setGroup", with(group, obj{field: value}), "bad_request")
			check(t, "field of "+err.Message, fieldOf(err.Message), field)
		}
		live := obj{"group": w.user("show")}
		alice.Request("createGroup", with(live, obj{"kind": "live"}))
		for field, value := range map[string]any{"maxMembers": 5, "join": "invite", "history": "all", "unread": true} {
			err := alice.Refused("setGroup", with(live, obj{field: value}), "bad_request")
			check(t, "field of "+err.Message, fieldOf(err.Message), field)
		}
		for field, value := range map[string]any{"owner": w.bob, "settings": obj{"join": "open"}} {
			err := alice.Refused("createGroup", obj{"kind": "public", field: value}, "bad_request")
			check(t, "field of "+err.Message, fieldOf(err.Message), field)
		}
	})
}

// Who joins has a cursor before anything was said: a link that is cut then loses
// nothing.
func TestContractCursorOfJoining(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		for name, join := range map[string]func(c *device) (group string, cursor any){
			"joinGroup": func(c *device) (string, any) {
				id := alice.group("chatroom", nil)
				alice.tells(id, "before")
				return id, c.Request("joinGroup", obj{"group": id})["cursor"]
			},
			"joinGroup again": func(c *device) (string, any) {
				id := alice.group("chatroom", nil)
				c.Request("joinGroup", obj{"group": id})
				return id, c.Request("joinGroup", obj{"group": id})["cursor"]
			},
			"joined": func(c *device) (string, any) {
				id := alice.group("chatroom", nil)
				c.Request("joinGroup", obj{"group": id})
				return id, c.event(id, "joined", c.User, c.User)["cursor"]
			},
			"joined by another": func(c *device) (string, any) {
				id := alice.group("private", obj{"unread": false})
				alice.Request("addMembers", obj{"group": id, "users": []any{c.User}})
				return id, c.event(id, "joined", w.alice, c.User)["cursor"]
			},
			"created": func(c *device) (string, any) {
				id := wstest.Str(t, alice.Request("createGroup", obj{"kind": "chatroom", "members": []any{c.User}}), "group")
				return id, c.event(id, "created", w.alice)["cursor"]
			},
			"createGroup": func(c *device) (string, any) {
				ok := c.Request("createGroup", obj{"kind": "chatroom", "members": []any{w.alice}})
				return wstest.Str(t, ok, "group"), ok["cursor"]
			},
		} {
			t.Run(name, func(t *testing.T) {
				bob := w.online(w.user("bob"), "phone", nil)
				group, cursor := join(bob)
				if cursor == nil {
					t.Fatal("no cursor")
				}
				bob.Drop()
				said := alice.tells(group, "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
				back := w.login(w.user("bob"), "phone", obj{"groups": obj{group: cursor}, "recents": "off"})
				check(t, "messages", messagesIn(back.Pushes()), objs(said...))
			})
		}
	})
}

// Who has blocked somebody is not told that they type, in a group neither.
func TestContractTypingOfTheBlocked(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--shards=3"), func(t *testing.T, w *world) {
		alice, bob, carol := w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil), w.online(w.carol, "phone", nil)
		id := w.groupOf(alice, "private", w.bob, w.carol)
		for _, c := range []*device{bob, carol} {
			c.event(id, "created", w.alice)
		}
		bob.Request("block", obj{"user": w.alice})
		check(t, "onBlocked", bob.Expect("onBlocked"), obj{"user": w.alice, "blocked": true})
		alice.Notice("typing", obj{"conv": "g:" + id})
		check(t, "onTyping", carol.Expect("onTyping"), obj{"user": w.alice, "conv": "g:" + id, "time": someInt})
		m := alice.tells(id, "after it") // what is said in the group reaches all
		bob.hears(m...)
		bob.Idle()
	})
}
