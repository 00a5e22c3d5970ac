package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	dialPauseMin = 50 * time.Millisecond
	dialPauseMax = time.Second
	// defaultDecide is Link.decide, except in tests. Meanwhile a peer is dialed every
	// decidePause, because a process that is being killed may still take a connection.
	defaultDecide = 100 * time.Millisecond
	decidePause   = 5 * time.Millisecond
	maxEvents     = 64 // changes of state that OnPeer has not been called with; the oldest are skipped
)

// A peer is another node. Its goroutine run keeps a control connection to it.
type peer struct {
	link *Link
	id   NodeID
	stop context.CancelFunc
	ctx  context.Context
	wake chan struct{} // run looks again; one place

	mu      sync.Mutex
	label   string // its name
	address string
	session *session      // nil while there is no control connection
	changed chan struct{} // closed and replaced when session is set
	dialing bool
	ended   time.Time // when the last session ended
	boot    uint64    // of the process that it was last connected with
	state   PeerState // the last one that OnPeer was or will be called with
	offset  *clock    // of the session; kept when that ends
	client  *grpc.ClientConn

	// What notify hands to the callbacks.
	events    []PeerState
	status    []byte
	hasStatus bool
	notices   chan struct{} // notify looks again; one place
}

func newPeer(l *Link, p Peer) *peer {
	q := &peer{
		link: l, id: p.ID, label: p.Name, address: p.Address,
		wake: make(chan struct{}, 1), changed: make(chan struct{}), notices: make(chan struct{}, 1),
	}
	q.ctx, q.stop = context.WithCancel(l.ctx)
	return q
}

// poke sends on a channel with one place, whose receiver looks at the state then.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *peer) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.label
}

// current returns the session, nil if there is none, and a channel that is closed when
// there is a new one.
func (p *peer) current() (*session, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session, p.changed
}

func (p *peer) target(k kind) target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return target{address: p.address, id: p.id, name: p.label, kind: k}
}

// prefers reports whether, of two control connections, the one that this node dialed
// is to stay.
func (p *peer) prefers() bool { return p.link.config.ID < p.id }

// admitControl decides whether a control connection that the peer dials is taken.
func (p *peer) admitControl(boot uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.prefers() {
		return nil
	}
	if p.dialing {
		return refuse(codeDuplicate, "this node is dialing, too")
	}
	if s := p.session; s != nil && s.dialed && s.conn.boot == boot {
		// Either both have dialed at the same moment, or the peer has lost the connection
		// that looks alive from here.
		s.suspect()
		return refuse(codeDuplicate, "this node has dialed already")
	}
	return nil
}

// attach makes c the control connection, in place of the one before.
func (p *peer) attach(c *conn, dialed bool) {
	s := newSession(p, c, dialed)
	p.mu.Lock()
	if p.ctx.Err() != nil || !p.link.spawn(s.read) {
		p.mu.Unlock()
		c.Close()
		return
	}
	if !p.link.spawn(s.write) {
		p.mu.Unlock()
		s.end(errClosed)
		return
	}
	old := p.session
	restarted := p.state != 0 && p.boot != c.boot
	p.session, p.boot, p.offset = s, c.boot, s.clock
	p.dialing = false
	if p.state == Connected && restarted {
		p.setState(Lost)
	}
	p.setState(Connected)
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if old != nil {
		// The peer has lost the connection before, and all others with it: they may look
		// alive from here, and would swallow what is sent on them.
		old.end(errReplaced)
		p.closeCalls()
	}
	if restarted {
		p.link.closeConns(func(o *conn) bool { return o.peer.ID == p.id && o.boot != c.boot })
	}
	poke(p.wake)
}

// detach is called when s has ended. What else is open with the peer, but for
// snapshots, which have their own deadline, ends with it: a call that waits for a frozen
// node fails now.
func (p *peer) detach(s *session, err error) {
	p.mu.Lock()
	if p.session != s {
		p.mu.Unlock()
		return
	}
	p.session = nil
	p.ended = time.Now()
	p.status, p.hasStatus = nil, false
	p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.link.log.Info("lost the control connection to a node", "peer", p.name(), "err", err)
	}
	p.closeCalls()
	time.AfterFunc(p.link.decide, p.lost)
	poke(p.wake)
}

// closeCalls ends the connections with the peer that calls are made on.
func (p *peer) closeCalls() {
	p.link.closeConns(func(o *conn) bool { return o.peer.ID == p.id && (o.kind == kindRaft || o.kind == kindRPC) })
}

// update takes over what SetPeers says of the peer.
func (p *peer) update(to Peer) {
	p.mu.Lock()
	moved := p.address != to.Address
	p.label, p.address = to.Name, to.Address
	p.mu.Unlock()
	if moved {
		poke(p.wake)
	}
}

// setState queues a change for OnPeer. p.mu is held.
func (p *peer) setState(to PeerState) {
	if p.state == to {
		return
	}
	p.state = to
	if len(p.events) == maxEvents {
		p.events = append(p.events[:0], p.events[1:]...)
	}
	p.events = append(p.events, to)
	poke(p.notices)
}

// heardStatus queues a status for OnStatus.
func (p *peer) heardStatus(s *session, status []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != s {
		return
	}
	p.status, p.hasStatus = append([]byte{}, status...), true
	poke(p.notices)
}

// notify calls the callbacks, one at a time.
func (p *peer) notify() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.notices:
		}
		for {
			p.mu.Lock()
			events := p.events
			p.events = nil
			status, hasStatus := p.status, p.hasStatus
			p.status, p.hasStatus = nil, false
			p.mu.Unlock()
			if len(events) == 0 && !hasStatus || p.ctx.Err() != nil {
				break
			}
			for _, e := range events {
				if p.link.config.OnPeer != nil {
					p.link.config.OnPeer(p.id, e)
				}
			}
			if hasStatus && p.link.config.OnStatus != nil {
				p.link.config.OnStatus(p.id, status)
			}
		}
	}
}

// run dials the peer whenever there is no control connection, until the peer is stopped.
func (p *peer) run() {
	defer p.halt()
	pause := dialPauseMin
	failed := "" // the last error that was logged
	for {
		p.mu.Lock()
		idle := p.session != nil || p.link.Cluster() == ""
		p.dialing = !idle
		p.mu.Unlock()
		if idle {
			pause, failed = dialPauseMin, ""
			select {
			case <-p.ctx.Done():
				return
			case <-p.wake:
			}
			continue
		}
		c, err := p.link.dial(p.ctx, p.target(kindControl))
		if err == nil {
			p.attach(c, true)
		}
		p.mu.Lock()
		p.dialing = false
		connected := p.session != nil
		if !connected && isGone(err) && (p.state == Connected || p.state == Lost) {
			p.setState(Gone)
		}
		deciding := p.state == Connected && !connected
		p.mu.Unlock()
		if p.ctx.Err() != nil {
			return
		}
		if connected {
			continue
		}
		if _, refused := errors.AsType[*refusal](err); err != nil && err.Error() != failed && !refused {
			failed = err.Error()
			p.link.log.Warn("no control connection to a node", "peer", p.name(), "err", err)
		}
		wait := pause/2 + rand.N(pause)
		if deciding {
			wait = decidePause
		} else {
			pause = min(2*pause, dialPauseMax)
		}
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-time.After(wait):
		}
	}
}

// lost says that the peer is, unless it has come back.
func (p *peer) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil && p.state == Connected && time.Since(p.ended) >= p.link.decide {
		p.setState(Lost)
	}
}

// halt ends what a stopped peer has open.
func (p *peer) halt() {
	p.mu.Lock()
	s, client := p.session, p.client
	p.client = nil
	p.mu.Unlock()
	if s != nil {
		s.end(errClosed)
	}
	if client != nil {
		client.Close()
	}
	p.link.closeConns(func(o *conn) bool { return o.peer.ID == p.id })
}
