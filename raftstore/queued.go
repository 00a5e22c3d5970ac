package raftstore

import (
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// ReadQueued reads a message anew, see QueuedMessage.Read.
func (s *Store) ReadQueued(m *store.QueuedMessage, order func(now int64) uint64) (*store.QueuedReading, error) {
	mark := query.QueuedHeader{ID: m.ID, Time: m.Time, Arrival: m.Arrival}
	if s.hub.regard(m.User, m.Group, &mark) == acked {
		return nil, store.ErrNotQueued
	}
	var r store.QueuedReading
	var b query.Updates
	queued := false
	key := m.User
	if m.Group != "" {
		key = m.Group.Key()
	}
	err := s.read(key, func(st *shard.State, now int64) {
		if m.Group != "" {
			r.QueuedInfo, queued = st.MemberQueuedMessage(m.Group, m.User, m.Seq, &b, now)
		} else {
			r.QueuedInfo, queued = st.QueuedMessage(m.User, m.Peer, m.Seq, &b, now)
		}
		r.Order = order(now)
	})
	// A group may have been made again: then another message has this seq.
	if err == nil && (!queued || b.Messages[0].ID != m.ID) {
		err = store.ErrNotQueued
	}
	if err != nil {
		return nil, err
	}
	r.Message = &b.Messages[0]
	wanted := false
	err = s.read(m.User, func(st *shard.State, _ int64) {
		wanted = !st.Suspended(m.User) && (m.Group == "" || !st.Blocks(m.User, r.Message.From))
	})
	if err == nil && !wanted {
		err = store.ErrNotQueued
	}
	if err != nil {
		return nil, err
	}
	r.Sum, _ = s.unreadSum(m.User)
	r.Sum.Total = max(r.Sum.Total, r.Unread) // what cannot be read counts as none
	return &r, nil
}

// unreadSum adds up all conversations and groups of a user, as far as their shards
// serve. It reads the memory of one shard after the other. It fails if the user's
// does not serve.
func (s *Store) unreadSum(user command.UserID) (n query.UnreadSum, err error) {
	var groups []query.GroupRef
	err = s.read(user, func(st *shard.State, now int64) { n, groups = st.UnreadTotal(user, now), st.GroupsOf(user) })
	if err != nil {
		return query.UnreadSum{}, err
	}
	byShard := make(map[*localShard][]command.GroupID)
	for _, ref := range groups {
		sh := s.shardOf(ref.Group.Key())
		byShard[sh] = append(byShard[sh], ref.Group)
	}
	for sh, ids := range byShard {
		// One that does not serve adds nothing.
		_ = sh.replica.Read(func(st *shard.State, now int64) {
			for _, id := range ids {
				n.Add(st.MemberUnread(id, user, now))
			}
		})
	}
	return n, nil
}
