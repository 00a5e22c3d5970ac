package raftstore

import (
	"context"

	"github.com/belfry-im/belfry/shard"
)

// What an administrator sets of a user (shard.SetUser) and his read cursors
// (shard.SetRead, and shard.ReadGroup with Back) are commands for Propose.

// EraseUser removes a user's data, see shard.EraseUser. He has to be taken out
// of his groups before. After an error a part of it may be gone; a repeat goes
// on.
func (s *Store) EraseUser(ctx context.Context, user shard.UserID) error { return nil }

// User tells what is known of a user, as of now, with the unread of his groups
// as far as their shards serve. known is false when there is nothing, not even
// a message to him.
func (s *Store) User(ctx context.Context, user shard.UserID) (info shard.UserInfo, known bool, err error) {
	return info, false, nil
}

// Unread lists a user's conversations and groups that have unread messages:
// one-to-one ones in order of peer, then groups in order of id. Of groups whose
// shards do not serve nothing is said.
func (s *Store) Unread(ctx context.Context, user shard.UserID) ([]shard.UnreadCount, error) {
	return nil, nil
}

// UnreadSeqs lists the seqs that make up the unread of a one-to-one
// conversation, ascending.
func (s *Store) UnreadSeqs(ctx context.Context, user, peer shard.UserID) ([]uint64, error) {
	return nil, nil
}

// GroupUnreadSeqs lists the seqs that make up a member's unread, ascending.
func (s *Store) GroupUnreadSeqs(ctx context.Context, group shard.GroupID, user shard.UserID) ([]uint64, error) {
	return nil, nil
}

// Users lists users in order of name, from the first one above after. It reads
// the leaders' memory.
func (s *Store) Users(ctx context.Context, after shard.UserID, limit int) (users []shard.UserEntry, more bool, err error) {
	return nil, false, nil
}

// Groups lists groups in order of id, from the first one above after, as nobody
// sees them. It reads the leaders' memory.
func (s *Store) Groups(ctx context.Context, after shard.GroupID, limit int) (groups []shard.GroupInfo, more bool, err error) {
	return nil, false, nil
}

// Stats counts what there is, in all and by shard. Shards that do not serve are
// zero and in the error, which is an ErrUnavailable, beside the other's numbers.
func (s *Store) Stats(ctx context.Context) (total shard.Counts, shards []shard.Counts, err error) {
	return total, nil, nil
}

// An ExportRow is a piece of what Export gives. One field is set.
type ExportRow struct {
	User         *shard.UserInfo
	Blocked      *shard.UserID
	Conversation *shard.Conversation // followed by its messages
	Message      *shard.Message
	Group        *ExportedGroup
}

// An ExportedGroup is a user's membership.
type ExportedGroup struct {
	Info   shard.GroupInfo // as he sees it
	Member shard.Member
}

// Export calls yield with all that is kept for a user, until that returns an
// error, which Export returns: UserInfo first, then who is blocked,
// conversations with their messages in order of seq, groups. A row is good
// during the call alone. It holds one page at a time; what changes meanwhile may
// be in it or not.
func (s *Store) Export(ctx context.Context, user shard.UserID, yield func(*ExportRow) error) error {
	return nil
}
