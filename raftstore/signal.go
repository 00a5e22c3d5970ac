package raftstore

import (
	"bytes"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// SendEphemeral passes a message of ttl 0 to the sessions of both users that are
// connected now, except to the one that sent it. The result has the message's ID and
// Time. A repeat within Limits.DedupWindow is passed to nobody: it gets the result of
// the first, or a *command.RefusedError with CodeConflict if its body differs. If the
// receiver has blocked the sender, it returns a *command.RefusedError with CodeForbidden
// once the sender's shard knows of that; before, the receiver's sessions do not get the
// message.
func (s *Store) SendEphemeral(m *command.Send) (command.Result, error) {
	if m.User == "" || m.To == "" || m.CID == "" {
		return command.Result{}, &command.RefusedError{Code: command.CodeBadRequest, Detail: "conv: must not be empty, nor may cid"}
	}
	sender, err := s.contact(m.User, m.To)
	if err != nil {
		return command.Result{}, err
	}
	if sender.BlockedBy {
		return command.Result{}, &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: the receiver has blocked you"}
	}
	// The message leaves no conversation behind, so each one to a stranger counts. An
	// administrator, who has no session, may send any number in a user's name.
	if m.To != m.User && !sender.HasConversation && m.Session != 0 {
		if wait, ok := s.openings.allow(m.User, time.Now()); !ok {
			return command.Result{}, &command.RefusedError{
				Code: command.CodeRateLimited, Detail: "conv: too many messages to users with whom there is no conversation",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
		}
	}
	receiver, err := s.contact(m.To, m.User)
	if err != nil {
		return command.Result{}, err
	}
	timeMS := sender.Now
	first, repeat, err := s.transient.record(transientKey{from: m.User, to: m.To, cid: m.CID}, m.ID, m.Body, timeMS)
	if repeat {
		return first, err
	}
	sent := &query.Message{
		ID: m.ID, Peer: m.To, From: m.User, Time: timeMS, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	if m.To != m.User && !receiver.Blocks {
		received := *sent
		received.Peer = m.User
		s.hub.signal(m.To, 0, store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: timeMS, Message: &received})
	}
	s.hub.signal(m.User, m.Session, store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: timeMS, Message: sent})
	return command.Result{ID: m.ID, Time: timeMS}, nil
}

// Typing tells the sessions of to that from is typing. It does nothing if the two have
// no conversation in from's view, to has blocked from, or a shard has no leader.
func (s *Store) Typing(from, to command.UserID) {
	sender, err := s.contact(from, to)
	if err != nil || !sender.HasConversation || sender.BlockedBy {
		return
	}
	receiver, err := s.contact(to, from)
	if err != nil || receiver.Blocks {
		return
	}
	s.hub.signal(to, 0, store.Signal{Kind: store.SignalTyping, User: from, Time: sender.Now})
}
