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
	convBlockedBy    // the peer has blocked the user, according to letters
	convImported     // it has an importRecord
	convReceived     // the peer has written to the user
	convSent         // the user has written to the peer
	convMarkedUnread // the user has marked the conversation as unread
)

// A conv is one user's view of a one-to-one conversation: what every conversation
// needs. There are millions of them, so a conv has no pointers and no field that is
// mostly zero; such fields are in its coldConv.
type conv struct {
	log        ring.Ring
	peer       ring.Ref // name of the other user
	coldIndex  uint32   // 1 + index into user.cold, 0 = all of it is zero
	newer      uint32   // 1 + index of the neighbours in order of activity, 0 = none
	older      uint32
	outbox     uint32 // 1 + index into user.outbox, 0 = no letter waits
	peerLen    uint8
	flags      uint8   // see convMuted
	goneReason gapCode // why the newest of the seqs below log.First are gone

	queued      uint32 // messages of this conversation in the offline queue, as in user.queued
	queuedBytes uint32
	read        uint64            // read cursor
	readArrival uint64            // arrival number of the cursor's last move
	readBy      command.SessionID // session that moved it
	lastTime    int64             // ms, of the newest entry ever
	lastArrival uint64            // of the newest entry ever
	lettersOut  uint64            // number of the last letter to the peer
	lettersIn   uint64            // number of the last letter of the peer that was applied
}

// A coldConv holds what limits, deletions, receipts and age add to a conversation. It
// is made when one of its fields is first set.
type coldConv struct {
	extraIndex uint32 // 1 + index into user.extra, 0 = none
	queueFloor uint64 // limits emptied the queue up to this seq
	unlistedTo uint64 // the user took the conversation off their recents up to this seq

	changeArrival       uint64 // arrival number of the newest change other than a read
	peerRead            uint64 // the peer has read up to this seq
	peerReadArrival     uint64
	peerReadMS          int64
	unlistedArrival     uint64 // of the last deletion that left the messages
	unlistedBy          command.SessionID
	clearedTo           uint64 // the user deleted the history up to this seq
	clearedArrival      uint64
	clearedBy           command.SessionID
	receiptSent         uint64 // the peer's own seq up to which the peer was told that it is read
	goneIncomingPeerSeq uint64 // the newest incoming message that left the log: its seq in the peer's view
	goneIncomingSeq     uint64 // its seq here
	goneIncomingFrom    uint64 // all seqs from here to goneIncomingSeq were incoming, with consecutive peer seqs
	settingsArrival     uint64 // arrival number of the last change of the user's settings
	blockArrival        uint64 // of the last time the user blocked or unblocked the peer

	// Derived.
	agedOutTo       uint64 // entries up to this seq are too old for the queue
	earliestTTLEnd  int64  // ms, not after the first end of a ttl in the queue; 0 = none has a ttl
	queueHead       uint64 // arrival number of the oldest message in the queue; 0 = not looked up
	receiptsThrough uint64 // up to this seq no receipt is missing
}

var zeroCold coldConv // never written

// coldOf returns the rarely used part of a conversation, for reading.
func (u *user) coldOf(c *conv) *coldConv {
	if c.coldIndex == 0 {
		return &zeroCold
	}
	return &u.cold.items[c.coldIndex-1]
}

// coldMut returns the rarely used part of a conversation for writing, and makes it if
// there is none.
func (s *State) coldMut(u *user, c *conv) *coldConv {
	if c.coldIndex == 0 {
		s.holdFor(u)
		u.cold.add(s.arena, coldConv{})
		c.coldIndex = uint32(len(u.cold.items))
	}
	return &u.cold.items[c.coldIndex-1]
}

// An extra holds the lists that few conversations need. A snapshot may share them.
type extra struct {
	tombstones list[tombstone] // by seq; of entries that have left the log, at most keptTombstones
	lost       list[lostRun]   // by seq
	gone       list[goneRun]   // why older seqs are gone, by seq; the newest reason is conv.goneReason
	shared     bool            // the lists must be copied before they change
}

// A tombstone says that a message was recalled or deleted. It outlives the entry for a
// while, for devices that hold a copy of the message.
type tombstone struct {
	seq     uint64
	arrival uint64
	by      command.SessionID // session that deleted the message
	reason  gapCode
	own     bool // this user sent the message
}

// A lostRun is a run of incoming seqs that limits took out of the queue.
type lostRun struct {
	from, to uint64
	count    uint64 // messages; less than the width of the run only after runs were merged
	arrival  uint64 // of the message at to
}

// A goneRun says why the seqs after the run before, up to to, are gone.
type goneRun struct {
	to     uint64
	reason gapCode
}

const (
	keptTombstones = 256 // of entries that left the log; the oldest are forgotten first
	keptLost       = 64  // runs; beyond that the two oldest become one that spans both
	keptGone       = 64  // runs; beyond that the two oldest become one with the reason of the later
)

// A gapCode says why a seq has no visible message.
type gapCode uint8

const (
	gapNone gapCode = iota
	gapExpired
	gapEvicted
	gapDeleted
	gapRecalled
	gapNotMember // never stored
)

// reason returns the GapReason of a code other than gapNone.
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

// extraOf returns a conversation's extra, for reading.
func (u *user) extraOf(c *conv) *extra {
	if c.coldIndex == 0 || u.cold.items[c.coldIndex-1].extraIndex == 0 {
		return &zeroExtra
	}
	return &u.extra.items[u.cold.items[c.coldIndex-1].extraIndex-1]
}

// extraMut returns a conversation's extra for writing, and makes it if there is none.
// What the caller frees until the next call of holdFor counts as the user's.
func (s *State) extraMut(u *user, c *conv) *extra {
	cold := s.coldMut(u, c)
	s.holdFor(u) // also for what the caller frees
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

// peer returns the name of a conversation's other user. It aliases the arena.
func (s *State) peer(c *conv) []byte { return s.arena.Bytes(c.peer, int(c.peerLen)) }

// indexedConvs is the number of conversations from which a table finds a peer faster
// than a scan.
const indexedConvs = 24

// findConv returns the index of the conversation with peer, or -1.
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

// openConv returns the index of the conversation with peer, and makes it if there is
// none.
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

// moveToFront makes conversation i the newest in the order of activity, which reads by
// cursor follow.
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

// lastChange returns the arrival number of a conversation's newest change.
func (u *user) lastChange(c *conv) uint64 { return max(c.readArrival, u.coldOf(c).changeArrival) }

// lastActivity returns the arrival number of a conversation's newest message or
// change.
func (u *user) lastActivity(c *conv) uint64 { return max(c.lastArrival, u.lastChange(c)) }

// stampChange returns a change of conversation i other than a read its arrival number,
// and returns it.
func (s *State) stampChange(u *user, i int) uint64 {
	at := s.stamp(u, i)
	s.coldMut(u, &u.convs.items[i]).changeArrival = at
	return at
}

// stamp returns the next arrival number, for something new in conversation i.
func (s *State) stamp(u *user, i int) uint64 {
	u.arrival++
	s.moveToFront(u, i)
	s.signal(u)
	return u.arrival
}

// stampSettings returns a change of the user's settings of conversation i its arrival
// number.
func (s *State) stampSettings(u *user, i int) {
	at := s.stampChange(u, i)
	s.coldMut(u, &u.convs.items[i]).settingsArrival = at
}

// clearMarkedUnread takes back that the user marked conversation i as unread.
func (s *State) clearMarkedUnread(u *user, i int) {
	if c := &u.convs.items[i]; c.flags&convMarkedUnread != 0 {
		c.flags &^= convMarkedUnread
		s.stampSettings(u, i)
	}
}

// tombstonesOf returns a conversation's tombstones, by seq. The slice is valid until
// they change.
func (s *State) tombstonesOf(u *user, c *conv) []tombstone {
	return u.extraOf(c).tombstones.items(s.arena)
}
