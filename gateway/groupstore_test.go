package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (s *testStore) WatchGroup(group command.GroupID, w store.GroupWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groupWatchers[group] = append(s.groupWatchers[group], w)
}

func (s *testStore) UnwatchGroup(group command.GroupID, w store.GroupWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.groupWatchers[group], func(o store.GroupWatcher) bool { return o == w })
	if s.groupWatchers[group] = left; len(left) == 0 {
		delete(s.groupWatchers, group)
	}
}

// tellGroups wakes the watchers of what a batch changed. The caller holds mu.
func (s *testStore) tellGroups() {
	if s.mute {
		return
	}
	for _, g := range s.out.Groups {
		for _, w := range s.groupWatchers[g] {
			w.Wake()
		}
	}
	for _, m := range s.out.Members {
		for _, w := range s.groupWatchers[m.Group] {
			w.WakeMember(m.User)
		}
	}
}

// wakeGroups wakes the watchers of all groups.
func (s *testStore) wakeGroups() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, watchers := range s.groupWatchers {
		for _, w := range watchers {
			w.Wake()
		}
	}
}

func (s *testStore) SyncGroups(_ context.Context, user command.UserID, asks []query.GroupSyncAsk, backlog, most int) (views []query.GroupSyncItem, left []query.GroupSyncAsk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, asks
	}
	for len(asks) > 0 {
		part := s.state.SyncGroups(user, asks, backlog, most, s.Now())
		views, asks = append(views, part.Items...), part.Remaining
	}
	return views, nil
}

func (s *testStore) GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return s.Read(&query.GroupUpdatesAfter{Group: group, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: b})
}

func (s *testStore) GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, b *query.Updates) error {
	return s.Read(&query.GroupMessages{User: user, Group: group, Seqs: seqs, Updates: b})
}

func (s *testStore) MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) ([]query.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.MemberChanges(group, user, session, after), nil
}

func (s *testStore) Cursor(key command.UserID, arrival uint64) string {
	return query.Cursor(s.state.Epoch(), key, arrival)
}

func (s *testStore) Group(group command.GroupID, asker command.UserID) (query.GroupInfo, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return query.GroupInfo{}, false, store.ErrUnavailable
	}
	info, exists := s.state.Group(group, asker)
	return info, exists, nil
}

func (s *testStore) Members(group command.GroupID, after command.UserID, limit int) ([]query.Member, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, false, store.ErrUnavailable
	}
	members, more := s.state.Members(group, after, limit)
	return members, more, nil
}

func (s *testStore) Bans(group command.GroupID, after command.UserID, limit int) ([]query.Ban, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, false, store.ErrUnavailable
	}
	bans, more := s.state.Bans(group, after, limit)
	return bans, more, nil
}

func (s *testStore) JoinRequests(group command.GroupID) ([]query.JoinRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.JoinRequests(group), nil
}

func (s *testStore) GroupsOf(_ context.Context, user command.UserID) ([]query.GroupRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.GroupsOf(user), nil
}

// SendLive refuses nobody for being too fast, and knows no repeats.
func (s *testStore) SendLive(m *command.SendGroup) (command.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if err := s.refusal(m.Group, m.User); err != nil {
		return command.Result{}, err
	}
	for _, w := range s.groupWatchers[m.Group] {
		w.Signal(&query.Message{
			ID: m.ID, Group: m.Group, From: m.User, Session: m.Session, Time: now, CID: []byte(m.CID), Body: m.Body,
			Arrival: s.state.GroupArrival(m.Group),
		})
	}
	return command.Result{ID: m.ID, Time: now}, nil
}

func (s *testStore) TypingGroup(from command.UserID, group command.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusal(group, from); err != nil {
		return err
	}
	members, _ := s.state.Members(group, "", store.MaxTyping)
	for _, m := range members {
		for _, w := range s.watchers[m.User] {
			if m.User != from {
				w.Signal(store.Signal{Kind: store.SignalTyping, User: from, Group: group, Time: s.Now()})
			}
		}
	}
	return nil
}

// refusal is that of a group which is not there, of who is no member of one that
// stores messages, or of who is muted. The caller holds mu.
func (s *testStore) refusal(group command.GroupID, user command.UserID) error {
	info, exists := s.state.Group(group, user)
	switch {
	case !exists:
		return &command.RefusedError{Code: command.CodeNotFound, Detail: "conv: there is no such group"}
	case info.Role == command.RoleNone && info.Settings.StoresMessages:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: only for members of the group"}
	case info.BannedUntil > s.Now():
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: no member of this group"}
	case info.Settings.MutedAll && info.Role < command.RoleAdmin:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: all are muted in this group"}
	case info.MutedUntil > s.Now():
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: muted in this group"}
	}
	return nil
}

func (s *testStore) Reserve(list []store.Reservation) []store.Reserved {
	reserved := make([]store.Reserved, len(list))
	for i, r := range list {
		reserved[i] = s.reservations.Add(r, time.Now())
	}
	return reserved
}

func (s *testStore) Unreserve(list []store.Reservation) {
	for _, r := range list {
		s.reservations.Remove(r)
	}
}

func (s *testStore) Eligibility(asker command.UserID, users []command.UserID) []store.Eligibility {
	s.mu.Lock()
	defer s.mu.Unlock()
	standings := make([]store.Eligibility, len(users))
	for i, user := range users {
		standings[i] = store.Eligibility{
			Known: s.state.HasUser(user), Exists: s.state.Exists(user), Blocks: s.state.Blocks(user, asker), Wrote: s.state.HasSentTo(user, asker),
			GroupCounts: s.state.GroupCounts(user),
		}
		if s.down || user == s.away {
			standings[i] = store.Eligibility{Err: store.ErrUnavailable}
		}
	}
	return standings
}
