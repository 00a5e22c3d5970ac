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
	convPinned       // the user has pinned the conversation
	convBlocked      // the user has blocked the peer
	convBlockedBy    // the peer has blocked the user, according to letters
	convImported     // the conversation has an importRecord
	convReceived     // the peer has written to the user
	convSent         // the user has written to the peer
	convMarkedUnread // the user has marked the conversation as unread
)

// A conv is one user's view of a one-to-one conversation, or a group's log. There are
// millions of them, so a conv has no pointers, and fields that are zero in most
// conversations are in a coldConv instead.
type conv struct {
	log        ring.Ring
	peer       ring.Ref // name of the other user
	coldIndex  uint32   // 1 + index into user.cold; 0 = the coldConv would be all zero
	newer      uint32   // 1 + index of the conversation with the next newer activity, 0 = none
	older      uint32   // 1 + index of the one with the next older activity, 0 = none
	outbox     uint32   // 1 + index into user.outbox, 0 = no letter waits
	peerLen    uint8
	flags      uint8   // convMuted and the constants after it
	goneReason gapCode // why the newest of the seqs below log.First() is gone

	queued      uint32 // messages of this conversation in the offline queue, as in user.queued
	queuedBytes uint32
	read        uint64            // read cursor
	readArrival uint64            // arrival number of the read cursor's last move
	readBy      command.SessionID // session that moved the read cursor last
	lastTime    int64             // ms, time of the newest entry ever appended
	lastArrival uint64            // arrival number of the newest entry ever appended
	lettersOut  uint64            // number of the last letter to the peer
	lettersIn   uint64            // number of the last letter of the peer that was applied here
}

// A coldConv holds the fields of a conversation that only limits, deletions, receipts,
// age or settings fill. A conversation gets one when the first of them is set.
type coldConv struct {
	extraIndex uint32 // 1 + index into user.extra, 0 = none
	queueFloor uint64 // limits or a deletion emptied the queue up to this seq
	unlistedTo uint64 // the user took the conversation off their recents up to this seq

	changeArrival       uint64 // arrival number of the newest change other than a read
	peerRead            uint64 // the peer has read up to this seq
	peerReadArrival     uint64
	peerReadMS          int64
	unlistedArrival     uint64 // arrival number of the last deletion that kept the messages
	unlistedBy          command.SessionID
	clearedTo           uint64 // the user deleted the history up to this seq
	clearedArrival      uint64
	clearedBy           command.SessionID
	receiptSent         uint64 // highest seq, in the peer's view, of the receipts sent to the peer
	goneIncomingPeerSeq uint64 // seq, in the peer's view, of the newest incoming message that left the log
	goneIncomingSeq     uint64 // seq of that message in this view
	goneIncomingFrom    uint64 // all seqs from this one to goneIncomingSeq were incoming, with consecutive seqs in the peer's view
	settingsArrival     uint64 // arrival number of the last change of the user's settings of the conversation
	blockArrival        uint64 // arrival number of the last time the user blocked or unblocked the peer

	// The fields below are derived from the others and the log.
	agedOutTo       uint64 // entries up to this seq are too old for the queue
	earliestTTLEnd  int64  // ms, no message in the queue reaches the end of its ttl before; 0 = none has a ttl
	queueHead       uint64 // arrival number of the oldest message in the queue; 0 = not looked up
	receiptsThrough uint64 // for messages up to this seq, all receipts were sent
}

var zeroCold coldConv // never written

// coldOf returns a conversation's coldConv, which the caller must not change.
func (u *user) coldOf(c *conv) *coldConv {
	if c.coldIndex == 0 {
		return &zeroCold
	}
	return &u.cold.items[c.coldIndex-1]
}

// coldMut returns a conversation's coldConv for writing, and makes it if there is none.
func (s *State) coldMut(u *user, c *conv) *coldConv {
	if c.coldIndex == 0 {
		s.holdFor(u)
		u.cold.add(s.arena, coldConv{})
		c.coldIndex = uint32(len(u.cold.items))
	}
	return &u.cold.items[c.coldIndex-1]
}

// An extra holds lists that few conversations need. A snapshot may share the lists.
type extra struct {
	tombstones list[tombstone] // by seq; at most keptTombstones of entries that have left the log, or about an eighth more
	lost       list[lostRun]   // by seq
	gone       list[goneRun]   // by seq; why older seqs are gone. The newest reason is conv.goneReason
	shared     bool            // a snapshot shares the lists: they must be copied before they change
}

// A tombstone says that a message was recalled or deleted. It is kept for a while after
// the entry has left the log, because devices that have a copy of the message may still
// have to be told.
type tombstone struct {
	seq     uint64
	arrival uint64
	by      command.SessionID // session that deleted the message
	reason  gapCode
	own     bool // this user sent the message
}

// A lostRun is a run of seqs whose incoming messages limits took out of the queue.
type lostRun struct {
	from, to uint64
	count    uint64 // number of messages; less than to-from+1 only after runs were merged
	arrival  uint64 // arrival number of the message at to
}

// A goneRun says why seqs are gone: those after the previous run, up to to.
type goneRun struct {
	to     uint64
	reason gapCode
}

const (
	keptTombstones = 256 // tombstones of entries that left the log; the oldest are forgotten first
	keptLost       = 64  // runs; if there are more, the two oldest are merged into one that spans both
	keptGone       = 64  // runs; if there are more, the two oldest are merged into one with the reason of the later
)

// A gapCode says why a seq has no visible message.
type gapCode uint8

const (
	gapNone gapCode = iota
	gapExpired
	gapEvicted
	gapDeleted
	gapRecalled
	gapNotMember // the seq was never in the view; not stored, codes that are go before it
)

// firstStoredGap and lastStoredGap bound the codes of tombstones and of runs that left
// the log, in snapshots.
const (
	firstStoredGap = gapNone + 1
	lastStoredGap  = gapNotMember - 1
)

// reason returns the query.GapReason of a code. The code must not be gapNone.
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

// extraOf returns a conversation's extra, which the caller must not change.
func (u *user) extraOf(c *conv) *extra {
	if c.coldIndex == 0 || u.cold.items[c.coldIndex-1].extraIndex == 0 {
		return &zeroExtra
	}
	return &u.extra.items[u.cold.items[c.coldIndex-1].extraIndex-1]
}

// extraMut returns a conversation's extra for writing, and makes it if there is none.
// It calls holdFor, so that the caller may free pieces of the lists.
func (s *State) extraMut(u *user, c *conv) *extra {
	cold := s.coldMut(u, c)
	s.holdFor(u)
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

// peer returns the name of a conversation's other user. The bytes alias the arena.
func (s *State) peer(c *conv) []byte { return s.arena.Bytes(c.peer, int(c.peerLen)) }

// indexedConvs is the number of conversations from which user.byPeer is used, because
// it finds a peer faster than a scan.
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

// moveToFront makes conversation i the first in the order of newest activity. Reads by
// cursor follow that order, to stop at the first conversation without anything new.
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

// lastActivity returns the arrival number of a conversation's newest message or change.
func (u *user) lastActivity(c *conv) uint64 { return max(c.lastArrival, u.lastChange(c)) }

// stampChange gives a change of conversation i the next arrival number, and returns it.
// It is for all changes but moves of the read cursor.
func (s *State) stampChange(u *user, i int) uint64 {
	at := s.stamp(u, i)
	s.coldMut(u, &u.convs.items[i]).changeArrival = at
	return at
}

// stamp returns the next arrival number, for something new in conversation i, and
// signals the user's sessions.
func (s *State) stamp(u *user, i int) uint64 {
	u.arrival++
	s.moveToFront(u, i)
	s.signal(u)
	return u.arrival
}

// stampSettings gives a change of the user's settings of conversation i the next
// arrival number.
func (s *State) stampSettings(u *user, i int) {
	at := s.stampChange(u, i)
	s.coldMut(u, &u.convs.items[i]).settingsArrival = at
}

// clearMarkedUnread removes the user's mark that conversation i is unread.
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
