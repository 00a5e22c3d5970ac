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

// strangerLimits bound the connections that nodes have made which are not in the map: those
// that found a cluster or join one, and whoever else has a certificate.
type strangerLimits struct {
	all, each int           // of all of them together, and of one by its name; more are refused
	time      time.Duration // then one is closed, unless its node is in the map by now
}

// Nodes that join make one connection for each call, which takes 20 s at most.
var defaultStrangers = strangerLimits{all: 64, each: 8, time: time.Minute}

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
	expiry   *time.Timer  // of a stranger's; nil for others; guarded by Link.mu
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

// register counts c among the connections that Close ends.
func (l *Link) register(c *conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	n := connCount{c.peer.ID, c.kind}
	if l.connCounts[n] >= l.maxConns {
		return refuse(codeLimit, "%d connections %s with one peer are open", l.maxConns, c.kind)
	}
	if c.accepted && l.peers[c.peer.ID] == nil {
		if err := l.admitStranger(c); err != nil {
			return err
		}
	}
	l.connCounts[n]++
	l.conns[c] = struct{}{}
	l.metrics.connections.WithLabelValues(string(c.kind)).Inc()
	return nil
}

// admitStranger counts a connection of a node that is not in the map. The caller holds mu.
func (l *Link) admitStranger(c *conn) error {
	all, each := 0, l.strangers[c.peer.Name]
	for _, n := range l.strangers {
		all += n
	}
	switch {
	case all >= l.strangerLimits.all:
		return refuse(codeLimit, "%d connections of nodes that are not in the map are open", all)
	case each >= l.strangerLimits.each:
		return refuse(codeLimit, "%d connections of %s, which is not in the map, are open", each, c.peer.Name)
	}
	l.strangers[c.peer.Name]++
	c.expiry = time.AfterFunc(l.strangerLimits.time, func() {
		if l.peer(c.peer.ID) == nil {
			c.Close()
		}
	})
	return nil
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
		if l.strangers[c.peer.Name]--; l.strangers[c.peer.Name] == 0 {
			delete(l.strangers, c.peer.Name)
		}
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
