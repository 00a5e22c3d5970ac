package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// What is kept of a user goes into snapshots and moves as frames, of which the
// first byte says what they hold:
//
//	user     name, counters, sessions
//	conv     a conversation, in order of index, and the first of its log
//	log      further entries of the log
//	letters  letters that wait, to the peer of the conversation
//	sent     records of the dedupe window, after all conversations
//	past     records of what left the logs before its time
//	settings what an administrator set, times of the sessions' tokens; if any
//	imports  what was imported into conversations
//
// and, between the first two, those of grouprecord.go.
//
// Lists end with their frame, and a frame ends past frameBytes, so that the
// largest user takes many steps. What can be derived is left out, but for the
// queue's totals, which say what limits have seen so far.
const (
	frameUser byte = iota + 1
	frameConv
	frameLog
	frameLetters
	frameSent
	frameTeams
	frameGroup
	frameMembers
	frameNotices
	frameSanctions
	framePast

	frameSettings byte = iota + 2
	frameImports
)

// frameBytes is the size from which a frame takes no more of a list.
const frameBytes = 32 << 10

// A userWalk encodes a user frame by frame.
type userWalk struct {
	u      *user
	limit  int // bytes from which a frame takes no more
	team   teamWalk
	stage  byte        // kind of the frame written last; 0 = none
	conv   int         // index of the conversation that comes or is being written
	log    ring.Cursor // what is left of its log
	next   []byte      // entry that comes, nil: the log is written
	letter int         // of the conversation's, that comes
	sent   sentCursor
	record sentRecord // that comes
	more   bool       // there is a record to come
	past   bool       // the records are those of the past
	mark   int        // import mark that comes
}

// appendNext appends the next frame to an empty b, nothing when all is written.
// Without totals the bytes depend only on what happened, not on the limits in
// force.
func (w *userWalk) appendNext(s *State, b []byte, totals bool) []byte {
	u := w.u
	switch {
	case w.stage == 0:
		w.stage = frameUser
		w.sent = u.sent.cursor()
		w.more = w.sent.next(s.arena, &w.record)
		return u.appendHeader(append(b, frameUser))
	case w.team.part < teamParts:
		if b = w.team.appendNext(s, u, b, w.limit); len(b) > 0 {
			return b // of a part of its own: what follows finds the stage as it was
		}
	}
	switch {
	case w.next != nil:
		w.stage = frameLog
		return w.appendEntries(append(b, frameLog))
	case w.stage != frameUser && w.conv < len(u.convs.items):
		if b = w.appendLetters(b); len(b) > 0 {
			w.stage = frameLetters
			return b
		}
		w.conv++
		w.letter = 0
	}
	if w.conv < len(u.convs.items) {
		w.stage = frameConv
		c := &u.convs.items[w.conv]
		b = s.appendConv(append(b, frameConv), u, c, totals)
		w.log = c.log.Ascend(s.arena, c.log.First())
		w.next = w.log.NextEncoded()
		return w.appendEntries(b)
	}
	if !w.more && !w.past {
		w.past, w.sent = true, u.past.cursor()
		w.more = w.sent.next(s.arena, &w.record)
	}
	if !w.more {
		return w.appendAccount(b)
	}
	w.stage = frameSent
	if w.past {
		w.stage = framePast
	}
	b = append(b, w.stage)
	for w.more && len(b) < w.limit {
		r := &w.record
		b = command.AppendUint(b, r.key)
		b = command.AppendUint(b, r.body)
		b = append(b, r.id[:]...)
		b = command.AppendUint(b, r.seq)
		b = command.AppendInt(b, r.time)
		b = command.AppendInt(b, r.at)
		w.more = w.sent.next(s.arena, r)
	}
	return b
}

// appendAccount appends what comes behind the dedupe window.
func (w *userWalk) appendAccount(b []byte) []byte {
	u := w.u
	if w.stage < frameSettings && u.hasSettings() {
		w.stage = frameSettings
		a := u.settings()
		b = command.AppendInt(append(b, frameSettings), a.historyTTL)
		b = command.AppendInt(command.AppendBool(b, a.suspended), a.tokensFrom)
		b = command.AppendUint(command.AppendUint(b, uint64(a.erased)), uint64(len(u.sessions)))
		for i := range u.sessions {
			b = command.AppendInt(b, u.sessions[i].issued)
		}
		return b
	}
	if w.mark == len(u.imports.items) {
		return b
	}
	w.stage = frameImports
	b = append(b, frameImports)
	for ; w.mark < len(u.imports.items) && len(b) < w.limit; w.mark++ {
		m := &u.imports.items[w.mark]
		b = command.AppendUint(command.AppendUint(b, uint64(m.conv)), m.stream)
		b = command.AppendUint(command.AppendUint(command.AppendUint(b, m.row), m.seq), m.arrival)
	}
	return b
}

// hasSettings tells whether there is anything for a frame of settings.
func (u *user) hasSettings() bool {
	return u.account != nil || slices.ContainsFunc(u.sessions, func(ss session) bool { return ss.issued != 0 })
}

func (w *userWalk) appendEntries(b []byte) []byte {
	for w.next != nil && len(b) < w.limit {
		b = append(b, w.next...)
		w.next = w.log.NextEncoded()
	}
	return b
}

func (w *userWalk) appendLetters(b []byte) []byte {
	c := &w.u.convs.items[w.conv]
	if c.outbox == 0 {
		return b
	}
	letters := w.u.outbox[c.outbox-1].bytes
	if w.letter == len(letters) {
		return b
	}
	b = append(b, frameLetters)
	for ; w.letter < len(letters) && len(b) < w.limit; w.letter++ {
		b = command.AppendBytes(b, letters[w.letter])
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
		b = command.AppendInt(b, ss.at)
		b = command.AppendUint(b, uint64(len(ss.answers)))
		for _, a := range ss.answers {
			b = command.AppendRequest(b, a.request)
			b = command.AppendUint(b, uint64(a.unread))
		}
	}
	return b
}

// A conversation says which of its parts are not zero.
const (
	convHasCold  = 1
	convHasExtra = 2
)

func (s *State) appendConv(b []byte, u *user, c *conv, totals bool) []byte {
	cold, x := *u.cold(c), u.extra(c)
	has := byte(0)
	if cold.forget(); cold != (coldConv{}) {
		has |= convHasCold
	}
	if x.marks.n+x.lost.n+x.gone.n > 0 {
		has |= convHasExtra
	}
	b = command.AppendBytes(b, s.peer(c))
	b = append(b, c.flags, byte(c.gone), has)
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
	b = command.AppendUint(b, uint64(x.marks.n))
	for _, m := range x.marks.items(a) {
		b = command.AppendUint(b, m.seq)
		b = command.AppendUint(b, m.arrival)
		b = command.AppendUint(b, uint64(m.by))
		b = append(b, byte(m.reason))
		b = command.AppendBool(b, m.own)
	}
	b = command.AppendUint(b, uint64(x.lost.n))
	for _, l := range x.lost.items(a) {
		b = command.AppendUint(b, l.from)
		b = command.AppendUint(b, l.to)
		b = command.AppendUint(b, l.count)
		b = command.AppendUint(b, l.arrival)
	}
	b = command.AppendUint(b, uint64(x.gone.n))
	for _, g := range x.gone.items(a) {
		b = command.AppendUint(b, g.to)
		b = append(b, byte(g.reason))
	}
	return b
}

// numbers lists the plain counters in the order of the encoding.
func (c *conv) numbers() [6]*uint64 {
	return [...]*uint64{&c.read, &c.readAt, (*uint64)(&c.readBy), &c.lastArrival, &c.lettersOut, &c.lettersIn}
}

func (c *coldConv) numbers() [16]*uint64 {
	return [...]*uint64{
		&c.floor, &c.hidden, &c.changed, &c.peerRead, &c.peerReadAt, &c.deletedAt, (*uint64)(&c.deletedBy),
		&c.wiped, &c.wipedAt, (*uint64)(&c.wipedBy), &c.receipted, &c.gonePeer, &c.gonePeerSeq, &c.goneFrom,
		&c.setAt, &c.blockAt,
	}
}

// forget clears what is derived, or of this process alone.
func (c *coldConv) forget() { c.extra, c.aged, c.soonest, c.queueHead, c.reported = 0, 0, 0, 0, 0 }
