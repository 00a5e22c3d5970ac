package raftstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Administrators change a user's settings (command.SetUser) and read cursors
// (command.SetRead, or command.ReadGroup with Back) with commands for Propose.

const (
	// eraseWork bounds one EraseUser: below 1 ms of the shard's time.
	eraseWork = 8192
	// listSlots is how many slots are listed or counted under one lock of a shard.
	listSlots = 64
	// traceSlots is the same for reads that search logs.
	traceSlots = 4
	// listGathered and traceGathered are how many such reads go to another node in one
	// request.
	listGathered  = 16
	traceGathered = 64
)

// EraseUser erases a user's data, see command.EraseUser. The caller has to take the
// user out of their groups first. After an error a part of the data may be gone; a
// repeat goes on.
func (s *Store) EraseUser(ctx context.Context, user command.UserID) error {
	cmd := &command.EraseUser{User: user, MaxWork: eraseWork}
	for {
		r, err := s.Propose(ctx, cmd)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return err
		}
		if r.Seq == 0 {
			s.hub.forgetAcks(user)
			return nil
		}
		cmd.From = uint32(r.Seq)
	}
}

// User returns what is known of a user, in a linearizable read, with the unread of
// their groups as far as the groups' shards serve. known is false if there is
// nothing, not even a message to them.
func (s *Store) User(ctx context.Context, user command.UserID) (info query.UserInfo, known bool, err error) {
	q := &query.User{User: user}
	if err := s.readCommitted(ctx, q); err != nil {
		return query.UserInfo{}, false, err
	}
	for _, item := range s.groupItems(ctx, user, q.Info.Groups) {
		if item.CountsUnread {
			q.Info.Unread += item.Unread
		}
	}
	return q.Info, q.Known, nil
}

// Unread lists a user's conversations and groups that have unread messages:
// one-to-one ones in order of peer, then groups in order of id. Groups whose
// shards do not serve are left out.
func (s *Store) Unread(ctx context.Context, user command.UserID) ([]query.UnreadCount, error) {
	unread, groups := &query.Unread{User: user}, &query.GroupsOf{User: user}
	if err := s.readCommitted(ctx, unread, groups); err != nil {
		return nil, err
	}
	for _, item := range s.groupItems(ctx, user, groups.Groups) {
		if item.CountsUnread && item.Unread > 0 {
			unread.Counts = append(unread.Counts, query.UnreadCount{Group: item.Group, Unread: item.Unread})
		}
	}
	return unread.Counts, nil
}

// UnreadSeqs lists the seqs that make up the unread of a one-to-one
// conversation, ascending.
func (s *Store) UnreadSeqs(ctx context.Context, user, peer command.UserID) ([]uint64, error) {
	return s.unreadSeqs(ctx, &query.UnreadSeqs{User: user, Peer: peer})
}

// GroupUnreadSeqs lists the seqs that make up a member's unread, ascending.
func (s *Store) GroupUnreadSeqs(ctx context.Context, group command.GroupID, user command.UserID) ([]uint64, error) {
	return s.unreadSeqs(ctx, &query.UnreadSeqs{User: user, Group: group})
}

func (s *Store) unreadSeqs(ctx context.Context, q *query.UnreadSeqs) ([]uint64, error) {
	if err := s.readCommitted(ctx, q); err != nil {
		return nil, err
	}
	return q.Seqs, nil
}

// Users lists users in order of name, from the first one above after. It reads
// the leaders' memory.
func (s *Store) Users(ctx context.Context, after command.UserID, limit int) (users []query.UserEntry, more bool, err error) {
	l := newList(limit, func(a, b query.UserEntry) int { return cmp.Compare(a.User, b.User) })
	w := sweep[*query.Users]{
		slots: listSlots, gathered: listGathered,
		ask: func(slots query.SlotRange) *query.Users {
			return &query.Users{SlotRange: slots, After: after, Before: l.last().User, Limit: l.limit + 1}
		},
		take: func(q *query.Users) { l.add(q.Users) },
	}
	if err := w.run(ctx, s); err != nil {
		return nil, false, err
	}
	users, more = l.end()
	return users, more, nil
}

// Groups lists groups in order of id, from the first one above after, without the
// view of any member. It reads the leaders' memory.
func (s *Store) Groups(ctx context.Context, after command.GroupID, limit int) (groups []query.GroupInfo, more bool, err error) {
	l := newList(limit, func(a, b query.GroupInfo) int { return cmp.Compare(a.ID, b.ID) })
	w := sweep[*query.Groups]{
		slots: listSlots, gathered: 1, // a group's properties may be large
		ask: func(slots query.SlotRange) *query.Groups {
			return &query.Groups{SlotRange: slots, After: after, Before: l.last().ID, Limit: l.limit + 1}
		},
		take: func(q *query.Groups) { l.add(q.Groups) },
	}
	if err := w.run(ctx, s); err != nil {
		return nil, false, err
	}
	groups, more = l.end()
	return groups, more, nil
}

// Stats returns the counts of all shards, added up and one by one. If some shards do
// not serve, their counts are zero, and Stats returns an ErrUnavailable together
// with the other counts.
func (s *Store) Stats(ctx context.Context) (total query.Counts, shards []query.Counts, err error) {
	o := s.owners.Load()
	shards = make([]query.Counts, len(o.shards))
	asked := make([]int, len(o.shards)) // questions that are not answered
	w := sweep[*query.Count]{
		slots: listSlots, gathered: traceGathered,
		ask: func(slots query.SlotRange) *query.Count {
			asked[o.bySlot[slots.First]]++
			return &query.Count{SlotRange: slots}
		},
		take: func(q *query.Count) {
			i := o.bySlot[q.First]
			asked[i]--
			shards[i].Add(&q.Counts)
		},
	}
	errs := w.runShards(ctx, o.byShard(o.ranges), false)
	for i := range shards {
		if asked[i] > 0 {
			shards[i] = query.Counts{}
		}
		total.Add(&shards[i])
	}
	return total, shards, errors.Join(errs...)
}

// Traces lists the groups that a user is a member of, or that hold messages from
// them, by id. It searches all groups of all shards, and fails if one shard does not
// serve.
func (s *Store) Traces(ctx context.Context, user command.UserID) (groups []command.GroupID, err error) {
	w := sweep[*query.GroupsHolding]{
		slots: traceSlots, gathered: traceGathered,
		ask: func(slots query.SlotRange) *query.GroupsHolding {
			return &query.GroupsHolding{SlotRange: slots, User: user}
		},
		take: func(q *query.GroupsHolding) { groups = append(groups, q.Groups...) },
	}
	if err := w.run(ctx, s); err != nil {
		return nil, err
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// groupItems returns a user's groups as SyncGroups finds them, by id, without
// messages. Groups whose shards do not serve are left out.
func (s *Store) groupItems(ctx context.Context, user command.UserID, refs []query.GroupRef) []query.GroupSyncItem {
	if len(refs) == 0 {
		return nil
	}
	asks := make([]query.GroupSyncAsk, len(refs))
	for i, ref := range refs {
		asks[i].Group = ref.Group
	}
	items, _ := s.SyncGroups(ctx, user, asks, 0, 0)
	slices.SortFunc(items, func(a, b query.GroupSyncItem) int { return cmp.Compare(a.Group, b.Group) })
	return items
}
