package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// both runs a test in a bubble, for each codec.
func both(t *testing.T, test func(t *testing.T, codec protocol.Codec)) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		t.Run(codec.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, codec) })
		})
	}
}

func TestMessageReachesPeer(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice, bob := e.dial(codec), e.dial(codec)
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		ok := bob.login("bob", "phone", nil)
		if ok["user"] != "bob" || number(t, ok, "session") == 0 || number(t, ok, "protocol") != 1 {
			t.Errorf("login = %v", ok)
		}
		bob.push("onSynced")

		sent := alice.say("u:bob", "hi")
		args := bob.push("onNewMessage")
		if d := number(t, args, "d"); d != 1 {
			t.Errorf("d = %d, want 1", d)
		}
		if args["cursor"] == nil {
			t.Errorf("onNewMessage without cursor: %v", args)
		}
		m := args["messages"].([]any)[0].(obj)
		if m["id"] != sent["id"] || m["conv"] != "u:alice" || m["from"] != "alice" || number(t, m, "seq") != 1 ||
			number(t, m, "time") != number(t, sent, "time") || m["cid"] != "hi" {
			t.Errorf("message = %v, want what %v says", m, sent)
		}
		if text := m["body"].(obj)["text"]; text != "hi" {
			t.Errorf("text = %v, want hi", text)
		}
		bob.notice("ack", obj{"d": 1})
		bob.quiet()
		alice.quiet()
	})
}

func TestSyncPushesInOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := e.dial(codec)
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		for i := range 250 {
			alice.say("u:bob", fmt.Sprint("m", i))
		}
		bob := e.dial(codec)
		bob.login("bob", "phone", nil)
		got := 0
		for got < 250 {
			args := bob.push("onNewMessage")
			messages := args["messages"].([]any)
			for _, m := range messages {
				if cid := m.(obj)["cid"]; cid != fmt.Sprint("m", got) {
					t.Fatalf("message %d is %v", got, cid)
				}
				got++
			}
			if last := got == 250; (args["cursor"] != nil) != last {
				t.Errorf("cursor = %v after %d messages: only the last frame of a sync has one", args["cursor"], got)
			}
		}
		if synced := bob.push("onSynced"); number(t, synced, "offline") != 250 {
			t.Errorf("offline = %v, want 250", synced["offline"])
		}
	})
}
