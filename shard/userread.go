package shard

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// User returns what is known of a user. It returns false if nothing is kept of them,
// not even a message to them.
func (s *State) User(name command.UserID, now int64) (query.UserInfo, bool) {
	u := s.lookup(name)
	if u == nil {
		return query.UserInfo{User: name}, false
	}
	a := u.accountOrZero()
	info := query.UserInfo{
		User: name, Exists: u.exists(),
		Settings: command.UserSettings{
			HistoryTTL: time.Duration(a.historyTTL) * time.Millisecond, Suspended: a.suspended, TokensFrom: a.tokensFrom,
		},
		Sessions: u.sessionInfos(), LastSeen: u.lastSeen, Bytes: u.bytes, Blocked: int(u.blockedUsers), Groups: s.GroupsOf(name),
	}
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if n := c.log.Len(); n > 0 {
			info.Conversations++
			info.Messages += n
		}
		if !s.mayQueue(u, c) {
			continue
		}
		for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); ; {
			size := cur.NextHeader(&e)
			if size == 0 {
				break
			}
			if s.inQueue(u, c, &e, now) {
				info.Queued++
				info.QueuedBytes += size
			}
		}
	}
	info.Unread = info.Queued
	return info, true
}

// Unread lists the user's one-to-one conversations that have unread messages, in order
// of peer.
func (s *State) Unread(name command.UserID, now int64) (counts []query.UnreadCount) {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if !s.mayQueue(u, c) {
			continue
		}
		if n := s.unread(u, c, now); n > 0 {
			counts = append(counts, query.UnreadCount{Peer: command.UserID(s.peer(c)), Unread: n})
		}
	}
	slices.SortFunc(counts, func(a, b query.UnreadCount) int { return cmp.Compare(a.Peer, b.Peer) })
	return counts
}

// UnreadSeqs lists the seqs of a one-to-one conversation's unread messages, ascending.
func (s *State) UnreadSeqs(name, peer command.UserID, now int64) (seqs []uint64) {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	i := s.findConv(u, peer)
	if i < 0 || !s.mayQueue(u, &u.convs.items[i]) {
		return nil
	}
	c := &u.convs.items[i]
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); cur.NextHeader(&e) > 0; {
		if s.inQueue(u, c, &e, now) {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// AppendUsers appends the users of a range of slots whose names are above after and, if
// before is not empty, below before. They are in no order.
func (s *State) AppendUsers(dst []query.UserEntry, firstSlot, lastSlot uint16, after, before command.UserID) []query.UserEntry {
	for u := range s.records(firstSlot, lastSlot) {
		if u.group != nil || u.name <= after || before != "" && u.name >= before {
			continue
		}
		dst = append(dst, query.UserEntry{
			User: u.name, Exists: u.exists(), Suspended: u.accountOrZero().suspended,
			Sessions: len(u.sessions), LastSeen: u.lastSeen, Bytes: u.bytes,
		})
	}
	return dst
}

// Count counts what a range of slots holds. Frozen slots count as empty.
func (s *State) Count(firstSlot, lastSlot uint16) (n query.Counts) {
	for u := range s.records(firstSlot, lastSlot) {
		n.Bytes += u.bytes
		switch {
		case u.group != nil && u.group.dismissedMS == 0:
			n.Groups++
		case u.group == nil:
			n.Users++
			n.Sessions += len(u.sessions)
		}
		for i := range u.convs.items {
			if held := u.convs.items[i].log.Len(); held > 0 {
				n.Messages += held
				if u.group == nil {
					n.Conversations++
				}
			}
		}
	}
	return n
}

// records yields the users and groups of a range of slots, in no order. It skips frozen
// slots.
func (s *State) records(firstSlot, lastSlot uint16) iter.Seq[*user] {
	return func(yield func(*user) bool) {
		for id := int(firstSlot); id <= int(lastSlot); id++ {
			sl := s.slots[id]
			if sl == nil || sl.frozen {
				continue
			}
			for number := range sl.users.all {
				if !yield(s.userAt(number)) {
					return
				}
			}
		}
	}
}

// AppendGroups appends the groups of a range of slots whose ids are above after and, if
// before is not empty, below before. They are in no order.
func (s *State) AppendGroups(dst []query.GroupInfo, firstSlot, lastSlot uint16, after, before command.GroupID) []query.GroupInfo {
	for u := range s.records(firstSlot, lastSlot) {
		if u.group == nil {
			continue
		}
		id := command.GroupID(u.name[len(command.GroupPrefix):])
		if id <= after || before != "" && id >= before {
			continue
		}
		if info, exists := s.Group(id, ""); exists {
			dst = append(dst, info)
		}
	}
	return dst
}

// AppendGroupsHolding appends the groups of a range of slots that a user is a member
// of, or that hold visible messages from them. They are in no order. It reads the
// groups' records, whereas GroupsOf reads the user's memberships.
func (s *State) AppendGroupsHolding(dst []command.GroupID, firstSlot, lastSlot uint16, name command.UserID, now int64) []command.GroupID {
	for u := range s.records(firstSlot, lastSlot) {
		if u.group != nil && u.group.dismissedMS == 0 && (s.member(u.group, name) != nil || s.holdsMessageFrom(u, name, now)) {
			dst = append(dst, u.group.id)
		}
	}
	return dst
}

// holdsMessageFrom reports whether a group's log has a visible message from a user.
func (s *State) holdsMessageFrom(u *user, name command.UserID, now int64) bool {
	c := &u.convs.items[0]
	var e ring.Entry
	for cur := c.log.Descend(s.arena, c.log.Next()-1); cur.Next(&e); {
		if string(e.From) == string(name) && s.gapOf(u, c, &e, now) == gapNone {
			return true
		}
	}
	return false
}

// ConversationsOf lists at most limit one-to-one conversations that hold messages, in
// the order in which they were made, beginning at number from. next is the number from
// which to go on, 0 = none are left. LastSeq and Time are those of the newest entry,
// visible or not.
func (s *State) ConversationsOf(name command.UserID, from, limit int, now int64) (conversations []query.Conversation, next int) {
	u := s.lookup(name)
	if u == nil {
		return nil, 0
	}
	for i := from; i < len(u.convs.items); i++ {
		c := &u.convs.items[i]
		if c.log.Len() == 0 {
			continue
		}
		if len(conversations) == limit {
			return conversations, i
		}
		conversations = append(conversations, s.conversation(u, query.MessageRef{Seq: c.log.Next() - 1, Conv: uint32(i)}, now))
	}
	return conversations, 0
}
