package gateway

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// readBuffer is what an idle connection keeps for reading; larger frames
	// are read past it.
	readBuffer = 1 << 10
	// controlBuffer holds any control frame whole, so that what the WebSocket
	// library writes reaches conn.Write one frame a call.
	controlBuffer = 256
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

// A conn is the socket under a session's WebSocket. Writing to it only queues
// whole frames; flush hands all that wait to the kernel in one write. So
// whoever has something to say never waits for the peer, and frames that wait
// together leave together.
//
// Closing it only ends reads and bounds writes: the session, which owns the
// socket, still has a close frame to send and calls hangUp.
type conn struct {
	net.Conn
	queued func() // tells the session that Write has queued something
	early  []byte // what the client sent right behind its handshake; owned by the reader

	mu     sync.Mutex
	out    *[]byte // frames that wait, nil when none do
	direct bool    // only the close handshake is left: write through
	ending bool    // deadlines are final
	broken bool    // a flush failed, perhaps inside a frame: nothing can follow
}

// A hijacker is the ResponseWriter to upgrade with: the server's own buffers of
// 4 KiB each way give way to small ones, and the socket to a conn.
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
	h.conn = &conn{Conn: raw, early: append([]byte(nil), early...)}
	return h.conn, bufio.NewReadWriter(
		bufio.NewReaderSize(h.conn, readBuffer),
		bufio.NewWriterSize(h.conn, controlBuffer),
	), nil
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ending && !c.direct {
			return n, errEnded
		}
	}
	return n, err
}

// Write queues p, which is a whole frame. Only the WebSocket library calls it,
// with control frames.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.direct {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	out := c.buffer()
	*out = append(*out, p...)
	c.mu.Unlock()
	c.queued()
	return len(p), nil
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
// has left. Only one goroutine flushes at a time.
func (c *conn) flush(timeout time.Duration) (int, error) {
	c.mu.Lock()
	out := c.out
	c.out = nil
	if out != nil && !c.ending {
		c.Conn.SetWriteDeadline(time.Now().Add(timeout))
	}
	c.mu.Unlock()
	if out == nil {
		return 0, nil
	}
	defer putBuffer(out)
	n, err := c.Conn.Write(*out)
	if err != nil {
		c.mu.Lock()
		c.broken = true
		c.mu.Unlock()
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

// Close is end for the WebSocket library, which calls it when it gives up.
func (c *conn) Close() error {
	c.end(time.Second)
	return nil
}

// handshake prepares for the closing handshake: what waits has been flushed,
// nobody queues any more, and the library talks to the socket itself. It
// reports false when the socket can take nothing more.
func (c *conn) handshake(timeout time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.direct = true, true
	c.Conn.SetDeadline(time.Now().Add(timeout))
	return !c.broken
}

// hangUp closes the socket.
func (c *conn) hangUp() { c.Conn.Close() }

// Frame opcodes of RFC 6455.
const (
	opText   = 1
	opBinary = 2
)

// pingFrame asks the peer for a sign of life.
var pingFrame = []byte{0x89, 0}

// appendFrame appends an unfragmented, unmasked WebSocket frame with the
// payload that encode appends. Data frames are put together here, in place,
// because the library's writer copies them twice and flushes after each.
func appendFrame(dst []byte, opcode byte, encode func([]byte) []byte) []byte {
	const short, medium, long = 2, 4, 10 // sizes of the three headers
	start := len(dst)
	dst = encode(append(dst, make([]byte, medium)...))
	size := len(dst) - start - medium

	header := medium
	switch {
	case size < 126:
		header = short
	case size > 0xffff:
		header = long
		dst = append(dst, make([]byte, long-medium)...)
	}
	if header != medium {
		copy(dst[start+header:], dst[start+medium:start+medium+size])
		dst = dst[:start+header+size]
	}
	dst[start] = 0x80 | opcode
	switch header {
	case short:
		dst[start+1] = byte(size)
	case medium:
		dst[start+1] = 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(size))
	case long:
		dst[start+1] = 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(size))
	}
	return dst
}
