package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// waitBuffer is what an idle connection keeps for reading where the socket
	// cannot be waited for without one (TLS).
	waitBuffer = 1 << 10
	// controlBacklog is how much may wait before a pong is left out. A peer that
	// sends pings and does not read has no use for more.
	controlBacklog = 4 << 10
	// keptBuffer is the largest buffer that goes back into the pool.
	keptBuffer = 256 << 10
)

// errEnded is what a read gives once the session has ended on this side.
var errEnded = errors.New("gateway: session ended")

// buffers are shared by all sessions: an idle one holds none.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

func putBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// A conn is the socket of a session. Frames to the client are only queued;
// flush hands all that wait to the kernel in one write. So whoever has something
// to say never waits for the peer, and frames that wait together leave together.
type conn struct {
	net.Conn
	raw syscall.RawConn // to wait on without a buffer, nil if the socket cannot
	// Owned by the reader.
	in   inbox
	wait []byte // waitBuffer, only without raw
	// Owned by whoever flushes.
	attempt attempt

	mu     sync.Mutex
	out    *[]byte // frames that wait, nil when none do
	ending bool    // deadlines are final
	broken bool    // a flush failed, perhaps inside a frame: nothing can follow
}

// newConn makes a conn of a socket on which the client has already sent early.
func newConn(socket net.Conn, early []byte) *conn {
	c := &conn{Conn: socket, raw: rawConn(socket)}
	for len(early) > 0 {
		n := copy(c.in.room(), early)
		c.in.received(n)
		early = early[n:]
	}
	return c
}

// A hijacker is the ResponseWriter to upgrade with. The WebSocket library only
// shakes hands: it gets a socket on which nothing happens, so that neither its
// state nor the server's buffers of 4 KiB each way stay with the session.
type hijacker struct {
	http.ResponseWriter
	conn *conn // set by Hijack
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	h.conn = newConn(raw, early)
	const least = 16
	return noSocket{}, bufio.NewReadWriter(bufio.NewReaderSize(noSocket{}, least), bufio.NewWriterSize(noSocket{}, least)), nil
}

// A noSocket stands for a socket that somebody else reads, writes and closes.
type noSocket struct{ net.Conn }

func (noSocket) Read([]byte) (int, error)    { return 0, io.EOF }
func (noSocket) Write(p []byte) (int, error) { return len(p), nil }
func (noSocket) Close() error                { return nil }

// receive waits until the client has sent something, and keeps it in c.in. Its
// error is errEnded when the session has ended on this side.
func (c *conn) receive() error {
	var err error
	if c.raw != nil {
		err = c.receiveRaw()
	} else {
		if c.wait == nil {
			c.wait = make([]byte, waitBuffer)
		}
		var n int
		n, err = c.Conn.Read(c.wait)
		for b := c.wait[:n]; len(b) > 0; {
			n := copy(c.in.room(), b)
			c.in.received(n)
			b = b[n:]
		}
		if n > 0 {
			return nil
		}
	}
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return errEnded
	}
	return err
}

// buffer is called with mu held.
func (c *conn) buffer() *[]byte {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
	}
	return c.out
}

// queue adds frames that are already encoded.
func (c *conn) queue(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = append(*out, frames...)
}

// queueFrame adds one frame with the payload that encode appends.
func (c *conn) queueFrame(opcode byte, encode func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = appendFrame(*out, opcode, encode)
}

// buffered is how many bytes wait for flush.
func (c *conn) buffered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return 0
	}
	return len(*c.out)
}

// flush writes what waits. It blocks for up to timeout, or for as long as end
// has left, and tells p, if there is one, when it does. Only one goroutine
// flushes at a time.
func (c *conn) flush(timeout time.Duration, p *pumpers) (n int, err error) {
	c.mu.Lock()
	out := c.out
	c.out = nil
	c.mu.Unlock()
	if out == nil {
		return 0, nil
	}
	defer putBuffer(out)
	rest := *out
	if c.raw != nil {
		// Most sockets take it all at once: then there is nothing to wait for, and
		// no deadline to be set.
		n, err = c.tryWrite(rest)
		rest = rest[n:]
	}
	if len(rest) > 0 && err == nil {
		var more int
		more, err = c.writeAll(rest, timeout, p)
		n += more
	}
	if err != nil {
		c.mu.Lock()
		c.broken = true
		c.mu.Unlock()
	}
	return n, err
}

// writeAll is the part of flush that blocks.
func (c *conn) writeAll(b []byte, timeout time.Duration, p *pumpers) (int, error) {
	c.mu.Lock()
	if !c.ending {
		c.Conn.SetWriteDeadline(time.Now().Add(timeout))
	}
	c.mu.Unlock()
	if p != nil {
		p.block()
		defer p.unblock()
	}
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && !c.ending {
		c.Conn.SetWriteDeadline(time.Time{}) // the next one that is tried has its own
	}
	return n, err
}

// end makes reads fail at once and leaves writes the time for a last word.
func (c *conn) end(lastWord time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.ending = true
	now := time.Now()
	c.Conn.SetWriteDeadline(now.Add(lastWord))
	c.Conn.SetReadDeadline(now)
}

// sayGoodbye sends what waits and a close frame, and unless the client was the
// first to close waits for its answer, all of it for as long as timeout. The
// caller is the only one left who reads or writes.
func (c *conn) sayGoodbye(code int, reason string, answered bool, timeout time.Duration) {
	c.mu.Lock()
	c.ending = true
	broken := c.broken
	c.Conn.SetDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if broken {
		return
	}
	c.queue(appendClose(nil, code, reason))
	if _, err := c.flush(timeout, nil); err != nil || answered {
		return
	}
	var early []byte
	if c.in.bytes != nil {
		early = *c.in.bytes
	}
	// What comes back is of no interest: the socket is closed either way. But
	// closing it with something unread could take the close frame along.
	_ = awaitClose(bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), c.Conn), 512))
}

// hangUp closes the socket.
func (c *conn) hangUp() { c.Conn.Close() }
