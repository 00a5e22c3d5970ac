package nodes

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A linkConn is a connection that somebody has opened to a node, and the one behind
// it.
type linkConn struct {
	direction direction // in which it was opened
	near, far net.Conn  // far is nil until it is dialed, and set with Links.mu held
	done      chan struct{}
	once      sync.Once
	abandoned bool // one side was closed, and the other must not learn it; guarded by Links.mu
}

// drop closes both sides. Until far is set, the caller holds Links.mu.
func (c *linkConn) drop() {
	c.once.Do(func() {
		close(c.done)
		c.near.Close()
		if c.far != nil {
			c.far.Close()
		}
	})
}

// abandon closes one side. The caller holds Links.mu.
func (c *linkConn) abandon(side net.Conn) {
	c.abandoned = true
	side.Close()
}

// dialPatience bounds a dial inside a namespace, where an answer comes at once.
const dialPatience = 5 * time.Second

// accept serves the connections that a listener gets for the node that listens on
// address in a namespace.
func (l *Links) accept(listener net.Listener, way direction, to *namespace, address string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return // closed
		}
		l.loops.Go(func() { l.serve(&linkConn{direction: way, near: near, done: make(chan struct{})}, to, address) })
	}
}

func (l *Links) serve(c *linkConn, to *namespace, address string) {
	l.mu.Lock()
	l.conns[c] = struct{}{}
	if l.closed {
		c.drop()
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.drop()
		delete(l.conns, c)
	}()
	if !l.passes(c, c.direction) {
		return
	}
	var far net.Conn
	err := to.do(func() (err error) {
		far, err = net.DialTimeout("tcp", address, dialPatience)
		return err
	})
	if err != nil {
		return
	}
	l.mu.Lock()
	c.far = far
	select {
	case <-c.done:
		far.Close()
	default:
	}
	l.mu.Unlock()
	back := direction{c.direction.to, c.direction.from}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(c, c.near, far, c.direction) })
	pumps.Go(func() { l.pump(c, far, c.near, back) })
	pumps.Wait()
}

// pump carries what comes in one direction. The end of one side reaches the other
// as data do: not while the direction is cut.
func (l *Links) pump(c *linkConn, from, to net.Conn, way direction) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !l.passes(c, way) {
			return
		}
		if n > 0 {
			_, writeErr := to.Write(buf[:n])
			err = errors.Join(err, writeErr)
		}
		if err != nil {
			if l.passes(c, way) { // it may have been abandoned meanwhile
				c.drop()
			}
			return
		}
	}
}

// passes waits until a direction carries data; it returns false if the connection
// ends before.
func (l *Links) passes(c *linkConn, way direction) bool {
	delayed := false
	for {
		l.mu.Lock()
		cut, delay, changed := l.cut[way] || c.abandoned, l.delay[way], l.changed
		l.mu.Unlock()
		switch {
		case cut:
			select {
			case <-changed:
			case <-c.done:
				return false
			}
		case delay > 0 && !delayed:
			delayed = true
			select {
			case <-time.After(delay):
			case <-c.done:
				return false
			}
		default:
			return true
		}
	}
}
