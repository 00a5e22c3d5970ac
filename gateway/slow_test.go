package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// slowPeerBytes is what may wait for one peer that does not read: what the pump
// puts together before it writes, and the frame that crosses it.
const slowPeerBytes = flushBytes + protocol.MaxFrame

// TestSlowPeersUnderLoad has peers that never read, over sockets without any
// buffer, get far more than their windows hold, while two others talk.
func TestSlowPeersUnderLoad(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.FrameRate = -1 })
		alice, bob := e.dial(codec), e.dial(codec)
		for user, c := range map[string]*client{"alice": alice, "bob": bob} {
			c.login(user, "phone", nil)
			c.push("onSynced")
		}
		const slow, messages = 8, 200
		text := strings.Repeat("x", 1000)
		for i := range slow {
			c := e.dialWith(codec, dialOptions{silent: true})
			c.request("login", obj{"token": testToken(fmt.Sprint("slow", i)), "device": "phone"})
		}
		synctest.Wait()
		start := time.Now()
		for m := range messages {
			for i := range slow {
				alice.call("send", obj{"conv": fmt.Sprint("u:slow", i), "cid": fmt.Sprint(m), "body": text})
			}
			alice.say("u:bob", fmt.Sprint(m))
			if got := bob.push("onNewMessage")["messages"].([]any)[0].(obj)["cid"]; got != fmt.Sprint(m) {
				t.Fatalf("bob got message %v, want %d", got, m)
			}
			bob.notice("ack", obj{"d": m + 1})
			if waits := e.metric("belfry_gateway_queue_bytes"); waits > slow*slowPeerBytes {
				t.Fatalf("%.0f bytes wait for %d peers, want at most %d", waits, slow, slow*slowPeerBytes)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the others waited %v for peers that do not read", took)
		}
		if got := e.closes("4413", "write unfinished"); got != 0 {
			t.Fatalf("%v sessions are closed before the write timeout", got)
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if got := e.closes("4413", "write unfinished"); got != slow {
			t.Errorf("%v sessions are counted as closed 4413, want %d", got, slow)
		}
		if waits := e.metric("belfry_gateway_queue_bytes"); waits != 0 {
			t.Errorf("%.0f bytes wait for nobody", waits)
		}
		for i := range slow {
			c := e.dial(codec)
			c.login(fmt.Sprint("slow", i), "phone", nil)
			for got := 0; got < messages; {
				args := c.push("onNewMessage")
				for _, m := range args["messages"].([]any) {
					if cid := m.(obj)["cid"]; cid != fmt.Sprint(got) {
						t.Fatalf("slow%d got message %v, want %d", i, cid, got)
					}
					got++
				}
				c.notice("ack", obj{"d": number(t, args, "d")})
			}
			c.push("onSynced")
		}
	})
}

// TestFullWindowHoldsNoMessages has a peer that reads and never acks: what
// exceeds its window stays in the store.
func TestFullWindowHoldsNoMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const window = 16 << 10
		e := newEdge(t, func(c *Config) { c.WindowBytes = window })
		alice, _ := e.login("alice", "phone", nil)
		bob, _ := e.login("bob", "phone", nil)
		text := strings.Repeat("x", 1000)
		for m := range 100 {
			alice.call("send", obj{"conv": "u:bob", "cid": fmt.Sprint(m), "body": text})
		}
		synctest.Wait()
		s := e.gateway.sessionsOf("bob")[0]
		s.mu.Lock()
		held, frames := s.window.bytes, len(s.window.frames)
		last := int(s.window.frames[frames-1].size) // of as many messages as had come by then
		s.mu.Unlock()
		if held < window || held-last >= window || last > protocol.MaxFrame {
			t.Errorf("the window holds %d bytes, %d of them in its last frame, want %d and at most one frame more", held, last, window)
		}
		if waits := e.metric("belfry_gateway_queue_bytes"); waits != 0 {
			t.Errorf("%.0f bytes wait to be written, want none", waits)
		}
		for range frames {
			bob.push("onNewMessage")
		}
		if took := after(func() { bob.wantClosed(4413) }); took != 30*time.Second {
			t.Errorf("closed after %v, want 30s", took)
		}
	})
}
