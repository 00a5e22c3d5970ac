package raftstore

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Login commits cmd and, in the same apply step, registers w and begins the sync
// that it returns: whatever comes after that step wakes w. A refusal is a
// *command.RefusedError. If ctx ends first, the outcome is unknown; should the
// login take effect later, it is undone.
func (s *Store) Login(ctx context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher) (*query.Sync, error) {
	sh := s.shardOf(cmd.User)
	answer := make(chan outcome, 1)
	var sync *query.Sync      // set by the apply step, read after the answer
	var abandoned atomic.Bool // set by the answer or the end of ctx, whichever comes first
	step := func(st *shard.State, now int64, r *command.Result) {
		// A caller whose ctx has ended may log in anew with the same watcher, which
		// ends this session: its end must not remove that watcher.
		if r.Code != command.OK || abandoned.Load() {
			return
		}
		sync = st.StartSync(cmd.User, r, recents, now)
		s.hub.add(cmd.User, r.Session, w)
		sh.here().orphans.remove(sessionKey{cmd.User, r.Session})
	}
	s.submit(cmd, step, func(r command.Result, err error) {
		if abandoned.CompareAndSwap(false, true) {
			answer <- outcome{r, err}
		} else if err == nil && r.Code == command.OK {
			s.Unwatch(cmd.User, r.Session)
			s.Submit(&command.Logout{User: cmd.User, Session: r.Session}, func(command.Result, error) {})
		}
	})
	var o outcome
	select {
	case o = <-answer:
	case <-ctx.Done():
		if abandoned.CompareAndSwap(false, true) {
			return nil, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
		}
		o = <-answer
	}
	if o.err != nil {
		return nil, o.err
	}
	return sync, o.result.Err()
}

// Unwatch removes the watcher of a session. It does not end the session: a Logout
// does or, if none comes within Config.ClaimWithin, the store.
func (s *Store) Unwatch(user command.UserID, session command.SessionID) {
	if s.hub.remove(user, session) != nil {
		s.shardOf(user).here().orphans.add(sessionKey{user, session})
	}
}

// SetBackground records whether a session is in the background. A user whose
// sessions are all in the background counts as away for Hooks.
func (s *Store) SetBackground(user command.UserID, session command.SessionID, background bool) {
	s.hub.updateListener(user, session, func(l *listener) { l.background = background })
}

// SetStalled records whether the app of a session has stopped answering what it
// is pushed; seen is when it last answered, ms. A user whose sessions are all
// stalled is not online.
func (s *Store) SetStalled(user command.UserID, session command.SessionID, stalled bool, seen int64) {
	s.hub.updateListener(user, session, func(l *listener) { l.stalled, l.seen = stalled, seen })
}

// Kick ends a session on behalf of an administrator.
func (s *Store) Kick(ctx context.Context, user command.UserID, session command.SessionID) error {
	r, err := s.Propose(ctx, &command.Logout{User: user, Session: session, LastSeen: s.Now()})
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return err
	}
	s.hub.kick(user, session, "admin")
	return nil
}
