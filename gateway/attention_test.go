package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/hooks/hookstest"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/shard/command"
)

// TestStalled has a device that answers pings and acks nothing: it counts as away
// after StallTimeout, until it acks.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		alice, bob := e.dial(protocol.JSON), e.dial(protocol.JSON)
		alice.login("alice", "phone", nil)
		key := sessionOf{"bob", command.SessionID(number(t, bob.login("bob", "phone", nil), "session"))}
		stalled := func(want bool) {
			t.Helper()
			synctest.Wait()
			e.store.mu.Lock()
			defer e.store.mu.Unlock()
			if got := e.store.stalled[key]; got != want {
				t.Errorf("stalled = %v, want %v", got, want)
			}
		}
		bob.push("onSynced")
		time.Sleep(20 * time.Second)
		stalled(false) // nothing was pushed that is acked
		alice.call("send", message("u:bob", "1", "x"))
		bob.push("onNewMessage")
		time.Sleep(9 * time.Second)
		stalled(false)
		alice.call("send", message("u:bob", "2", "x")) // does not begin the time anew
		bob.push("onNewMessage")
		time.Sleep(2 * time.Second)
		stalled(true)
		bob.call("ping", nil) // its link lives
		stalled(true)
		bob.call("ack", obj{"d": 1})
		stalled(false) // it runs, and owes one more
		time.Sleep(11 * time.Second)
		stalled(true)
		bob.call("ack", obj{"d": 2})
		stalled(false)
		time.Sleep(time.Minute)
		stalled(false)
	})
}

// TestAcksOfTheForeground compares what a session says to have acked with what it
// acked while somebody looked.
func TestAcksOfTheForeground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) {
			c.Hooks = newHooks(t, &hookstest.Receiver{Events: map[string]bool{webhook.MessageQueued: true}})
		})
		alice, bob := e.dial(protocol.JSON), e.dial(protocol.JSON)
		alice.login("alice", "phone", nil)
		bob.login("bob", "phone", obj{"autoRead": false})
		bob.push("onSynced")
		alice.call("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
		bob.push("onGroupEvent")
		d := 0
		get := func(ack bool) (direct, group bool) {
			t.Helper()
			s := e.gateway.sessionsOf("bob")[0]
			before := s.Acks()
			for _, conv := range []string{"u:bob", "g:team"} {
				alice.call("send", message(conv, conv+time.Now().String(), "x"))
				time.Sleep(time.Second)
				bob.push("onNewMessage")
				d++
			}
			if ack {
				bob.call("ack", obj{"d": d})
			}
			synctest.Wait()
			after := s.Acks()
			return after.UpTo > before.UpTo, after.Groups["team"].To > before.Groups["team"].To
		}
		for _, c := range []struct {
			background, ack, want bool
		}{{false, true, true}, {false, false, false}, {true, true, false}, {false, true, true}} {
			bob.call("setState", obj{"background": c.background})
			if direct, group := get(c.ack); direct != c.want || group != c.want {
				t.Errorf("background %v, ack %v: acked %v, of the group %v, want %v", c.background, c.ack, direct, group, c.want)
			}
		}
		if s := e.gateway.sessionsOf("bob")[0]; s.Acked("team", 1<<40) || s.Acked("", 1<<40) || s.Acked("other", 1) {
			t.Error("acked what never came")
		}
	})
}
