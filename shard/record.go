package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// Users are written as frames, into snapshots and for moves of slots. The first byte of
// a frame says what it holds:
//
//	user     name, counters, sessions, whether the queue totals are outdated
//	conv     one conversation (they come in order of index) and the first entries of its log
//	log      further entries of that log
//	letters  waiting letters to the peer of that conversation
//	dedup    records of the dedup window, after all conversations
//	removed  dedup records of messages that left their logs early
//	settings what an administrator has set, and when the sessions' tokens were issued
//	imports  import records of conversations
//
// The frames of grouprecord.go come between user and the first conv. A list takes all of
// the rest of its frame. It goes on in another frame once the frame is longer than
// frameBytes, so that a large user is written in many steps. Fields that can be derived
// are left out, except for the queue totals: derived anew they could differ, because
// they count expired messages until the next purge.
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

// frameBytes is the size after which a frame gets no more items of a list.
const frameBytes = 32 << 10

// A userEncoder encodes the frames of a user one by one.
type userEncoder struct {
	x           codec.Coder // writes the current frame
	u           *user
	limit       int    // frame size, in bytes, after which a list goes on in another frame
	expiryRules uint32 // State.expiryRules for which queue totals are right
	group       groupEncoder
	stage       byte        // kind of the last frame; 0 = none
	conv        int         // index of the conversation being encoded, or of the next one
	log         ring.Cursor // reads the rest of its log
	nextEntry   []byte      // the log's next entry in encoded form; nil = none is left
	nextLetter  int         // index of the conversation's next letter
	dedup       dedupCursor // reads the rest of the dedup records
	record      dedupRecord // next dedup record
	hasRecord   bool        // record is still to be encoded
	removed     bool        // dedup and record are those of removedDedup
	nextImport  int         // index of the next import record
}

// appendNext appends the next frame to b, which must be empty, or nothing if all are
// written. If totals is false, it leaves the queue totals out, so that the bytes do not
// depend on the limits.
func (enc *userEncoder) appendNext(s *State, b []byte, totals bool) []byte {
	u, x := enc.u, &enc.x
	*x = codec.NewWriter(b)
	switch {
	case enc.stage == 0:
		enc.stage = frameUser
		enc.dedup = u.dedup.cursor()
		enc.hasRecord = enc.dedup.next(s.arena, &enc.record)
		x.B = codec.AppendBytes(append(x.B, frameUser), u.name)
		u.fields(x)
		if totals {
			x.B = codec.AppendBool(x.B, u.expiryRules != enc.expiryRules)
		}
		return x.B
	case enc.group.section < groupSections:
		if enc.group.appendNext(s, u, x, enc.limit); len(x.B) > 0 {
			return x.B // these sections do not change the stage
		}
	}
	switch {
	case enc.nextEntry != nil:
		enc.stage = frameLog
		return enc.appendEntries(append(x.B, frameLog))
	case enc.stage != frameUser && enc.conv < len(u.convs.items):
		if b = enc.appendLetters(x.B); len(b) > 0 {
			enc.stage = frameLetters
			return b
		}
		enc.conv++
		enc.nextLetter = 0
	}
	if enc.conv < len(u.convs.items) {
		enc.stage = frameConv
		c := &u.convs.items[enc.conv]
		x.B = append(x.B, frameConv)
		s.appendConv(x, u, c, totals)
		enc.log = c.log.Ascend(s.arena, c.log.First())
		enc.nextEntry = enc.log.NextEncoded()
		return enc.appendEntries(x.B)
	}
	if !enc.hasRecord && !enc.removed {
		enc.removed, enc.dedup = true, u.removedDedup.cursor()
		enc.hasRecord = enc.dedup.next(s.arena, &enc.record)
	}
	if !enc.hasRecord {
		return enc.appendAccount()
	}
	enc.stage = frameDedup
	if enc.removed {
		enc.stage = frameRemovedDedup
	}
	x.B = append(x.B, enc.stage)
	for enc.hasRecord && len(x.B) < enc.limit {
		enc.record.fields(x)
		enc.hasRecord = enc.dedup.next(s.arena, &enc.record)
	}
	return x.B
}

// appendAccount appends the next frame of settings or imports, or nothing if all are
// written.
func (enc *userEncoder) appendAccount() []byte {
	u, x := enc.u, &enc.x
	if enc.stage < frameSettings && u.hasSettings() {
		enc.stage = frameSettings
		x.B = append(x.B, frameSettings)
		a := *u.accountOrZero()
		a.fields(x)
		u.tokenFields(x)
		return x.B
	}
	if enc.nextImport == len(u.imports.items) {
		return x.B
	}
	enc.stage = frameImports
	x.B = append(x.B, frameImports)
	for ; enc.nextImport < len(u.imports.items) && len(x.B) < enc.limit; enc.nextImport++ {
		u.imports.items[enc.nextImport].fields(x)
	}
	return x.B
}

// hasSettings reports whether the user needs a settings frame.
func (u *user) hasSettings() bool {
	return u.account != nil || slices.ContainsFunc(u.sessions, func(ss session) bool { return ss.tokenMS != 0 })
}

func (enc *userEncoder) appendEntries(b []byte) []byte {
	for enc.nextEntry != nil && len(b) < enc.limit {
		b = append(b, enc.nextEntry...)
		enc.nextEntry = enc.log.NextEncoded()
	}
	return b
}

func (enc *userEncoder) appendLetters(b []byte) []byte {
	c := &enc.u.convs.items[enc.conv]
	if c.outbox == 0 {
		return b
	}
	letters := enc.u.outbox[c.outbox-1].bytes
	if enc.nextLetter == len(letters) {
		return b
	}
	b = append(b, frameLetters)
	for ; enc.nextLetter < len(letters) && len(b) < enc.limit; enc.nextLetter++ {
		b = codec.AppendBytes(b, letters[enc.nextLetter])
	}
	return b
}

// fields writes or reads what the user frame holds after the name.
func (u *user) fields(x *codec.Coder) {
	codec.Uint(x, &u.arrival)
	codec.Uint(x, &u.lastSession)
	codec.Int(x, &u.lastSeen)
	codec.Int(x, &u.hourStart)
	codec.Uint(x, &u.hourOpened)
	codec.Uint(x, &u.opened)
	codec.List(x, &u.sessions, 5, math.MaxInt, (*session).fields)
}

func (ss *session) fields(x *codec.Coder) {
	codec.Uint(x, &ss.number)
	codec.Text(x, &ss.device, command.MaxName)
	codec.Text(x, &ss.platform, command.MaxName)
	codec.Int(x, &ss.loginMS)
	codec.List(x, &ss.answers, 3, keptAnswers, (*answer).fields)
}

func (a *answer) fields(x *codec.Coder) {
	a.request.Fields(x)
	codec.UintMax(x, &a.unread, 1<<40)
}

func (r *dedupRecord) fields(x *codec.Coder) {
	codec.Uint(x, &r.key)
	codec.Uint(x, &r.body)
	r.id.Fields(x)
	codec.Uint(x, &r.seq)
	codec.Int(x, &r.time)
	codec.Int(x, &r.sentMS)
}

func (a *account) fields(x *codec.Coder) {
	codec.Int(x, &a.historyTTL)
	codec.Bool(x, &a.suspended)
	codec.Int(x, &a.tokensFrom)
	codec.Uint(x, &a.erased)
}

// tokenFields writes or reads when the tokens of the user's sessions were issued. The
// sessions themselves must have been read before.
func (u *user) tokenFields(x *codec.Coder) {
	if n := codec.Len(x, len(u.sessions), 1, len(u.sessions)); n != len(u.sessions) {
		x.Fail(codec.ErrMalformed)
	}
	for i := range u.sessions {
		codec.Int(x, &u.sessions[i].tokenMS)
	}
}

func (rec *importRecord) fields(x *codec.Coder) {
	codec.Uint(x, &rec.conv)
	codec.Uint(x, &rec.stream)
	codec.Uint(x, &rec.row)
	codec.Uint(x, &rec.seq)
	codec.Uint(x, &rec.arrival)
}

// Flags of an encoded conversation, for parts that only follow if they are not zero.
const (
	convHasCold  = 1
	convHasExtra = 2
)

func (s *State) appendConv(x *codec.Coder, u *user, c *conv, totals bool) {
	cold, extra := *u.coldOf(c), u.extraOf(c)
	has := byte(0)
	if cold.clearDerived(); cold != (coldConv{}) {
		has |= convHasCold
	}
	if extra.tombstones.n+extra.lost.n+extra.gone.n > 0 {
		has |= convHasExtra
	}
	x.B = codec.AppendBytes(x.B, s.peer(c))
	c.fields(x, &has)
	if totals {
		codec.Uint(x, &c.queued)
		codec.Uint(x, &c.queuedBytes)
	}
	if has&convHasCold != 0 {
		cold.fields(x)
	}
	if has&convHasExtra != 0 {
		extra.fields(x, s.arena)
	}
	x.B = codec.AppendUint(x.B, c.log.First())
}

// fields writes or reads the fields that every conversation has, and the flags of the
// parts that follow.
func (c *conv) fields(x *codec.Coder, has *byte) {
	codec.Byte(x, &c.flags)
	codec.Byte(x, &c.goneReason)
	codec.Enum(x, has, 0, convHasCold|convHasExtra)
	for _, v := range c.numbers() {
		codec.Uint(x, v)
	}
	codec.Int(x, &c.lastTime)
}

func (c *coldConv) fields(x *codec.Coder) {
	for _, v := range c.numbers() {
		codec.Uint(x, v)
	}
	codec.Int(x, &c.peerReadMS)
}

func (e *extra) fields(x *codec.Coder, a *ring.Arena) {
	listFields(&e.tombstones, x, a, 5, (*tombstone).fields)
	listFields(&e.lost, x, a, 4, (*lostRun).fields)
	listFields(&e.gone, x, a, 2, (*goneRun).fields)
}

// listFields writes or reads a list that lies in the arena; size is as in codec.List.
func listFields[T any](l *list[T], x *codec.Coder, a *ring.Arena, size int, fields func(*T, *codec.Coder)) {
	if x.Writing() {
		items := l.items(a)
		codec.List(x, &items, size, math.MaxInt, fields)
		return
	}
	n := codec.Len(x, 0, size, math.MaxInt)
	if n == 0 {
		return
	}
	array := newArray[T](a, n)
	for i := range n {
		array.items = append(array.items, *new(T))
		fields(&array.items[i], x)
	}
	l.set(array)
}

func (t *tombstone) fields(x *codec.Coder) {
	codec.Uint(x, &t.seq)
	codec.Uint(x, &t.arrival)
	codec.Uint(x, &t.by)
	codec.Enum(x, &t.reason, firstStoredGap, lastStoredGap)
	codec.Bool(x, &t.own)
}

func (run *lostRun) fields(x *codec.Coder) {
	codec.Uint(x, &run.from)
	codec.Uint(x, &run.to)
	codec.Uint(x, &run.count)
	codec.Uint(x, &run.arrival)
}

func (run *goneRun) fields(x *codec.Coder) {
	codec.Uint(x, &run.to)
	codec.Enum(x, &run.reason, firstStoredGap, lastStoredGap)
}

// numbers lists the fields that are encoded as plain numbers, in the encoding's order.
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

// clearDerived clears the fields that are derived, and the index, which only this
// process knows.
func (c *coldConv) clearDerived() {
	c.extraIndex, c.agedOutTo, c.earliestTTLEnd, c.queueHead, c.receiptsThrough = 0, 0, 0, 0, 0
}
