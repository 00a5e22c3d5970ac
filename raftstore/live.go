package raftstore

import (
	"bytes"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard"
)

// SendLive passes a message to the sessions that are in a group now, and gives
// the time it bears: one of a group that stores none, or of ttl 0 in another
// one. Refusals are *shard.RefusedError. Whether a session is in a group that
// stores nothing is for the caller to know.
func (s *Store) SendLive(m *shard.SendGroup) (timeMS int64, err error) {
	if m.Group == "" || m.User == "" || m.CID == "" {
		return 0, &shard.RefusedError{Code: shard.CodeBadRequest, Detail: "group, user and cid: must not be empty"}
	}
	sent := &shard.Message{
		ID: m.ID, Group: m.Group, Session: m.Session, From: m.User, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	var refused *shard.RefusedError
	err = s.readGroup(m.Group, func(st *shard.State, now int64) {
		if refused = refuseLive(st, m, now); refused != nil {
			return
		}
		if wait, ok := s.liveRate.take(m.Group, time.Now()); !ok {
			refused = &shard.RefusedError{
				Code: shard.CodeRateLimited, Detail: "conv: too many messages to this group",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
			return
		}
		// Told with the state locked for reading: whatever changes the group next
		// has a higher arrival number, and comes after this.
		sent.Time, sent.Arrival = now, st.GroupArrival(m.Group)
		s.hub.signalGroup(sent)
	})
	if err != nil {
		return 0, err
	}
	if refused != nil {
		return 0, refused
	}
	return sent.Time, nil
}

// refuseLive tells why a message may not be passed on, nil if it may.
func refuseLive(st *shard.State, m *shard.SendGroup, now int64) *shard.RefusedError {
	info, exists := st.Group(m.Group, m.User)
	switch {
	case !exists:
		return noGroup(m.Group)
	case m.Admin:
		return nil
	case info.Settings.Stored && info.Role == shard.RoleNone:
		return noMember(m.Group)
	case info.MutedUntil > now:
		return &shard.RefusedError{Code: shard.CodeForbidden, Detail: "conv: the sender is muted"}
	}
	return nil
}

// MaxTyping bounds the members of a group in which typing is told.
const MaxTyping = 200

// TypingGroup tells the sessions of the other members of a group that from is
// typing. It is dropped when the group has more than MaxTyping members or stores
// nothing. Who is no member or muted gets a *shard.RefusedError.
func (s *Store) TypingGroup(from shard.UserID, group shard.GroupID) error {
	var members []shard.Member
	var at int64
	var refused *shard.RefusedError
	err := s.readGroup(group, func(st *shard.State, now int64) {
		at = now
		refused = refuseLive(st, &shard.SendGroup{Group: group, User: from}, now)
		if refused != nil {
			return
		}
		if info, _ := st.Group(group, from); info.Settings.Stored && info.Members <= MaxTyping {
			members, _ = st.Members(group, "", MaxTyping)
		}
	})
	if err == nil && refused != nil {
		return refused
	}
	for _, m := range members {
		if m.User != from {
			s.hub.signal(m.User, 0, Signal{Kind: SignalTyping, User: from, Group: group, Time: at})
		}
	}
	return err
}
