package link

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
)

// maxConns bounds the connections of one kind with one peer, both directions together.
// More are refused. 256 Raft groups need at most four each.
const maxConns = 1024

const (
	// maxStrangers bounds the connections that nodes have made which are not in the map, see
	// crowd: those that found a cluster or join one, and whoever else has a certificate.
	maxStrangers = 64
	// strangerTime is after how long such a connection is closed, unless its node is in
	// the map by then. Nodes that join make one connection for each call, which takes 20 s
	// at most.
	strangerTime = time.Minute
)

// A conn is a connection whose hello is done.
type conn struct {
	net.Conn          // what is read and written: with TLS if there is
	raw      net.Conn // what is closed: the end of TLS would have to wait for a full socket
	link     *Link
	kind     kind
	peer     Identity
	speaks   versions.Set // what the peer reads
	boot     uint64       // of the peer's process
	accepted bool         // the peer has made it
	guest    *guest       // of a stranger's; nil for others; guarded by Link.mu, as expiry
	expiry   *time.Timer  // of a stranger's
	once     sync.Once
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF // all that is spoken here has lengths: a connection may just end
	}
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() { c.link.forget(c) })
	return c.raw.Close()
}

// register counts c among the connections that Close ends. For that of a stranger another
// one may have to go.
func (l *Link) register(c *conn) error {
	out, err := l.count(c)
	if out != nil {
		out.end()
	}
	return err
}

func (l *Link) count(c *conn) (out *guest, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	n := connCount{c.peer.ID, c.kind}
	if l.connCounts[n] >= l.maxConns {
		return nil, refuse(codeLimit, "%d connections %s with one peer are open", l.maxConns, c.kind)
	}
	if c.accepted && l.peers[c.peer.ID] == nil {
		c.guest = newGuest(c.raw, func() {
			l.noteRefusal(false, c.raw.RemoteAddr().String(), c.peer.Name, c.kind,
				refuse(codeLimit, "connections of nodes that are not in the map are open, as many as may be, and others want one"))
			c.Close()
		})
		c.expiry = time.AfterFunc(l.strangerTime, func() {
			if l.peer(c.peer.ID) == nil {
				c.Close()
			}
		})
		out = l.strangers.enter(c.guest)
	}
	l.connCounts[n]++
	l.conns[c] = struct{}{}
	l.metrics.connections.WithLabelValues(string(c.kind)).Inc()
	return out, nil
}

type connCount struct {
	peer NodeID
	kind kind
}

func (l *Link) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; !ok {
		return
	}
	delete(l.conns, c)
	if c.expiry != nil {
		c.expiry.Stop()
		l.strangers.leave(c.guest)
	}
	n := connCount{c.peer.ID, c.kind}
	if l.connCounts[n]--; l.connCounts[n] == 0 {
		delete(l.connCounts, n)
	}
	l.metrics.connections.WithLabelValues(string(c.kind)).Dec()
}

// closeConns ends the connections with a peer that which reports true for.
func (l *Link) closeConns(which func(*conn) bool) {
	var end []*conn
	l.mu.RLock()
	for c := range l.conns {
		if which(c) {
			end = append(end, c)
		}
	}
	l.mu.RUnlock()
	for _, c := range end {
		c.Close()
	}
}

// A queue is a net.Listener of connections that were accepted elsewhere.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// queueLen is how many connections may wait to be accepted. The next one waits for
// queueWait and is closed then.
const (
	queueLen  = 16
	queueWait = time.Second
)

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn, queueLen), done: make(chan struct{})}
}

// put hands c to Accept, or closes it.
func (q *queue) put(c net.Conn) {
	wait := time.NewTimer(queueWait)
	defer wait.Stop()
	select {
	case <-q.done:
		c.Close()
		return
	default:
	}
	select {
	case q.conns <- c:
		select {
		case <-q.done: // nobody may have seen it
			q.drain()
		default:
		}
	case <-q.done:
		c.Close()
	case <-wait.C:
		c.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-q.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	q.drain()
	return nil
}

func (q *queue) drain() {
	for {
		select {
		case c := <-q.conns:
			c.Close()
		default:
			return
		}
	}
}

func (q *queue) Addr() net.Addr { return q.addr }
