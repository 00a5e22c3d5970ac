package raftstore

import (
	"bytes"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// SendEphemeral passes a message of ttl 0 to the sessions that are connected
// now, but not to the one that sent it. The result has its ID and Time. A repeat
// of one within Limits.DedupWindow goes to nobody: it gets the first's result, or
// with another body a *command.RefusedError with CodeConflict. A sender whom the
// receiver has blocked gets one with CodeForbidden once his shard knows of it;
// before that nobody gets the message.
func (s *Store) SendEphemeral(m *command.Send) (command.Result, error) {
	if m.User == "" || m.To == "" || m.CID == "" {
		return command.Result{}, &command.RefusedError{Code: command.CodeBadRequest, Detail: "conv: must not be empty, nor may cid"}
	}
	var timeMS int64
	blocked, stranger := false, false
	err := s.read(m.User, func(st *shard.State, now int64) {
		timeMS = now
		blocked = st.BlockedBy(m.User, m.To)
		stranger = m.To != m.User && !st.HasConversation(m.User, m.To)
	})
	if err != nil {
		return command.Result{}, err
	}
	if blocked {
		return command.Result{}, &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: the receiver has blocked you"}
	}
	// It leaves no conversation behind, so that every one to a stranger counts. An
	// administrator may write to as many as he likes in a user's name.
	if stranger && m.Session != 0 {
		if wait, ok := s.openings.take(m.User, time.Now()); !ok {
			return command.Result{}, &command.RefusedError{
				Code: command.CodeRateLimited, Detail: "conv: too many messages to users with whom there is no conversation",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
		}
	}
	refused := false
	err = s.read(m.To, func(st *shard.State, _ int64) { refused = st.Blocks(m.To, m.User) })
	if err != nil {
		return command.Result{}, err
	}
	first, repeat, err := s.passed.pass(passedKey{from: m.User, to: m.To, cid: m.CID}, m.ID, m.Body, timeMS)
	if repeat {
		return first, err
	}
	sent := &query.Message{
		ID: m.ID, Peer: m.To, From: m.User, Time: timeMS, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	if m.To != m.User && !refused {
		received := *sent
		received.Peer = m.User
		s.hub.signal(m.To, 0, store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: timeMS, Message: &received})
	}
	s.hub.signal(m.User, m.Session, store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: timeMS, Message: sent})
	return command.Result{ID: m.ID, Time: timeMS}, nil
}

// Typing tells the sessions of to that from is typing. It is dropped when the
// two have no conversation in from's view, to must not see it, or his shard has no leader.
func (s *Store) Typing(from, to command.UserID) {
	allowed := false
	var now int64
	err := s.read(from, func(st *shard.State, at int64) {
		now = at
		allowed = st.HasConversation(from, to) && !st.BlockedBy(from, to)
	})
	if err != nil || !allowed {
		return
	}
	err = s.read(to, func(st *shard.State, _ int64) { allowed = !st.Blocks(to, from) })
	if err != nil || !allowed {
		return
	}
	s.hub.signal(to, 0, store.Signal{Kind: store.SignalTyping, User: from, Time: now})
}
