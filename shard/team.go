package shard

import (
	"maps"
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A team is what a group has beside its log. The log is the only conversation of
// the user record that holds the team, so that history, expiry, limits, dedupe
// and snapshots are the same as for users. Entries of it count as own ones: they
// are in no queue. Unread is derived from the log and a member's read cursor.
//
// The arrival order of the record is the group's order. All messages, recalls
// and events have their place in it, and also what members do to their views.
type team struct {
	id         command.GroupID
	kind       command.GroupKind
	settings   command.GroupSettings
	title      string
	properties []byte         // immutable
	owner      command.UserID // "" = nobody
	created    int64          // ms
	dismissed  int64          // ms; 0 = it exists
	salt       uint64         // of the keys of the dedupe window
	version    uint64         // of the newest notice; at least as high as its time
	rateFull   int64          // µs, when the rate limit has its whole burst again

	members array[member] // by name
	// sanctions are by name, see sanction. One may still be there that has ended.
	sanctions    array[sanction]
	sanctionsEnd int64 // ms, not after the first end of one; derived
	wishes       int   // sanctions that keep one; derived

	changed  teamChange
	offer    ownerOffer
	hides    map[command.UserID][]mark
	hidden   int                 // bytes of hides, see setHides
	requests []query.JoinRequest // oldest first
	endings  []ending            // of the entries of the log that have a ttl, by seq; derived

	events []query.GroupEvent // the newest, see keptEvents
	// forgotten is the arrival number of the newest event that is gone; in a group
	// that stores nothing, of those that ended memberships.
	forgotten   uint64
	recalls     []teamRecall // the newest, see keptRecalls
	recallsGone uint64       // arrival number of the newest that is gone

	notices map[command.UserID]notice // that wait for users' shards
	weight  int                       // bytes counted in State.tableBytes
}

const (
	// keptEvents is the number of events, and keptEventsMS the time, for which
	// they are kept; who falls behind that looks at the members anew.
	keptEvents   = 64
	keptEventsMS = 60_000
	// keptEnds is the number of events that ended memberships in a group which
	// stores nothing, beside keptEvents others: its shard does not know who is in
	// it, so that only they tell a session that its user was removed. A session
	// that has missed one has to go.
	keptEnds = 256
	// maxEventUsers is how many users an event names; beyond it names none.
	maxEventUsers = 500
	// keptRecalls is the number of recalls of which it is known who made them.
	keptRecalls = 256
	// maxRequests bounds those who wait to be let in; further ones are refused.
	maxRequests = 100
	// requestLifeMS is how long a request to join waits.
	requestLifeMS = 7 * 24 * hourMS
	// offerLifeMS is how long an offer of a group's ownership waits.
	offerLifeMS = 7 * 24 * hourMS
	// maxLiveRecords bounds the admins of a group that stores nothing, of whom alone
	// it keeps a record: it has no other bound.
	maxLiveRecords = 10_000
	// maxHides is the number of messages that a member can hide from himself.
	maxHides = 256
	// dismissedMS is how long the id of a dismissed group is kept for its owner.
	dismissedMS = 30 * 24 * hourMS
)

const (
	memberMuted = 1 << iota // the member's own wish not to be notified
	memberPinned
	memberRewound // the read cursor was set back, or an import left it behind: own messages may lie above it
	memberInvited // others put him there, and he has not spoken since
	memberMarked  // he has marked the group as unread
)

// A member is one user's part in a group. It has no pointers.
type member struct {
	name    ring.Ref
	nameLen uint8
	role    command.Role
	flags   uint8

	joined   int64  // ms
	joinedAt uint64 // arrival number of the joining
	from     uint64 // lowest seq he may read

	read      uint64
	readAt    uint64 // arrival number of the cursor's last move
	readBy    command.SessionID
	floor     uint64 // up to here nothing is unread, or a last message
	deletedAt uint64 // arrival number of the last deletion of the entry alone
	deletedBy command.SessionID
	wiped     uint64 // seqs up to here were deleted with the conversation
	wipedAt   uint64
	wipedBy   command.SessionID
	setAt     uint64 // arrival number of the last change of his own settings
}

// A teamChange is the last change of what a group is called, or of its settings. The
// zero one is none.
type teamChange struct {
	arrival uint64
	at      int64 // ms
	by      command.UserID
}

// An ownerOffer is what the owner has offered to another: to be the owner. The
// zero one is none.
type ownerOffer struct {
	to command.UserID
	at int64 // ms
}

// offered is who may become the owner now, "" for nobody.
func (s *State) offered(t *team) command.UserID {
	if t.offer.at+offerLifeMS <= s.now {
		return ""
	}
	return t.offer.to
}

// A teamRecall says who took messages of a group away.
type teamRecall struct {
	arrival  uint64
	from, to uint64
	by       command.UserID
	sender   command.UserID // all that he sent in the range; "" = all of it
}

// A notice is a letter to a user whose membership changed.
type notice struct {
	version uint64
	bytes   []byte
}

// counts tells whether members have a number of unread messages.
func (t *team) counts() bool { return t.settings.Unread && t.settings.History != command.HistoryNone }

// groupFor finds the record of a group that exists. A nil one comes with an
// answer in r.
func (s *State) groupFor(id command.GroupID, r *command.Result) *user {
	return s.namedGroup(id, "group", r)
}

// namedGroup is groupFor where the client named the group in another field.
func (s *State) namedGroup(id command.GroupID, field string, r *command.Result) *user {
	sl := s.slotFor(id.Key())
	if sl == nil {
		r.Code = command.CodeMoved
		return nil
	}
	u := s.mutate(sl, id.Key(), false)
	if u == nil || u.team.dismissed != 0 {
		*r = command.Result{Code: command.CodeNotFound, Detail: field + ": group " + string(id) + " does not exist"}
		return nil
	}
	return u
}

// lookupGroup finds a group for reading, dismissed ones too; nil: none is here.
func (s *State) lookupGroup(id command.GroupID) *user { return s.lookup(id.Key()) }

// memberName aliases the arena.
func (s *State) memberName(m *member) []byte { return s.arena.Bytes(m.name, int(m.nameLen)) }

// memberIndex gives the place of a member, or where he would be.
func (s *State) memberIndex(t *team, name command.UserID) (int, bool) {
	low, high := 0, len(t.members.items)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch have := s.memberName(&t.members.items[middle]); { // a member is too large to be copied for each look
		case string(have) < string(name):
			low = middle + 1
		case string(have) > string(name):
			high = middle
		default:
			return middle, true
		}
	}
	return low, false
}

// member is nil for who is none. It is valid until members come or go.
func (s *State) member(t *team, name command.UserID) *member {
	if i, ok := s.memberIndex(t, name); ok {
		return &t.members.items[i]
	}
	return nil
}

// addMember puts in a member who is not there.
func (s *State) addMember(u *user, name command.UserID, m member) *member {
	t := u.team
	i, _ := s.memberIndex(t, name)
	m.name, m.nameLen = s.arena.Alloc(len(name)), uint8(len(name))
	copy(s.arena.Bytes(m.name, len(name)), name)
	s.frees(u)
	t.members.add(s.arena, m)
	copy(t.members.items[i+1:], t.members.items[i:])
	t.members.items[i] = m
	return &t.members.items[i]
}

func (s *State) dropMember(u *user, i int) {
	t := u.team
	m := &t.members.items[i]
	name := command.UserID(s.memberName(m))
	s.frees(u)
	s.arena.Free(m.name, int(m.nameLen))
	t.members.items = slices.Delete(t.members.items, i, i+1)
	if t.hides[name] != nil {
		t.setHides(name, nil)
		s.weigh(t)
	}
	if len(t.members.items) == 0 {
		t.members.free(s.arena)
	}
}

// role is RoleNone for who is no member. An administrator of the server, "", may
// do what an owner may.
func (s *State) role(t *team, who command.UserID) command.Role {
	if who == "" {
		return command.RoleOwner
	}
	if m := s.member(t, who); m != nil {
		return m.role
	}
	return command.RoleNone
}

// setHides replaces what a member has hidden from himself.
func (t *team) setHides(name command.UserID, marks []mark) {
	weight := func(marks []mark) int {
		if len(marks) == 0 {
			return 0
		}
		return 96 + len(marks)*int(unsafe.Sizeof(mark{}))
	}
	t.hidden += weight(marks) - weight(t.hides[name])
	if len(marks) == 0 {
		delete(t.hides, name)
		return
	}
	if t.hides == nil {
		t.hides = make(map[command.UserID][]mark)
	}
	t.hides[name] = marks
}

// weigh counts what a team takes of the heap.
func (s *State) weigh(t *team) {
	n := int(unsafe.Sizeof(*t)) + len(t.title) + len(t.properties) + len(t.requests)*128 + len(t.recalls)*96
	for _, e := range t.events {
		n += int(unsafe.Sizeof(e)) + 32*len(e.Users)
	}
	n += t.hidden + len(t.endings)*endingBytes
	s.tableBytes += n - t.weight
	t.weight = n
}

// clone copies what changes in place; a snapshot keeps it.
func (t *team) clone(a *ring.Arena) *team {
	c := *t
	c.members, c.sanctions = t.members.clone(a), t.sanctions.clone(a)
	c.events, c.recalls, c.requests = slices.Clone(t.events), slices.Clone(t.recalls), slices.Clone(t.requests)
	c.hides = make(map[command.UserID][]mark, len(t.hides))
	for name, marks := range t.hides {
		c.hides[name] = marks // never changed in place
	}
	c.notices = maps.Clone(t.notices)
	return &c
}

// freeTeam gives back all that a team holds.
func (s *State) freeTeam(u *user) {
	t := u.team
	for i := range t.members.items {
		m := &t.members.items[i]
		s.arena.Free(m.name, int(m.nameLen))
	}
	t.members.free(s.arena)
	s.freeSanctions(t)
	for _, n := range t.notices {
		s.letterBytes -= len(n.bytes)
	}
	s.tableBytes -= t.weight
}

// happened gives an event its place in the group's order.
func (s *State) happened(u *user, kind query.GroupEventKind, by command.UserID, users ...command.UserID) uint64 {
	t := u.team
	u.arrival++
	if len(users) > maxEventUsers {
		users = nil
	}
	t.makeRoom(kind)
	t.events = append(t.events, query.GroupEvent{
		Kind: kind, Group: t.id, By: by, Users: users, Time: s.now, Arrival: u.arrival,
	})
	s.out.Events = append(s.out.Events, t.events[len(t.events)-1])
	s.weigh(t)
	s.touch(u)
	return u.arrival
}

// makeRoom has room for one more event.
func (t *team) makeRoom(kind query.GroupEventKind) {
	first, n := -1, 0
	for i := range t.events {
		if t.settings.Stored || t.events[i].Kind.Ends() == kind.Ends() {
			if n++; first < 0 {
				first = i
			}
		}
	}
	most := keptEvents
	if !t.settings.Stored && kind.Ends() {
		most = keptEnds
	}
	if n >= most {
		t.forgetEvents(first, first+1)
	}
}

// forgetEvents forgets those from index i up to j, exclusive.
func (t *team) forgetEvents(i, j int) {
	for _, e := range t.events[i:j] {
		if t.settings.Stored || e.Kind.Ends() {
			t.forgotten = max(t.forgotten, e.Arrival)
		}
	}
	t.events = slices.Delete(t.events, i, j)
}

// teamDue tells whether time has something to remove from a team.
func (s *State) teamDue(t *team) bool {
	return len(t.events) > 0 && t.events[0].Time+keptEventsMS <= s.now ||
		len(t.requests) > 0 && t.requests[0].Time+requestLifeMS <= s.now ||
		t.sanctionsEnd <= s.now || t.offer.to != "" && s.offered(t) == ""
}

// purgeTeam removes from a team what time has overtaken.
func (s *State) purgeTeam(u *user) {
	t := u.team
	n := 0
	for n < len(t.events) && t.events[n].Time+keptEventsMS <= s.now {
		n++
	}
	t.forgetEvents(0, n)
	t.requests = slices.DeleteFunc(t.requests, func(q query.JoinRequest) bool { return q.Time+requestLifeMS <= s.now })
	if t.sanctionsEnd <= s.now {
		s.forgetSanctions(u)
	}
	if s.offered(t) == "" {
		t.offer = ownerOffer{}
	}
	s.weigh(t)
}
