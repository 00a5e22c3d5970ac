package gateway

import (
	"context"
	"slices"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/shard"
)

func (s *testStore) WatchGroup(group shard.GroupID, w raftstore.GroupWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groupWatchers[group] = append(s.groupWatchers[group], w)
}

func (s *testStore) UnwatchGroup(group shard.GroupID, w raftstore.GroupWatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.groupWatchers[group], func(o raftstore.GroupWatcher) bool { return o == w })
	if s.groupWatchers[group] = left; len(left) == 0 {
		delete(s.groupWatchers, group)
	}
}

// tellGroups wakes the watchers of what a batch changed. The caller holds mu.
func (s *testStore) tellGroups() {
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

func (s *testStore) SyncGroups(_ context.Context, user shard.UserID, asks []shard.GroupAsk, backlog, most int) ([]shard.GroupView, []shard.GroupAsk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, asks
	}
	return s.state.SyncGroups(user, asks, backlog, most, s.Now()), nil
}

func (s *testStore) GroupSince(group shard.GroupID, after uint64, b *shard.Batch, maxMessages, maxBytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return raftstore.ErrUnavailable
	}
	s.state.GroupSince(group, after, b, maxMessages, maxBytes, s.Now())
	return nil
}

func (s *testStore) GroupMessages(user shard.UserID, group shard.GroupID, seqs []uint64, b *shard.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return raftstore.ErrUnavailable
	}
	s.state.GroupMessages(user, group, seqs, b, s.Now())
	return nil
}

func (s *testStore) MemberChanges(group shard.GroupID, user shard.UserID, session shard.SessionID, after uint64) ([]shard.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, raftstore.ErrUnavailable
	}
	return s.state.MemberChanges(group, user, session, after), nil
}

func (s *testStore) JoinedAt(group shard.GroupID, user shard.UserID) (uint64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return 0, false, raftstore.ErrUnavailable
	}
	arrival, member := s.state.JoinedAt(group, user)
	return arrival, member, nil
}

func (s *testStore) GroupCursor(group shard.GroupID, arrival uint64) string {
	return s.state.GroupCursor(group, arrival)
}

func (s *testStore) Group(group shard.GroupID, asker shard.UserID) (shard.GroupInfo, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return shard.GroupInfo{}, false, raftstore.ErrUnavailable
	}
	info, exists := s.state.Group(group, asker)
	return info, exists, nil
}

func (s *testStore) Members(group shard.GroupID, after shard.UserID, limit int) ([]shard.Member, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, false, raftstore.ErrUnavailable
	}
	members, more := s.state.Members(group, after, limit)
	return members, more, nil
}

func (s *testStore) JoinRequests(group shard.GroupID) ([]shard.JoinRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, raftstore.ErrUnavailable
	}
	return s.state.JoinRequests(group), nil
}

func (s *testStore) GroupsOf(_ context.Context, user shard.UserID) ([]shard.GroupRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, raftstore.ErrUnavailable
	}
	return s.state.GroupsOf(user), nil
}

// SendLive refuses nobody but for a group that is not there.
func (s *testStore) SendLive(m *shard.SendGroup) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if _, exists := s.state.Group(m.Group, m.User); !exists {
		return 0, &shard.RefusedError{Code: shard.CodeNotFound}
	}
	for _, w := range s.groupWatchers[m.Group] {
		w.Signal(&shard.Message{
			ID: m.ID, Group: m.Group, From: m.User, Session: m.Session, Time: now, CID: []byte(m.CID), Body: m.Body,
		})
	}
	return now, nil
}
