package gateway

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestUnfinishedFrames has strangers and users begin frames, and messages, that
// do not end.
func TestUnfinishedFrames(t *testing.T) {
	for name, begin := range map[string]string{
		"half a ping":       "\x89\x85\x00\x00\x00\x00ab",
		"half a frame":      "\x81\xfe\x20\x00\x00\x00\x00\x00abc",
		"half a header":     "\x81\xfe",
		"a fragment":        "\x01\x83\x00\x00\x00\x00abc",
		"fragment and ping": "\x01\x83\x00\x00\x00\x00abc\x89\x80\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t, func(c *Config) { c.LoginTimeout = time.Hour; c.FrameTimeout = 20 * time.Second })
				c := e.online("alice", protocol.JSON)
				socket := e.rawLogin("bob")
				if _, err := io.WriteString(socket, begin); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, _ = io.Copy(io.Discard, socket)
				// And a second more, in which the client does not answer the close frame.
				if took := time.Since(start); took != 21*time.Second {
					t.Errorf("closed after %v, want 21s", took)
				}
				c.call("ping", nil)
				if n := e.closes("4408", "unfinished frame"); n != 1 {
					t.Errorf("%v closed as unfinished, want 1", n)
				}
			})
		})
	}
}

// TestLargeMessagesOneByOne sends messages that are always in parts, so that one
// is unfinished at any time, for longer than one may take.
func TestLargeMessagesOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.FrameTimeout = 20 * time.Second })
		socket := e.rawLogin("bob")
		go io.Copy(io.Discard, socket)
		frame := append([]byte{0x81, 0xfe, 0x01, 0x00, 0, 0, 0, 0}, fmt.Sprintf(`{"op":"ack","args":{"d":0,"x":"%s"}}`, strings.Repeat("x", 256-34))...)
		rest := frame
		for range 60 {
			if _, err := socket.Write(rest[:100]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, err := socket.Write(slices.Concat(rest[100:], frame[:50])); err != nil {
				t.Fatal(err)
			}
			rest = frame[50:]
			time.Sleep(time.Second)
		}
	})
}

// rawLogin logs in over a socket of its own, from which all is read up to
// onSynced.
func (e *edge) rawLogin(user string) net.Conn {
	e.t.Helper()
	socket, err := e.listener.dial(e.t.Context(), "", "")
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { socket.Close() })
	login := fmt.Sprintf(`{"id":1,"op":"login","args":{"token":%q,"device":"raw"}}`, testToken(user))
	go io.WriteString(socket, "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		"\x81\xfe"+string([]byte{byte(len(login) >> 8), byte(len(login))})+"\x00\x00\x00\x00"+login)
	readUntil(e.t, socket, `"groups":[]`)
	return socket
}

func TestEvictedConnectionsAreTold(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Admission.Unauthenticated = 2 })
		user := e.online("alice", codec) // counts no longer
		first, second := e.dial(codec), e.dial(codec)
		if _, _, err := e.open("ws://belfry.test/v1/ws", &websocket.DialOptions{}); err == nil {
			t.Error("a third stranger is let in at once")
		}
		time.Sleep(admission.LoginGrace)
		third := e.dial(codec)
		first.wantClosed(4429)
		second.call("ping", nil)
		third.login("bob", "phone", nil)
		user.call("ping", nil)
	})
}

// TestSessionsThatHoldMostAreClosed has deaf sessions be sent more than there is
// memory for.
func TestSessionsThatHoldMostAreClosed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		const memory = 1 << 20
		e := newEdge(t, func(c *Config) { c.Admission.Memory = memory })
		user := e.online("alice", codec)
		for i := range 4 {
			c := e.dialWith(codec, dialOptions{silent: true})
			c.request("login", obj{"token": testToken("bob"), "device": fmt.Sprint(i)})
			synctest.Wait()
			s := e.session("bob")
			s.queue(frameReply, func(b []byte) []byte { return append(b, make([]byte, 256<<10)...) }) // a page of history
			s.Wake()
		}
		synctest.Wait()
		if n := e.closes("4413", "memory of connections is short"); n == 0 {
			t.Error("no session was closed for memory")
		}
		if used := e.gateway.admission.Used(); used > memory {
			t.Errorf("%d bytes are charged, want at most %d", used, memory)
		}
		again := e.dial(codec)
		login := obj{"token": testToken("bob"), "device": "again"}
		again.refused("login", login, "unavailable")
		time.Sleep(memoryLoginPause)
		again.call("login", login)
		user.call("ping", nil)
	})
}

// TestTightMemoryRefuses has requests that need memory be refused while it is
// short, and no others.
func TestTightMemoryRefuses(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Admission.Memory = 1 << 20 })
		c := e.online("alice", codec)
		admitted := e.session("alice").conn.Admission
		admitted.Charge(950 << 10)
		c.refused("getMessage", obj{"conv": "u:bob"}, "unavailable")
		c.refused("send", obj{"conv": "u:bob", "cid": "1", "body": strings.Repeat("x", 1000)}, "unavailable")
		c.call("send", obj{"conv": "u:bob", "cid": "1", "body": "x"})
		c.call("ping", nil)
		admitted.Charge(-950 << 10)
		c.call("getMessage", obj{"conv": "u:bob"})
	})
}
