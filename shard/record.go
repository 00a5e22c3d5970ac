package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// What is kept of a user goes into snapshots and moves as frames. The first byte says
// what a frame holds:
//
//	user     name, counters, sessions
//	conv     a conversation, in order of index, and the first entries of its log
//	log      further entries of that log
//	letters  letters that wait for the peer of that conversation
//	dedup    records of the dedup window, after all conversations
//	removed  the same for messages that left the logs before their time
//	settings what an administrator has set, times of the sessions' tokens; if any
//	imports  what was imported into conversations
//
// Between the first two come those of grouprecord.go. A list ends with its frame, and
// a frame ends when it is longer than frameBytes, so that the largest user is written
// in many steps. What can be derived is left out, except for the queue totals, which
// say what limits have seen so far.
const (
	frameUser byte = iota + 1
	frameConv
	frameLog
	frameLetters
	frameDedup
	frameMemberships
	frameGroup
	frameMembers
	frameGroupLetters
	frameSanctions
	frameRemovedDedup

	frameSettings byte = iota + 2
	frameImports
)

// frameBytes is the size beyond which a frame takes no more items of a list.
const frameBytes = 32 << 10

// A userEncoder encodes a user frame by frame.
type userEncoder struct {
	u        *user
	limit    int // bytes beyond which a frame takes no more items
	group    groupEncoder
	stage    byte        // kind of the last frame; 0 = none
	conv     int         // index of the conversation being encoded, or the next one
	log      ring.Cursor // rest of its log
	next     []byte      // next entry of the log, nil = none is left
	letter   int         // index of the conversation's next letter
	sent     dedupCursor // rest of the dedup records
	record   dedupRecord // next dedup record
	more     bool        // record is to be encoded
	removed  bool        // the dedup records are those of removed messages
	imported int         // index of the next import record
}

// appendNext appends the next frame to an empty b, or nothing when the user is
// written. Without totals the bytes depend only on what happened, not on the limits in
// force.
func (enc *userEncoder) appendNext(s *State, b []byte, totals bool) []byte {
	u := enc.u
	switch {
	case enc.stage == 0:
		enc.stage = frameUser
		enc.sent = u.dedup.cursor()
		enc.more = enc.sent.next(s.arena, &enc.record)
		return u.appendHeader(append(b, frameUser))
	case enc.group.section < groupSections:
		if b = enc.group.appendNext(s, u, b, enc.limit); len(b) > 0 {
			return b // these sections do not change the stage
		}
	}
	switch {
	case enc.next != nil:
		enc.stage = frameLog
		return enc.appendEntries(append(b, frameLog))
	case enc.stage != frameUser && enc.conv < len(u.convs.items):
		if b = enc.appendLetters(b); len(b) > 0 {
			enc.stage = frameLetters
			return b
		}
		enc.conv++
		enc.letter = 0
	}
	if enc.conv < len(u.convs.items) {
		enc.stage = frameConv
		c := &u.convs.items[enc.conv]
		b = s.appendConv(append(b, frameConv), u, c, totals)
		enc.log = c.log.Ascend(s.arena, c.log.First())
		enc.next = enc.log.NextEncoded()
		return enc.appendEntries(b)
	}
	if !enc.more && !enc.removed {
		enc.removed, enc.sent = true, u.removedDedup.cursor()
		enc.more = enc.sent.next(s.arena, &enc.record)
	}
	if !enc.more {
		return enc.appendAccount(b)
	}
	enc.stage = frameDedup
	if enc.removed {
		enc.stage = frameRemovedDedup
	}
	b = append(b, enc.stage)
	for enc.more && len(b) < enc.limit {
		r := &enc.record
		b = command.AppendUint(b, r.key)
		b = command.AppendUint(b, r.body)
		b = append(b, r.id[:]...)
		b = command.AppendUint(b, r.seq)
		b = command.AppendInt(b, r.time)
		b = command.AppendInt(b, r.sentMS)
		enc.more = enc.sent.next(s.arena, r)
	}
	return b
}

// appendAccount appends the next frame of those after the dedup records.
func (enc *userEncoder) appendAccount(b []byte) []byte {
	u := enc.u
	if enc.stage < frameSettings && u.hasSettings() {
		enc.stage = frameSettings
		a := u.accountOrZero()
		b = command.AppendInt(append(b, frameSettings), a.historyTTL)
		b = command.AppendInt(command.AppendBool(b, a.suspended), a.tokensFrom)
		b = command.AppendUint(command.AppendUint(b, uint64(a.erased)), uint64(len(u.sessions)))
		for i := range u.sessions {
			b = command.AppendInt(b, u.sessions[i].tokenMS)
		}
		return b
	}
	if enc.imported == len(u.imports.items) {
		return b
	}
	enc.stage = frameImports
	b = append(b, frameImports)
	for ; enc.imported < len(u.imports.items) && len(b) < enc.limit; enc.imported++ {
		rec := &u.imports.items[enc.imported]
		b = command.AppendUint(command.AppendUint(b, uint64(rec.conv)), rec.stream)
		b = command.AppendUint(command.AppendUint(command.AppendUint(b, rec.row), rec.seq), rec.arrival)
	}
	return b
}

// hasSettings reports whether the user needs a frame of settings.
func (u *user) hasSettings() bool {
	return u.account != nil || slices.ContainsFunc(u.sessions, func(ss session) bool { return ss.tokenMS != 0 })
}

func (enc *userEncoder) appendEntries(b []byte) []byte {
	for enc.next != nil && len(b) < enc.limit {
		b = append(b, enc.next...)
		enc.next = enc.log.NextEncoded()
	}
	return b
}

func (enc *userEncoder) appendLetters(b []byte) []byte {
	c := &enc.u.convs.items[enc.conv]
	if c.outbox == 0 {
		return b
	}
	letters := enc.u.outbox[c.outbox-1].bytes
	if enc.letter == len(letters) {
		return b
	}
	b = append(b, frameLetters)
	for ; enc.letter < len(letters) && len(b) < enc.limit; enc.letter++ {
		b = command.AppendBytes(b, letters[enc.letter])
	}
	return b
}

func (u *user) appendHeader(b []byte) []byte {
	b = command.AppendBytes(b, u.name)
	b = command.AppendUint(b, u.arrival)
	b = command.AppendUint(b, uint64(u.lastSession))
	b = command.AppendInt(b, u.lastSeen)
	b = command.AppendInt(b, u.hourStart)
	b = command.AppendUint(b, uint64(u.hourOpened))
	b = command.AppendUint(b, uint64(u.opened))
	b = command.AppendUint(b, uint64(len(u.sessions)))
	for i := range u.sessions {
		ss := &u.sessions[i]
		b = command.AppendUint(b, uint64(ss.number))
		b = command.AppendBytes(b, ss.device)
		b = command.AppendBytes(b, ss.platform)
		b = command.AppendInt(b, ss.loginMS)
		b = command.AppendUint(b, uint64(len(ss.answers)))
		for _, a := range ss.answers {
			b = command.AppendRequest(b, a.request)
			b = command.AppendUint(b, uint64(a.unread))
		}
	}
	return b
}

// Flags of an encoded conversation: which of its parts follow.
const (
	convHasCold  = 1
	convHasExtra = 2
)

func (s *State) appendConv(b []byte, u *user, c *conv, totals bool) []byte {
	cold, x := *u.coldOf(c), u.extraOf(c)
	has := byte(0)
	if cold.clearDerived(); cold != (coldConv{}) {
		has |= convHasCold
	}
	if x.tombstones.n+x.lost.n+x.gone.n > 0 {
		has |= convHasExtra
	}
	b = command.AppendBytes(b, s.peer(c))
	b = append(b, c.flags, byte(c.goneReason), has)
	for _, v := range c.numbers() {
		b = command.AppendUint(b, *v)
	}
	b = command.AppendInt(b, c.lastTime)
	if totals {
		b = command.AppendUint(b, uint64(c.queued))
		b = command.AppendUint(b, uint64(c.queuedBytes))
	}
	if has&convHasCold != 0 {
		for _, v := range cold.numbers() {
			b = command.AppendUint(b, *v)
		}
		b = command.AppendInt(b, cold.peerReadMS)
	}
	if has&convHasExtra != 0 {
		b = x.append(s.arena, b)
	}
	return command.AppendUint(b, c.log.First())
}

func (x *extra) append(a *ring.Arena, b []byte) []byte {
	b = command.AppendUint(b, uint64(x.tombstones.n))
	for _, t := range x.tombstones.items(a) {
		b = command.AppendUint(b, t.seq)
		b = command.AppendUint(b, t.arrival)
		b = command.AppendUint(b, uint64(t.by))
		b = append(b, byte(t.reason))
		b = command.AppendBool(b, t.own)
	}
	b = command.AppendUint(b, uint64(x.lost.n))
	for _, run := range x.lost.items(a) {
		b = command.AppendUint(b, run.from)
		b = command.AppendUint(b, run.to)
		b = command.AppendUint(b, run.count)
		b = command.AppendUint(b, run.arrival)
	}
	b = command.AppendUint(b, uint64(x.gone.n))
	for _, run := range x.gone.items(a) {
		b = command.AppendUint(b, run.to)
		b = append(b, byte(run.reason))
	}
	return b
}

// numbers lists the counters in the order of the encoding.
func (c *conv) numbers() [6]*uint64 {
	return [...]*uint64{&c.read, &c.readArrival, (*uint64)(&c.readBy), &c.lastArrival, &c.lettersOut, &c.lettersIn}
}

func (c *coldConv) numbers() [16]*uint64 {
	return [...]*uint64{
		&c.queueFloor, &c.unlistedTo, &c.changeArrival, &c.peerRead, &c.peerReadArrival, &c.unlistedArrival, (*uint64)(&c.unlistedBy),
		&c.clearedTo, &c.clearedArrival, (*uint64)(&c.clearedBy), &c.receiptSent, &c.goneIncomingPeerSeq, &c.goneIncomingSeq, &c.goneIncomingFrom,
		&c.settingsArrival, &c.blockArrival,
	}
}

// clearDerived clears the fields that are derived, or that mean something in this
// process alone.
func (c *coldConv) clearDerived() {
	c.extraIndex, c.agedOutTo, c.earliestTTLEnd, c.queueHead, c.receiptsThrough = 0, 0, 0, 0, 0
}
