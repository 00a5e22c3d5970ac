package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxReturning is how many sessions may log in again at a time. After a node was cut off
// all of its sessions may have to.
const maxReturning = 64

// returns are the sessions that the store does not know any more though their sockets are
// open: their node was cut off for longer than the store waits. They log in again with
// what they have been pushed, and their clients notice nothing.
type returns struct {
	mu      sync.Mutex
	waiting []*session // each once, see session.away
	working int
}

// Gone has the session log in again. The store calls it.
func (s *session) Gone() {
	s.mu.Lock()
	if !s.loggedIn {
		s.mu.Unlock()
		s.end(closedByDrain) // its login is not answered yet: the client tries again
		return
	}
	again := !s.away && !s.stopped && !s.ended
	s.away = s.away || again
	s.mu.Unlock()
	if again {
		s.gateway.logInAgain(s)
	}
}

// logInAgain queues a session to be logged in again.
func (g *Gateway) logInAgain(s *session) {
	r := &g.returns
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, s)
	if r.working < maxReturning {
		r.working++
		go g.workOffReturns()
	}
}

func (g *Gateway) workOffReturns() {
	r := &g.returns
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.working--
			r.waiting = nil
			r.mu.Unlock()
			return
		}
		s := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		s.comeBack()
	}
}

// comeBack logs the session in again. If the store is not available, it does so later. If
// the login is refused, the session ends as after that login.
func (s *session) comeBack() {
	s.mu.Lock()
	if s.stopped || s.ended {
		s.mu.Unlock()
		return
	}
	s.submits.Add(1)
	old := s.id()
	cmd := &command.Login{
		User: s.user, Device: s.device, Platform: s.platform, Policy: s.gateway.config.Policy, Instead: old,
		HasCursor: true, Cursor: s.gateway.backend.Cursor(s.user, s.UpTo()), IssuedAt: s.issuedAt,
		Begun: s.loginTime, // a login of the same device since then is the later one
	}
	s.mu.Unlock()
	defer s.submits.Done()
	ctx, cancel := context.WithTimeout(context.Background(), s.gateway.config.RequestTimeout)
	defer cancel()
	sync, err := s.gateway.backend.Login(ctx, cmd, query.RecentsOff, s)
	if err == nil && sync.Reset {
		// The store has forgotten what the device knows, which only a login can tell it.
		s.end(closedByDrain)
	}
	if err != nil {
		s.stayAway(err)
		return
	}
	s.mu.Lock()
	gone := s.stopped
	if !gone {
		s.number.Store(uint64(sync.Session))
		s.away, s.doubtful = false, false
	}
	background, stalled := s.background, s.stalled
	s.mu.Unlock()
	b := s.gateway.backend
	if gone {
		b.Unwatch(s.user, sync.Session)
		s.submits.Add(1)
		b.Submit(&command.Logout{User: s.user, Session: sync.Session, LastSeen: s.lastActivity()}, func(command.Result, error) { s.submits.Done() })
		return
	}
	s.gateway.metrics.returns.Inc()
	if background {
		b.SetBackground(s.user, sync.Session, true)
	}
	if stalled {
		s.reportStalled()
	}
	s.Wake()
}

// stayAway handles the error of a login that comeBack has tried.
func (s *session) stayAway(err error) {
	refused, is := errors.AsType[*command.RefusedError](err)
	s.mu.Lock()
	s.doubtful = s.doubtful || errors.Is(err, store.ErrUnknown)
	doubtful := s.doubtful
	s.mu.Unlock()
	switch {
	case is && refused.Code == command.CodeConflict && doubtful:
		s.end(closedByDrain) // the later login may be its own
	case is && refused.Code == command.CodeConflict:
		s.Kick(refused.Detail)
	case is && refused.Code == command.CodeForbidden:
		s.end(closedSuspended)
	case is && refused.Code == command.CodeUnauthorized:
		s.end(closedRevoked)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown):
		time.AfterFunc(max(store.RetryAfter(err), minRetry), func() { s.gateway.logInAgain(s) })
	default:
		s.gateway.log.Error("a session could not log in again", "user", s.user, "error", err)
		s.end(closedByDrain)
	}
}
