package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// results gives the results of a send.
func results(t *testing.T, reply obj) []obj {
	t.Helper()
	list, _ := reply["results"].([]any)
	typed := make([]obj, len(list))
	for i := range list {
		typed[i] = list[i].(obj)
	}
	return typed
}

func TestSendToMany(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.login("u7", "phone")
	s.propose(&command.Block{User: "u7", Target: "news"})
	to := make([]string, maxReceivers)
	for i := range to {
		to[i] = fmt.Sprintf("u:u%d", i)
	}
	message := obj{"from": "news", "to": to, "cid": "1", "body": obj{"text": "hi", "raw": obj{"$bin": "AAE="}}}
	s.arrivedBlock("news", "u7")
	first := results(t, s.must("POST", "/v1/messages", message))
	again := results(t, s.must("POST", "/v1/messages", message))
	if len(first) != len(to) || len(again) != len(to) {
		t.Fatalf("%d and %d results, want %d", len(first), len(again), len(to))
	}
	for i := range to {
		if first[i]["to"] != to[i] {
			t.Errorf("result %d is of %v, want %s", i, first[i]["to"], to[i])
		}
		if i == 7 {
			e, _ := first[i]["error"].(obj)
			if e["code"] != protocol.CodeForbidden || first[i]["id"] != nil {
				t.Errorf("to who blocks the sender: %v, want forbidden", first[i])
			}
			continue
		}
		if first[i]["seq"] != 1.0 || first[i]["id"] == nil || first[i]["duplicate"] != nil || first[i]["error"] != nil {
			t.Errorf("result %d: %v, want seq 1 and an id", i, first[i])
		}
		if again[i]["duplicate"] != true || again[i]["id"] != first[i]["id"] || again[i]["seq"] != first[i]["seq"] || again[i]["time"] != first[i]["time"] {
			t.Errorf("repeat %d: %v, want the first, %v", i, again[i], first[i])
		}
	}
	s.arrived("u499", "news", 1)
	page := s.must("GET", "/v1/users/u499/conversations/u:news/messages", nil)
	m := page["messages"].([]any)[0].(obj)
	if body, _ := json.Marshal(m["body"]); string(body) != `{"raw":{"$bin":"AAE="},"text":"hi"}` || m["from"] != "news" || m["cid"] != "1" {
		t.Errorf("u499 has %v", m)
	}
}

// arrivedBlock waits until the blocked user's shard knows.
func (s *server) arrivedBlock(blocked, by string) {
	s.t.Helper()
	for n, deadline := 0, time.Now().Add(time.Minute); time.Now().Before(deadline); n++ {
		status, _ := s.call("POST", "/v1/messages", obj{"from": blocked, "to": "u:" + by, "cid": fmt.Sprint("probe", n), "body": 1})
		if status == 403 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	s.t.Fatalf("%s can still write to %s", blocked, by)
}

func TestSendTTLZero(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	bob := s.login("bob", "phone")
	r := results(t, s.must("POST", "/v1/messages", obj{"from": "alice", "to": "u:bob", "cid": "1", "body": "now", "ttl": 0}))[0]
	if r["id"] == nil || r["seq"] != nil || r["time"] == nil {
		t.Errorf("ttl 0: %v, want id and time, and no seq", r)
	}
	signal, ok := bob.signals.Load(store.SignalEphemeral)
	if !ok || signal.(store.Signal).Message.From != "alice" {
		t.Errorf("bob's session heard %v, want the message", signal)
	}
	page := s.must("GET", "/v1/users/bob/conversations/u:alice/messages", nil)
	if n := len(page["messages"].([]any)); n != 0 {
		t.Errorf("%d messages stored, want none", n)
	}
}

func TestSendToGroup(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	until := s.store.Now() + 3600_000
	s.must("PATCH", "/v1/groups/team/members/team-bob", obj{"mutedUntil": until})
	// An administrator sends for who is muted, and for who is no member.
	for i, from := range []string{"team-bob", "stranger"} {
		r := results(t, s.must("POST", "/v1/messages", obj{"from": from, "to": "g:team", "cid": "1", "body": i}))[0]
		if r["seq"] != float64(i+1) || r["to"] != "g:team" {
			t.Errorf("send of %s: %v, want seq %d", from, r, i+1)
		}
	}
	// The group stands in conv, as in a client's send, or alone in a list.
	for i, to := range []obj{{"conv": "g:team"}, {"to": []string{"g:team"}}} {
		message := obj{"from": "stranger", "cid": fmt.Sprintf("to-%d", i), "body": i}
		maps.Copy(message, to)
		r := results(t, s.must("POST", "/v1/messages", message))
		if len(r) != 1 || r[0]["seq"] != float64(i+3) || r[0]["to"] != "g:team" {
			t.Errorf("send to %v: %v, want seq %d", to, r, i+3)
		}
	}
	s.must("POST", "/v1/groups", obj{"group": "stage", "kind": "live"})
	r := results(t, s.must("POST", "/v1/messages", obj{"from": "stranger", "to": "g:stage", "cid": "1", "body": 1}))[0]
	if r["id"] == nil || r["seq"] != nil {
		t.Errorf("send to a live group: %v, want an id and no seq", r)
	}
}

func TestOddNames(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for i, name := range []string{"a/b", "...", "../..", "%2e", "%2F", "a?b=c", "#", "g:x", "u:u:", "+", ";", "&", "\"", "~", "a//b", "*", "{user}"} {
		path := escape(name)
		s.must("POST", "/v1/messages", obj{"from": name, "to": "u:" + name, "cid": "1", "body": i})
		page := s.must("GET", "/v1/users/"+path+"/conversations/"+escape("u:"+name)+"/messages", nil)
		if messages := page["messages"].([]any); len(messages) != 1 || messages[0].(obj)["body"] != float64(i) {
			t.Errorf("user %q: page %v, want one message %d", name, page, i)
		}
		if reply := s.must("GET", "/v1/users/"+path, nil); reply["user"] != name {
			t.Errorf("user %q: %v", name, reply["user"])
		}
		s.must("POST", "/v1/groups", obj{"group": name, "kind": "chatroom", "owner": name})
		if reply := s.must("GET", "/v1/groups/"+path, nil); reply["group"] != name {
			t.Errorf("group %q: %v", name, reply["group"])
		}
		s.must("DELETE", "/v1/groups/"+path+"/members/"+path, nil)
		s.must("DELETE", "/v1/groups/"+path+"/messages?sender="+escape(name), nil)
		s.must("DELETE", "/v1/groups/"+path, nil)
	}
}

// escape writes every byte of a name so that no router takes it for its own.
func escape(name string) (escaped string) {
	for _, b := range []byte(name) {
		escaped += fmt.Sprintf("%%%02X", b)
	}
	return escaped
}

func TestSetReadBack(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	send("alice", "u:bob", 3)(s)
	for _, c := range []struct{ read, unread float64 }{{3, 0}, {1, 2}, {99, 0}, {0, 3}} {
		if reply := s.must("PATCH", "/v1/users/bob/conversations/u:alice", obj{"readSeq": c.read}); reply["unread"] != c.unread {
			t.Errorf("readSeq %v: %v, want unread %v", c.read, reply, c.unread)
		}
		user := s.must("GET", "/v1/users/bob", nil)
		if user["unreadTotal"] != c.unread {
			t.Errorf("after readSeq %v: unreadTotal %v, want %v", c.read, user["unreadTotal"], c.unread)
		}
	}
}
