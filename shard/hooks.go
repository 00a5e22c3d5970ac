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

// A QueuedInfo is what a push service needs beside a message.
type QueuedInfo struct {
	Unread int // of the conversation
	Muted  bool
}

// Queued appends an incoming message to b, with how its conversation stands for
// its receiver. False: it is not unread any more.
func (s *State) Queued(name, peer UserID, seq uint64, b *Batch, now int64) (info QueuedInfo, ok bool) {
	u := s.lookup(name)
	if u == nil {
		return info, false
	}
	i := s.find(u, peer)
	if i < 0 {
		return info, false
	}
	c := &u.convs.items[i]
	var e ring.Entry
	if seq < u.queueFrom(c) || !c.log.At(s.arena, seq, &e) || !s.inQueue(u, c, &e, now) ||
		!s.copyMessage(u, ref{seq: seq, conv: uint32(i)}, b, now) {
		return info, false
	}
	info.Unread, info.Muted = s.unread(u, c, now), c.flags&convMuted != 0
	return info, true
}

// UnreadTotal is the number of unread one-to-one messages.
func (s *State) UnreadTotal(name UserID, now int64) int {
	if u := s.lookup(name); u != nil {
		return s.unreadTotal(u, now)
	}
	return 0
}

// unreadTotal is the size of the whole queue as of now.
func (s *State) unreadTotal(u *user, now int64) (n int) {
	if u.due > now && u.oldest > s.cutoff {
		return u.queued // as counted: nothing has gone since
	}
	for i := range u.convs.items {
		if c := &u.convs.items[i]; c.queued > 0 {
			n += s.unread(u, c, now)
		}
	}
	return n
}

// A QueuedMember is a member of a group who has a message unread.
type QueuedMember struct {
	User UserID
	QueuedInfo
}

// GroupQueued visits the members who have a message of a group unread, in order of
// name from the first one above after, out of those whom away picks, until visit
// says no. It looks at most members, and says from whom to go on. The message is
// appended to b when there is such a member.
func (s *State) GroupQueued(id GroupID, seq uint64, after UserID, most int, away func(UserID) bool, b *Batch, now int64, visit func(QueuedMember) (goOn bool)) (next UserID, more bool) {
	u := s.group(id)
	if u == nil || !u.team.counts() {
		return "", false
	}
	t, c := u.team, &u.convs.items[0]
	var e ring.Entry
	if !c.log.At(s.arena, seq, &e) || s.hiddenBy(u, c, &e, now) != gapNone {
		return "", false
	}
	i, found := s.memberIndex(t, after)
	if found {
		i++
	}
	rest := t.members.items[i:]
	copied := false
	for j := range rest {
		m := &rest[j]
		if j == most {
			return UserID(s.memberName(&rest[j-1])), true
		}
		name := s.memberName(m)
		if string(name) == string(e.From) || seq < s.unreadFrom(u, m, now) {
			continue
		}
		v := s.memberView(u, m)
		if user := UserID(name); v.hiddenBy(s, &e, now) == gapNone && away(user) {
			if !copied {
				copied = true
				s.copyEntry(u, c, &e, b)
			}
			info := QueuedInfo{Unread: s.groupUnread(u, m, now), Muted: m.flags&memberMuted != 0}
			if !visit(QueuedMember{user, info}) {
				return user, j+1 < len(rest)
			}
		}
	}
	return "", false
}

// MemberUnread is the number of a member's unread messages in a group.
func (s *State) MemberUnread(id GroupID, user UserID, now int64) int {
	if u := s.group(id); u != nil {
		if m := s.member(u.team, user); m != nil {
			return s.groupUnread(u, m, now)
		}
	}
	return 0
}
