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
	g.away = true
	g.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		g.sessions.Wait()
		close(gone)
	}()
	defer g.pumpers.close()
	g.dismiss(ctx, g.open())
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		for _, s := range g.open() {
			s.conn.Close()
		}
		return ctx.Err()
	}
}

// dismiss has sessions go, spread over time. Each is told to come back some time
// after the last has gone, and these times are spread as wide.
func (g *Gateway) dismiss(ctx context.Context, sessions []*session) {
	pause := max(g.config.DrainSpread, 0) / time.Duration(max(len(sessions), wholeSpread))
	left := pause * time.Duration(len(sessions))
	whole := left
	for _, s := range sessions {
		if s.hasEnded() {
			continue
		}
		why := closedByDrain
		why.retryAfter = left + rand.N(whole+1)
		s.dismiss(why)
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

// dismiss ends the session once all that it has asked for is answered.
func (s *session) dismiss(why closing) {
	s.mu.Lock()
	s.parting = why
	s.mu.Unlock()
	s.part()
}

// part ends a session that is to go, if it waits for nothing.
func (s *session) part() {
	s.mu.Lock()
	why, busy := s.parting, s.handling || len(s.requests) > 0
	s.mu.Unlock()
	if why.code != 0 && !busy {
		s.end(why)
	}
}
