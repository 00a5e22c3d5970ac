package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
)

func TestEphemeralMessage(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice, bob := e.dial(codec), e.dial(codec)
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		bob.login("bob", "phone", nil)
		bob.push("onSynced")
		ok := alice.call("send", obj{"conv": "u:bob", "cid": "1", "body": "now", "ttl": 0})
		if ok["seq"] != nil || ok["id"] == nil || number(t, ok, "time") == 0 {
			t.Errorf("send = %v, want id and time and no seq", ok)
		}
		args := bob.push("onNewMessage")
		m := args["messages"].([]any)[0].(obj)
		if number(t, args, "d") != 1 || args["cursor"] != nil || m["ephemeral"] != true || m["seq"] != nil || m["id"] != ok["id"] {
			t.Errorf("onNewMessage = %v", args)
		}
		bob.notice("ack", obj{"d": 1})
		e.store.recordCommands()
		bob.quiet()
		wantReports(t, e.store)
		alice.quiet()
	})
}

func TestTypingAndPresence(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		bob.push("onSynced")
		alice, _ := e.login("alice", "phone", nil)
		alice.notice("typing", obj{"conv": "u:bob"})
		if args := bob.push("onTyping"); args["user"] != "alice" || args["conv"] != "u:alice" || number(t, args, "time") == 0 {
			t.Errorf("onTyping = %v", args)
		}
		presence := bob.call("subscribePresence", obj{"users": []string{"alice", "nobody"}})["presence"].(obj)
		if p, _ := presence["alice"].(obj); len(presence) != 1 || p["online"] != true {
			t.Errorf("presence = %v, want alice online", presence)
		}
		for w := range e.store.presence {
			w.Signal(store.Signal{Kind: store.SignalPresence, User: "alice", Time: 7})
		}
		if args := bob.push("onPresence"); args["status"] != "offline" || number(t, args, "time") != 7 {
			t.Errorf("onPresence = %v", args)
		}
		bob.call("logout", nil)
		synctest.Wait()
		if len(e.store.presence) != 0 {
			t.Error("the subscription outlives the session")
		}
	})
}

// TestSignalsWaitForTheSync has a sync that the window holds up.
func TestSignalsWaitForTheSync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		alice, _ := e.login("alice", "phone", nil)
		alice.say("u:bob", "m0")
		alice.say("u:bob", "m1")
		bob := e.dial(protocol.JSON)
		bob.login("bob", "phone", nil)
		bob.push("onNewMessage")
		const n = maxSignals + 10
		for i := range n {
			alice.call("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": i, "ttl": 0})
		}
		bob.quiet()
		bob.notice("ack", obj{"d": 1})
		bob.push("onNewMessage")
		bob.push("onSynced")
		for i := n - maxSignals; i < n; i++ { // the oldest were dropped
			synctest.Wait()
			bob.quiet() // the window is full
			bob.notice("ack", obj{"d": i - (n - maxSignals) + 2})
			m := bob.push("onNewMessage")["messages"].([]any)[0].(obj)
			if m["cid"] != fmt.Sprint(i) {
				t.Fatalf("cid = %v, want %d", m["cid"], i)
			}
		}
		if dropped := e.metric("belfry_gateway_drops_total", "too many signals waiting"); dropped != 10 {
			t.Errorf("%v drops are counted, want 10", dropped)
		}
	})
}
