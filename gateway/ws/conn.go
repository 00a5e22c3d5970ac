package ws

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/belfry-im/belfry/gateway/admission"
)

const (
	// waitBuffer is the size of the buffer that an idle connection keeps if its socket
	// cannot be waited for without one (TLS).
	waitBuffer = 1 << 10
	// controlBacklog is how many bytes may wait before a pong. If there are more, only the
	// newest ping is kept, and answered later.
	controlBacklog = 4 << 10
	// smallBuffer is how many bytes may wait to be written without being charged: most
	// connections hold fewer, and not for long.
	smallBuffer = 8 << 10
	// keptBuffer is the largest buffer that goes back into the pool. No connection is
	// charged for buffers in the pool.
	keptBuffer = 64 << 10
)

// ErrEnded is returned by reads after End.
var ErrEnded = errors.New("ws: connection ended on this side")

// IsTimeout reports whether err means that a deadline has passed, rather than that the
// socket broke.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// buffers are shared by all connections. An idle connection has none.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// GetBuffer returns an empty buffer from the pool. PutBuffer gives it back.
func GetBuffer() *[]byte { return buffers.Get().(*[]byte) }

// PutBuffer gives a buffer back to the pool, unless it is large.
func PutBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// A Conn is a WebSocket. Frames to the client are queued, and Flush passes all queued
// frames to the kernel in one write. Only the goroutine that flushes ever waits for the
// peer.
//
// Receive and Drain must be called by one goroutine, and Flush by one at a time. The other
// methods are safe for concurrent use.
type Conn struct {
	net.Conn
	Admission *admission.Conn // charged for the memory that the Conn holds
	raw       syscall.RawConn // to wait for without a buffer, nil if the socket does not allow that
	// Owned by the reader.
	in        assembler
	inCharged int64  // bytes that Admission is charged for in
	wait      []byte // of waitBuffer bytes; nil if raw is set
	// Owned by the goroutine that flushes.
	attempt attempt

	mu         sync.Mutex
	out        *[]byte   // queued frames, nil for none
	outSince   time.Time // when the first frame in out was queued, if that was during a write
	writing    *[]byte   // frames being written, nil for none
	outCharged int64     // bytes that Admission is charged for out and writing
	pong       []byte    // payload of the newest unanswered ping, nil for none
	ending     bool      // End was called: deadlines must not change any more
	broken     bool      // a flush has failed, perhaps within a frame: nothing can follow
}

// NewConn returns the WebSocket on a socket, which is or wraps the admitted connection.
// early are the bytes that were received after the request.
func NewConn(socket net.Conn, admitted *admission.Conn, early []byte) *Conn {
	c := &Conn{Conn: socket, Admission: admitted, raw: rawConn(socket)}
	for len(early) > 0 {
		n := copy(c.in.space(), early)
		c.in.received(n)
		early = early[n:]
	}
	return c
}

// SetLimit sets how many bytes a message may have, and whether it may have several frames.
// Until then no message is accepted. Only the reader may call it.
func (c *Conn) SetLimit(bytes int, fragments bool) { c.in.limit, c.in.fragments = bytes, fragments }

// Limit returns how many bytes a message may have.
func (c *Conn) Limit() int { return c.in.limit }

// Drain calls handle for each message and control frame that has been received completely,
// until handle returns false. The payload is valid until handle returns. For a fragment
// that does not end its message, the opcode is OpContinuation and the payload empty. The
// error is ErrBrokenFrame, ErrTooLarge or ErrFragment.
func (c *Conn) Drain(handle func(opcode byte, payload []byte) (more bool)) error {
	return c.in.drain(handle)
}

// Unfinished reports whether a frame or message is incomplete.
func (c *Conn) Unfinished() bool { return c.in.unfinished() }

// InMessage reports whether the first fragments of an incomplete message have been
// received.
func (c *Conn) InMessage() bool { return c.in.message != nil }

// Receive waits until the client has sent something, which Drain then handles. After End it
// returns ErrEnded.
func (c *Conn) Receive() error {
	var err error
	// A buffer that is held only until Drain returns is not charged.
	if held := c.in.held(); held != c.inCharged {
		c.Admission.Charge(held - c.inCharged)
		c.inCharged = held
	}
	if c.raw != nil {
		err = c.receiveRaw()
	} else {
		if c.wait == nil {
			c.wait = make([]byte, waitBuffer)
		}
		var n int
		n, err = c.Conn.Read(c.wait)
		for b := c.wait[:n]; len(b) > 0; {
			n := copy(c.in.space(), b)
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
		return ErrEnded
	}
	return err
}

// buffer returns the buffer of queued frames. The caller holds mu.
func (c *Conn) buffer() *[]byte {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
		if c.writing != nil {
			c.outSince = time.Now()
		}
	}
	return c.out
}

// chargeOut charges the connection for queued frames and for those being written. The
// caller holds mu.
func (c *Conn) chargeOut() {
	held := int64(0)
	if c.out != nil {
		held += int64(cap(*c.out))
	}
	if c.writing != nil {
		held += int64(cap(*c.writing))
	}
	if held <= smallBuffer {
		held = 0
	}
	if held != c.outCharged {
		c.Admission.Charge(held - c.outCharged)
		c.outCharged = held
	}
}

// Queue queues frames that are already encoded.
func (c *Conn) Queue(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = append(*out, frames...)
	c.chargeOut()
}

// QueueFrame queues a frame whose payload encode appends.
func (c *Conn) QueueFrame(opcode byte, encode func([]byte) []byte) (size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	before := len(*out)
	*out = appendFrame(*out, opcode, encode)
	size = len(*out) - before
	c.chargeOut()
	return size
}

// Buffered returns how many bytes are queued or being written.
func (c *Conn) Buffered() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		n = len(*c.out)
	}
	if c.writing != nil {
		n += len(*c.writing)
	}
	return n
}

// AnswerPing queues a pong. While much is queued, it only remembers the ping for the next
// flush: only the newest ping needs an answer (RFC 6455, 5.5.3).
func (c *Conn) AnswerPing(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing != nil || c.out != nil && len(*c.out) > controlBacklog {
		c.pong = append(make([]byte, 0, maxControl), payload...)
		return
	}
	c.queuePong(payload)
}

// queuePong queues a pong. The caller holds mu.
func (c *Conn) queuePong(payload []byte) {
	out := c.buffer()
	*out = appendFrame(*out, OpPong, func(b []byte) []byte { return append(b, payload...) })
	c.pong = nil
}

// A Blocker is told when the goroutine that flushes begins to wait for the peer (Block),
// and when it has ended (Unblock).
type Blocker interface {
	Block()
	Unblock()
}

// Flush writes the queued frames and returns how many bytes it wrote. It waits for the peer
// for up to timeout or, after End, for the time that End allows. While it waits it has
// called b.Block, unless b is nil.
func (c *Conn) Flush(timeout time.Duration, b Blocker) (n int, err error) {
	c.mu.Lock()
	if c.pong != nil {
		c.queuePong(c.pong)
	}
	out, since := c.out, c.outSince
	c.out, c.writing, c.outSince = nil, out, time.Time{}
	c.mu.Unlock()
	if out == nil {
		return 0, nil
	}
	rest := *out
	if c.raw != nil {
		// Most sockets take everything at once: then no deadline has to be set.
		n, err = c.tryWrite(rest)
		rest = rest[n:]
	}
	if len(rest) > 0 && err == nil {
		var more int
		more, err = c.writeAll(rest, since, timeout, b)
		n += more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = nil
	c.chargeOut()
	if cap(*out) <= smallBuffer || !c.Admission.MemoryLow() {
		PutBuffer(out)
	}
	c.broken = c.broken || err != nil
	return n, err
}

// writeAll is the part of Flush that waits for the peer. The timeout counts from since, or
// from now if that is zero.
func (c *Conn) writeAll(bytes []byte, since time.Time, timeout time.Duration, b Blocker) (int, error) {
	if since.IsZero() {
		since = time.Now()
	}
	c.mu.Lock()
	if !c.ending {
		c.Conn.SetWriteDeadline(since.Add(timeout))
	}
	c.mu.Unlock()
	if b != nil {
		b.Block()
		defer b.Unblock()
	}
	c.Admission.Blocked()
	n, err := c.Conn.Write(bytes)
	c.Admission.Unblocked()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && !c.ending {
		c.Conn.SetWriteDeadline(time.Time{}) // once passed, it would make tryWrite fail
	}
	return n, err
}

// End makes reads fail at once, and writes fail after timeout.
func (c *Conn) End(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.ending = true
	now := time.Now()
	c.Conn.SetWriteDeadline(now.Add(timeout))
	c.Conn.SetReadDeadline(now)
}

// CloseHandshake writes the queued frames and a close frame. Unless the client has already
// sent a close frame (answered), it then waits for one. All of it takes at most timeout. No
// other goroutine may read or flush any more.
func (c *Conn) CloseHandshake(code int, reason string, answered bool, timeout time.Duration) {
	c.mu.Lock()
	c.ending = true
	broken := c.broken
	if c.pong != nil {
		c.queuePong(c.pong) // nothing may follow the close frame
	}
	c.Conn.SetDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if broken {
		return
	}
	c.Queue(appendClose(nil, code, reason))
	if _, err := c.Flush(timeout, nil); err != nil || answered {
		return
	}
	var early []byte
	if c.in.bytes != nil {
		early = *c.in.bytes
	}
	// The socket is closed in any case. But if it is closed with unread bytes, the
	// connection is reset, and the close frame may be lost: read up to the client's close
	// frame.
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), c.Conn), 512)
	if err := awaitClose(r); !errors.Is(err, ErrBrokenFrame) {
		return
	}
	// After a broken frame the close frame cannot be found. But if the client sees the end
	// of the stream, it closes the connection.
	if admission.CloseWrite(c.Conn) == nil {
		_, _ = io.Copy(io.Discard, r)
	}
}
