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
	if seen, err := s.attentionOf([]attentionAsk{{m.User, m.Group, mark}}); err != nil {
		return nil, err
	} else if seen[0] == attentionAcked {
		return nil, store.ErrNotQueued
	}
	key := m.User
	if m.Group != "" {
		key = m.Group.Key()
	}
	q := query.QueuedMessage{User: m.User, Peer: m.Peer, Group: m.Group, Seq: m.Seq}
	var r store.QueuedReading
	var refused error
	// Hooks are told of messages by this node, which leads the shard. order is called
	// under its lock, so that later readings have higher orders.
	sh := s.shardOf(key)
	var err error
	if here := sh.here(); here != nil && sh.memory() != nil {
		err = here.local.ReadLocal(func(st *shard.State, now int64) {
			if refused = readError(st.Answer(&q, now)); refused == nil {
				r.Order = order(now)
			}
		})
	} else if err = sh.read(&q); err == nil { // the lead has gone elsewhere meanwhile
		r.Order = order(s.Now())
	}
	// The group may have been deleted and made again: then another message has this
	// seq.
	switch {
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	case !q.Queued || q.Message.ID != m.ID:
		return nil, store.ErrNotQueued
	}
	r.Message, r.QueuedInfo = &q.Message, q.Info
	c, err := s.contact(m.User, q.Message.From)
	if err == nil && (c.Suspended || m.Group != "" && c.Blocks) {
		err = store.ErrNotQueued
	}
	if err != nil {
		return nil, err
	}
	r.Sum, _ = s.unreadSum(m.User)
	r.Sum.Total = max(r.Sum.Total, r.Unread) // without groups whose shards do not serve
	return &r, nil
}

// unreadSum adds up the unread of a user's conversations and groups, from the
// memory of one shard after the other. Groups whose shards do not serve are left
// out; it fails if the user's own shard does not serve.
func (s *Store) unreadSum(user command.UserID) (query.UnreadSum, error) {
	total, groups := query.UnreadTotal{User: user}, query.GroupsOf{User: user}
	if err := s.shardOf(user).read(&total, &groups); err != nil {
		return query.UnreadSum{}, err
	}
	byShard := make(map[*shardRef][]command.GroupID)
	for _, ref := range groups.Groups {
		sh := s.shardOf(ref.Group.Key())
		byShard[sh] = append(byShard[sh], ref.Group)
	}
	sum := total.Sum
	for sh, ids := range byShard {
		q := query.GroupsUnread{User: user, Groups: ids}
		if err := sh.read(&q); err != nil {
			continue // one that does not serve adds nothing
		}
		sum.Total += q.Sum.Total
		sum.Unmuted += q.Sum.Unmuted
	}
	return sum, nil
}
