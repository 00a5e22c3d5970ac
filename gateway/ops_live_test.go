package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

func TestRequestsInALiveGroup(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := enter(newEdge(t, nil), codec, "alice", "bob", "carol")
		alice, bob, carol := c["alice"], c["bob"], c["carol"]
		alice.call("createGroup", obj{"group": "show", "kind": "live"}) // and is in it
		bob.refused("send", obj{"conv": "g:show", "cid": "1", "body": 1}, "forbidden")
		bob.refused("send", obj{"conv": "g:show", "cid": "1", "body": 1, "ttl": 0}, "forbidden")
		bob.refused("getMessage", obj{"conv": "g:show"}, "forbidden")
		bob.refused("getMembers", obj{"group": "show"}, "forbidden")
		for range 2 {
			if ok := bob.call("joinGroup", obj{"group": "show"}); text(t, ok) != `{}` {
				t.Errorf("joinGroup = %s", text(t, ok))
			}
		}
		for i, ttl := range []any{nil, 0, 60} {
			args := obj{"conv": "g:show", "cid": fmt.Sprint(i), "body": i}
			if ttl != nil {
				args["ttl"] = ttl
			}
			if ok := alice.call("send", args); ok["seq"] != nil || ok["id"] == nil {
				t.Errorf("send = %v, want an id and no seq", ok)
			}
			m := pushed(bob, "onNewMessage")["messages"].([]any)[0].(obj)
			if m["conv"] != "g:show" || m["ephemeral"] != true || m["from"] != "alice" || m["cid"] != fmt.Sprint(i) {
				t.Errorf("message = %v", m)
			}
		}
		if page := bob.call("getMessage", obj{"conv": "g:show"}); text(t, page) != `{"from":0,"gaps":[],"messages":[],"more":false,"to":0}` {
			t.Errorf("getMessage = %s", text(t, page))
		}
		for op, args := range map[string]obj{
			"readReport": {"conv": "g:show", "seq": 1}, "recall": {"conv": "g:show", "seq": 1},
			"deleteMessage": {"conv": "g:show", "seqs": []any{1}}, "deleteConversation": {"conv": "g:show"},
			"setConversation": {"conv": "g:show", "muted": true},
		} {
			bob.refused(op, args, "not_found")
		}
		bob.notice("typing", obj{"conv": "g:show"})
		alice.refused("addMembers", obj{"group": "show", "users": []any{"carol"}}, "bad_request")
		alice.call("setMember", obj{"group": "show", "user": "bob", "mutedUntil": time.Now().Add(time.Hour).UnixMilli()})
		bob.refused("send", obj{"conv": "g:show", "cid": "5", "body": 1}, "forbidden")
		if members := text(t, bob.call("getMembers", obj{"group": "show"})["members"].([]any)[0]); members != `{"role":"owner","user":"alice"}` {
			t.Errorf("getMembers = %s", members)
		}
		if groups := alice.call("getGroups", nil)["groups"].([]any); len(groups) != 0 {
			t.Errorf("groups = %s, want none", text(t, groups))
		}
		for range 2 {
			alice.call("leaveGroup", obj{"group": "show"})
		}
		if ok := alice.call("getGroup", obj{"group": "show"}); ok["role"] != "owner" {
			t.Errorf("role of an owner whose session has left = %v", ok["role"])
		}
		alice.refused("send", obj{"conv": "g:show", "cid": "6", "body": 1}, "forbidden")
		alice.call("dismissGroup", obj{"group": "show"})
		carol.refused("joinGroup", obj{"group": "show"}, "not_found")
	})
}

// A repeat of a join does not undo what came after it.
func TestRepeatedJoinOfALiveGroup(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := enter(newEdge(t, nil), codec, "alice", "bob")
		alice, bob := c["alice"], c["bob"]
		alice.call("createGroup", obj{"group": "show", "kind": "live"})
		join := obj{"id": 500, "op": "joinGroup", "args": obj{"group": "show"}}
		for range 2 {
			bob.frame(join)
			if frame := bob.reply(500); frame["ok"] == nil {
				t.Fatalf("joinGroup = %v", frame)
			}
			bob.call("leaveGroup", obj{"group": "show"})
			bob.refused("send", obj{"conv": "g:show", "cid": "1", "body": 1}, "forbidden")
		}
	})
}

// A live group is open, whatever its creator asks for.
func TestLiveGroupThatIsNotOpen(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := enter(e, codec, "alice", "bob")
		settings := command.GroupLive.Settings()
		settings.Join = command.JoinByInvitation
		code := make(chan command.Code, 1)
		e.store.Submit(&command.CreateGroup{Group: "stage", Owner: "alice", Kind: command.GroupLive, Settings: settings}, func(r command.Result, _ error) { code <- r.Code })
		if code := <-code; code != command.CodeBadRequest {
			t.Errorf("a live group by invitation: code %d, want a bad request", code)
		}
		c["bob"].refused("joinGroup", obj{"group": "stage"}, "not_found")
	})
}
