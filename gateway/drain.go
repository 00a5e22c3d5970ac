package gateway

import (
	"context"
	"math/rand/v2"
	"time"
)

// wholeSpread is the number of sessions from which a shutdown takes all of
// Config.DrainSpread. With fewer sessions it takes a proportional part.
const wholeSpread = 1000

// Shutdown refuses new connections and closes all sessions with 1001, one after another.
// A session's pending requests are answered first, and new ones refused if that takes
// longer than partingPatience. Shutdown waits until all sessions are gone and the store
// has answered their logouts. If ctx ends first, it closes the sockets and returns ctx's
// error.
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

// closeAll closes sessions one after another, spread over DrainSpread. The time at which
// each is told to come back lies after the last closing, and is spread over as long
// again.
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

// partingPatience is for how long a session that is to be closed takes requests while
// others are pending. A client that always has some open is seldom without one for long;
// refused at once, it would have sends fail.
const partingPatience = 500 * time.Millisecond

// closeWhenIdle ends the session as soon as no request is pending. New ones are refused
// from partingPatience on.
func (s *session) closeWhenIdle(why closing) {
	s.mu.Lock()
	s.pendingClose, s.refuseFrom = why, time.Now().Add(partingPatience).UnixMilli()
	s.mu.Unlock()
	s.closeIfIdle()
}

// closeIfIdle ends the session if closeWhenIdle was called and no request is pending.
func (s *session) closeIfIdle() {
	s.mu.Lock()
	why, busy := s.pendingClose, s.handling || len(s.pending) > 0
	parted := why.code != 0 && !busy
	s.parted = s.parted || parted
	s.mu.Unlock()
	if parted {
		s.end(why)
	}
}
