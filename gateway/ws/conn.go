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
	// waitBuffer is what an idle connection keeps for reading where the socket
	// cannot be waited for without one (TLS).
	waitBuffer = 1 << 10
	// controlBacklog is how many bytes may wait for a pong to be queued behind them.
	// While there are more, only the newest ping is kept, to be answered later.
	controlBacklog = 4 << 10
	// smallBuffer is how many bytes a connection may hold to be written without being
	// charged for them: most connections write less, and at once.
	smallBuffer = 8 << 10
	// keptBuffer is the largest buffer that goes back into the pool: those in it are
	// charged to no connection.
	keptBuffer = 64 << 10
)

// ErrEnded is the error of reads once End was called.
var ErrEnded = errors.New("ws: connection ended on this side")

// IsTimeout reports whether err is a deadline that passed, rather than a socket that
// broke.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// buffers are shared by all connections: an idle one holds none.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// GetBuffer returns an empty buffer, for PutBuffer to give back.
func GetBuffer() *[]byte { return buffers.Get().(*[]byte) }

// PutBuffer gives a buffer back, unless it is large.
func PutBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// A Conn is a WebSocket. Frames to the client are only queued; Flush hands all that
// wait to the kernel in one write. So only the goroutine that flushes ever waits for the peer.
//
// One goroutine calls Receive and Drain, and one at a time Flush; the other methods
// are safe for concurrent use.
type Conn struct {
	net.Conn
	Admission *admission.Conn // which is charged with what the Conn holds
	raw       syscall.RawConn // to wait on without a buffer, nil if the socket cannot
	// Owned by the reader.
	in        assembler
	inCharged int64  // what Admission is charged with for in
	wait      []byte // waitBuffer, only without raw
	// Owned by the goroutine that flushes.
	attempt attempt

	mu         sync.Mutex
	out        *[]byte   // frames that wait, nil when none do
	outSince   time.Time // when the first of them came, if that was while others were being written
	writing    *[]byte   // frames that are being written, nil when none are
	outCharged int64     // what Admission is charged with for out and writing
	pong       []byte    // payload of the newest ping that has no answer yet, nil for none
	ending     bool      // deadlines are final
	broken     bool      // a flush failed, perhaps inside a frame: nothing can follow
}

// NewConn returns the WebSocket on a socket that is, or is on top of, an admitted
// connection. early is what the client has sent already.
func NewConn(socket net.Conn, admitted *admission.Conn, early []byte) *Conn {
	c := &Conn{Conn: socket, Admission: admitted, raw: rawConn(socket)}
	for len(early) > 0 {
		n := copy(c.in.space(), early)
		c.in.received(n)
		early = early[n:]
	}
	return c
}

// SetLimit sets the most bytes of a message, and whether one may have several frames.
// Without it no message is allowed. The reader calls it.
func (c *Conn) SetLimit(bytes int, fragments bool) { c.in.limit, c.in.fragments = bytes, fragments }

// Limit returns the most bytes of a message.
func (c *Conn) Limit() int { return c.in.limit }

// Drain calls handle for each message and control frame that has been received
// completely. The payload is valid until handle returns. A fragment that is not the
// last one of its message is an OpContinuation without payload. Drain stops if handle
// reports that it wants no more. Its error is ErrBrokenFrame, ErrTooLarge or
// ErrFragment.
func (c *Conn) Drain(handle func(opcode byte, payload []byte) (more bool)) error {
	return c.in.drain(handle)
}

// Unfinished reports whether a frame or a message has begun and not ended.
func (c *Conn) Unfinished() bool { return c.in.unfinished() }

// InMessage reports whether the first fragments of a message have been received.
func (c *Conn) InMessage() bool { return c.in.message != nil }

// Receive waits until the client has sent something, for Drain to handle. Its error is
// ErrEnded once End was called.
func (c *Conn) Receive() error {
	var err error
	// What is held only until Drain returns is not charged.
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

// buffer returns the buffer of frames that wait. The caller holds mu.
func (c *Conn) buffer() *[]byte {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
		if c.writing != nil {
			c.outSince = time.Now()
		}
	}
	return c.out
}

// chargeOut charges what waits and what is being written. The caller holds mu.
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

// QueueFrame queues one frame with the payload that encode appends.
func (c *Conn) QueueFrame(opcode byte, encode func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = appendFrame(*out, opcode, encode)
	c.chargeOut()
}

// Buffered returns how many bytes wait or are being written.
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

// AnswerPing queues a pong, or while much waits leaves that to the next flush, which
// answers only the newest ping (RFC 6455, 5.5.3).
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

// A Blocker is told that the goroutine which flushes is going to wait for the peer,
// and that it does no longer.
type Blocker interface {
	Block()
	Unblock()
}

// Flush writes what waits and returns how many bytes it wrote. It waits for the peer
// for up to timeout, or for the time that End has left, and tells b, unless nil, when
// it does.
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
		// Most sockets take it all at once: then there is nothing to wait for, and
		// no deadline to be set.
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

// writeAll is the part of Flush that may block. The timeout begins at since, when the
// bytes were queued, or now if that is zero.
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
		c.Conn.SetWriteDeadline(time.Time{}) // or tryWrite would fail once it has passed
	}
	return n, err
}

// End makes reads fail at once, and writes once timeout has passed.
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

// CloseHandshake sends what waits and a close frame and, unless the client has sent
// one already, waits for the client's, for up to timeout in all. No other goroutine
// may read or flush any more.
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
	// Whatever comes, the socket is closed. But closing it with something unread resets
	// the connection, and the close frame may be lost.
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), c.Conn), 512)
	if err := awaitClose(r); !errors.Is(err, ErrBrokenFrame) {
		return
	}
	// Behind a broken frame the close frame cannot be found. A client that sees the end
	// of the stream closes it.
	if admission.CloseWrite(c.Conn) == nil {
		_, _ = io.Copy(io.Discard, r)
	}
}
