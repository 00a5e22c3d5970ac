package gateway

import (
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// waitingConn is a connection by net.Pipe, whose writes wait for the test to read.
func waitingConn(t *testing.T) (*conn, net.Conn) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return newConn(server, testAdmission(AdmissionConfig{}).enter("", false, func(string) {}), nil), client
}

// TestNewestPingIsAnswered has a client send pings while much waits for it.
func TestNewestPingIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		socket := e.rawLogin("bob")
		s := e.session("bob")
		s.queue(func(b []byte) []byte { return append(b, make([]byte, 2*controlBacklog)...) })
		s.Wake()
		synctest.Wait() // nobody reads: the write waits
		for i := range 5 {
			if _, err := socket.Write([]byte(fmt.Sprintf("\x89\x81\x00\x00\x00\x00%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		// What waited comes first, then one pong.
		got := make([]byte, 4+2*controlBacklog+3)
		if _, err := io.ReadFull(socket, got); err != nil {
			t.Fatal(err)
		}
		if pong := string(got[len(got)-3:]); pong != "\x8a\x014" {
			t.Errorf("after what waited came %q, want a pong for the newest ping, 4", pong)
		}
	})
}

// TestWriteTimeoutRunsFromWhenBytesWereQueued has a peer that takes something, but
// never all in time.
func TestWriteTimeoutRunsFromWhenBytesWereQueued(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, peer := waitingConn(t)
		hello := func(b []byte) []byte { return append(b, "hello"...) }
		c.queueFrame(opText, hello)
		go func() {
			time.Sleep(9 * time.Second)
			peer.Read(make([]byte, 7))
		}()
		go func() {
			time.Sleep(time.Second)
			c.queueFrame(opText, hello) // while the first is being written
			if n := c.buffered(); n != 14 {
				t.Errorf("%d bytes wait, want those that are being written among them: 14", n)
			}
		}()
		start := time.Now()
		if _, err := c.flush(10*time.Second, nil); err != nil || time.Since(start) != 9*time.Second {
			t.Fatalf("flush = %v after %v, want nil after 9s", err, time.Since(start))
		}
		if _, err := c.flush(10*time.Second, nil); !isTimeout(err) || time.Since(start) != 11*time.Second {
			t.Fatalf("flush = %v after %v, want a time-out 10s after it was queued: after 11s", err, time.Since(start))
		}
	})
}

// TestWhatWaitsIsCharged has a connection hold much, on either side.
func TestWhatWaitsIsCharged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, peer := waitingConn(t)
		a := c.place.admission
		before := a.used.Load()
		charged := func(what string, least, most int64) {
			t.Helper()
			synctest.Wait()
			if n := a.used.Load() - before; n < least || n > most {
				t.Errorf("%s: charged with %d bytes, want %d to %d", what, n, least, most)
			}
		}
		c.queue(make([]byte, smallBuffer/2))
		charged("a little to write", 0, keptBuffer) // in a buffer that others have used
		c.queue(make([]byte, 100<<10))
		charged("much to write", 100<<10, 260<<10)
		go c.flush(time.Minute, nil)
		charged("much being written", 100<<10+blockedCost, 260<<10+blockedCost)
		c.queue(make([]byte, 50<<10))
		charged("more meanwhile", 150<<10+blockedCost, 400<<10+blockedCost)
		peer.Read(make([]byte, 1<<20))
		charged("the rest", 50<<10, 260<<10)
		go c.flush(time.Minute, nil)
		peer.Read(make([]byte, 1<<20))
		charged("nothing", 0, 0)

		c.in.limit = protocol.MaxFrame
		go func() {
			for c.receive() == nil {
				_ = c.in.drain(func(byte, []byte) bool { return true })
			}
		}()
		frame := clientFrame(0x80|opText, 1, string(make([]byte, 60<<10)))
		peer.Write(frame[:50<<10])
		charged("half a frame", 50<<10, 260<<10)
		peer.Write(frame[50<<10:])
		charged("a whole frame", 0, 0)
	})
}
