package shard

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/ring"
)

// UserSettings are what SetUser sets.
type UserSettings struct {
	HistoryTTL time.Duration // 0 = the default
	Suspended  bool
	TokensFrom int64 // ms, 0 = all tokens are taken
}

// A UserInfo is what an administrator can see of a user.
type UserInfo struct {
	User          UserID
	Exists        bool // he has logged in, since he was erased if he was
	Settings      UserSettings
	Sessions      []SessionInfo // in order of login
	LastSeen      int64         // ms, his last sign of life that was replicated; 0 = none
	Conversations int           // one-to-one, that hold messages
	Messages      int           // stored, one-to-one
	Bytes         int           // of those
	Queued        int           // messages in the offline queue: the unread of one-to-one conversations
	QueuedBytes   int
	Unread        int // of all, groups included once the store has added theirs
	Blocked       int // users whom he has blocked
	Groups        []GroupRef
}

// A UserEntry is one of a list of users.
type UserEntry struct {
	User      UserID
	Exists    bool // as in UserInfo; false: others wrote to him, or an administrator set something
	Suspended bool
	Sessions  int
	LastSeen  int64 // ms, 0 = never
	Bytes     int   // of stored messages
}

// An UnreadCount is the unread of one conversation.
type UnreadCount struct {
	Peer   UserID
	Group  GroupID // instead of Peer
	Unread int
}

// Counts says how much there is.
type Counts struct {
	Users         int // that are known, whether they have logged in or not
	Sessions      int
	Groups        int
	Conversations int // views of one-to-one conversations
	Messages      int // entries of all logs: two for a message of two users
	Bytes         int // of those
}

// Add adds up what several parts hold.
func (c *Counts) Add(v *Counts) {
	c.Users += v.Users
	c.Sessions += v.Sessions
	c.Groups += v.Groups
	c.Conversations += v.Conversations
	c.Messages += v.Messages
	c.Bytes += v.Bytes
}

// User tells what is known of a user; false: nothing is, not even a message to
// him.
func (s *State) User(name UserID, now int64) (UserInfo, bool) {
	u := s.lookup(name)
	if u == nil {
		return UserInfo{User: name}, false
	}
	a := u.settings()
	info := UserInfo{
		User: name, Exists: u.exists(),
		Settings: UserSettings{
			HistoryTTL: time.Duration(a.historyTTL) * time.Millisecond, Suspended: a.suspended, TokensFrom: a.tokensFrom,
		},
		Sessions: u.sessionInfos(), LastSeen: u.lastSeen, Bytes: u.bytes, Blocked: int(u.blocked), Groups: s.GroupsOf(name),
	}
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if n := c.log.Len(); n > 0 {
			info.Conversations++
			info.Messages += n
		}
		if c.queued == 0 {
			continue
		}
		for cur := c.log.Ascend(s.arena, u.queueFrom(c)); ; {
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

// Unread lists a user's one-to-one conversations that have unread messages, in
// order of peer.
func (s *State) Unread(name UserID, now int64) (counts []UnreadCount) {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.queued == 0 {
			continue
		}
		if n := s.unread(u, c, now); n > 0 {
			counts = append(counts, UnreadCount{Peer: UserID(s.peer(c)), Unread: n})
		}
	}
	slices.SortFunc(counts, func(a, b UnreadCount) int { return cmp.Compare(a.Peer, b.Peer) })
	return counts
}

// UnreadSeqs lists the seqs that make up the unread of a one-to-one
// conversation, ascending.
func (s *State) UnreadSeqs(name, peer UserID, now int64) (seqs []uint64) {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	i := s.find(u, peer)
	if i < 0 || u.convs.items[i].queued == 0 {
		return nil
	}
	c := &u.convs.items[i]
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, u.queueFrom(c)); cur.NextHeader(&e) > 0; {
		if s.inQueue(u, c, &e, now) {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// AppendUsers appends the users of slots, in no order, whose names are above
// after, and below before unless that is empty.
func (s *State) AppendUsers(dst []UserEntry, firstSlot, lastSlot uint16, after, before UserID) []UserEntry {
	for u := range s.usersOf(firstSlot, lastSlot) {
		if u.team != nil || u.name <= after || before != "" && u.name >= before {
			continue
		}
		dst = append(dst, UserEntry{
			User: u.name, Exists: u.exists(), Suspended: u.settings().suspended,
			Sessions: len(u.sessions), LastSeen: u.lastSeen, Bytes: u.bytes,
		})
	}
	return dst
}

// Count counts what slots hold. Those that are frozen count as not here.
func (s *State) Count(firstSlot, lastSlot uint16) (n Counts) {
	for u := range s.usersOf(firstSlot, lastSlot) {
		n.Bytes += u.bytes
		switch {
		case u.team != nil && u.team.dismissed == 0:
			n.Groups++
		case u.team == nil:
			n.Users++
			n.Sessions += len(u.sessions)
		}
		for i := range u.convs.items {
			if held := u.convs.items[i].log.Len(); held > 0 {
				n.Messages += held
				if u.team == nil {
					n.Conversations++
				}
			}
		}
	}
	return n
}

// usersOf yields the records of slots, in no order.
func (s *State) usersOf(firstSlot, lastSlot uint16) iter.Seq[*user] {
	return func(yield func(*user) bool) {
		for id := int(firstSlot); id <= int(lastSlot); id++ {
			sl := s.slots[id]
			if sl == nil || sl.frozen {
				continue
			}
			for number := range sl.users.all {
				if !yield(s.user(number)) {
					return
				}
			}
		}
	}
}

// AppendGroups appends the groups of slots, in no order, whose ids are above
// after, and below before unless that is empty.
func (s *State) AppendGroups(dst []GroupInfo, firstSlot, lastSlot uint16, after, before GroupID) []GroupInfo {
	for u := range s.usersOf(firstSlot, lastSlot) {
		if u.team == nil {
			continue
		}
		id := GroupID(u.name[len(groupPrefix):])
		if id <= after || before != "" && id >= before {
			continue
		}
		if info, exists := s.Group(id, ""); exists {
			dst = append(dst, info)
		}
	}
	return dst
}

// AppendTraces appends the groups of slots where something of a user is, in no
// order: whose member he is, or that hold messages from him, which he may have
// sent before he left. Unlike GroupsOf it goes by what the groups know.
func (s *State) AppendTraces(dst []GroupID, firstSlot, lastSlot uint16, name UserID, now int64) []GroupID {
	for u := range s.usersOf(firstSlot, lastSlot) {
		if u.team != nil && u.team.dismissed == 0 && (s.member(u.team, name) != nil || s.sentTo(u, name, now)) {
			dst = append(dst, u.team.id)
		}
	}
	return dst
}

// sentTo tells whether a group's log has something from a user to show.
func (s *State) sentTo(u *user, name UserID, now int64) bool {
	c := &u.convs.items[0]
	var e ring.Entry
	for cur := c.log.Descend(s.arena, c.log.Next()-1); cur.Next(&e); {
		if string(e.From) == string(name) && s.hiddenBy(u, c, &e, now) == gapNone {
			return true
		}
	}
	return false
}

// ConversationsOf lists a user's one-to-one conversations that hold messages, in
// the order in which they came to be, from number from on; next goes on, 0 when
// that was all. LastSeq and Time are those of the newest entry, whether it can
// be shown or not.
func (s *State) ConversationsOf(name UserID, from, limit int, now int64) (conversations []Conversation, next int) {
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
		conversations = append(conversations, s.conversation(u, ref{seq: c.log.Next() - 1, conv: uint32(i)}, now))
	}
	return conversations, 0
}
