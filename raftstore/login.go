package raftstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Login commits cmd and, in the same apply step, registers w and begins the sync
// that it returns: whatever comes after that step wakes w. A refusal is a
// *command.RefusedError. If ctx ends first, the outcome is unknown; should the
// login take effect later, it is undone. A login that is executed after one that was
// begun later, wherever, does not end that one's session: it is refused with CodeConflict.
func (s *Store) Login(ctx context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher) (*query.Sync, error) {
	return s.login(ctx, cmd, recents, w, time.Now())
}

// login is Login for a client that asked at a time.
func (s *Store) login(ctx context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher, asked time.Time) (*query.Sync, error) {
	answers := make(chan answer, 1)
	var abandoned atomic.Bool // set by the answer or the end of ctx, whichever comes first
	watched := false          // by the apply step, which comes before the answer
	op := &operation{
		kind: peer.Login, key: cmd.User, recents: recents, encoded: command.AppendCommand(nil, cmd),
		asked: asked, gone: abandoned.Load,
	}
	if err := new(shard.Checker).Check(op.encoded); err != nil {
		return nil, &command.RefusedError{Code: command.CodeBadRequest, Detail: err.Error()}
	}
	user := cmd.User
	op.begin = func(_ command.UserID, sync *query.Sync) {
		// A caller whose ctx has ended may log in anew with the same watcher, which
		// ends this session: its end must not remove that watcher.
		if abandoned.Load() {
			return
		}
		watched = true
		s.hub.add(user, sync.Session, w)
		if here := s.shardOf(user).here(); here != nil {
			here.orphans.remove(sessionKey{user, sync.Session})
		}
	}
	op.done = func(a answer) {
		in := a.err == nil && a.result.Code == command.OK
		if in && !watched && !abandoned.Load() {
			// Its leader is on another node, and wakes w if something has come meanwhile.
			s.hub.add(user, a.sync.Session, w)
			s.tellLeader(user, sessionWatch(user, a.sync.Session), nil)
		}
		if abandoned.CompareAndSwap(false, true) {
			answers <- a
		} else if in {
			s.Unwatch(user, a.sync.Session)
			s.Submit(&command.Logout{User: user, Session: a.sync.Session}, func(command.Result, error) {})
		}
	}
	s.submit(op)
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		if abandoned.CompareAndSwap(false, true) {
			return nil, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
		}
		a = <-answers
	}
	if a.err != nil {
		return nil, a.err
	}
	if op.doubt && a.result.Code == command.CodeConflict {
		return nil, fmt.Errorf("%w: the later login may be this one", store.ErrUnknown)
	}
	return a.sync, a.result.Err()
}

// Unwatch removes the watcher of a session. It does not end the session: a Logout
// does or, if none comes within Config.ClaimWithin, the store.
func (s *Store) Unwatch(user command.UserID, session command.SessionID) {
	w := s.hub.remove(user, session)
	if w == nil {
		return
	}
	sh := s.shardOf(user)
	if l := sh.leading(); l != nil {
		l.shard.orphans.add(sessionKey{user, session}, true)
	}
	if s.cluster != nil {
		var acks *store.Acks
		if s.cluster.follower.WantsAcks(sh.id) {
			acks = new(w.Acks())
		}
		s.tellLeader(user, sessionWatch(user, session), acks)
	}
}

// SetBackground records whether a session is in the background. A user whose
// sessions are all in the background counts as away for Hooks.
func (s *Store) SetBackground(user command.UserID, session command.SessionID, background bool) {
	s.hub.updateListener(user, session, func(l *listener) { l.background = background })
	s.tellLeader(user, sessionWatch(user, session), nil)
}

// SetStalled records whether the app of a session has stopped answering what it
// is pushed; seen is when it last answered, ms. A user whose sessions are all
// stalled is not online.
func (s *Store) SetStalled(user command.UserID, session command.SessionID, stalled bool, seen int64) {
	s.hub.updateListener(user, session, func(l *listener) { l.stalled, l.seen = stalled, seen })
	s.tellLeader(user, sessionWatch(user, session), nil)
}

// Acked notes that a session has acked something in the foreground. Its leader is told, if
// that is on another node and has Hooks that want to know.
func (s *Store) Acked(user command.UserID, session command.SessionID) {
	if s.cluster != nil {
		s.cluster.follower.TellAcks(s.shardOf(user).id, sessionWatch(user, session))
	}
}

// Kick ends a session on behalf of an administrator.
func (s *Store) Kick(ctx context.Context, user command.UserID, session command.SessionID) error {
	r, err := s.Propose(ctx, &command.Logout{User: user, Session: session, LastSeen: s.Now(), Reason: "admin"})
	if err != nil {
		return err
	}
	return r.Err()
}
