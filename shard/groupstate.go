package shard

import (
	"maps"
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A groupRecord is what a group has beside its log. The log is the only conversation of
// the user record that holds the team, so that history, expiry, limits, dedupe
// and snapshots are the same as for users. Entries of it count as own ones: they
// are in no queue. Unread is derived from the log and a member's read cursor.
//
// The arrival order of the record is the group's order. All messages, recalls
// and events have their place in it, and also what members do to their views.
type groupRecord struct {
	id            command.GroupID
	kind          command.GroupKind
	settings      command.GroupSettings
	title         string
	properties    []byte         // immutable
	owner         command.UserID // "" = nobody
	createdMS     int64          // ms
	dismissedMS   int64          // ms; 0 = it exists
	salt          uint64         // of the keys of the dedupe window
	letterVersion uint64         // of the newest notice; at least as high as its time
	rateFullUS    int64          // µs, when the rate limit has its whole burst again

	members array[member] // by name
	// sanctions are by name, see sanction. One may still be there that has ended.
	sanctions     array[sanction]
	sanctionsEnd  int64 // ms, not after the first end of one; derived
	savedSettings int   // sanctions that keep one; derived

	lastChange  groupEdit
	offer       ownerOffer
	hidden      map[command.UserID][]tombstone
	hiddenBytes int                 // bytes of hides, see setHidden
	requests    []query.JoinRequest // oldest first
	ttlEnds     []ttlEnd            // of the entries of the log that have a ttl, by seq; derived

	events []query.GroupEvent // the newest, see keptEvents
	// forgotten is the arrival number of the newest event that is gone; in a group
	// that stores nothing, of those that ended memberships.
	eventsForgotten  uint64
	recalls          []groupRecall // the newest, see keptRecalls
	recallsForgotten uint64        // arrival number of the newest that is gone

	letters   map[command.UserID]groupLetter // that wait for users' shards
	heapBytes int                            // bytes counted in State.tableBytes
}

const (
	// keptEvents is the number of events, and keptEventsMS the time, for which
	// they are kept; who falls behind that looks at the members anew.
	keptEvents   = 64
	keptEventsMS = 60_000
	// keptEndEvents is the number of events that ended memberships in a group which
	// stores nothing, beside keptEvents others: its shard does not know who is in
	// it, so that only they tell a session that its user was removed. A session
	// that has missed one has to go.
	keptEndEvents = 256
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
	// maxLiveAdmins bounds the admins of a group that stores nothing, of whom alone
	// it keeps a record: it has no other bound.
	maxLiveAdmins = 10_000
	// maxHidden is the number of messages that a member can hide from himself.
	maxHidden = 256
	// keptDismissedMS is how long the id of a dismissed group is kept for its owner.
	keptDismissedMS = 30 * 24 * hourMS
)

const (
	memberMuted = 1 << iota // the member's own wish not to be notified
	memberPinned
	memberRewound      // the read cursor was set back, or an import left it behind: own messages may lie above it
	memberInvited      // others put him there, and he has not spoken since
	memberMarkedUnread // he has marked the group as unread
)

// A member is one user's part in a group. It has no pointers.
type member struct {
	name    ring.Ref
	nameLen uint8
	role    command.Role
	flags   uint8

	joinedMS    int64  // ms
	joinArrival uint64 // arrival number of the joining
	visibleFrom uint64 // lowest seq he may read

	read            uint64
	readArrival     uint64 // arrival number of the cursor's last move
	readBy          command.SessionID
	unlistedTo      uint64 // up to here nothing is unread, or a last message
	unlistedArrival uint64 // arrival number of the last deletion of the entry alone
	unlistedBy      command.SessionID
	clearedTo       uint64 // seqs up to here were deleted with the conversation
	clearedArrival  uint64
	clearedBy       command.SessionID
	settingsArrival uint64 // arrival number of the last change of his own settings
}

// A groupEdit is the last change of what a group is called, or of its settings. The
// zero one is none.
type groupEdit struct {
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
func (s *State) offered(g *groupRecord) command.UserID {
	if g.offer.at+offerLifeMS <= s.now {
		return ""
	}
	return g.offer.to
}

// A groupRecall says who took messages of a group away.
type groupRecall struct {
	arrival  uint64
	from, to uint64
	by       command.UserID
	sender   command.UserID // all that he sent in the range; "" = all of it
}

// A groupLetter is a letter to a user whose membership changed.
type groupLetter struct {
	version uint64
	bytes   []byte
}

// countsUnread tells whether members have a number of unread messages.
func (g *groupRecord) countsUnread() bool {
	return g.settings.Unread && g.settings.History != command.HistoryNone
}

// groupFor finds the record of a group that exists. A nil one comes with an
// answer in r.
func (s *State) groupFor(id command.GroupID, r *command.Result) *user {
	return s.groupForField(id, "group", r)
}

// groupForField is groupFor where the client named the group in another field.
func (s *State) groupForField(id command.GroupID, field string, r *command.Result) *user {
	sl := s.slotFor(id.Key())
	if sl == nil {
		r.Code = command.CodeMoved
		return nil
	}
	u := s.userMut(sl, id.Key(), false)
	if u == nil || u.group.dismissedMS != 0 {
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
func (s *State) memberIndex(g *groupRecord, name command.UserID) (int, bool) {
	low, high := 0, len(g.members.items)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch have := s.memberName(&g.members.items[middle]); { // a member is too large to be copied for each look
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
func (s *State) member(g *groupRecord, name command.UserID) *member {
	if i, ok := s.memberIndex(g, name); ok {
		return &g.members.items[i]
	}
	return nil
}

// addMember puts in a member who is not there.
func (s *State) addMember(u *user, name command.UserID, m member) *member {
	g := u.group
	i, _ := s.memberIndex(g, name)
	m.name, m.nameLen = s.arena.Alloc(len(name)), uint8(len(name))
	copy(s.arena.Bytes(m.name, len(name)), name)
	s.holdFor(u)
	g.members.add(s.arena, m)
	copy(g.members.items[i+1:], g.members.items[i:])
	g.members.items[i] = m
	return &g.members.items[i]
}

func (s *State) removeMember(u *user, i int) {
	g := u.group
	m := &g.members.items[i]
	name := command.UserID(s.memberName(m))
	s.holdFor(u)
	s.arena.Free(m.name, int(m.nameLen))
	g.members.items = slices.Delete(g.members.items, i, i+1)
	if g.hidden[name] != nil {
		g.setHidden(name, nil)
		s.countHeapBytes(g)
	}
	if len(g.members.items) == 0 {
		g.members.free(s.arena)
	}
}

// role is RoleNone for who is no member. An administrator of the server, "", may
// do what an owner may.
func (s *State) role(g *groupRecord, who command.UserID) command.Role {
	if who == "" {
		return command.RoleOwner
	}
	if m := s.member(g, who); m != nil {
		return m.role
	}
	return command.RoleNone
}

// setHidden replaces what a member has hidden from himself.
func (g *groupRecord) setHidden(name command.UserID, tombstones []tombstone) {
	weight := func(tombstones []tombstone) int {
		if len(tombstones) == 0 {
			return 0
		}
		return 96 + len(tombstones)*int(unsafe.Sizeof(tombstone{}))
	}
	g.hiddenBytes += weight(tombstones) - weight(g.hidden[name])
	if len(tombstones) == 0 {
		delete(g.hidden, name)
		return
	}
	if g.hidden == nil {
		g.hidden = make(map[command.UserID][]tombstone)
	}
	g.hidden[name] = tombstones
}

// countHeapBytes counts what a team takes of the heap.
func (s *State) countHeapBytes(g *groupRecord) {
	n := int(unsafe.Sizeof(*g)) + len(g.title) + len(g.properties) + len(g.requests)*128 + len(g.recalls)*96
	for _, e := range g.events {
		n += int(unsafe.Sizeof(e)) + 32*len(e.Users)
	}
	n += g.hiddenBytes + len(g.ttlEnds)*ttlEndBytes
	s.tableBytes += n - g.heapBytes
	g.heapBytes = n
}

// clone copies what changes in place; a snapshot keeps it.
func (g *groupRecord) clone(a *ring.Arena) *groupRecord {
	c := *g
	c.members, c.sanctions = g.members.clone(a), g.sanctions.clone(a)
	c.events, c.recalls, c.requests = slices.Clone(g.events), slices.Clone(g.recalls), slices.Clone(g.requests)
	c.hidden = make(map[command.UserID][]tombstone, len(g.hidden))
	for name, tombstones := range g.hidden {
		c.hidden[name] = tombstones // never changed in place
	}
	c.letters = maps.Clone(g.letters)
	return &c
}

// freeGroup gives back all that a team holds.
func (s *State) freeGroup(u *user) {
	g := u.group
	for i := range g.members.items {
		m := &g.members.items[i]
		s.arena.Free(m.name, int(m.nameLen))
	}
	g.members.free(s.arena)
	s.freeSanctions(g)
	for _, n := range g.letters {
		s.letterBytes -= len(n.bytes)
	}
	s.tableBytes -= g.heapBytes
}

// addEvent gives an event its place in the group's order.
func (s *State) addEvent(u *user, kind query.GroupEventKind, by command.UserID, users ...command.UserID) uint64 {
	g := u.group
	u.arrival++
	if len(users) > maxEventUsers {
		users = nil
	}
	g.makeEventRoom(kind)
	g.events = append(g.events, query.GroupEvent{
		Kind: kind, Group: g.id, By: by, Users: users, Time: s.now, Arrival: u.arrival,
	})
	s.out.Events = append(s.out.Events, g.events[len(g.events)-1])
	s.countHeapBytes(g)
	s.signal(u)
	return u.arrival
}

// makeEventRoom has room for one more event.
func (g *groupRecord) makeEventRoom(kind query.GroupEventKind) {
	first, n := -1, 0
	for i := range g.events {
		if g.settings.Stored || g.events[i].Kind.EndsMembership() == kind.EndsMembership() {
			if n++; first < 0 {
				first = i
			}
		}
	}
	most := keptEvents
	if !g.settings.Stored && kind.EndsMembership() {
		most = keptEndEvents
	}
	if n >= most {
		g.forgetEvents(first, first+1)
	}
}

// forgetEvents forgets those from index i up to j, exclusive.
func (g *groupRecord) forgetEvents(i, j int) {
	for _, e := range g.events[i:j] {
		if g.settings.Stored || e.Kind.EndsMembership() {
			g.eventsForgotten = max(g.eventsForgotten, e.Arrival)
		}
	}
	g.events = slices.Delete(g.events, i, j)
}

// groupDue tells whether time has something to remove from a team.
func (s *State) groupDue(g *groupRecord) bool {
	return len(g.events) > 0 && g.events[0].Time+keptEventsMS <= s.now ||
		len(g.requests) > 0 && g.requests[0].Time+requestLifeMS <= s.now ||
		g.sanctionsEnd <= s.now || g.offer.to != "" && s.offered(g) == ""
}

// purgeGroup removes from a team what time has overtaken.
func (s *State) purgeGroup(u *user) {
	g := u.group
	n := 0
	for n < len(g.events) && g.events[n].Time+keptEventsMS <= s.now {
		n++
	}
	g.forgetEvents(0, n)
	g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return q.Time+requestLifeMS <= s.now })
	if g.sanctionsEnd <= s.now {
		s.forgetSanctions(u)
	}
	if s.offered(g) == "" {
		g.offer = ownerOffer{}
	}
	s.countHeapBytes(g)
}
