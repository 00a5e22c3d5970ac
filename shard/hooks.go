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
		q.dropOldest()
	}
}

// HookBytes is what ConfigureHooks has set.
func (s *State) HookBytes() int { return s.hooks.limit }

// noteStored has hooks hear of a stored message: of a user's view, or with a
// group's key and no peer of a group.
func (s *State) noteStored(key, peer command.UserID, seq uint64) {
	if s.hooks.limit > 0 {
		s.hooks.add(key, peer, seq)
		s.out.Stored = true
	}
}

// carry keeps with a frozen slot what waits for hooks.
func (s *State) carry(sl *slot, q *hookQueue) {
	if s.carried == nil {
		s.carried = make(map[*slot]*hookQueue)
	}
	s.carried[sl] = q
}

// StoredUpTo gives the numbers between which messages wait for hooks: above done,
// up to last. What is at or below done without HooksDone has been dropped for
// want of room.
func (s *State) StoredUpTo() (done, last uint64) { return s.hooks.done, s.hooks.last }

// StoredAfter yields the messages above a number that wait for hooks. There may be
// holes between their numbers.
func (s *State) StoredAfter(number uint64) func(yield func(query.Stored) bool) {
	return func(yield func(query.Stored) bool) {
		for r := range s.hooks.after(number) {
			if r.key == "" {
				continue
			}
			m := query.Stored{Number: r.number, Seq: r.seq}
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

// Queued tells of an incoming message that its receiver has not read. False: it is
// not unread any more.
func (s *State) Queued(name, peer command.UserID, seq uint64, now int64) (mark query.QueuedMark, ok bool) {
	var e ring.Entry
	if _, _, ok := s.queuedEntry(name, peer, seq, &e, now); !ok {
		return mark, false
	}
	return query.QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// ReadQueued appends an incoming message to b, with how its conversation stands for
// its receiver. False: it is not unread any more.
func (s *State) ReadQueued(name, peer command.UserID, seq uint64, b *query.Batch, now int64) (info query.QueuedInfo, ok bool) {
	var e ring.Entry
	u, i, ok := s.queuedEntry(name, peer, seq, &e, now)
	if !ok || !s.copyMessage(u, query.Ref{Seq: seq, Conv: uint32(i)}, b, now) {
		return info, false
	}
	c := &u.convs.items[i]
	return query.QueuedInfo{Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0}, true
}

func (s *State) queuedEntry(name, peer command.UserID, seq uint64, e *ring.Entry, now int64) (u *user, i int, ok bool) {
	if u = s.lookup(name); u == nil {
		return nil, 0, false
	}
	if i = s.find(u, peer); i < 0 {
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

// GroupQueued visits the members who have a message of a group unread, in order of
// name from the first one above after, until visit says no. It looks at most
// members, and says from whom to go on.
func (s *State) GroupQueued(id command.GroupID, seq uint64, after command.UserID, most int, now int64, visit func(command.UserID, query.QueuedMark) (goOn bool)) (next command.UserID, more bool) {
	var e ring.Entry
	u := s.unreadInGroup(id, seq, &e, now)
	if u == nil {
		return "", false
	}
	t := u.team
	i, found := s.memberIndex(t, after)
	if found {
		i++
	}
	rest := t.members.items[i:]
	for j := range rest {
		m := &rest[j]
		if j == most {
			return command.UserID(s.memberName(&rest[j-1])), true
		}
		if !s.unreadOf(u, m, &e, now) {
			continue
		}
		user := command.UserID(s.memberName(m))
		if !visit(user, query.QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}) {
			return user, j+1 < len(rest)
		}
	}
	return "", false
}

// MemberQueued tells of a message of a group that a member has not read. False: it
// is not unread for him any more, or he is no member.
func (s *State) MemberQueued(id command.GroupID, user command.UserID, seq uint64, now int64) (mark query.QueuedMark, ok bool) {
	var e ring.Entry
	if u := s.unreadInGroup(id, seq, &e, now); u == nil || !s.unreadOf(u, s.member(u.team, user), &e, now) {
		return mark, false
	}
	return query.QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// ReadMemberQueued appends a message of a group to b, with how the group stands for
// a member. False: it is not unread for him any more, or he is no member.
func (s *State) ReadMemberQueued(id command.GroupID, user command.UserID, seq uint64, b *query.Batch, now int64) (info query.QueuedInfo, ok bool) {
	var e ring.Entry
	u := s.unreadInGroup(id, seq, &e, now)
	if u == nil {
		return info, false
	}
	m := s.member(u.team, user)
	if !s.unreadOf(u, m, &e, now) {
		return info, false
	}
	s.copyEntry(u, &u.convs.items[0], &e, b)
	return query.QueuedInfo{Unread: s.groupUnread(u, m, now), Muted: m.flags&memberMuted != 0}, true
}

// unreadInGroup reads a message that members of a group may have unread. It gives
// the group, nil if there is no such message any more.
func (s *State) unreadInGroup(id command.GroupID, seq uint64, e *ring.Entry, now int64) *user {
	u := s.group(id)
	if u == nil || !u.team.counts() {
		return nil
	}
	if c := &u.convs.items[0]; !c.log.At(s.arena, seq, e) || s.hiddenBy(u, c, e, now) != gapNone {
		return nil
	}
	return u
}

// unreadOf tells whether a member, nil for none, has a message of his group unread.
func (s *State) unreadOf(u *user, m *member, e *ring.Entry, now int64) bool {
	if m == nil || string(s.memberName(m)) == string(e.From) || e.Seq < s.unreadFrom(u, m, now) {
		return false
	}
	v := s.memberView(u, m)
	return v.hiddenBy(s, e, now) == gapNone
}

// MemberUnread is the number of a member's unread messages in a group.
func (s *State) MemberUnread(id command.GroupID, user command.UserID, now int64) (n int, muted bool) {
	if u := s.group(id); u != nil {
		if m := s.member(u.team, user); m != nil {
			return s.groupUnread(u, m, now), m.flags&memberMuted != 0
		}
	}
	return 0, false
}
