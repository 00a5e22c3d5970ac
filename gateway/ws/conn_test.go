package ws

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/ws/wstest"
)

func newAdmission() *admission.Controller {
	return admission.New(admission.Config{}, admission.Proxies{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

// newTestConn is a connection on a socket that does without a listener.
func newTestConn(socket net.Conn) *Conn {
	return NewConn(socket, newAdmission().Admit(socket, "", false), nil)
}

// TestFrameHeaders has the WebSocket library read what appendFrame writes, for
// payloads around the lengths where the header changes.
func TestFrameHeaders(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 65537, 200000}
	var frames []byte
	for _, n := range sizes {
		frames = appendFrame(frames, OpBinary, func(b []byte) []byte { return append(b, bytes.Repeat([]byte{byte(n)}, n)...) })
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := Accept(w, r, &Options{Admission: newAdmission()})
		if err != nil {
			t.Error(err)
			return
		}
		c.Queue(frames)
		if _, err := c.Flush(time.Minute, nil); err != nil {
			t.Error(err)
		}
		c.Close()
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
	c := newTestConn(counted)
	for range 100 {
		c.QueueFrame(OpText, func(b []byte) []byte { return append(b, "hello"...) })
	}
	c.Queue(PingFrame)
	go io.Copy(io.Discard, client)
	if n, err := c.Flush(time.Minute, nil); err != nil || n != 100*7+2 {
		t.Fatalf("flush = %d, %v, want 702 bytes", n, err)
	}
	if counted.writes != 1 {
		t.Errorf("%d writes, want 1", counted.writes)
	}
	if c.Buffered() != 0 {
		t.Errorf("%d bytes wait after flush", c.Buffered())
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

// waitingConn is a connection by net.Pipe, whose writes wait for the test to read.
func waitingConn(t *testing.T) (*Conn, net.Conn) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return newTestConn(server), client
}

// TestWriteTimeoutRunsFromWhenBytesWereQueued has a peer that takes something, but
// never all in time.
func TestWriteTimeoutRunsFromWhenBytesWereQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := waitingConn(t)
		hello := func(b []byte) []byte { return append(b, "hello"...) }
		c.QueueFrame(OpText, hello)
		go func() {
			time.Sleep(9 * time.Second)
			peer.Read(make([]byte, 7))
		}()
		go func() {
			time.Sleep(time.Second)
			c.QueueFrame(OpText, hello) // while the first is being written
			if n := c.Buffered(); n != 14 {
				t.Errorf("%d bytes wait, want those that are being written among them: 14", n)
			}
		}()
		start := time.Now()
		if _, err := c.Flush(10*time.Second, nil); err != nil || time.Since(start) != 9*time.Second {
			t.Fatalf("flush = %v after %v, want nil after 9s", err, time.Since(start))
		}
		if _, err := c.Flush(10*time.Second, nil); !IsTimeout(err) || time.Since(start) != 11*time.Second {
			t.Fatalf("flush = %v after %v, want a time-out 10s after it was queued: after 11s", err, time.Since(start))
		}
	})
}

// TestWhatWaitsIsCharged has a connection hold much, on either side.
func TestWhatWaitsIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := waitingConn(t)
		before := c.Admission.Used()
		charged := func(what string, least, most int64) {
			t.Helper()
			synctest.Wait()
			if n := c.Admission.Used() - before; n < least || n > most {
				t.Errorf("%s: charged with %d bytes, want %d to %d", what, n, least, most)
			}
		}
		c.Queue(make([]byte, smallBuffer/2))
		charged("a little to write", 0, keptBuffer) // in a buffer that others have used
		c.Queue(make([]byte, 100<<10))
		charged("much to write", 100<<10, 260<<10)
		go c.Flush(time.Minute, nil)
		charged("much being written", 100<<10+admission.BlockedCost, 260<<10+admission.BlockedCost)
		c.Queue(make([]byte, 50<<10))
		charged("more meanwhile", 150<<10+admission.BlockedCost, 400<<10+admission.BlockedCost)
		peer.Read(make([]byte, 1<<20))
		charged("the rest", 50<<10, 260<<10)
		go c.Flush(time.Minute, nil)
		peer.Read(make([]byte, 1<<20))
		charged("nothing", 0, 0)

		c.SetLimit(1<<20, true)
		go func() {
			for c.Receive() == nil {
				_ = c.Drain(func(byte, []byte) bool { return true })
			}
		}()
		frame := wstest.Frame(0x80|OpText, 1, string(make([]byte, 60<<10)))
		peer.Write(frame[:50<<10])
		charged("half a frame", 50<<10, 260<<10)
		peer.Write(frame[50<<10:])
		charged("a whole frame", 0, 0)
	})
}
