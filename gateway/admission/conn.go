package admission

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is an admitted connection. Close gives back what it takes.
//
// Lock order: Controller.mu, Conn.mu.
type Conn struct {
	net.Conn
	controller *Controller
	tls        bool
	since      time.Time
	surplus    bool // over the limits of its address, and admitted only to be told why it is closed

	// Guarded by Controller.mu.
	address        string              // by which limits count it; "" until it is known
	displace       func(reason string) // ends the connection if it has to give way; nil: Close does
	displacedBytes int64               // bytes that it held when it was displaced, 0 if it was not
	prev, next     *Conn               // in Controller.unauthenticated

	blocked atomic.Int64 // since when its peer has not read, Unix ns; 0: it reads

	mu              sync.Mutex
	charged         int64 // bytes
	unauthenticated bool  // in Controller.unauthenticated too, unless it was displaced
	closed          bool
}

// Identify sets the address of a client that a proxy has connected. It reports false
// if the address has too many connections. A connection whose address is known
// already keeps it; Identify then reports whether Admit found it within the limits.
func (c *Conn) Identify(client netip.Addr) bool { return c.identify(addressKey(client)) }

func (c *Conn) identify(address string) bool {
	a := c.controller
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.surplus || c.address != "" {
		return !c.surplus
	}
	if c.displacedBytes != 0 || c.isClosed() || !a.countAddress(c, address) {
		a.refuse(forAddress, address)
		return false
	}
	return true
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Upgraded notes that the connection is a WebSocket now. From now on the controller
// calls displace, with the reason, if the connection has to give way.
func (c *Conn) Upgraded(displace func(reason string)) {
	c.controller.mu.Lock()
	c.displace = displace
	c.controller.mu.Unlock()
	c.Charge(sessionCost - handshakeCost)
}

// Authenticated notes that a user has logged in.
func (c *Conn) Authenticated() {
	a := c.controller
	a.mu.Lock()
	defer a.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.displacedBytes != 0 || !c.unauthenticated {
		return
	}
	a.removeUnauthenticated(c)
	c.unauthenticated = false
	a.unauthenticatedUsed.Add(-c.charged)
}

// Close closes the socket and gives back what the connection takes. It may be called
// again.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

// NetConn returns the socket.
func (c *Conn) NetConn() net.Conn { return c.Conn }

func (c *Conn) release() {
	a := c.controller
	a.mu.Lock()
	defer a.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	a.used.Add(-c.charged)
	a.closing.Add(-c.displacedBytes)
	if c.unauthenticated {
		a.unauthenticatedUsed.Add(-c.charged)
	}
	delete(a.all, c)
	if c.surplus {
		a.surplus--
	}
	if c.unauthenticated && c.displacedBytes == 0 {
		a.removeUnauthenticated(c)
	}
	if n := a.addresses[c.address]; n != nil {
		if n.open--; n.open == 0 {
			delete(a.addresses, c.address)
		}
	}
}

func (c *Conn) fixedCost(n int64) int64 {
	if c.tls {
		n += tlsCost
	}
	return n
}

// Charge counts n more bytes that the connection takes, or fewer if n is negative. It
// never fails: over the limit, connections are closed.
func (c *Conn) Charge(n int64) {
	if n == 0 {
		return
	}
	a := c.controller
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.charged += n
	if c.unauthenticated {
		a.unauthenticatedUsed.Add(n)
	}
	used := a.used.Add(n)
	c.mu.Unlock()
	if n <= 0 || a.config.Memory == 0 {
		return
	}
	if used > a.config.Memory && a.reclaiming.CompareAndSwap(false, true) {
		go a.reclaim()
	}
	if used > a.lowFrom() && a.reserving.CompareAndSwap(false, true) {
		go a.reserve()
	}
}

// Blocked notes that the peer no longer reads; Unblocked notes that it reads again.
func (c *Conn) Blocked() {
	c.blocked.Store(time.Now().UnixNano())
	c.Charge(BlockedCost)
}

func (c *Conn) Unblocked() {
	c.Charge(-BlockedCost)
	c.blocked.Store(0)
}

// Used returns Controller.Used.
func (c *Conn) Used() int64 { return c.controller.Used() }

// MemoryLow returns Controller.MemoryLow.
func (c *Conn) MemoryLow() bool { return c.controller.MemoryLow() }

// A connList is a doubly linked list of connections, which hold the links.
type connList struct {
	first, last *Conn
	n           int
}

func (l *connList) push(c *Conn) {
	c.prev, c.next = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.n++
}

func (l *connList) remove(c *Conn) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}
