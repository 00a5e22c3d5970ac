package raftstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// What an administrator sets of a user (command.SetUser) and his read cursors
// (command.SetRead, and command.ReadGroup with Back) are commands for Propose.

const (
	// eraseWork bounds one EraseUser: below 1 ms of the shard's time.
	eraseWork = 8192
	// listSlots is how many slots are listed or counted while a shard is locked.
	listSlots = 64
	// traceSlots is the same where groups' logs are looked through.
	traceSlots = 4
	// maxList bounds what Users and Groups give at a time.
	maxList = 1000
	// exportConversations, exportMessages and exportBytes bound what Export holds.
	exportConversations = 100
	exportMessages      = 100
	exportBytes         = 256 << 10
)

// EraseUser removes a user's data, see command.EraseUser. He has to be taken out
// of his groups before. After an error a part of it may be gone; a repeat goes
// on.
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
			s.hub.forget(user)
			return nil
		}
		cmd.From = uint32(r.Seq)
	}
}

// User tells what is known of a user, as of now, with the unread of his groups
// as far as their shards serve. known is false when there is nothing, not even
// a message to him.
func (s *Store) User(ctx context.Context, user command.UserID) (info query.UserInfo, known bool, err error) {
	type answer struct {
		info  query.UserInfo
		known bool
	}
	a, err := readCommitted(ctx, s, user, func(st *shard.State, now int64) (a answer) {
		a.info, a.known = st.User(user, now)
		return a
	})
	if err != nil {
		return a.info, false, err
	}
	for _, v := range s.groupViews(ctx, user, a.info.Groups) {
		if v.CountsUnread {
			a.info.Unread += v.Unread
		}
	}
	return a.info, a.known, nil
}

// Unread lists a user's conversations and groups that have unread messages:
// one-to-one ones in order of peer, then groups in order of id. Of groups whose
// shards do not serve nothing is said.
func (s *Store) Unread(ctx context.Context, user command.UserID) ([]query.UnreadCount, error) {
	type answer struct {
		counts []query.UnreadCount
		groups []query.GroupRef
	}
	a, err := readCommitted(ctx, s, user, func(st *shard.State, now int64) answer {
		return answer{st.Unread(user, now), st.GroupsOf(user)}
	})
	if err != nil {
		return nil, err
	}
	for _, v := range s.groupViews(ctx, user, a.groups) {
		if v.CountsUnread && v.Unread > 0 {
			a.counts = append(a.counts, query.UnreadCount{Group: v.Group, Unread: v.Unread})
		}
	}
	return a.counts, nil
}

// UnreadSeqs lists the seqs that make up the unread of a one-to-one
// conversation, ascending.
func (s *Store) UnreadSeqs(ctx context.Context, user, peer command.UserID) ([]uint64, error) {
	return readCommitted(ctx, s, user, func(st *shard.State, now int64) []uint64 { return st.UnreadSeqs(user, peer, now) })
}

// GroupUnreadSeqs lists the seqs that make up a member's unread, ascending.
func (s *Store) GroupUnreadSeqs(ctx context.Context, group command.GroupID, user command.UserID) ([]uint64, error) {
	return readCommitted(ctx, s, group.Key(), func(st *shard.State, now int64) []uint64 {
		return st.GroupUnread(group, user, now)
	})
}

// Users lists users in order of name, from the first one above after. It reads
// the leaders' memory.
func (s *Store) Users(ctx context.Context, after command.UserID, limit int) (users []query.UserEntry, more bool, err error) {
	return list(ctx, s, limit,
		func(st *shard.State, dst []query.UserEntry, first, last uint16, before *query.UserEntry) []query.UserEntry {
			var name command.UserID
			if before != nil {
				name = before.User
			}
			return st.AppendUsers(dst, first, last, after, name)
		},
		func(a, b query.UserEntry) int { return cmp.Compare(a.User, b.User) })
}

// Groups lists groups in order of id, from the first one above after, as nobody
// sees them. It reads the leaders' memory.
func (s *Store) Groups(ctx context.Context, after command.GroupID, limit int) (groups []query.GroupInfo, more bool, err error) {
	return list(ctx, s, limit,
		func(st *shard.State, dst []query.GroupInfo, first, last uint16, before *query.GroupInfo) []query.GroupInfo {
			var id command.GroupID
			if before != nil {
				id = before.ID
			}
			return st.AppendGroups(dst, first, last, after, id)
		},
		func(a, b query.GroupInfo) int { return cmp.Compare(a.ID, b.ID) })
}

// Stats counts what there is, in all and by shard. Shards that do not serve are
// zero and in the error, which is an ErrUnavailable, beside the other's numbers.
func (s *Store) Stats(ctx context.Context) (total query.Counts, shards []query.Counts, err error) {
	shards = make([]query.Counts, len(s.shards))
	var errs []error
	for i, sh := range s.shards {
		err := sh.walk(ctx, listSlots, func(st *shard.State, _ int64, first, last uint16) {
			n := st.Count(first, last)
			shards[i].Add(&n)
		}, nil)
		if err != nil {
			shards[i] = query.Counts{}
			errs = append(errs, err)
		}
		total.Add(&shards[i])
	}
	return total, shards, errors.Join(errs...)
}

// Traces lists the groups whose member a user is, or that hold messages from him,
// by id. It looks through all groups of all shards, each of which has to serve.
func (s *Store) Traces(ctx context.Context, user command.UserID) (groups []command.GroupID, err error) {
	for _, sh := range s.shards {
		err := sh.walk(ctx, traceSlots, func(st *shard.State, now int64, first, last uint16) {
			groups = st.AppendGroupsHolding(groups, first, last, user, now)
		}, nil)
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(groups)
	return groups, nil
}

// Export calls yield with all that is kept for a user, until that returns an
// error, which Export returns: UserInfo first, then who is blocked,
// conversations with their messages in order of seq, groups with what he sent
// there; of groups that he left only that. A row is good during the call alone.
// It holds one page at a time; what changes meanwhile may be in it or not.
func (s *Store) Export(ctx context.Context, user command.UserID, yield func(*store.ExportRow) error) error {
	info, _, err := s.User(ctx, user)
	if err != nil {
		return err
	}
	if err := yield(&store.ExportRow{User: &info}); err != nil {
		return err
	}
	blocked, err := s.Blocked(ctx, user)
	if err != nil {
		return err
	}
	for i := range blocked {
		if err := yield(&store.ExportRow{Blocked: &blocked[i]}); err != nil {
			return err
		}
	}
	if err := s.exportConversations(ctx, user, yield); err != nil {
		return err
	}
	groups, err := s.Traces(ctx, user)
	if err != nil {
		return err
	}
	var page query.Page
	for _, id := range groups {
		var g store.ExportedGroup
		var exists, member bool
		err := s.readGroup(id, func(st *shard.State, _ int64) {
			g.Info, exists = st.Group(id, user)
			g.Member, member = st.Member(id, user)
		})
		if err == nil && member {
			err = yield(&store.ExportRow{Group: &g})
		}
		if err == nil && exists {
			err = s.exportMessages(ctx, query.HistoryQuery{Group: id, Admin: true}, user, &page, yield)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) exportConversations(ctx context.Context, user command.UserID, yield func(*store.ExportRow) error) error {
	var page query.Page
	for next, more := 0, true; more; more = next > 0 {
		var conversations []query.Conversation
		err := s.read(user, func(st *shard.State, now int64) {
			conversations, next = st.ConversationsOf(user, next, exportConversations, now)
		})
		if err != nil {
			return err
		}
		for i := range conversations {
			if err := yield(&store.ExportRow{Conversation: &conversations[i]}); err != nil {
				return err
			}
			q := query.HistoryQuery{User: user, Peer: conversations[i].Peer}
			if err := s.exportMessages(ctx, q, "", &page, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

// exportMessages exports all that a query finds from its beginning on, or of one
// sender unless from is empty.
func (s *Store) exportMessages(ctx context.Context, q query.HistoryQuery, from command.UserID, page *query.Page, yield func(*store.ExportRow) error) error {
	q.HasAfter, q.Limit, q.MaxBytes = true, exportMessages, exportBytes
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.History(q, page); err != nil {
			return err
		}
		for i := range page.Updates.Messages {
			m := &page.Updates.Messages[i]
			if from != "" && m.From != from {
				continue
			}
			if err := yield(&store.ExportRow{Message: m}); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		q.After = page.To
	}
}

// groupViews tells how a user finds his groups, as far as their shards serve.
func (s *Store) groupViews(ctx context.Context, user command.UserID, refs []query.GroupRef) []query.GroupSyncItem {
	if len(refs) == 0 {
		return nil
	}
	asks := make([]query.GroupSyncQuery, len(refs))
	for i, ref := range refs {
		asks[i].Group = ref.Group
	}
	views, _ := s.SyncGroups(ctx, user, asks, 0, 0)
	slices.SortFunc(views, func(a, b query.GroupSyncItem) int { return cmp.Compare(a.Group, b.Group) })
	return views
}

// list gives the first limit entries of all shards. add appends those of some
// slots, below before if that is not nil.
func list[T any](ctx context.Context, s *Store, limit int, add func(st *shard.State, dst []T, first, last uint16, before *T) []T, order func(a, b T) int) (entries []T, more bool, err error) {
	limit = max(min(limit, maxList), 1)
	var before *T
	cut := func() {
		slices.SortFunc(entries, order)
		if len(entries) > limit {
			more = true
			clear(entries[limit:])
			entries = entries[:limit]
			before = new(entries[limit-1])
		}
	}
	for _, sh := range s.shards {
		err := sh.walk(ctx, listSlots, func(st *shard.State, _ int64, first, last uint16) { entries = add(st, entries, first, last, before) }, func() {
			if len(entries) >= 4*limit {
				cut()
			}
		})
		if err != nil {
			return nil, false, err
		}
	}
	cut()
	return entries, more, nil
}
