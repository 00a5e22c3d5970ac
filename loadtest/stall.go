package loadtest

import (
	"context"
	"sync"
	"time"
)

// A stall keeps a session from reading until it is released.
type stall struct {
	released chan struct{}
	once     sync.Once
}

func (s *stall) release() { s.once.Do(func() { close(s.released) }) }

// stall makes the client read nothing more from its connection. It never gets
// what comes in the present session from now on; only drained, Cut and Close end
// that session.
func (c *Client) stall() error {
	s, err := c.present()
	if err != nil {
		return err
	}
	s.stalled.Store(&stall{released: make(chan struct{})})
	return s.socket.conn.SetReadDeadline(time.Unix(1, 0)) // interrupts the reader
}

// drained makes a stalled client read again, and throw away what it reads, until
// the server has ended the connection, and returns why it did. If the connection
// is still there when ctx ends, drained cuts it and returns nil.
func (c *Client) drained(ctx context.Context) error {
	s, err := c.present()
	if err != nil {
		return err
	}
	s.release()
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		c.Cut()
		return nil
	}
}

// release ends a stall, if there is one.
func (s *session) release() {
	if stalled := s.stalled.Load(); stalled != nil {
		stalled.release()
	}
}

// drain waits for the end of a stall, then reads until the connection ends.
func (s *session) drain(stalled *stall) error {
	<-stalled.released
	if err := s.socket.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	for {
		_, ok, err := s.socket.next()
		if err == nil && !ok {
			err = s.socket.fill()
		}
		if err != nil {
			return err
		}
	}
}
