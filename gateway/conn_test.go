package gateway

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/gateway/ws/wstest"
)

// TestIdleSessionCostsOneGoroutine counts them over real sockets, where the
// HTTP server's own goroutine has to be gone.
func TestIdleSessionCostsOneGoroutine(t *testing.T) {
	g := newTestGateway(t, nil)
	server := httptest.NewServer(g.Handler())
	defer server.Close()
	defer g.Shutdown(t.Context())

	const sessions = 50
	before := goroutines()
	for range sessions {
		c := rawClient(t, server.Listener.Addr().String())
		defer c.Close()
		c.Write(masked(ws.OpText, `{"id":1,"op":"login","args":{"token":"`+testToken("alice")+`","device":"`+c.LocalAddr().String()+`"}}`))
		readUntil(t, c, "onSynced")
	}
	// Sixteen devices may be logged in; the others are kicked and gone.
	const devices = 16
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		now := goroutines()
		maps.DeleteFunc(now, func(id, _ string) bool { return before[id] != "" })
		if len(now) == devices {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines for %d idle sessions: %v", len(now), devices, now)
		}
	}
}

// goroutines returns the stacks of all goroutines by their ids.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		id, rest, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = rest
	}
	return all
}

// rawClient upgrades a plain socket, without a goroutine of its own.
func rawClient(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	readUntil(t, c, "\r\n\r\n")
	return c
}

// masked is a client's frame with a mask of zeros.
func masked(opcode byte, payload string) []byte {
	return wstest.Frame(0x80|opcode, 0, payload)
}

// TestNewestPingIsAnswered has a client send pings while much waits for it.
func TestNewestPingIsAnswered(t *testing.T) {
	const much = 4 << 10 // what may wait for a pong to be queued behind it
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		socket := e.rawLogin("bob")
		s := e.session("bob")
		s.queue(frameReply, func(b []byte) []byte { return append(b, make([]byte, 2*much)...) })
		s.Wake()
		synctest.Wait() // nobody reads: the write waits
		for i := range 5 {
			if _, err := socket.Write([]byte(fmt.Sprintf("\x89\x81\x00\x00\x00\x00%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		// What waited comes first, then one pong.
		got := make([]byte, 4+2*much+3)
		if _, err := io.ReadFull(socket, got); err != nil {
			t.Fatal(err)
		}
		if pong := string(got[len(got)-3:]); pong != "\x8a\x014" {
			t.Errorf("after what waited came %q, want a pong for the newest ping, 4", pong)
		}
	})
}

// A scripted socket gives what the test says.
type scripted struct {
	nowhere
	next []byte
}

func (s *scripted) Read(b []byte) (int, error) {
	n := copy(b, s.next)
	s.next = s.next[n:]
	return n, nil
}

// Frames that get no answer count for the limit like others.
func TestFramesWithoutAnswerAreCounted(t *testing.T) {
	for name, frame := range map[string][]byte{
		"pong":     wstest.Frame(0x80|ws.OpPong, 1, ""),
		"fragment": wstest.Frame(ws.OpContinuation, 1, ""),
	} {
		s := bareSession(newBareGateway(t, newTestStore(t)), protocol.JSON)
		s.frameLimit = ratelimit.NewFrames(1, 20)
		socket := new(scripted)
		s.conn = newConn(s.gateway, socket)
		s.conn.SetLimit(s.gateway.maxFrame, true)
		feed := func(b []byte) {
			socket.next = b
			if err := s.conn.Receive(); err != nil {
				t.Fatal(err)
			}
			if err := s.conn.Drain(s.handleFrame); err != nil {
				t.Fatal(err)
			}
		}
		feed(wstest.Frame(ws.OpText, 1, "a")) // of a message that goes on
		for range 19 {
			feed(frame)
		}
		if s.hasEnded() {
			t.Errorf("%s: ended within the limit", name)
		}
		feed(frame)
		if !s.hasEnded() || s.closing != closedFrames {
			t.Errorf("%s: ended = %t (%v), want for too many frames", name, s.hasEnded(), s.closing)
		}
	}
}
