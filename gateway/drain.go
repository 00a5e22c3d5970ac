package gateway

import (
	"context"
	"math/rand/v2"
	"time"
)

// wholeSpread is the number of sessions from which the closes of a drain take all
// of Config.DrainSpread; fewer take their share of it.
const wholeSpread = 1000

// Shutdown refuses new connections, and closes all sessions with 1001, one after
// the other: what a session has proposed is answered before that, what it asks for
// from then on is not taken. It waits until the last is gone and what it had to
// tell the store is answered. When ctx ends first it cuts the sockets, and returns
// ctx's error.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.shuttingDown = true
	g.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		g.running.Wait()
		close(gone)
	}()
	defer g.pumpers.close()
	g.closeAll(ctx, g.list())
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		for _, s := range g.list() {
			s.conn.Close()
		}
		return ctx.Err()
	}
}

// closeAll has sessions go, spread over time. Each is told to come back some time
// after the last has gone, and these times are spread as wide.
func (g *Gateway) closeAll(ctx context.Context, sessions []*session) {
	pause := max(g.config.DrainSpread, 0) / time.Duration(max(len(sessions), wholeSpread))
	left := pause * time.Duration(len(sessions))
	whole := left
	for _, s := range sessions {
		if s.hasEnded() {
			continue
		}
		why := closedByDrain
		why.retryAfter = left + rand.N(whole+1)
		s.closeWhenIdle(why)
		if left -= pause; pause == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// closeWhenIdle ends the session once all that it has asked for is answered.
func (s *session) closeWhenIdle(why closing) {
	s.mu.Lock()
	s.pendingClose = why
	s.mu.Unlock()
	s.closeIfIdle()
}

// closeIfIdle ends a session that is to go, if it waits for nothing.
func (s *session) closeIfIdle() {
	s.mu.Lock()
	why, busy := s.pendingClose, s.handling || len(s.pending) > 0
	s.mu.Unlock()
	if why.code != 0 && !busy {
		s.end(why)
	}
}
