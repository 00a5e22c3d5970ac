package shard

import (
	"hash/maphash"
	"strconv"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

const (
	convMuted     = 1 << iota
	convPinned    // set by the user
	convBlocked   // the user has blocked the peer
	convBlockedBy // the peer has blocked the user, as letters told
	convImported  // it has an importMark
	convHeard     // the peer has written
	convWrote     // the user has sent something to the peer
	convMarked    // the user has marked it as unread
)

// A conv is one user's view of a one-to-one conversation: what every one needs.
// There are millions, so it holds no pointer and nothing that is mostly zero;
// that is in its coldConv.
type conv struct {
	log     ring.Ring
	peer    ring.Ref // the peer's name
	cold    uint32   // 1 + index into user.colds, 0 = all of it is zero
	newer   uint32   // 1 + index of the neighbour in order of activity
	older   uint32
	outbox  uint32 // 1 + index into user.outbox, 0 = nothing waits
	peerLen uint8
	flags   uint8
	gone    gapCode // why the newest of the seqs below the log's first are gone

	queued      uint32 // as user.queued
	queuedBytes uint32
	read        uint64 // read cursor
	readAt      uint64 // arrival number of the cursor's last move
	readBy      command.SessionID
	lastTime    int64  // of the newest entry ever
	lastArrival uint64 // of the newest entry ever
	lettersOut  uint64 // number of the last letter written to the peer
	lettersIn   uint64 // number of the last letter of the peer applied
}

// A coldConv holds what a conversation comes to need by limits, deletions,
// receipts or age. It is made when a field of it is first set.
type coldConv struct {
	extra  uint32 // 1 + index into user.extras, 0 = none
	floor  uint64 // entries up to here left the queue without being read
	hidden uint64 // not in recents while its newest message is not above this

	changed     uint64 // arrival number of the newest change but reads
	peerRead    uint64 // the peer has read up to this seq
	peerReadAt  uint64
	peerReadMS  int64
	deletedAt   uint64 // of the last deletion of the entry alone
	deletedBy   command.SessionID
	wiped       uint64 // seqs up to here were deleted with the conversation
	wipedAt     uint64
	wipedBy     command.SessionID
	receipted   uint64 // the peer's own seq up to which he was told that it is read
	gonePeer    uint64 // the peer's seq of the newest incoming message that left the log
	gonePeerSeq uint64 // its seq here
	goneFrom    uint64 // from here to gonePeerSeq all were incoming, one after the other
	setAt       uint64 // arrival number of the last change of the user's settings
	blockAt     uint64 // of the last time that he blocked the peer or let him in again

	// Derived.
	aged      uint64 // entries up to here are too old for the queue
	soonest   int64  // ms, not after the first end of a ttl in the queue; 0 = none has one
	queueHead uint64 // arrival number of the queue's oldest message; 0 = not looked up
	reported  uint64 // up to this seq the peer has his receipts
}

var noCold coldConv // never written

// cold gives what a conversation rarely has, for reading.
func (u *user) cold(c *conv) *coldConv {
	if c.cold == 0 {
		return &noCold
	}
	return &u.colds.items[c.cold-1]
}

// warm gives the same for writing, making it if need be.
func (s *State) warm(u *user, c *conv) *coldConv {
	if c.cold == 0 {
		s.frees(u)
		u.colds.add(s.arena, coldConv{})
		c.cold = uint32(len(u.colds.items))
	}
	return &u.colds.items[c.cold-1]
}

// An extra holds what few conversations need. A snapshot may share the lists.
type extra struct {
	marks  list[mark]    // by seq; of entries that are gone at most keptMarks
	lost   list[lostRun] // by seq
	gone   list[goneRun] // older runs of gone seqs, by seq; the newest is conv.gone
	shared bool          // the lists must be copied before they change
}

// A mark says that a message was recalled or deleted. It outlives the entry for
// a while, for devices that hold a copy.
type mark struct {
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

var noExtra extra // never written

// extra gives a conversation's extra for reading.
func (u *user) extra(c *conv) *extra {
	if c.cold == 0 || u.colds.items[c.cold-1].extra == 0 {
		return &noExtra
	}
	return &u.extras.items[u.colds.items[c.cold-1].extra-1]
}

// rare gives a conversation's extra for writing, making it if need be.
func (s *State) rare(u *user, c *conv) *extra {
	cold := s.warm(u, c)
	s.frees(u) // here, and as the caller goes on
	if cold.extra == 0 {
		u.extras.add(s.arena, extra{})
		cold.extra = uint32(len(u.extras.items))
	}
	x := &u.extras.items[cold.extra-1]
	if x.shared {
		x.shared = false
		x.marks.replace(s.arena, x.marks.items(s.arena))
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

// find gives the index of the conversation with peer, or -1.
func (s *State) find(u *user, peer command.UserID) int {
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

// open gives the index of the conversation with peer, making it if need be.
func (s *State) open(u *user, peer command.UserID) int {
	if i := s.find(u, peer); i >= 0 {
		return i
	}
	ref := s.arena.Alloc(len(peer))
	copy(s.arena.Bytes(ref, len(peer)), peer)
	i := len(u.convs.items)
	s.frees(u)
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

// activate moves a conversation to the front of the order of activity, which
// is what reads after a cursor walk.
func (s *State) activate(u *user, i int) {
	self := uint32(i + 1)
	if u.recent == self {
		return
	}
	c := &u.convs.items[i]
	if c.newer != 0 {
		u.convs.items[c.newer-1].older = c.older
	}
	if c.older != 0 {
		u.convs.items[c.older-1].newer = c.newer
	}
	c.newer, c.older = 0, u.recent
	if u.recent != 0 {
		u.convs.items[u.recent-1].newer = self
	}
	u.recent = self
}

// changed is the arrival number of the newest change of a conversation.
func (u *user) changed(c *conv) uint64 { return max(c.readAt, u.cold(c).changed) }

// activity is the arrival number of the newest message or change.
func (u *user) activity(c *conv) uint64 { return max(c.lastArrival, u.changed(c)) }

// change gives a change of conversation i, other than a read, its arrival number.
func (s *State) change(u *user, i int) uint64 {
	at := s.arrive(u, i)
	s.warm(u, &u.convs.items[i]).changed = at
	return at
}

// arrive gives the next arrival number to something in conversation i.
func (s *State) arrive(u *user, i int) uint64 {
	u.arrival++
	s.activate(u, i)
	s.touch(u)
	return u.arrival
}

// settled makes a change of the user's settings of conversation i one that all
// his sessions are told of.
func (s *State) settled(u *user, i int) {
	at := s.change(u, i)
	s.warm(u, &u.convs.items[i]).setAt = at
}

// unmark takes back that a conversation was marked as unread.
func (s *State) unmark(u *user, i int) {
	if c := &u.convs.items[i]; c.flags&convMarked != 0 {
		c.flags &^= convMarked
		s.settled(u, i)
	}
}

func (s *State) marksOf(u *user, c *conv) []mark { return u.extra(c).marks.items(s.arena) }
