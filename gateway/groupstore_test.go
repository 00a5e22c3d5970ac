package gateway

import (
	"context"
	"slices"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
)

func (s *testStore) WatchGroup(group shard.GroupID, w store.GroupWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groupWatchers[group] = append(s.groupWatchers[group], w)
}

func (s *testStore) UnwatchGroup(group shard.GroupID, w store.GroupWatcher) {
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

func (s *testStore) SyncGroups(_ context.Context, user shard.UserID, asks []shard.GroupAsk, backlog, most int) (views []shard.GroupView, left []shard.GroupAsk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, asks
	}
	for len(asks) > 0 {
		part := s.state.SyncGroups(user, asks, backlog, most, s.Now())
		views, asks = append(views, part.Views...), part.Rest
	}
	return views, nil
}

func (s *testStore) GroupSince(group shard.GroupID, after uint64, b *shard.Batch, maxMessages, maxBytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return store.ErrUnavailable
	}
	s.state.GroupSince(group, after, b, maxMessages, maxBytes, s.Now())
	return nil
}

func (s *testStore) GroupMessages(user shard.UserID, group shard.GroupID, seqs []uint64, b *shard.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return store.ErrUnavailable
	}
	s.state.GroupMessages(user, group, seqs, b, s.Now())
	return nil
}

func (s *testStore) MemberChanges(group shard.GroupID, user shard.UserID, session shard.SessionID, after uint64) ([]shard.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.MemberChanges(group, user, session, after), nil
}

func (s *testStore) JoinedAt(group shard.GroupID, user shard.UserID) (uint64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return 0, false, store.ErrUnavailable
	}
	arrival, member := s.state.JoinedAt(group, user)
	return arrival, member, nil
}

func (s *testStore) Member(group shard.GroupID, user shard.UserID) (shard.Member, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return shard.Member{}, false, store.ErrUnavailable
	}
	m, member := s.state.Member(group, user)
	return m, member, nil
}

func (s *testStore) LastStay(group shard.GroupID, user shard.UserID) (shard.Stay, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return shard.Stay{}, false, store.ErrUnavailable
	}
	stay, known := s.state.LastStay(group, user)
	return stay, known, nil
}

func (s *testStore) GroupCursor(group shard.GroupID, arrival uint64) string {
	return s.state.GroupCursor(group, arrival)
}

func (s *testStore) Group(group shard.GroupID, asker shard.UserID) (shard.GroupInfo, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return shard.GroupInfo{}, false, store.ErrUnavailable
	}
	info, exists := s.state.Group(group, asker)
	return info, exists, nil
}

func (s *testStore) Members(group shard.GroupID, after shard.UserID, limit int) ([]shard.Member, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, false, store.ErrUnavailable
	}
	members, more := s.state.Members(group, after, limit)
	return members, more, nil
}

func (s *testStore) Bans(group shard.GroupID, after shard.UserID, limit int) ([]shard.Ban, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, false, store.ErrUnavailable
	}
	bans, more := s.state.Bans(group, after, limit)
	return bans, more, nil
}

func (s *testStore) JoinRequests(group shard.GroupID) ([]shard.JoinRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.JoinRequests(group), nil
}

func (s *testStore) GroupsOf(_ context.Context, user shard.UserID) ([]shard.GroupRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	return s.state.GroupsOf(user), nil
}

// SendLive refuses nobody for being too fast, and knows no repeats.
func (s *testStore) SendLive(m *shard.SendGroup) (shard.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if err := s.refusal(m.Group, m.User); err != nil {
		return shard.Result{}, err
	}
	for _, w := range s.groupWatchers[m.Group] {
		w.Signal(&shard.Message{
			ID: m.ID, Group: m.Group, From: m.User, Session: m.Session, Time: now, CID: []byte(m.CID), Body: m.Body,
			Arrival: s.state.GroupArrival(m.Group),
		})
	}
	return shard.Result{ID: m.ID, Time: now}, nil
}

func (s *testStore) TypingGroup(from shard.UserID, group shard.GroupID) error {
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
func (s *testStore) refusal(group shard.GroupID, user shard.UserID) error {
	info, exists := s.state.Group(group, user)
	switch {
	case !exists:
		return &shard.RefusedError{Code: shard.CodeNotFound, Detail: "conv: there is no such group"}
	case info.Role == shard.RoleNone && info.Settings.Stored:
		return &shard.RefusedError{Code: shard.CodeForbidden, Detail: "conv: only for members of the group"}
	case info.BannedUntil > s.Now():
		return &shard.RefusedError{Code: shard.CodeForbidden, Detail: "conv: no member of this group"}
	case info.Settings.MutedAll && info.Role < shard.RoleAdmin:
		return &shard.RefusedError{Code: shard.CodeForbidden, Detail: "conv: all are muted in this group"}
	case info.MutedUntil > s.Now():
		return &shard.RefusedError{Code: shard.CodeForbidden, Detail: "conv: muted in this group"}
	}
	return nil
}

func (s *testStore) Eligibility(asker shard.UserID, users []shard.UserID) []store.Eligibility {
	s.mu.Lock()
	defer s.mu.Unlock()
	standings := make([]store.Eligibility, len(users))
	for i, user := range users {
		standings[i] = store.Eligibility{
			Known: s.state.Known(user), Exists: s.state.Exists(user), Blocks: s.state.Blocks(user, asker), Wrote: s.state.WroteTo(user, asker),
			GroupCounts: s.state.GroupCounts(user),
		}
		if s.down || user == s.away {
			standings[i] = store.Eligibility{Err: store.ErrUnavailable}
		}
	}
	return standings
}
