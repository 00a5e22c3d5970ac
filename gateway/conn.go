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
	// controlBacklog is how much may wait before a pong does until less waits, and
	// gives way to the next one.
	controlBacklog = 4 << 10
	// smallBuffer is what a connection may hold to be written without being charged
	// for it: most write at once what is less.
	smallBuffer = 8 << 10
	// keptBuffer is the largest buffer that goes back into the pool: what waits there
	// counts for nobody.
	keptBuffer = 64 << 10
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
	place *place
	raw   syscall.RawConn // to wait on without a buffer, nil if the socket cannot
	// Owned by the reader.
	in        inbox
	inCharged int64  // what the place is charged with for in
	wait      []byte // waitBuffer, only without raw
	// Owned by whoever flushes.
	attempt attempt

	mu         sync.Mutex
	out        *[]byte   // frames that wait, nil when none do
	outSince   time.Time // when the first of them came, if that was while others were being written
	writing    *[]byte   // frames that are being written, nil when none are
	outCharged int64     // what the place is charged with for out and writing
	pong       []byte    // payload of the newest ping that has no answer yet, nil for none
	ending     bool      // deadlines are final
	broken     bool      // a flush failed, perhaps inside a frame: nothing can follow
}

// newConn makes a conn of a socket that has a place, and on which the client has
// already sent early.
func newConn(socket net.Conn, p *place, early []byte) *conn {
	c := &conn{Conn: socket, place: p, raw: rawConn(socket), in: inbox{limit: maxLoginFrame, whole: true}}
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
	admission *admission
	conn      *conn // set by Hijack
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	p := placeOf(raw)
	if p == nil { // it did not come through the gateway's listener
		c := &admittedConn{Conn: raw}
		if p = h.admission.enter("", false, func(string) { c.Close() }); p == nil {
			raw.Close()
			return nil, nil, errors.New("gateway: no room for another connection")
		}
		c.place = p
		raw = c
	}
	h.conn = newConn(raw, p, early)
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
	// What is held while waiting for more counts.
	if held := c.in.held(); held != c.inCharged {
		c.place.charge(held - c.inCharged)
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
		if c.writing != nil {
			c.outSince = time.Now()
		}
	}
	return c.out
}

// chargeOut has the place charged with what waits and what is being written. It is
// called with mu held.
func (c *conn) chargeOut() {
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
		c.place.charge(held - c.outCharged)
		c.outCharged = held
	}
}

// queue adds frames that are already encoded.
func (c *conn) queue(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = append(*out, frames...)
	c.chargeOut()
}

// queueFrame adds one frame with the payload that encode appends.
func (c *conn) queueFrame(opcode byte, encode func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.buffer()
	*out = appendFrame(*out, opcode, encode)
	c.chargeOut()
}

// buffered is how many bytes wait to be written, those that a flush has taken and
// is not through with among them.
func (c *conn) buffered() (n int) {
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

// answerPing queues a pong, now or, while much waits, with the next flush. The
// newest ping is the one that is answered then: RFC 6455, 5.5.3.
func (c *conn) answerPing(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing != nil || c.out != nil && len(*c.out) > controlBacklog {
		c.pong = append(make([]byte, 0, maxControl), payload...)
		return
	}
	c.queuePong(payload)
}

// queuePong is called with mu held.
func (c *conn) queuePong(payload []byte) {
	out := c.buffer()
	*out = appendFrame(*out, opPong, func(b []byte) []byte { return append(b, payload...) })
	c.pong = nil
}

// flush writes what waits. It blocks for up to timeout, or for as long as end
// has left, and tells p, if there is one, when it does. Only one goroutine
// flushes at a time.
func (c *conn) flush(timeout time.Duration, p *pumpers) (n int, err error) {
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
		more, err = c.writeAll(rest, since, timeout, p)
		n += more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = nil
	c.chargeOut()
	if cap(*out) <= smallBuffer || !c.place.admission.tight() {
		putBuffer(out)
	}
	c.broken = c.broken || err != nil
	return n, err
}

// writeAll is the part of flush that blocks. The time-out runs since what is
// written came, if that is not zero.
func (c *conn) writeAll(b []byte, since time.Time, timeout time.Duration, p *pumpers) (int, error) {
	if since.IsZero() {
		since = time.Now()
	}
	c.mu.Lock()
	if !c.ending {
		c.Conn.SetWriteDeadline(since.Add(timeout))
	}
	c.mu.Unlock()
	if p != nil {
		p.block()
		defer p.unblock()
	}
	c.place.blocked.Store(time.Now().UnixNano())
	c.place.charge(blockedCost)
	n, err := c.Conn.Write(b)
	c.place.charge(-blockedCost)
	c.place.blocked.Store(0)
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
	if c.pong != nil {
		c.queuePong(c.pong) // nothing may follow the close frame
	}
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
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), c.Conn), 512)
	if err := awaitClose(r); !errors.Is(err, errBrokenFrame) {
		return
	}
	// Behind a broken frame no other can be found. A client that sees the end of
	// the stream closes it.
	if closeWrite(c.Conn) == nil {
		_, _ = io.Copy(io.Discard, r)
	}
}

// hangUp closes the socket.
func (c *conn) hangUp() { c.Conn.Close() }
