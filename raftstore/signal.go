package raftstore

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/cespare/xxhash/v2"
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
	// First: a message that cannot be passed on must not become known.
	receiver, err := s.contact(m.To, m.User)
	if err != nil {
		return command.Result{}, err
	}
	t := transientSend{from: m.User, to: m.To, session: m.Session, cid: m.CID, id: m.ID, body: xxhash.Sum64(m.Body)}
	result, err := s.recordTransient(&t)
	if err != nil || result.Duplicate {
		return result, err
	}
	sent := &query.Message{
		ID: m.ID, Peer: m.To, From: m.User, Time: result.Time, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	signal := store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: result.Time, Message: sent}
	if m.To != m.User && !receiver.Blocks {
		received := *sent
		received.Peer = m.User
		toReceiver := signal
		toReceiver.Message = &received
		s.tell(telling{users: []command.UserID{m.To}, from: m.User, signal: toReceiver})
	}
	s.tell(telling{users: []command.UserID{m.User}, except: m.Session, signal: signal})
	return result, nil
}

// recordTransient has the leader of its sender's shard record a message of ttl 0. The
// result of a repeat is that of the first.
func (s *Store) recordTransient(t *transientSend) (r command.Result, err error) {
	err = s.shardOf(t.from).call(call{
		kind: peer.Transient, once: true,
		here: func(l *leader) (err error) { r, err = l.recordTransient(t); return err },
		body: func() []byte { return encodeCall(t.fields) },
		read: func(answer []byte) error { return decodeCall(answer, resultFields(&r)) },
	})
	return r, err
}

func (l *leader) answerTransient(body []byte) ([]byte, error) {
	var t transientSend
	if err := decodeCall(body, t.fields); err != nil {
		return nil, err
	}
	r, err := l.recordTransient(&t)
	return encodeCall(resultFields(&r)), err
}

func (l *leader) recordTransient(t *transientSend) (command.Result, error) {
	s := l.shard.store
	sender := query.Contact{User: t.from, Peer: t.to}
	if err := readError(l.shard.replica.Read(&sender)); err != nil {
		return command.Result{}, err
	}
	if sender.BlockedBy {
		return command.Result{}, &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: the receiver has blocked you"}
	}
	// The message leaves no conversation behind, so each one to a stranger counts. An
	// administrator, who has no session, may send any number in a user's name.
	if t.to != t.from && !sender.HasConversation && t.session != 0 {
		if wait, ok := s.openings.allow(t.from, time.Now()); !ok {
			return command.Result{}, &command.RefusedError{
				Code: command.CodeRateLimited, Detail: "conv: too many messages to users with whom there is no conversation",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
		}
	}
	first, repeat, err := s.transient.record(transientKey{from: t.from, to: t.to, cid: t.cid}, t.id, t.body, sender.Now)
	if repeat {
		return first, err
	}
	return command.Result{ID: t.id, Time: sender.Now}, nil
}

// Typing tells the sessions of to that from is typing. It does nothing if the two have
// no conversation in from's view, to has blocked from, or a shard has no leader.
func (s *Store) Typing(from, to command.UserID) {
	sender, err := s.contact(from, to)
	if err != nil || !sender.HasConversation || sender.BlockedBy {
		return
	}
	s.tell(telling{
		users: []command.UserID{to}, from: from,
		signal: store.Signal{Kind: store.SignalTyping, User: from, Time: sender.Now},
	})
}

// tell passes a signal to users, at the leaders of their shards. Users whose shard does
// not serve are left out.
func (s *Store) tell(t telling) {
	if len(t.users) == 1 {
		s.tellShard(s.shardOf(t.users[0]), t)
		return
	}
	var asked sync.WaitGroup
	for sh, users := range s.byShard(t.users) {
		part := t
		part.users = users
		if sh.leaderHere() != nil {
			s.tellShard(sh, part)
		} else {
			asked.Go(func() { s.tellShard(sh, part) })
		}
	}
	asked.Wait()
}

func (s *Store) tellShard(sh *shardRef, t telling) {
	// A signal may be lost: so it is when its leader's answer is.
	_ = sh.call(call{
		kind: peer.Tell, once: true,
		here: func(l *leader) error { return l.tell(&t) },
		body: func() []byte { return encodeCall(t.fields) },
		read: func([]byte) error { return nil },
	})
}

func (l *leader) answerTell(body []byte) error {
	var t telling
	if err := decodeCall(body, t.fields); err != nil {
		return err
	}
	return l.tell(&t)
}

func (l *leader) tell(t *telling) error {
	hub := l.shard.store.hub
	listening := make([]command.UserID, 0, len(t.users))
	for _, user := range t.users {
		if hub.online(user) {
			listening = append(listening, user)
		}
	}
	if len(listening) == 0 {
		return nil
	}
	return l.shard.local.ReadLocal(func(st *shard.State, _ int64) {
		for _, user := range listening {
			if t.from == "" || !st.Blocks(user, t.from) {
				hub.signal(user, t.except, t.signal)
			}
		}
	})
}

// byShard sorts users by the shards that hold them.
func (s *Store) byShard(users []command.UserID) map[*shardRef][]command.UserID {
	parts := make(map[*shardRef][]command.UserID)
	for _, user := range users {
		sh := s.shardOf(user)
		parts[sh] = append(parts[sh], user)
	}
	return parts
}
