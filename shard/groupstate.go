package shard

import (
	"maps"
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A groupRecord is all of a group but its log. The record belongs to a user with the
// group's key as name, and the log is that user's only conversation: so history,
// expiry, limits, dedup and snapshots work as for users. The log's entries count as the
// user's own messages, and so are in no queue. The unread of a member is derived from
// the log and the member's read cursor.
//
// The order of that user is the group's order: messages, recalls, events and changes
// that members make in their own views have arrival numbers in it.
type groupRecord struct {
	id            command.GroupID
	kind          command.GroupKind
	settings      command.GroupSettings
	title         string         // name shown to people
	properties    []byte         // never changed in place
	owner         command.UserID // "" = nobody
	createdMS     int64
	dismissedMS   int64  // when the group was dismissed; 0 = it exists
	salt          uint64 // random; part of the keys of the dedup window
	letterVersion uint64 // number of the newest letter, see nextLetterVersion
	rateFullUS    int64  // microseconds; when the rate limit allows its whole burst again

	members array[member] // by name
	// sanctions are by name. Some of them may have ended.
	sanctions     array[sanction]
	sanctionsEnd  int64 // ms, no sanction ends before; derived
	savedSettings int   // number of sanctions that keep a former member's settings; derived

	lastChange  groupEdit // newest change of the name, the properties or the settings
	offer       ownerOffer
	hidden      map[command.UserID][]tombstone // messages that members have hidden from their own views, by seq
	hiddenBytes int                            // memory that hidden takes, see setHidden
	requests    []query.JoinRequest            // to join, oldest first
	ttlEnds     []ttlEnd                       // one for each log entry with a ttl, by seq; derived

	events []query.GroupEvent // the newest, see keptEvents
	// eventsForgotten is the arrival number of the newest event that is no longer kept.
	// In a group that stores nothing, only events that ended memberships count.
	eventsForgotten  uint64
	recalls          []groupRecall // the newest, see keptRecalls
	recallsForgotten uint64        // arrival number of the newest recall that is no longer kept

	letters   map[command.UserID]groupLetter // letters that wait for their receivers' shards, by receiver
	heapBytes int                            // memory that the record takes on the heap; part of State.tableBytes
}

const (
	// keptEvents is how many events are kept, and keptEventsMS how long. A session that
	// has missed older ones has to read the list of members again.
	keptEvents   = 64
	keptEventsMS = 60_000
	// keptEndEvents is how many events that ended memberships are kept in a group that
	// stores nothing, besides keptEvents others. The group's shard does not know the
	// members of such a group, so that only these events tell a session that its user
	// was removed. A session that may have missed one has to end its subscription.
	keptEndEvents = 256
	// maxEventUsers is how many users an event can name. An event about more users
	// names none.
	maxEventUsers = 500
	// keptRecalls is how many recalls are kept together with who made them.
	keptRecalls = 256
	// maxRequests bounds the requests to join. Further ones are refused.
	maxRequests = 100
	// requestLifeMS is how long a request to join is kept if nobody answers it.
	requestLifeMS = 7 * 24 * hourMS
	// offerLifeMS is how long an offer of the ownership is valid.
	offerLifeMS = 7 * 24 * hourMS
	// maxLiveAdmins bounds the admins of a group that stores nothing, which has no
	// member records except for its owner and admins.
	maxLiveAdmins = 10_000
	// maxHidden is how many messages of one group a member can hide.
	maxHidden = 256
	// keptDismissedMS is how long only the owner of a dismissed group can use its id
	// again.
	keptDismissedMS = 30 * 24 * hourMS
)

const (
	memberMuted        = 1 << iota // the member does not want to be notified
	memberPinned                   // the member has pinned the group
	memberRewound                  // the read cursor was set back, or an import came in above it: the member's own messages may be above it
	memberInvited                  // others added the member, who has not written in the group since
	memberMarkedUnread             // the member has marked the group as unread
)

// A member is the record of one user in a group. It has no pointers.
type member struct {
	name    ring.Ref
	nameLen uint8
	role    command.Role
	flags   uint8

	joinedMS    int64
	joinArrival uint64 // arrival number of the join
	visibleFrom uint64 // lowest seq that the member may read

	read            uint64 // read cursor
	readArrival     uint64 // arrival number of the cursor's last move
	readBy          command.SessionID
	unlistedTo      uint64 // the member took the group off their recents up to this seq; nothing up to it is unread
	unlistedArrival uint64 // arrival number of the last deletion that kept the messages
	unlistedBy      command.SessionID
	clearedTo       uint64 // the member deleted the history up to this seq
	clearedArrival  uint64
	clearedBy       command.SessionID
	settingsArrival uint64 // arrival number of the last change of the member's own settings
}

// A groupEdit says when and by whom a group's name, properties or settings were last
// changed. The zero value means never.
type groupEdit struct {
	arrival uint64
	at      int64 // ms
	by      command.UserID
}

// An ownerOffer says that the owner has offered the ownership to another user. The zero
// value means no offer.
type ownerOffer struct {
	to command.UserID
	at int64 // ms
}

// offered returns the user who may accept the ownership now, "" = nobody.
func (s *State) offered(g *groupRecord) command.UserID {
	if g.offer.at+offerLifeMS <= s.now {
		return ""
	}
	return g.offer.to
}

// A groupRecall says which messages of a group were recalled or deleted, and by whom.
type groupRecall struct {
	arrival  uint64
	from, to uint64
	by       command.UserID
	sender   command.UserID // only messages of this sender in the range are recalled; "" = all
}

// A groupLetter is a waiting letter to a user whose membership has changed.
type groupLetter struct {
	version uint64 // number of the letter
	bytes   []byte
}

// countsUnread reports whether the group counts its members' unread messages.
func (g *groupRecord) countsUnread() bool {
	return g.settings.Unread && g.settings.History != command.HistoryNone
}

// groupFor returns the record of a group for writing. If there is no such group, it
// returns nil and r has the answer.
func (s *State) groupFor(id command.GroupID, r *command.Result) *user {
	return s.groupForField(id, "group", r)
}

// groupForField is groupFor for a request that has the group's id in the given field;
// the answer in r names that field.
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

// lookupGroup returns the record of a group, even of a dismissed one, or nil if there
// is none in this shard. The caller must not change it.
func (s *State) lookupGroup(id command.GroupID) *user { return s.lookup(id.Key()) }

// memberName returns a member's name. The bytes alias the arena.
func (s *State) memberName(m *member) []byte { return s.arena.Bytes(m.name, int(m.nameLen)) }

// memberIndex returns the index of the member with a name, or the index at which it
// would be, and whether there is one.
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

// member returns the member with a name, or nil if there is none. The pointer is valid
// until a member is added or removed.
func (s *State) member(g *groupRecord, name command.UserID) *member {
	if i, ok := s.memberIndex(g, name); ok {
		return &g.members.items[i]
	}
	return nil
}

// addMember adds a member with a name that is not in the group yet.
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

// removeMember removes member i, and the list of messages that they have hidden.
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

// role returns a user's role in a group, RoleNone if they are not a member. "", an
// administrator of the server, has the rights of an owner.
func (s *State) role(g *groupRecord, who command.UserID) command.Role {
	if who == "" {
		return command.RoleOwner
	}
	if m := s.member(g, who); m != nil {
		return m.role
	}
	return command.RoleNone
}

// setHidden replaces the list of messages that a member has hidden. The caller has to
// call countHeapBytes.
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

// countHeapBytes computes g.heapBytes again, and adds the difference to
// State.tableBytes.
func (s *State) countHeapBytes(g *groupRecord) {
	n := int(unsafe.Sizeof(*g)) + len(g.title) + len(g.properties) + len(g.requests)*128 + len(g.recalls)*96
	for _, e := range g.events {
		n += int(unsafe.Sizeof(e)) + 32*len(e.Users)
	}
	n += g.hiddenBytes + len(g.ttlEnds)*ttlEndBytes
	s.tableBytes += n - g.heapBytes
	g.heapBytes = n
}

// clone returns a copy for a snapshot. What is never changed in place is shared.
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

// freeGroup frees the arena pieces of a group record, and subtracts its letters and
// heap bytes from the totals.
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

// addEvent adds an event to the group's order and returns its arrival number.
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

// makeEventRoom forgets the oldest event if as many are kept as may be. In a group that
// stores nothing, events that end memberships and others have separate bounds.
func (g *groupRecord) makeEventRoom(kind query.GroupEventKind) {
	first, n := -1, 0
	for i := range g.events {
		if g.settings.StoresMessages || g.events[i].Kind.EndsMembership() == kind.EndsMembership() {
			if n++; first < 0 {
				first = i
			}
		}
	}
	most := keptEvents
	if !g.settings.StoresMessages && kind.EndsMembership() {
		most = keptEndEvents
	}
	if n >= most {
		g.forgetEvents(first, first+1)
	}
}

// forgetEvents removes events[i:j].
func (g *groupRecord) forgetEvents(i, j int) {
	for _, e := range g.events[i:j] {
		if g.settings.StoresMessages || e.Kind.EndsMembership() {
			g.eventsForgotten = max(g.eventsForgotten, e.Arrival)
		}
	}
	g.events = slices.Delete(g.events, i, j)
}

// groupDue reports whether purgeGroup would remove anything.
func (s *State) groupDue(g *groupRecord) bool {
	return len(g.events) > 0 && g.events[0].Time+keptEventsMS <= s.now ||
		len(g.requests) > 0 && g.requests[0].Time+requestLifeMS <= s.now ||
		g.sanctionsEnd <= s.now || g.offer.to != "" && s.offered(g) == ""
}

// purgeGroup removes events, requests, sanctions and offers that have expired.
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
