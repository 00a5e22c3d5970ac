package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestFrameHeaders has the WebSocket library read what appendFrame writes, for
// payloads around the lengths where the header changes.
func TestFrameHeaders(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 65537, 200000}
	var frames []byte
	for _, n := range sizes {
		frames = appendFrame(frames, opBinary, func(b []byte) []byte { return append(b, bytes.Repeat([]byte{byte(n)}, n)...) })
	}
	admission := newTestGateway(t, nil).admission
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hijack := &hijacker{ResponseWriter: w, admission: admission}
		if _, err := websocket.Accept(hijack, r, nil); err != nil {
			t.Error(err)
			return
		}
		hijack.conn.queue(frames)
		if _, err := hijack.conn.flush(10*time.Second, nil); err != nil {
			t.Error(err)
		}
		hijack.conn.hangUp()
	}))
	defer server.Close()
	ws, _, err := websocket.Dial(t.Context(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	for _, n := range sizes {
		typ, b, err := ws.Read(t.Context())
		if err != nil || typ != websocket.MessageBinary || !bytes.Equal(b, bytes.Repeat([]byte{byte(n)}, n)) {
			t.Fatalf("frame of %d bytes: read %d of type %v, %v", n, len(b), typ, err)
		}
	}
}

// TestWaitingFramesLeaveInOneWrite counts writes to the socket.
func TestWaitingFramesLeaveInOneWrite(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	counted := &countingConn{Conn: server}
	c := newConn(counted, newTestGateway(t, nil).admission.enter("", false, func(string) {}), nil)
	for range 100 {
		c.queueFrame(opText, func(b []byte) []byte { return append(b, "hello"...) })
	}
	c.queue(pingFrame)
	go io.Copy(io.Discard, client)
	if n, err := c.flush(time.Second, nil); err != nil || n != 100*7+2 {
		t.Fatalf("flush = %d, %v, want 702 bytes", n, err)
	}
	if counted.writes != 1 {
		t.Errorf("%d writes, want 1", counted.writes)
	}
	if c.buffered() != 0 {
		t.Errorf("%d bytes wait after flush", c.buffered())
	}
}

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// TestIdleSessionCostsOneGoroutine counts them over real sockets, where the
// HTTP server's own goroutine has to be gone.
func TestIdleSessionCostsOneGoroutine(t *testing.T) {
	g := newTestGateway(t, nil)
	server := httptest.NewServer(g.Handler())
	defer server.Close()
	defer g.Shutdown(t.Context())

	const sessions = 50
	before := runtime.NumGoroutine()
	for range sessions {
		c := rawClient(t, server.Listener.Addr().String())
		defer c.Close()
		c.Write(masked(opText, `{"id":1,"op":"login","args":{"token":"`+testToken("alice")+`","device":"`+c.LocalAddr().String()+`"}}`))
		readUntil(t, c, "onSynced")
	}
	// Sixteen devices may be logged in; the others are kicked and gone.
	const devices = 16
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := runtime.NumGoroutine() - before
		if got == devices {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines for %d idle sessions:\n%s", got, devices, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
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
	frame := appendFrame(nil, opcode, func(b []byte) []byte { return append(b, payload...) })
	header := len(frame) - len(payload)
	frame[1] |= 0x80
	return []byte(string(frame[:header]) + "\x00\x00\x00\x00" + payload)
}
