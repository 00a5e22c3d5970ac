package raftstore

import (
	"context"
	"sync"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// SyncGroups tells a user who logs in how he finds his groups, in one round for
// each shard that holds some of them: at most backlog messages of a group are to
// be pushed, and about most of those that a shard is asked for at a time. Of shards that do not
// serve now, or not before ctx ends, the groups are in left; those whose member he
// is not are in neither. The caller has just asked the user's own shard, for his
// groups above all: what that holds is as new as it has to be.
func (s *Store) SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncQuery, backlog, most int) (views []query.GroupSyncItem, left []query.GroupSyncQuery) {
	byShard := make([][]query.GroupSyncQuery, len(s.shards))
	for _, ask := range asks {
		id := s.shardOf(ask.Group.Key()).id
		byShard[id] = append(byShard[id], ask)
	}
	parts := make([]query.GroupSync, len(s.shards))
	var rounds sync.WaitGroup
	own := s.shardOf(user)
	for id, asks := range byShard {
		if len(asks) > 0 {
			rounds.Go(func() { parts[id] = s.shards[id].syncGroups(ctx, user, asks, backlog, most, s.shards[id] != own) })
		}
	}
	rounds.Wait()
	for _, part := range parts {
		views = append(views, part.Items...)
		left = append(left, part.Moved...)
		left = append(left, part.Remaining...)
	}
	return views, left
}

// syncGroups asks one shard, once it has caught up if wait says so. The shard is
// locked for a part of the groups at a time. Rest are those that it did not
// answer for.
func (sh *localShard) syncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncQuery, backlog, most int, wait bool) query.GroupSync {
	all := query.GroupSync{Remaining: asks}
	if wait {
		if err := sh.replica.ReadCommitted(ctx, func(*shard.State, int64) {}); err != nil {
			return all
		}
	}
	for len(all.Remaining) > 0 && ctx.Err() == nil {
		err := sh.replica.Read(func(st *shard.State, now int64) {
			part := st.SyncGroups(user, all.Remaining, backlog, most, now)
			all.Items = append(all.Items, part.Items...)
			all.Moved = append(all.Moved, part.Moved...)
			all.Remaining = part.Remaining
		})
		if err != nil {
			break
		}
	}
	return all
}

// readGroup runs f on the state that holds a group.
func (s *Store) readGroup(group command.GroupID, f func(st *shard.State, now int64)) error {
	return s.read(group.Key(), f)
}

// GroupSince reads what came after a point in a group's order.
func (s *Store) GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return s.readGroup(group, func(st *shard.State, now int64) {
		st.GroupUpdatesAfter(group, after, b, maxMessages, maxBytes, now)
	})
}

// GroupMessages reads messages of a group by seq, for a member.
func (s *Store) GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, b *query.Updates) error {
	return s.readGroup(group, func(st *shard.State, now int64) { st.GroupMessages(user, group, seqs, b, now) })
}

// MemberChanges reads what changed in a member's own view of a group.
func (s *Store) MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) (changes []query.Change, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { changes = st.MemberChanges(group, user, session, after) })
	return changes, err
}

// JoinedAt gives the point in a group's order at which a member joined; false:
// he is none.
func (s *Store) JoinedAt(group command.GroupID, user command.UserID) (arrival uint64, member bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { arrival, member = st.MemberSince(group, user) })
	return arrival, member, err
}

// Member tells what is known of a member; false: he is none.
func (s *Store) Member(group command.GroupID, user command.UserID) (m query.Member, member bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { m, member = st.Member(group, user) })
	return m, member, err
}

// PastMembership tells of the newest membership of a user who is no member any more;
// false: that is not known.
func (s *Store) PastMembership(group command.GroupID, user command.UserID) (stay query.PastMembership, known bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { stay, known = st.LastMembership(group, user) })
	return stay, known, err
}

// GroupCursor is the text of a point in a group's order. It is empty, which a
// device gives back as no cursor, while the shard does not serve.
func (s *Store) GroupCursor(group command.GroupID, arrival uint64) string {
	var cursor string
	if err := s.readGroup(group, func(st *shard.State, _ int64) { cursor = st.GroupCursor(group, arrival) }); err != nil {
		return ""
	}
	return cursor
}

// Group tells what is known of a group, and of who asks as a member of it.
func (s *Store) Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { info, exists = st.Group(group, asker) })
	return info, exists, err
}

// Members lists members in order of name, from the first one above after.
func (s *Store) Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { members, more = st.Members(group, after, limit) })
	return members, more, err
}

// Bans lists who is banned in order of name, from the first one above after.
func (s *Store) Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { bans, more = st.Bans(group, after, limit) })
	return bans, more, err
}

// JoinRequests lists those that wait for an answer, oldest first.
func (s *Store) JoinRequests(group command.GroupID) (requests []query.JoinRequest, err error) {
	err = s.readGroup(group, func(st *shard.State, _ int64) { requests = st.JoinRequests(group) })
	return requests, err
}

// GroupsOf lists the groups whose member a user is, by id, as of now.
func (s *Store) GroupsOf(ctx context.Context, user command.UserID) ([]query.GroupRef, error) {
	return readCommitted(ctx, s, user, func(st *shard.State, _ int64) []query.GroupRef { return st.GroupsOf(user) })
}

func (s *Store) groupHistory(q query.HistoryQuery, page *query.Page) error {
	var refused *command.RefusedError
	err := s.readGroup(q.Group, func(st *shard.State, now int64) {
		info, exists := st.Group(q.Group, q.User)
		switch {
		case !exists:
			refused = noGroup(q.Group)
		case info.Role == command.RoleNone && !q.Admin:
			refused = noMember(q.Group)
		default:
			st.History(q, page, now)
		}
	})
	if err == nil && refused != nil {
		return refused
	}
	return err
}

func noGroup(group command.GroupID) *command.RefusedError {
	return &command.RefusedError{Code: command.CodeNotFound, Detail: "conv: there is no group " + string(group)}
}

func noMember(group command.GroupID) *command.RefusedError {
	return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: only for members of " + string(group)}
}
