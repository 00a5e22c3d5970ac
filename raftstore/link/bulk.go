package link

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	bulkChunk = 64 << 10 // bytes of a chunk at most, and what the rate lets through at once
	// bulkAlive is how often the receiver of a snapshot says that it is alive while it
	// works on what it has, as long as it reads nothing.
	bulkAlive = 500 * time.Millisecond
)

// A bulkConn carries a stream in chunks, each with its length before it in 4 bytes, so
// that the receiver can say that it is alive: a chunk of no bytes. It sets deadlines
// itself, by progress; those that NetworkTransport sets by size are ignored.
type bulkConn struct {
	*conn
	t       *Transport
	limiter *rate.Limiter // nil = none
	once    sync.Once
	done    chan struct{}

	// Owned by the reader.
	rest int // bytes of the chunk that are still to be read

	mu      sync.Mutex // one writer at a time
	out     []byte
	touched time.Time // when the reader last got something
}

// newBulkConn wraps c. The one that dials sends the snapshot.
func newBulkConn(t *Transport, c *conn, dials bool) *bulkConn {
	b := &bulkConn{conn: c, t: t, done: make(chan struct{}), touched: time.Now()}
	if dials {
		b.limiter = t.link.bulk
	} else if !t.link.spawn(b.stayAlive) {
		b.Close()
	}
	return b
}

// The deadlines that others set do not count.
func (b *bulkConn) SetDeadline(time.Time) error      { return nil }
func (b *bulkConn) SetReadDeadline(time.Time) error  { return nil }
func (b *bulkConn) SetWriteDeadline(time.Time) error { return nil }

func (b *bulkConn) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.conn.Close()
}

func (b *bulkConn) stall() time.Duration { return b.t.link.config.BulkStall }

// bulkReader reads what lies below, a stall at a time.
type bulkReader struct{ b *bulkConn }

func (r bulkReader) Read(p []byte) (int, error) {
	r.b.conn.SetReadDeadline(time.Now().Add(r.b.stall()))
	n, err := r.b.conn.Read(p)
	if n > 0 {
		r.b.mu.Lock()
		r.b.touched = time.Now()
		r.b.mu.Unlock()
	}
	return n, err
}

func (b *bulkConn) Read(p []byte) (int, error) {
	r := bulkReader{b}
	for b.rest == 0 {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > bulkChunk {
			return 0, fmt.Errorf("link: chunk of %d bytes, at most %d", n, bulkChunk)
		}
		b.rest = int(n)
	}
	n, err := r.Read(p[:min(len(p), b.rest)])
	b.rest -= n
	return n, err
}

func (b *bulkConn) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), bulkChunk)
		if b.limiter != nil {
			if err := b.limiter.WaitN(b.t.ctx, n); err != nil {
				return written, err
			}
		}
		if err := b.chunk(p[:n]); err != nil {
			return written, err
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

func (b *bulkConn) chunk(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out = binary.BigEndian.AppendUint32(b.out[:0], uint32(len(p)))
	b.out = append(b.out, p...)
	b.conn.SetWriteDeadline(time.Now().Add(b.stall()))
	_, err := b.conn.Write(b.out)
	return err
}

// stayAlive says so while nothing arrives.
func (b *bulkConn) stayAlive() {
	tick := time.NewTicker(bulkAlive)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-tick.C:
		}
		b.mu.Lock()
		quiet := time.Since(b.touched) >= bulkAlive
		b.mu.Unlock()
		if quiet && b.chunk(nil) != nil {
			b.Close()
			return
		}
	}
}

var _ net.Conn = (*bulkConn)(nil)
