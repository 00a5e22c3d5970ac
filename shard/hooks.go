package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyConfigureHooks(c *command.ConfigureHooks) {
	q := &s.hooks
	if q.limit = c.Bytes; q.limit == 0 {
		*q = hookQueue{done: q.last, last: q.last}
		return
	}
	for q.bytes > q.limit {
		q.removeOldest()
	}
}

// HookBytes is what ConfigureHooks has set.
func (s *State) HookBytes() int { return s.hooks.limit }

// queueForHooks has hooks hear of a stored message: of a user's view, or with a
// group's key and no peer of a group.
func (s *State) queueForHooks(key, peer command.UserID, seq uint64) {
	if s.hooks.limit > 0 {
		s.hooks.add(key, peer, seq)
		s.out.HooksQueued = true
	}
}

// setFrozenHooks keeps with a frozen slot what waits for hooks.
func (s *State) setFrozenHooks(sl *slot, q *hookQueue) {
	if s.frozenHooks == nil {
		s.frozenHooks = make(map[*slot]*hookQueue)
	}
	s.frozenHooks[sl] = q
}

// HookQueueRange gives the numbers between which messages wait for hooks: above done,
// up to last. What is at or below done without HooksDone has been dropped for
// want of room.
func (s *State) HookQueueRange() (done, last uint64) { return s.hooks.done, s.hooks.last }

// HookRefsAfter yields the messages above a number that wait for hooks. There may be
// holes between their numbers.
func (s *State) HookRefsAfter(number uint64) func(yield func(query.HookRef) bool) {
	return func(yield func(query.HookRef) bool) {
		for r := range s.hooks.after(number) {
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

// QueuedHeader tells of an incoming message that its receiver has not read. False: it is
// not unread any more.
func (s *State) QueuedHeader(name, peer command.UserID, seq uint64, now int64) (header query.QueuedHeader, ok bool) {
	var e ring.Entry
	if _, _, ok := s.queuedEntry(name, peer, seq, &e, now); !ok {
		return header, false
	}
	return query.QueuedHeader{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// QueuedMessage appends an incoming message to b, with how its conversation stands for
// its receiver. False: it is not unread any more.
func (s *State) QueuedMessage(name, peer command.UserID, seq uint64, up *query.Updates, now int64) (info query.QueuedInfo, ok bool) {
	var e ring.Entry
	u, i, ok := s.queuedEntry(name, peer, seq, &e, now)
	if !ok || !s.copyMessage(u, query.MessageRef{Seq: seq, Conv: uint32(i)}, up, now) {
		return info, false
	}
	c := &u.convs.items[i]
	return query.QueuedInfo{Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0}, true
}

func (s *State) queuedEntry(name, peer command.UserID, seq uint64, e *ring.Entry, now int64) (u *user, i int, ok bool) {
	if u = s.lookup(name); u == nil {
		return nil, 0, false
	}
	if i = s.findConv(u, peer); i < 0 {
		return nil, 0, false
	}
	c := &u.convs.items[i]
	return u, i, seq >= u.queueFrom(c) && c.log.At(s.arena, seq, e) && s.inQueue(u, c, e, now)
}

// UnreadTotal is the number of unread one-to-one messages: the size of the queue.
func (s *State) UnreadTotal(name command.UserID, now int64) (n query.UnreadSum) {
	u := s.lookup(name)
	if u == nil {
		return n
	}
	for i := range u.convs.items {
		if c := &u.convs.items[i]; c.queued > 0 {
			n.Add(s.unread(u, c, now), c.flags&convMuted != 0)
		}
	}
	return n
}

// UnreadMembers visits the members who have a message of a group unread, in order of
// name from the first one above after, until visit says no. It looks at most
// members, and says from whom to go on.
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

// MemberQueuedHeader tells of a message of a group that a member has not read. False: it
// is not unread for him any more, or he is no member.
func (s *State) MemberQueuedHeader(id command.GroupID, user command.UserID, seq uint64, now int64) (header query.QueuedHeader, ok bool) {
	var e ring.Entry
	if u := s.groupEntry(id, seq, &e, now); u == nil || !s.isUnreadBy(u, s.member(u.group, user), &e, now) {
		return header, false
	}
	return query.QueuedHeader{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// MemberQueuedMessage appends a message of a group to b, with how the group stands for
// a member. False: it is not unread for him any more, or he is no member.
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

// groupEntry reads a message that members of a group may have unread. It gives
// the group, nil if there is no such message any more.
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

// isUnreadBy tells whether a member, nil for none, has a message of his group unread.
func (s *State) isUnreadBy(u *user, m *member, e *ring.Entry, now int64) bool {
	if m == nil || string(s.memberName(m)) == string(e.From) || e.Seq < s.unreadFrom(u, m, now) {
		return false
	}
	v := s.memberView(u, m)
	return v.gapOf(s, e, now) == gapNone
}

// MemberUnread is the number of a member's unread messages in a group.
func (s *State) MemberUnread(id command.GroupID, user command.UserID, now int64) (n int, muted bool) {
	if u := s.group(id); u != nil {
		if m := s.member(u.group, user); m != nil {
			return s.groupUnread(u, m, now), m.flags&memberMuted != 0
		}
	}
	return 0, false
}
