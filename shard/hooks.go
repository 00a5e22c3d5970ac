package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyTrimHookQueue(c *command.TrimHookQueue, _ *command.Result) { s.hooks.trim(c.UpTo) }

// HookBytes returns the limit of the queue for webhooks, as Configure has set it.
func (s *State) HookBytes() int { return s.hooks.limit }

// queueForHooks adds a stored message to the queue for webhooks. key and peer are the
// user and the other user of the view, or a group's key and "".
func (s *State) queueForHooks(key, peer command.UserID, seq uint64) {
	if s.hooks.limit > 0 {
		s.hooks.add(key, peer, seq)
		s.out.HooksQueued = true
	}
}

// HookQueueRange returns the numbers of the queue for webhooks: records above done and
// up to last wait. If done is higher than the last TrimHookQueue says, records were
// removed because the queue was full.
func (s *State) HookQueueRange() (done, last uint64) { return s.hooks.removedUpTo, s.hooks.last }

// HookRefsAfter yields the messages in the queue for webhooks with higher numbers than
// number. Numbers may be missing between them.
func (s *State) HookRefsAfter(number uint64) func(yield func(query.HookRef) bool) {
	return func(yield func(query.HookRef) bool) {
		for r := range s.hooks.recordsAfter(number) {
			if r.key == "" {
				continue
			}
			m := query.HookRef{Number: r.number, Seq: r.seq}
			if r.peer == "" {
				m.Group = command.GroupID(r.key[min(len(command.GroupPrefix), len(r.key)):])
			} else {
				m.User, m.Peer = r.key, r.peer
			}
			if !yield(m) {
				return
			}
		}
	}
}

// QueuedHeader returns the header of a one-to-one message. It returns false if its
// receiver does not have it unread.
func (s *State) QueuedHeader(name, peer command.UserID, seq uint64, now int64) (header query.QueuedHeader, ok bool) {
	var e ring.Entry
	if _, _, ok := s.queuedEntry(name, peer, seq, &e, now); !ok {
		return header, false
	}
	return query.QueuedHeader{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// QueuedMessage appends a one-to-one message to up. It returns false if its receiver
// does not have it unread.
func (s *State) QueuedMessage(name, peer command.UserID, seq uint64, up *query.Updates, now int64) (info query.QueuedInfo, ok bool) {
	var e ring.Entry
	u, i, ok := s.queuedEntry(name, peer, seq, &e, now)
	if !ok || !s.copyMessage(u, query.MessageRef{Seq: seq, Conv: uint32(i)}, up, now) {
		return info, false
	}
	c := &u.convs.items[i]
	return query.QueuedInfo{Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0}, true
}

// queuedEntry reads the entry with a seq into e, and returns its user and the index of
// its conversation. It returns false if the entry is not in the user's offline queue.
func (s *State) queuedEntry(name, peer command.UserID, seq uint64, e *ring.Entry, now int64) (u *user, i int, ok bool) {
	if u = s.lookup(name); u == nil {
		return nil, 0, false
	}
	if i = s.findConv(u, peer); i < 0 {
		return nil, 0, false
	}
	c := &u.convs.items[i]
	return u, i, seq >= s.queueFrom(u, c) && c.log.At(s.arena, seq, e) && s.inQueue(u, c, e, now)
}

// UnreadTotal returns the number of a user's unread one-to-one messages.
func (s *State) UnreadTotal(name command.UserID, now int64) (n query.UnreadSum) {
	u := s.lookup(name)
	if u == nil {
		return n
	}
	for i := range u.convs.items {
		if c := &u.convs.items[i]; s.mayQueue(u, c) {
			n.Add(s.unread(u, c, now), c.flags&convMuted != 0)
		}
	}
	return n
}

// UnreadMembers calls visit for the members who have a group's message unread, in order
// of name from the first above after, until visit returns false. It looks at no more
// than most members. If members are left, it returns true and the name to pass as after
// in the next call.
func (s *State) UnreadMembers(id command.GroupID, seq uint64, after command.UserID, most int, now int64, visit func(command.UserID, query.QueuedHeader) (goOn bool)) (next command.UserID, more bool) {
	var e ring.Entry
	u := s.groupEntry(id, seq, &e, now)
	if u == nil {
		return "", false
	}
	g := u.group
	i, found := s.memberIndex(g, after)
	if found {
		i++
	}
	rest := g.members.items[i:]
	for j := range rest {
		m := &rest[j]
		if j == most {
			return command.UserID(s.memberName(&rest[j-1])), true
		}
		if !s.isUnreadBy(u, m, &e, now) {
			continue
		}
		user := command.UserID(s.memberName(m))
		if !visit(user, query.QueuedHeader{ID: e.ID, Time: e.Time, Arrival: e.Arrival}) {
			return user, j+1 < len(rest)
		}
	}
	return "", false
}

// MemberQueuedHeader returns the header of a group's message. It returns false if the
// user is not a member who has it unread.
func (s *State) MemberQueuedHeader(id command.GroupID, user command.UserID, seq uint64, now int64) (header query.QueuedHeader, ok bool) {
	var e ring.Entry
	if u := s.groupEntry(id, seq, &e, now); u == nil || !s.isUnreadBy(u, s.member(u.group, user), &e, now) {
		return header, false
	}
	return query.QueuedHeader{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// MemberQueuedMessage appends a group's message to up. It returns false if the user is
// not a member who has it unread.
func (s *State) MemberQueuedMessage(id command.GroupID, user command.UserID, seq uint64, up *query.Updates, now int64) (info query.QueuedInfo, ok bool) {
	var e ring.Entry
	u := s.groupEntry(id, seq, &e, now)
	if u == nil {
		return info, false
	}
	m := s.member(u.group, user)
	if !s.isUnreadBy(u, m, &e, now) {
		return info, false
	}
	s.copyEntry(u, &u.convs.items[0], &e, up)
	return query.QueuedInfo{Unread: s.groupUnread(u, m, now), Muted: m.flags&memberMuted != 0}, true
}

// groupEntry reads a group's message into e and returns the group's record. It returns
// nil if there is no such message that members could have unread.
func (s *State) groupEntry(id command.GroupID, seq uint64, e *ring.Entry, now int64) *user {
	u := s.group(id)
	if u == nil || !u.group.countsUnread() {
		return nil
	}
	if c := &u.convs.items[0]; !c.log.At(s.arena, seq, e) || s.gapOf(u, c, e, now) != gapNone {
		return nil
	}
	return u
}

// isUnreadBy reports whether a member has a message of the group unread; m may be nil.
func (s *State) isUnreadBy(u *user, m *member, e *ring.Entry, now int64) bool {
	if m == nil || string(s.memberName(m)) == string(e.From) || e.Seq < s.unreadFrom(u, m, now) {
		return false
	}
	v := s.memberView(u, m)
	return v.gapOf(s, e, now) == gapNone
}

// MemberUnread returns how many messages of a group a member has unread, and whether
// the member has muted the group.
func (s *State) MemberUnread(id command.GroupID, user command.UserID, now int64) (n int, muted bool) {
	if u := s.group(id); u != nil {
		if m := s.member(u.group, user); m != nil {
			return s.groupUnread(u, m, now), m.flags&memberMuted != 0
		}
	}
	return 0, false
}
