package gateway

import (
	"context"
	"math/rand/v2"
	"time"
)

// wholeSpread is the number of sessions from which on a shutdown takes all of
// Config.DrainSpread to close them; fewer take a part of it.
const wholeSpread = 1000

// Shutdown refuses new connections and closes all sessions with 1001, one after the
// other. Pending requests of a session are answered first, new ones are refused. It
// waits until all sessions are gone and their logouts have an outcome. If ctx ends first
// it closes the sockets and returns ctx's error.
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
	g.closeAll(ctx, g.allSessions())
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		for _, s := range g.allSessions() {
			s.conn.Close()
		}
		return ctx.Err()
	}
}

// closeAll closes sessions, spread over time. Each is told to come back after the last
// one is closed, spread over as much time again.
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

// closeWhenIdle ends the session once its pending requests are answered.
func (s *session) closeWhenIdle(why closing) {
	s.mu.Lock()
	s.pendingClose = why
	s.mu.Unlock()
	s.closeIfIdle()
}

// closeIfIdle ends a session that closeWhenIdle was called for, if no request is pending.
func (s *session) closeIfIdle() {
	s.mu.Lock()
	why, busy := s.pendingClose, s.handling || len(s.pending) > 0
	s.mu.Unlock()
	if why.code != 0 && !busy {
		s.end(why)
	}
}
