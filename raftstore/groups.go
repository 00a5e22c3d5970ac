package raftstore

import (
	"context"

	"github.com/belfry-im/belfry/shard"
)

// A GroupWatcher is a gateway's ear at the leader of a group's shard, one for
// all its sessions. As for a Watcher, its methods must not block and must not
// call back into the Store.
type GroupWatcher interface {
	// Wake says that something came in the group's order.
	Wake()
	// WakeMember says that a member's own view of the group changed.
	WakeMember(user shard.UserID)
	// Signal hands over a message of a group that stores none, or one of ttl 0.
	// The sessions of m.From that have number m.Session do not get it.
	Signal(m *shard.Message)
}

// WatchGroup registers w until UnwatchGroup. What came before, w has to read.
func (s *Store) WatchGroup(group shard.GroupID, w GroupWatcher) {}

// UnwatchGroup ends what WatchGroup began.
func (s *Store) UnwatchGroup(group shard.GroupID, w GroupWatcher) {}

// SyncGroups tells a user who logs in how he finds his groups, in one round for
// each shard that holds some of them. Of shards that do not serve now, the
// groups are in left.
func (s *Store) SyncGroups(ctx context.Context, user shard.UserID, asks []shard.GroupAsk, backlog int) (views []shard.GroupView, left []shard.GroupAsk) {
	return nil, asks
}

// GroupSince reads what came after a point in a group's order.
func (s *Store) GroupSince(group shard.GroupID, after uint64, b *shard.Batch, maxMessages, maxBytes int) error {
	return nil
}

// GroupMessages reads messages of a group by seq, for a member.
func (s *Store) GroupMessages(user shard.UserID, group shard.GroupID, seqs []uint64, b *shard.Batch) error {
	return nil
}

// MemberChanges reads what changed in a member's own view of a group.
func (s *Store) MemberChanges(group shard.GroupID, user shard.UserID, session shard.SessionID, after uint64) (changes []shard.Change, err error) {
	return nil, nil
}

// JoinedAt gives the point in a group's order at which a member joined; false:
// he is none.
func (s *Store) JoinedAt(group shard.GroupID, user shard.UserID) (arrival uint64, member bool, err error) {
	return 0, false, nil
}

// GroupCursor is the text of a point in a group's order.
func (s *Store) GroupCursor(group shard.GroupID, arrival uint64) string { return "" }

// Group tells what is known of a group, and of who asks as a member of it.
func (s *Store) Group(group shard.GroupID, asker shard.UserID) (info shard.GroupInfo, exists bool, err error) {
	return info, false, nil
}

// Members lists members in order of name, from the first one above after.
func (s *Store) Members(group shard.GroupID, after shard.UserID, limit int) (members []shard.Member, more bool, err error) {
	return nil, false, nil
}

// JoinRequests lists those that wait for an answer, oldest first.
func (s *Store) JoinRequests(group shard.GroupID) ([]shard.JoinRequest, error) { return nil, nil }

// GroupsOf lists the groups whose member a user is, by id, as of now.
func (s *Store) GroupsOf(ctx context.Context, user shard.UserID) ([]shard.GroupRef, error) {
	return nil, nil
}

// SendLive passes a message to the sessions that are in a group now: one of a
// group that stores none, or of ttl 0 in another one. Refusals are
// *shard.RefusedError.
func (s *Store) SendLive(m *shard.SendGroup) (timeMS int64, err error) { return 0, nil }
