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

// SendLive passes a message to the sessions that are in a group now: one of a
// group that stores none, or of ttl 0 in another one. The result has its ID and
// Time. A repeat is known as SendEphemeral knows it. Refusals are
// *command.RefusedError. Whether a session is in a group that stores nothing is for
// the caller to know.
func (s *Store) SendLive(m *command.SendGroup) (command.Result, error) {
	if m.Group == "" || m.User == "" || m.CID == "" {
		return command.Result{}, &command.RefusedError{Code: command.CodeBadRequest, Detail: "conv: must not be empty, nor may cid"}
	}
	key := passedKey{from: m.User, group: m.Group, cid: m.CID}
	sent := &query.Message{
		ID: m.ID, Group: m.Group, Session: m.Session, From: m.User, CID: []byte(m.CID),
		Mentions: slices.Clone(m.Mentions), Body: bytes.Clone(m.Body),
	}
	var first command.Result
	var repeat bool
	var refused error
	err := s.readGroup(m.Group, func(st *shard.State, now int64) {
		if r := refuseLive(st, m, now); r != nil {
			refused = r
			return
		}
		if first, repeat, refused = s.passed.repeated(key, m.Body, now); repeat {
			return
		}
		if wait, ok := s.liveRate.take(m.Group, time.Now()); !ok {
			refused = &command.RefusedError{
				Code: command.CodeRateLimited, Detail: "conv: too many messages to this group",
				RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
			}
			return
		}
		if first, repeat, refused = s.passed.pass(key, m.ID, m.Body, now); repeat {
			return // it came at the same moment
		}
		// Told with the state locked for reading: whatever changes the group next
		// has a higher arrival number, and comes after this.
		sent.Time, sent.Arrival = now, st.GroupArrival(m.Group)
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

// refuseLive tells why a message may not be passed on, nil if it may.
func refuseLive(st *shard.State, m *command.SendGroup, now int64) *command.RefusedError {
	info, exists := st.Group(m.Group, m.User)
	switch {
	case !exists:
		return noGroup(m.Group)
	case m.Admin:
		return nil
	case info.Settings.Stored && info.Role == command.RoleNone:
		return noMember(m.Group)
	case info.BannedUntil > now: // his sessions may not know yet that they are out
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: you are no member of this group"}
	case info.Settings.MutedAll && info.Role < command.RoleAdmin:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: all but the owner and admins are muted in this group (mutedAll)"}
	case info.MutedUntil > now:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: you are muted in this group"}
	}
	return nil
}

// TypingGroup tells the sessions of the other members of a group that from is
// typing. It is dropped when the group has more than MaxTyping members or stores
// nothing. Who is no member or muted gets a *command.RefusedError.
// Nor does it reach who has blocked from.
func (s *Store) TypingGroup(from command.UserID, group command.GroupID) error {
	var members []query.Member
	var at int64
	var refused *command.RefusedError
	err := s.readGroup(group, func(st *shard.State, now int64) {
		at = now
		refused = refuseLive(st, &command.SendGroup{Group: group, User: from}, now)
		if refused != nil {
			return
		}
		if info, _ := st.Group(group, from); info.Settings.Stored && info.Members <= store.MaxTyping {
			members, _ = st.Members(group, "", store.MaxTyping)
		}
	})
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	}
	for _, user := range s.listeners(from, members) {
		s.hub.signal(user, 0, store.Signal{Kind: store.SignalTyping, User: from, Group: group, Time: at})
	}
	return nil
}

// listeners are the members but one who have not blocked that one. Whose shard does not
// serve is left out.
func (s *Store) listeners(from command.UserID, members []query.Member) []command.UserID {
	others := make([]command.UserID, 0, len(members))
	for _, m := range members {
		if m.User != from && s.hub.online(m.User) {
			others = append(others, m.User)
		}
	}
	free := others[:0]
	for i, standing := range s.Eligibility(from, others) {
		if standing.Err == nil && !standing.Blocks {
			free = append(free, others[i])
		}
	}
	return free
}
