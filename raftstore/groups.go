package raftstore

import (
	"context"
	"sync"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// SyncGroups returns, for a user who logs in, the state of the groups in asks, each
// with at most backlog messages to push. It reads from each shard that holds some of
// them, in rounds of about most messages. left are the groups whose shard does not
// serve now or did not answer before ctx ended. Groups that the user is not a member of
// are in neither result. The caller has just read the list of groups from the user's
// own shard, which therefore need not catch up once more.
func (r *storeReader) SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncAsk, backlog, most int) (items []query.GroupSyncItem, left []query.GroupSyncAsk) {
	s := r.store
	o := s.owners.Load()
	byShard := make([][]query.GroupSyncAsk, len(o.shards))
	for _, ask := range asks {
		id := o.index(ask.Group.Key())
		byShard[id] = append(byShard[id], ask)
	}
	back, err := r.leave(func(yield func(*shardRef) bool) {
		for id := range byShard {
			if len(byShard[id]) > 0 && !yield(o.shards[id]) {
				return
			}
		}
	})
	if err != nil {
		return nil, asks
	}
	defer back()
	parts := make([]query.GroupSync, len(o.shards))
	var rounds sync.WaitGroup
	own := s.shardOf(user)
	for id, asks := range byShard {
		if len(asks) > 0 {
			rounds.Go(func() { parts[id] = o.shards[id].syncGroups(ctx, user, asks, backlog, most, o.shards[id] != own) })
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

// syncGroups asks one shard about groups that it holds, after all that was proposed
// before if wait is set. It locks the shard for some of the groups at a time. Remaining
// are the groups for which it got no answer.
func (sh *shardRef) syncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncAsk, backlog, most int, wait bool) query.GroupSync {
	all := query.GroupSync{Remaining: asks, Items: make([]query.GroupSyncItem, 0, len(asks))}
	if wait {
		if err := sh.readCommitted(ctx); err != nil {
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

// GroupSince reads into up what came in a group's order after an arrival number.
func (r *storeReader) GroupSince(group command.GroupID, after uint64, up *query.Updates, maxMessages, maxBytes int) error {
	q := groupUpdatesQueries.get()
	defer groupUpdatesQueries.put(q)
	*q = query.GroupUpdatesAfter{Group: group, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}
	return r.read(q)
}

// GroupMessages reads messages of a group by seq, for a member.
func (r *storeReader) GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, up *query.Updates) error {
	q := groupMessagesQueries.get()
	defer groupMessagesQueries.put(q)
	*q = query.GroupMessages{User: user, Group: group, Seqs: seqs, Updates: up}
	return r.read(q)
}

// MemberChanges returns the changes that a member's other sessions made to that
// member's view of a group after an arrival number of its order.
func (r *storeReader) MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) ([]query.Change, error) {
	q := query.MemberChanges{User: user, Group: group, Session: session, After: after}
	err := r.read(&q)
	return q.Changes, err
}

// Cursor returns the device cursor for an arrival number in the order of a user or of a
// group, which its key names.
func (s *Store) Cursor(key command.UserID, arrival uint64) string {
	return query.Cursor(s.owners.Load().conf.Epoch, key, arrival)
}

// Group returns what is known of a group, and of asker as a member of it.
func (r *storeReader) Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error) {
	q := query.Group{Group: group, Asker: asker}
	err = r.read(&q)
	return q.Info, q.Exists, err
}

// Members lists members in order of name, from the first one above after.
func (r *storeReader) Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error) {
	q := query.Members{Group: group, After: after, Limit: limit}
	err = r.read(&q)
	return q.Members, q.More, err
}

// Bans lists the banned users in order of name, from the first one above after.
func (s *Store) Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error) {
	q := query.Bans{Group: group, After: after, Limit: limit}
	err = s.read(&q)
	return q.Bans, q.More, err
}

// JoinRequests lists the requests to join a group that wait for an answer, oldest
// first.
func (r *storeReader) JoinRequests(group command.GroupID) ([]query.JoinRequest, error) {
	q := query.JoinRequests{Group: group}
	err := r.read(&q)
	return q.Requests, err
}

// GroupsOf lists the groups that a user is a member of, by id. The read is
// linearizable.
func (r *storeReader) GroupsOf(ctx context.Context, user command.UserID) ([]query.GroupRef, error) {
	q := &query.GroupsOf{User: user}
	if err := r.readCommitted(ctx, q); err != nil {
		return nil, err
	}
	return q.Groups, nil
}
