package shard

import (
	"math"

	"github.com/belfry-im/belfry/shard/ring"
)

// ConfigureHooks says how much is kept of what hooks are still to be told: names
// of stored messages, in bytes. 0 keeps none and forgets those that wait.
type ConfigureHooks struct{ Bytes int }

// HooksDone forgets what hooks were told, or what nobody can be told any more.
type HooksDone struct{ UpTo uint64 } // number, inclusive

// The numbers are in the log: never reuse one.
const (
	kindConfigureHooks kind = 96 + iota
	kindHooksDone
)

type hookCommandSet struct {
	configure ConfigureHooks
	done      HooksDone
}

func (cs *hookCommandSet) get(k kind) Command {
	switch k {
	case kindConfigureHooks:
		return &cs.configure
	case kindHooksDone:
		return &cs.done
	}
	return nil
}

func (*ConfigureHooks) Key() string { return "" }
func (*HooksDone) Key() string      { return "" }

func (*ConfigureHooks) kind() kind { return kindConfigureHooks }
func (*HooksDone) kind() kind      { return kindHooksDone }

func (c *ConfigureHooks) append(b []byte) []byte { return appendUint(b, uint64(c.Bytes)) }
func (c *ConfigureHooks) decode(d *decoder)      { c.Bytes = int(d.uintMax(math.MaxInt32)) }

func (c *HooksDone) append(b []byte) []byte { return appendUint(b, c.UpTo) }
func (c *HooksDone) decode(d *decoder)      { c.UpTo = d.uint() }

func (s *State) applyConfigureHooks(c *ConfigureHooks) {
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
func (s *State) noteStored(key, peer UserID, seq uint64) {
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

// A Stored names a message that waits for hooks.
type Stored struct {
	Number uint64
	User   UserID
	Peer   UserID
	Group  GroupID // instead of User and Peer
	Seq    uint64
}

// StoredUpTo gives the numbers between which messages wait for hooks: above done,
// up to last. What is at or below done without HooksDone has been dropped for
// want of room.
func (s *State) StoredUpTo() (done, last uint64) { return s.hooks.done, s.hooks.last }

// StoredAfter yields the messages above a number that wait for hooks. There may be
// holes between their numbers.
func (s *State) StoredAfter(number uint64) func(yield func(Stored) bool) {
	return func(yield func(Stored) bool) {
		for r := range s.hooks.after(number) {
			if r.key == "" {
				continue
			}
			m := Stored{Number: r.number, Seq: r.seq}
			if r.peer == "" {
				m.Group = GroupID(r.key[min(len(groupPrefix), len(r.key)):])
			} else {
				m.User, m.Peer = r.key, r.peer
			}
			if !yield(m) {
				return
			}
		}
	}
}

// A QueuedMark is what decides, beside being unread, whether hooks are told of a
// message.
type QueuedMark struct {
	ID      MsgID
	Time    int64
	Arrival uint64 // its place in the order of the user, or of the group
}

// A QueuedInfo is what a push service needs beside a message.
type QueuedInfo struct {
	Unread int // of the conversation
	Muted  bool
}

// Queued tells of an incoming message that its receiver has not read. False: it is
// not unread any more.
func (s *State) Queued(name, peer UserID, seq uint64, now int64) (mark QueuedMark, ok bool) {
	var e ring.Entry
	if _, _, ok := s.queuedEntry(name, peer, seq, &e, now); !ok {
		return mark, false
	}
	return QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// ReadQueued appends an incoming message to b, with how its conversation stands for
// its receiver. False: it is not unread any more.
func (s *State) ReadQueued(name, peer UserID, seq uint64, b *Batch, now int64) (info QueuedInfo, ok bool) {
	var e ring.Entry
	u, i, ok := s.queuedEntry(name, peer, seq, &e, now)
	if !ok || !s.copyMessage(u, ref{seq: seq, conv: uint32(i)}, b, now) {
		return info, false
	}
	c := &u.convs.items[i]
	return QueuedInfo{Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0}, true
}

func (s *State) queuedEntry(name, peer UserID, seq uint64, e *ring.Entry, now int64) (u *user, i int, ok bool) {
	if u = s.lookup(name); u == nil {
		return nil, 0, false
	}
	if i = s.find(u, peer); i < 0 {
		return nil, 0, false
	}
	c := &u.convs.items[i]
	return u, i, seq >= u.queueFrom(c) && c.log.At(s.arena, seq, e) && s.inQueue(u, c, e, now)
}

// An UnreadSum is the number of unread messages of several conversations.
type UnreadSum struct {
	Total   int
	Unmuted int // of those that are not muted
}

// Add adds a conversation.
func (n *UnreadSum) Add(unread int, muted bool) {
	if n.Total += unread; !muted {
		n.Unmuted += unread
	}
}

// UnreadTotal is the number of unread one-to-one messages: the size of the queue.
func (s *State) UnreadTotal(name UserID, now int64) (n UnreadSum) {
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
func (s *State) GroupQueued(id GroupID, seq uint64, after UserID, most int, now int64, visit func(UserID, QueuedMark) (goOn bool)) (next UserID, more bool) {
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
			return UserID(s.memberName(&rest[j-1])), true
		}
		if !s.unreadOf(u, m, &e, now) {
			continue
		}
		user := UserID(s.memberName(m))
		if !visit(user, QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}) {
			return user, j+1 < len(rest)
		}
	}
	return "", false
}

// MemberQueued tells of a message of a group that a member has not read. False: it
// is not unread for him any more, or he is no member.
func (s *State) MemberQueued(id GroupID, user UserID, seq uint64, now int64) (mark QueuedMark, ok bool) {
	var e ring.Entry
	if u := s.unreadInGroup(id, seq, &e, now); u == nil || !s.unreadOf(u, s.member(u.team, user), &e, now) {
		return mark, false
	}
	return QueuedMark{ID: e.ID, Time: e.Time, Arrival: e.Arrival}, true
}

// ReadMemberQueued appends a message of a group to b, with how the group stands for
// a member. False: it is not unread for him any more, or he is no member.
func (s *State) ReadMemberQueued(id GroupID, user UserID, seq uint64, b *Batch, now int64) (info QueuedInfo, ok bool) {
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
	return QueuedInfo{Unread: s.groupUnread(u, m, now), Muted: m.flags&memberMuted != 0}, true
}

// unreadInGroup reads a message that members of a group may have unread. It gives
// the group, nil if there is no such message any more.
func (s *State) unreadInGroup(id GroupID, seq uint64, e *ring.Entry, now int64) *user {
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
func (s *State) MemberUnread(id GroupID, user UserID, now int64) (n int, muted bool) {
	if u := s.group(id); u != nil {
		if m := s.member(u.team, user); m != nil {
			return s.groupUnread(u, m, now), m.flags&memberMuted != 0
		}
	}
	return 0, false
}
