package shard

import (
	"maps"
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A groupRecord is what a group has besides its log. The log is the only conversation
// of the user that holds the record, so that history, expiry, limits, dedup and
// snapshots are the same as for users. Its entries count as the user's own and so are
// in no queue. Unread is derived from the log and a member's read cursor.
//
// The order of that user is the group's order: messages, recalls and events have their
// place in it, and also what members change in their own views.
type groupRecord struct {
	id            command.GroupID
	kind          command.GroupKind
	settings      command.GroupSettings
	title         string         // name shown to people
	properties    []byte         // immutable
	owner         command.UserID // "" = nobody
	createdMS     int64
	dismissedMS   int64  // 0 = the group exists
	salt          uint64 // of the keys of the dedup window
	letterVersion uint64 // of the newest letter; at least as high as its time
	rateFullUS    int64  // when the rate limit has its whole burst again

	members array[member] // by name
	// sanctions are by name, see sanction. Some of them may have ended.
	sanctions     array[sanction]
	sanctionsEnd  int64 // ms, not after the first end of a sanction; derived
	savedSettings int   // number of sanctions that keep settings; derived

	lastChange  groupEdit // of the name, the properties or the settings
	offer       ownerOffer
	hidden      map[command.UserID][]tombstone // what members have hidden from themselves, by seq
	hiddenBytes int                            // bytes of hidden, see setHidden
	requests    []query.JoinRequest            // to join, oldest first
	ttlEnds     []ttlEnd                       // of log entries with a ttl, by seq; derived

	events []query.GroupEvent // the newest, see keptEvents
	// eventsForgotten is the arrival number of the newest event that was forgotten. In
	// a group that stores nothing, only events that ended memberships count.
	eventsForgotten  uint64
	recalls          []groupRecall // the newest, see keptRecalls
	recallsForgotten uint64        // arrival number of the newest recall that was forgotten

	letters   map[command.UserID]groupLetter // that wait for users' shards, by receiver
	heapBytes int                            // of the record, counted in State.tableBytes
}

const (
	// keptEvents is how many events, and keptEventsMS how long events are kept. A
	// session that falls behind that reads the list of members anew.
	keptEvents   = 64
	keptEventsMS = 60_000
	// keptEndEvents is how many events that ended memberships are kept in a group that
	// stores nothing, besides keptEvents others. The group's shard does not know who
	// is in such a group, so that only these events tell a session that its user was
	// removed. A session that has missed one has to end its subscription.
	keptEndEvents = 256
	// maxEventUsers is how many users an event names. An event with more names none.
	maxEventUsers = 500
	// keptRecalls is the number of recalls of which it is known who made them.
	keptRecalls = 256
	// maxRequests bounds the requests to join. Further ones are refused.
	maxRequests = 100
	// requestLifeMS is how long a request to join waits.
	requestLifeMS = 7 * 24 * hourMS
	// offerLifeMS is how long an offer of ownership waits.
	offerLifeMS = 7 * 24 * hourMS
	// maxLiveAdmins bounds the admins of a group that stores nothing. It keeps a
	// record of them alone.
	maxLiveAdmins = 10_000
	// maxHidden is the number of messages that a member can hide in one group.
	maxHidden = 256
	// keptDismissedMS is how long the id of a dismissed group is kept for its owner.
	keptDismissedMS = 30 * 24 * hourMS
)

const (
	memberMuted        = 1 << iota // the member does not want to be notified
	memberPinned                   // set by the member
	memberRewound                  // the read cursor was set back, or left behind by an import: the member's own messages may be above it
	memberInvited                  // others added the member, who has not spoken since
	memberMarkedUnread             // the member has marked the group as unread
)

// A member is one user's part in a group. It has no pointers.
type member struct {
	name    ring.Ref
	nameLen uint8
	role    command.Role
	flags   uint8

	joinedMS    int64
	joinArrival uint64 // arrival number of the joining
	visibleFrom uint64 // lowest seq that the member may read

	read            uint64 // read cursor
	readArrival     uint64 // arrival number of the cursor's last move
	readBy          command.SessionID
	unlistedTo      uint64 // the member took the group off their recents up to this seq; nothing up to it is unread
	unlistedArrival uint64 // of the last deletion that left the messages
	unlistedBy      command.SessionID
	clearedTo       uint64 // the member deleted the history up to this seq
	clearedArrival  uint64
	clearedBy       command.SessionID
	settingsArrival uint64 // arrival number of the last change of the member's own settings
}

// A groupEdit is the last change of a group's name, properties or settings. The zero
// one is none.
type groupEdit struct {
	arrival uint64
	at      int64 // ms
	by      command.UserID
}

// An ownerOffer is the owner's offer of the ownership to another user. The zero one is
// none.
type ownerOffer struct {
	to command.UserID
	at int64 // ms
}

// offered returns the user to whom the ownership is offered now, "" = nobody.
func (s *State) offered(g *groupRecord) command.UserID {
	if g.offer.at+offerLifeMS <= s.now {
		return ""
	}
	return g.offer.to
}

// A groupRecall says who recalled messages of a group.
type groupRecall struct {
	arrival  uint64
	from, to uint64
	by       command.UserID
	sender   command.UserID // only messages of this sender in the range; "" = all
}

// A groupLetter is a letter that waits, to a user whose membership changed.
type groupLetter struct {
	version uint64
	bytes   []byte
}

// countsUnread reports whether members have a number of unread messages.
func (g *groupRecord) countsUnread() bool {
	return g.settings.Unread && g.settings.History != command.HistoryNone
}

// groupFor returns the record of a group that exists, for writing. If it returns nil,
// r has the answer.
func (s *State) groupFor(id command.GroupID, r *command.Result) *user {
	return s.groupForField(id, "group", r)
}

// groupForField is groupFor for a request that names the group in another field.
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

// lookupGroup returns a group for reading, dismissed or not, or nil if it is not in
// this shard.
func (s *State) lookupGroup(id command.GroupID) *user { return s.lookup(id.Key()) }

// memberName returns a member's name. It aliases the arena.
func (s *State) memberName(m *member) []byte { return s.arena.Bytes(m.name, int(m.nameLen)) }

// memberIndex returns the index of a member, or where it would be.
func (s *State) memberIndex(g *groupRecord, name command.UserID) (int, bool) {
	low, high := 0, len(g.members.items)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch have := s.memberName(&g.members.items[middle]); { // a pointer, because a member is large to copy
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

// member returns the member with a name, or nil. It is valid until members come or go.
func (s *State) member(g *groupRecord, name command.UserID) *member {
	if i, ok := s.memberIndex(g, name); ok {
		return &g.members.items[i]
	}
	return nil
}

// addMember adds a member who is not in the group.
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

// removeMember removes member i and what they have hidden from themselves.
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

// role returns a user's role, RoleNone for users who are not members. An administrator
// of the server, "", may do what an owner may.
func (s *State) role(g *groupRecord, who command.UserID) command.Role {
	if who == "" {
		return command.RoleOwner
	}
	if m := s.member(g, who); m != nil {
		return m.role
	}
	return command.RoleNone
}

// setHidden replaces what a member has hidden from themselves.
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

// countHeapBytes counts anew what a group record takes of the heap.
func (s *State) countHeapBytes(g *groupRecord) {
	n := int(unsafe.Sizeof(*g)) + len(g.title) + len(g.properties) + len(g.requests)*128 + len(g.recalls)*96
	for _, e := range g.events {
		n += int(unsafe.Sizeof(e)) + 32*len(e.Users)
	}
	n += g.hiddenBytes + len(g.ttlEnds)*ttlEndBytes
	s.tableBytes += n - g.heapBytes
	g.heapBytes = n
}

// clone returns a copy, for a snapshot, of what changes in place.
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

// freeGroup frees all that a group record holds.
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

// addEvent adds an event at the end of the group's order and returns its arrival
// number.
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

// makeEventRoom forgets the oldest event of a kind if there is no room for another.
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

// forgetEvents forgets the events i up to j, exclusive.
func (g *groupRecord) forgetEvents(i, j int) {
	for _, e := range g.events[i:j] {
		if g.settings.Stored || e.Kind.EndsMembership() {
			g.eventsForgotten = max(g.eventsForgotten, e.Arrival)
		}
	}
	g.events = slices.Delete(g.events, i, j)
}

// groupDue reports whether anything in a group record has expired.
func (s *State) groupDue(g *groupRecord) bool {
	return len(g.events) > 0 && g.events[0].Time+keptEventsMS <= s.now ||
		len(g.requests) > 0 && g.requests[0].Time+requestLifeMS <= s.now ||
		g.sanctionsEnd <= s.now || g.offer.to != "" && s.offered(g) == ""
}

// purgeGroup removes what has expired from a group record.
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
