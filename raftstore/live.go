package raftstore

import (
	"bytes"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/cespare/xxhash/v2"
)

// SendLive passes a message to the sessions that are in a group now, and stores nothing:
// it is for a group that stores no messages, and for messages of ttl 0 in other groups.
// The result has the message's ID and Time. Repeats are handled as by SendEphemeral. A
// refusal is a *command.RefusedError. Whether the sending session has entered a group
// that stores no messages is for the caller to check.
func (s *Store) SendLive(m *command.SendGroup) (command.Result, error) {
	if m.Group == "" || m.User == "" || m.CID == "" {
		return command.Result{}, &command.RefusedError{Code: command.CodeBadRequest, Detail: "conv: must not be empty, nor may cid"}
	}
	sh := s.shardOf(m.Group.Key())
	if l := sh.leaderHere(); l != nil {
		if r, err := l.sendLive(m); !sh.waits(err) {
			return r, err
		}
	}
	var r command.Result
	err := sh.call(call{
		kind: peer.Live, once: true,
		here: func(l *leader) (err error) { r, err = l.sendLive(m); return err },
		body: func() []byte { return encodeCall(liveFields(m)) },
		read: func(answer []byte) error { return decodeCall(answer, resultFields(&r)) },
	})
	return r, err
}

func (l *leader) answerLive(body []byte) ([]byte, error) {
	var m command.SendGroup
	if err := decodeCall(body, liveFields(&m)); err != nil {
		return nil, err
	}
	r, err := l.sendLive(&m)
	return encodeCall(resultFields(&r)), err
}

func (l *leader) sendLive(m *command.SendGroup) (command.Result, error) {
	s := l.shard.store
	key, body := transientKey{from: m.User, group: m.Group, cid: m.CID}, xxhash.Sum64(m.Body)
	sent := &query.Message{
		ID: m.ID, Group: m.Group, Session: m.Session, From: m.User, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	var first command.Result
	var repeat bool
	var refused error
	speech := speechQueries.get()
	defer speechQueries.put(speech)
	speech.Group, speech.User, speech.Admin = m.Group, m.User, m.Admin
	// The state is locked for reading, so that this message reaches watchers before whatever
	// changes the group next, which has a higher arrival number.
	err := l.shard.local.ReadLocal(func(st *shard.State, now int64) {
		if refused = readError(st.Answer(speech, now)); refused != nil {
			return
		}
		if first, repeat, refused = s.transient.lookup(key, body, now); repeat {
			return
		}
		if wait, ok := s.liveRate.allow(m.Group, time.Now()); !ok {
			refused = &command.RefusedError{
				Code: command.CodeRateLimited, Detail: "conv: too many messages to this group",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
			return
		}
		if first, repeat, refused = s.transient.record(key, m.ID, body, now); repeat {
			return // the first came at the same moment
		}
		sent.Time, sent.Arrival = speech.Now, speech.Arrival
		s.hub.signalGroup(sent)
	})
	switch {
	case err != nil:
		return command.Result{}, err
	case refused != nil:
		return command.Result{}, refused
	case repeat:
		return first, nil
	}
	return command.Result{ID: m.ID, Time: sent.Time}, nil
}

// TypingGroup tells the sessions of the other members of a group that from is typing. It
// does nothing in a group that has more than store.MaxTyping members or stores no
// messages, and leaves out users who have blocked from. If from is no member or is muted,
// it returns a *command.RefusedError.
func (s *Store) TypingGroup(from command.UserID, group command.GroupID) error {
	q := query.MaySpeak{Group: group, User: from, Listeners: store.MaxTyping}
	if err := s.read(&q); err != nil {
		return err
	}
	others := slices.DeleteFunc(q.Members, func(user command.UserID) bool { return user == from })
	s.tell(telling{
		users: others, from: from,
		signal: store.Signal{Kind: store.SignalTyping, User: from, Group: group, Time: q.Now},
	})
	return nil
}
