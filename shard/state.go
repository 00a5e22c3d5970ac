package shard

import (
	"strconv"
	"unsafe"

	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// Slots is the number of slots that keys hash to; slots are what moves
// between shards.
const Slots = 16384

// SlotOf gives the slot of a user (later also of a group).
func SlotOf(key string) uint16 { return uint16(xxhash.Sum64String(key) % Slots) }

// A State is all that one shard holds.
type State struct {
	id     uint32
	arena  *ring.Arena
	limits Limits
	epoch  uint64 // of the store: a restore from backup raises it and so voids cursors
	now    int64  // ms, the highest time applied
	cutoff int64  // ms, messages up to here are gone for want of memory; 0 = none are
	slots  [Slots]*slot
	view   *View  // the snapshot being taken, nil when none is
	marks  uint64 // snapshots marked so far

	conversations int // of all users, for Size
	users         int
	letterBytes   int // waiting in outboxes
	sentRecords   int // in dedupe windows
	ages          ages

	commands commandSet
	out      *Outcome // of the Apply that runs
}

// A slot is what a shard owns and moves as a whole.
type slot struct {
	frozen bool
	users  map[UserID]*user
}

// A user holds everything kept for one account. Only mutate gives one out for
// writing.
type user struct {
	name        UserID
	marked      uint64 // snapshot marks this user was saved for or is younger than
	arrival     uint64 // last number given in the arrival order of messages and changes
	lastSession SessionID
	lastSeen    int64 // ms, when his last session ended
	bytes       int   // of all logs, headers included
	queued      int   // messages in the offline queue, expired ones included until purged
	queuedBytes int
	due         int64 // ms, not after the first time at which something he holds expires; 0 = unknown
	oldest      int64 // ms, not after the time of any message he holds; derived
	blocked     int   // users he has blocked
	hourStart   int64
	hourOpened  int // conversations opened by sending since hourStart
	opened      int // ever

	convs    []conv
	byPeer   map[UserID]uint32 // index into convs, kept once there are many
	recent   uint32            // 1 + index of the conversation with the newest activity
	extras   []extra
	sent     sentWindow
	outbox   []outQueue
	sessions []session
}

// firstArrival is what the arrival order of a user begins after, so that the
// cursor of a device that has seen nothing yet differs from none.
const firstArrival = 1

// indexedConvs is the number of conversations from which a map finds a peer
// faster than a walk.
const indexedConvs = 24

const (
	convMuted     = 1 << iota
	convPinned    // set by the user
	convBlocked   // the user has blocked the peer
	convBlockedBy // the peer has blocked the user, as letters told
)

// A conv is one user's view of a one-to-one conversation. It holds no pointer:
// however many there are, the garbage collector does not look at them.
type conv struct {
	peer    ring.Ref // the peer's name
	peerLen uint8
	flags   uint8
	gone    gapCode // why the newest of the seqs below the log's first are gone
	extra   uint32  // 1 + index into user.extras, 0 = none
	outbox  uint32  // 1 + index into user.outbox, 0 = nothing waits
	newer   uint32  // 1 + index of the neighbour in order of activity
	older   uint32

	log ring.Ring

	read        uint64 // read cursor
	floor       uint64 // entries up to here left the queue without being read
	hidden      uint64 // not in recents while its newest message is not above this
	queued      uint32 // as user.queued
	queuedBytes uint32
	aged        uint64 // entries up to here are too old for the queue; derived
	soonest     int64  // ms, not after the first end of a ttl in the queue; 0 = none has one; derived
	queueHead   uint64 // arrival number of the queue's oldest message; 0 = not looked up; derived

	lastTime    int64  // of the newest entry ever
	lastArrival uint64 // of the newest entry ever
	changed     uint64 // arrival number of the newest change

	readAt      uint64 // arrival number of the cursor's last move
	readBy      SessionID
	peerRead    uint64 // the peer has read up to this seq
	peerReadAt  uint64
	peerReadMS  int64
	deletedAt   uint64 // of the last deletion of the entry alone
	deletedBy   SessionID
	wiped       uint64 // seqs up to here were deleted with the conversation
	wipedAt     uint64
	wipedBy     SessionID
	lettersOut  uint64 // number of the last letter written to the peer
	lettersIn   uint64 // number of the last letter of the peer applied
	receipted   uint64 // the peer's own seq up to which he was told that it is read
	gonePeer    uint64 // the peer's seq of the newest incoming message that left the log
	gonePeerSeq uint64 // its seq here
	goneFrom    uint64 // from here to gonePeerSeq all were incoming, one after the other
}

// An extra holds what few conversations need.
type extra struct {
	marks []mark    // by seq; of entries that are gone at most keptMarks
	lost  []lostRun // by seq
	gone  []goneRun // older runs of gone seqs, by seq; the newest is conv.gone
}

// A mark says that a message was recalled or deleted. It outlives the entry for
// a while, for devices that hold a copy.
type mark struct {
	seq     uint64
	arrival uint64
	by      SessionID // of a deletion
	reason  gapCode
	own     bool // the message was sent by this user
}

// A lostRun is a run of incoming seqs that limits took from the queue.
type lostRun struct {
	from, to uint64
	count    uint64 // less than the run's width only after runs were merged
	arrival  uint64 // of the message at to
}

// A goneRun says why the seqs up to to (from the end of the run before) are gone.
type goneRun struct {
	to     uint64
	reason gapCode
}

const (
	keptMarks = 256 // marks kept of entries that left the log; the oldest go first
	keptLost  = 64  // runs; past that the two oldest become one that spans both
	keptGone  = 64  // runs; past that the two oldest become one with the later reason
)

type gapCode uint8

const (
	gapNone gapCode = iota
	gapExpired
	gapEvicted
	gapDeleted
	gapRecalled
)

func (g gapCode) reason() GapReason {
	switch g {
	case gapExpired:
		return GapExpired
	case gapEvicted:
		return GapEvicted
	case gapDeleted:
		return GapDeleted
	case gapRecalled:
		return GapRecalled
	}
	panic(&InvariantError{Reason: "gap code " + strconv.Itoa(int(g))})
}

// NewState returns an empty shard that owns no slots.
func NewState(id uint32) *State {
	return &State{id: id, arena: ring.NewArena(), limits: Limits{}.WithDefaults(), epoch: 1, ages: newAges()}
}

// Now is the highest time applied, ms.
func (s *State) Now() int64 { return s.now }

// Epoch is the store's: cursors of another one are void.
func (s *State) Epoch() uint64 { return s.epoch }

// Limits are those in force.
func (s *State) Limits() Limits { return s.limits }

// Owns tells whether the shard serves the slot.
func (s *State) Owns(slot uint16) bool { return s.slots[slot] != nil && !s.slots[slot].frozen }

// Size estimates the bytes that the state takes in memory.
func (s *State) Size() int {
	const userBytes = 256
	const sentBytes = 2 * int(unsafe.Sizeof(sentRecord{})) // the index included
	return int(s.arena.Stats().Used) + s.conversations*int(unsafe.Sizeof(conv{})) + s.users*userBytes + s.letterBytes + s.sentRecords*sentBytes
}

// slotFor is nil when the key's slot is frozen or elsewhere.
func (s *State) slotFor(key UserID) *slot {
	sl := s.slots[SlotOf(string(key))]
	if sl == nil || sl.frozen {
		return nil
	}
	return sl
}

// lookup finds a user for reading. nil: not here, or nothing is known of him.
func (s *State) lookup(name UserID) *user {
	sl := s.slotFor(name)
	if sl == nil {
		return nil
	}
	return sl.users[name]
}

// mutate finds a user for writing and makes him when create says so.
func (s *State) mutate(sl *slot, name UserID, create bool) *user {
	u := sl.users[name]
	if u == nil {
		if !create {
			return nil
		}
		u = &user{name: name, marked: s.marks, arrival: firstArrival}
		sl.users[name] = u
		s.users++
	}
	s.save(u)
	if s.isCut(u) {
		s.evictCut(u)
	}
	return u
}

func (s *State) touch(u *user) { s.out.Touched = append(s.out.Touched, u.name) }

// peer is the name of a conversation's other user. It aliases the arena.
func (s *State) peer(c *conv) []byte { return s.arena.Bytes(c.peer, int(c.peerLen)) }

// find gives the index of the conversation with peer, or -1.
func (s *State) find(u *user, peer UserID) int {
	if u.byPeer != nil {
		if i, ok := u.byPeer[peer]; ok {
			return int(i)
		}
		return -1
	}
	for i := range u.convs {
		c := &u.convs[i]
		if int(c.peerLen) == len(peer) && string(s.peer(c)) == string(peer) {
			return i
		}
	}
	return -1
}

// open gives the index of the conversation with peer, making it if need be.
func (s *State) open(u *user, peer UserID) int {
	if i := s.find(u, peer); i >= 0 {
		return i
	}
	ref := s.arena.Alloc(len(peer))
	copy(s.arena.Bytes(ref, len(peer)), peer)
	return s.addConv(u, peer, conv{peer: ref, peerLen: uint8(len(peer))})
}

func (s *State) addConv(u *user, peer UserID, c conv) int {
	i := len(u.convs)
	if i == cap(u.convs) {
		// A quarter more instead of append's double: most users have few
		// conversations, and there are many users.
		grown := make([]conv, i, i+i/4+1)
		copy(grown, u.convs)
		u.convs = grown
	}
	u.convs = append(u.convs, c)
	s.conversations++
	if u.byPeer != nil {
		u.byPeer[peer] = uint32(i)
	} else if len(u.convs) == indexedConvs {
		u.byPeer = make(map[UserID]uint32, 2*indexedConvs)
		for j := range u.convs {
			u.byPeer[UserID(s.peer(&u.convs[j]))] = uint32(j)
		}
	}
	return i
}

// activate moves a conversation to the front of the order of activity, which
// is what reads after a cursor walk.
func (s *State) activate(u *user, i int) {
	self := uint32(i + 1)
	if u.recent == self {
		return
	}
	c := &u.convs[i]
	if c.newer != 0 {
		u.convs[c.newer-1].older = c.older
	}
	if c.older != 0 {
		u.convs[c.older-1].newer = c.newer
	}
	c.newer, c.older = 0, u.recent
	if u.recent != 0 {
		u.convs[u.recent-1].newer = self
	}
	u.recent = self
}

// activity is the arrival number of the newest message or change.
func (c *conv) activity() uint64 { return max(c.lastArrival, c.changed) }

// change gives a change of conversation i its arrival number.
func (s *State) change(u *user, i int) uint64 {
	u.arrival++
	u.convs[i].changed = u.arrival
	s.activate(u, i)
	s.touch(u)
	return u.arrival
}

// rare gives the conversation's extra, making it if need be.
func (u *user) rare(c *conv) *extra {
	if c.extra == 0 {
		u.extras = append(u.extras, extra{})
		c.extra = uint32(len(u.extras))
	}
	return &u.extras[c.extra-1]
}

func (u *user) marks(c *conv) []mark {
	if c.extra == 0 {
		return nil
	}
	return u.extras[c.extra-1].marks
}
