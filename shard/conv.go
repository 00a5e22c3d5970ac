package shard

import (
	"hash/maphash"
	"strconv"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

const (
	convMuted        = 1 << iota
	convPinned       // set by the user
	convBlocked      // the user has blocked the peer
	convBlockedBy    // the peer has blocked the user, as letters told
	convImported     // it has an importRecord
	convReceived     // the peer has written
	convSent         // the user has sent something to the peer
	convMarkedUnread // the user has marked it as unread
)

// A conv is one user's view of a one-to-one conversation: what every one needs.
// There are millions, so it holds no pointer and nothing that is mostly zero;
// that is in its coldConv.
type conv struct {
	log        ring.Ring
	peer       ring.Ref // the peer's name
	coldIndex  uint32   // 1 + index into user.colds, 0 = all of it is zero
	newer      uint32   // 1 + index of the neighbour in order of activity
	older      uint32
	outbox     uint32 // 1 + index into user.outbox, 0 = nothing waits
	peerLen    uint8
	flags      uint8
	goneReason gapCode // why the newest of the seqs below the log's first are gone

	queued      uint32 // as user.queued
	queuedBytes uint32
	read        uint64 // read cursor
	readArrival uint64 // arrival number of the cursor's last move
	readBy      command.SessionID
	lastTime    int64  // of the newest entry ever
	lastArrival uint64 // of the newest entry ever
	lettersOut  uint64 // number of the last letter written to the peer
	lettersIn   uint64 // number of the last letter of the peer applied
}

// A coldConv holds what a conversation comes to need by limits, deletions,
// receipts or age. It is made when a field of it is first set.
type coldConv struct {
	extraIndex uint32 // 1 + index into user.extras, 0 = none
	queueFloor uint64 // entries up to here left the queue without being read
	unlistedTo uint64 // not in recents while its newest message is not above this

	changeArrival       uint64 // arrival number of the newest change but reads
	peerRead            uint64 // the peer has read up to this seq
	peerReadArrival     uint64
	peerReadMS          int64
	unlistedArrival     uint64 // of the last deletion of the entry alone
	unlistedBy          command.SessionID
	clearedTo           uint64 // seqs up to here were deleted with the conversation
	clearedArrival      uint64
	clearedBy           command.SessionID
	receiptSent         uint64 // the peer's own seq up to which he was told that it is read
	goneIncomingPeerSeq uint64 // the peer's seq of the newest incoming message that left the log
	goneIncomingSeq     uint64 // its seq here
	goneIncomingFrom    uint64 // from here to goneIncomingSeq all were incoming, one after the other
	settingsArrival     uint64 // arrival number of the last change of the user's settings
	blockArrival        uint64 // of the last time that he blocked the peer or let him in again

	// Derived.
	agedOutTo       uint64 // entries up to here are too old for the queue
	earliestTTLEnd  int64  // ms, not after the first end of a ttl in the queue; 0 = none has one
	queueHead       uint64 // arrival number of the queue's oldest message; 0 = not looked up
	receiptsThrough uint64 // up to this seq the peer has his receipts
}

var zeroCold coldConv // never written

// coldOf gives what a conversation rarely has, for reading.
func (u *user) coldOf(c *conv) *coldConv {
	if c.coldIndex == 0 {
		return &zeroCold
	}
	return &u.cold.items[c.coldIndex-1]
}

// coldMut gives the same for writing, making it if need be.
func (s *State) coldMut(u *user, c *conv) *coldConv {
	if c.coldIndex == 0 {
		s.holdFor(u)
		u.cold.add(s.arena, coldConv{})
		c.coldIndex = uint32(len(u.cold.items))
	}
	return &u.cold.items[c.coldIndex-1]
}

// An extra holds what few conversations need. A snapshot may share the lists.
type extra struct {
	tombstones list[tombstone] // by seq; of entries that are gone at most keptTombstones
	lost       list[lostRun]   // by seq
	gone       list[goneRun]   // older runs of gone seqs, by seq; the newest is conv.gone
	shared     bool            // the lists must be copied before they change
}

// A tombstone says that a message was recalled or deleted. It outlives the entry for
// a while, for devices that hold a copy.
type tombstone struct {
	seq     uint64
	arrival uint64
	by      command.SessionID // of a deletion
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
	keptTombstones = 256 // marks kept of entries that left the log; the oldest go first
	keptLost       = 64  // runs; past that the two oldest become one that spans both
	keptGone       = 64  // runs; past that the two oldest become one with the later reason
)

type gapCode uint8

const (
	gapNone gapCode = iota
	gapExpired
	gapEvicted
	gapDeleted
	gapRecalled
	gapNotMember // never kept
)

func (g gapCode) reason() query.GapReason {
	switch g {
	case gapExpired:
		return query.GapExpired
	case gapEvicted:
		return query.GapEvicted
	case gapDeleted:
		return query.GapDeleted
	case gapRecalled:
		return query.GapRecalled
	case gapNotMember:
		return query.GapNotMember
	}
	panic(&InvariantError{Reason: "gap code " + strconv.Itoa(int(g))})
}

var zeroExtra extra // never written

// extraOf gives a conversation's extra for reading.
func (u *user) extraOf(c *conv) *extra {
	if c.coldIndex == 0 || u.cold.items[c.coldIndex-1].extraIndex == 0 {
		return &zeroExtra
	}
	return &u.extra.items[u.cold.items[c.coldIndex-1].extraIndex-1]
}

// extraMut gives a conversation's extra for writing, making it if need be.
func (s *State) extraMut(u *user, c *conv) *extra {
	cold := s.coldMut(u, c)
	s.holdFor(u) // here, and as the caller goes on
	if cold.extraIndex == 0 {
		u.extra.add(s.arena, extra{})
		cold.extraIndex = uint32(len(u.extra.items))
	}
	x := &u.extra.items[cold.extraIndex-1]
	if x.shared {
		x.shared = false
		x.tombstones.replace(s.arena, x.tombstones.items(s.arena))
		x.lost.replace(s.arena, x.lost.items(s.arena))
		x.gone.replace(s.arena, x.gone.items(s.arena))
	}
	return x
}

// peer is the name of a conversation's other user. It aliases the arena.
func (s *State) peer(c *conv) []byte { return s.arena.Bytes(c.peer, int(c.peerLen)) }

// indexedConvs is the number of conversations from which a table finds a peer
// faster than a walk.
const indexedConvs = 24

// findConv gives the index of the conversation with peer, or -1.
func (s *State) findConv(u *user, peer command.UserID) int {
	if u.byPeer.n > 0 {
		i, ok := u.byPeer.find(maphash.String(s.seed, string(peer)), func(i uint32) bool {
			return string(s.peer(&u.convs.items[i])) == string(peer)
		})
		if ok {
			return int(i)
		}
		return -1
	}
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if int(c.peerLen) == len(peer) && string(s.peer(c)) == string(peer) {
			return i
		}
	}
	return -1
}

// openConv gives the index of the conversation with peer, making it if need be.
func (s *State) openConv(u *user, peer command.UserID) int {
	if i := s.findConv(u, peer); i >= 0 {
		return i
	}
	ref := s.arena.Alloc(len(peer))
	copy(s.arena.Bytes(ref, len(peer)), peer)
	i := len(u.convs.items)
	s.holdFor(u)
	u.convs.add(s.arena, conv{peer: ref, peerLen: uint8(len(peer))})

	before := u.byPeer.bytes()
	hash := func(i uint32) uint64 { return maphash.Bytes(s.seed, s.peer(&u.convs.items[i])) }
	switch {
	case u.byPeer.n > 0:
		u.byPeer.add(uint32(i), hash)
	case len(u.convs.items) == indexedConvs:
		for j := range u.convs.items {
			u.byPeer.add(uint32(j), hash)
		}
	}
	s.tableBytes += u.byPeer.bytes() - before
	return i
}

// moveToFront moves a conversation to the front of the order of activity, which
// is what reads after a cursor walk.
func (s *State) moveToFront(u *user, i int) {
	self := uint32(i + 1)
	if u.newest == self {
		return
	}
	c := &u.convs.items[i]
	if c.newer != 0 {
		u.convs.items[c.newer-1].older = c.older
	}
	if c.older != 0 {
		u.convs.items[c.older-1].newer = c.newer
	}
	c.newer, c.older = 0, u.newest
	if u.newest != 0 {
		u.convs.items[u.newest-1].newer = self
	}
	u.newest = self
}

// lastChange is the arrival number of the newest change of a conversation.
func (u *user) lastChange(c *conv) uint64 { return max(c.readArrival, u.coldOf(c).changeArrival) }

// lastActivity is the arrival number of the newest message or change.
func (u *user) lastActivity(c *conv) uint64 { return max(c.lastArrival, u.lastChange(c)) }

// stampChange gives a change of conversation i, other than a read, its arrival number.
func (s *State) stampChange(u *user, i int) uint64 {
	at := s.stamp(u, i)
	s.coldMut(u, &u.convs.items[i]).changeArrival = at
	return at
}

// stamp gives the next arrival number to something in conversation i.
func (s *State) stamp(u *user, i int) uint64 {
	u.arrival++
	s.moveToFront(u, i)
	s.signal(u)
	return u.arrival
}

// stampSettings makes a change of the user's settings of conversation i one that all
// his sessions are told of.
func (s *State) stampSettings(u *user, i int) {
	at := s.stampChange(u, i)
	s.coldMut(u, &u.convs.items[i]).settingsArrival = at
}

// clearMarkedUnread takes back that a conversation was marked as unread.
func (s *State) clearMarkedUnread(u *user, i int) {
	if c := &u.convs.items[i]; c.flags&convMarkedUnread != 0 {
		c.flags &^= convMarkedUnread
		s.stampSettings(u, i)
	}
}

func (s *State) tombstonesOf(u *user, c *conv) []tombstone {
	return u.extraOf(c).tombstones.items(s.arena)
}
