package link

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// A stream is a connection of the group.
type stream struct {
	net.Conn
	t *Transport
}

func (s *stream) Close() error {
	s.t.mu.Lock()
	delete(s.t.streams, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}

// track makes c end with the transport. It reports false, having closed c, if that has
// ended already.
func (t *Transport) track(c net.Conn) (*stream, bool) {
	s := &stream{Conn: c, t: t}
	t.mu.Lock()
	t.streams[s] = struct{}{}
	t.mu.Unlock()
	if t.ctx.Err() != nil {
		s.Close()
		return nil, false
	}
	return s, true
}

// accept takes a connection that another replica of the group has made.
func (t *Transport) accept(c *conn) {
	if c.kind == kindBulk {
		if s, ok := t.track(newBulkConn(t, c, false)); ok {
			t.conns.put(s)
		}
		return
	}
	s, ok := t.track(c)
	if ok && !t.link.spawn(func() { t.serveEntries(s, c.peer.Name) }) {
		s.Close()
	}
}

// layer is the raft.StreamLayer of a Transport, for snapshots and what the replica asks
// itself.
type layer struct{ t *Transport }

func (y layer) Accept() (net.Conn, error) { return y.t.conns.Accept() }
func (y layer) Close() error              { return y.t.conns.Close() }
func (y layer) Addr() net.Addr            { return y.t.conns.Addr() }

// Dial connects to the replica with that server ID, at the node where it is now.
func (y layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if raft.ServerID(address) == y.t.local {
		return y.t.dialSelf()
	}
	return y.t.dial(raft.ServerID(address), kindBulk, timeout)
}

// addresses says that the address of a replica is its server ID, so that what
// NetworkTransport pools is for the replica, wherever it is.
type addresses struct{}

func (addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

// dial connects to another replica, at the node where it is now.
func (t *Transport) dial(id raft.ServerID, k kind, timeout time.Duration) (*stream, error) {
	p, err := t.nodeOf(id)
	if err != nil {
		return nil, err
	}
	if s, _ := p.current(); s == nil {
		return nil, errLost
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	to := p.target(k)
	to.group, to.replica = t.name, string(id)
	c, err := t.link.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	var inner net.Conn = c
	if k == kindBulk {
		inner = newBulkConn(t, c, true)
	}
	s, ok := t.track(inner)
	if !ok {
		return nil, raft.ErrTransportShutdown
	}
	return s, nil
}

// A selfConn has no deadlines: what the replica asks itself takes as long as it takes,
// and maxBallots bounds how much of that there is.
type selfConn struct{ net.Conn }

func (selfConn) SetDeadline(time.Time) error { return nil }

// dialSelf connects the transport with itself, for consult and Campaign.
func (t *Transport) dialSelf() (net.Conn, error) {
	near, far := net.Pipe()
	a, ok := t.track(selfConn{near})
	b, ok2 := t.track(far)
	if !ok || !ok2 {
		near.Close()
		far.Close()
		return nil, raft.ErrTransportShutdown
	}
	t.conns.put(b)
	return a, nil
}

// localAddr is the net.Addr of a transport.
type localAddr raft.ServerID

func (a localAddr) Network() string { return "belfry" }
func (a localAddr) String() string  { return string(a) }
