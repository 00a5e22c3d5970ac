package raftstore

import (
	"context"
	"sync"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// SyncGroups returns how a user who logs in finds groups of theirs, in one round for
// each shard that holds some of them: at most backlog messages of a group are to be
// pushed, and about most of those that a shard is asked for at a time. Groups of shards
// that do not serve now, or not before ctx ends, are in left; those whose member the
// user is not are in neither. The caller has just asked the user's own shard, for their
// groups above all: what that holds is as new as it has to be.
func (s *Store) SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncQuery, backlog, most int) (items []query.GroupSyncItem, left []query.GroupSyncQuery) {
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
	if len(parts) == 1 {
		return parts[0].Items, append(parts[0].Moved, parts[0].Remaining...)
	}
	items = make([]query.GroupSyncItem, 0, len(asks))
	for _, part := range parts {
		items = append(items, part.Items...)
		left = append(left, part.Moved...)
		left = append(left, part.Remaining...)
	}
	return items, left
}

// syncGroups asks one shard, once it has caught up if wait is set. The shard is
// locked for a part of the groups at a time. Remaining are those that it did not
// answer for.
func (sh *localShard) syncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncQuery, backlog, most int, wait bool) query.GroupSync {
	all := query.GroupSync{Remaining: asks, Items: make([]query.GroupSyncItem, 0, len(asks))}
	if wait {
		if err := sh.replica.ReadCommitted(ctx); err != nil {
			return all
		}
	}
	for len(all.Remaining) > 0 && ctx.Err() == nil {
		q := &query.SyncGroups{User: user, Asks: all.Remaining, Backlog: backlog, Most: most}
		if err := sh.read(q); err != nil {
			break
		}
		all.Items = append(all.Items, q.Sync.Items...)
		all.Moved = append(all.Moved, q.Sync.Moved...)
		all.Remaining = q.Sync.Remaining
	}
	return all
}

// GroupSince reads what came after a point in a group's order.
func (s *Store) GroupSince(group command.GroupID, after uint64, up *query.Updates, maxMessages, maxBytes int) error {
	q := groupUpdatesQueries.get()
	defer groupUpdatesQueries.put(q)
	*q = query.GroupUpdatesAfter{Group: group, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}
	return s.read(q)
}

// GroupMessages reads messages of a group by seq, for a member.
func (s *Store) GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, up *query.Updates) error {
	q := groupMessagesQueries.get()
	defer groupMessagesQueries.put(q)
	*q = query.GroupMessages{User: user, Group: group, Seqs: seqs, Updates: up}
	return s.read(q)
}

// MemberChanges reads what a member's other sessions changed in their own view of a
// group after a point in its order.
func (s *Store) MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) ([]query.Change, error) {
	q := query.MemberChanges{User: user, Group: group, Session: session, After: after}
	err := s.read(&q)
	return q.Changes, err
}

// GroupCursor returns the text of a point in a group's order. It is empty, which a
// device gives back as no cursor, while the shard does not serve.
func (s *Store) GroupCursor(group command.GroupID, arrival uint64) string {
	q := epochQueries.get()
	defer epochQueries.put(q)
	q.Group = group
	if err := s.read(q); err != nil {
		return ""
	}
	return query.Cursor(q.Epoch, group.Key(), arrival)
}

// Group returns what is known of a group, and of asker as a member of it.
func (s *Store) Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error) {
	q := query.Group{Group: group, Asker: asker}
	err = s.read(&q)
	return q.Info, q.Exists, err
}

// Members lists members in order of name, from the first one above after.
func (s *Store) Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error) {
	q := query.Members{Group: group, After: after, Limit: limit}
	err = s.read(&q)
	return q.Members, q.More, err
}

// Bans lists who is banned in order of name, from the first one above after.
func (s *Store) Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error) {
	q := query.Bans{Group: group, After: after, Limit: limit}
	err = s.read(&q)
	return q.Bans, q.More, err
}

// JoinRequests lists those that wait for an answer, oldest first.
func (s *Store) JoinRequests(group command.GroupID) ([]query.JoinRequest, error) {
	q := query.JoinRequests{Group: group}
	err := s.read(&q)
	return q.Requests, err
}

// GroupsOf lists the groups whose member a user is, by id, as of now.
func (s *Store) GroupsOf(ctx context.Context, user command.UserID) ([]query.GroupRef, error) {
	q := &query.GroupsOf{User: user}
	if err := s.readCommitted(ctx, q); err != nil {
		return nil, err
	}
	return q.Groups, nil
}
