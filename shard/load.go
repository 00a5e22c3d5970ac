package shard

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A loader restores users from frames into a slot. After an error it leaves garbage in
// the arena, so that the state must be given up.
type loader struct {
	s     *State
	slot  *slot
	u     *user    // the user being restored, nil = none
	stage byte     // kind of the last frame of the user; 0 = none
	conv  int      // index of the last conversation
	last  uint64   // arrival number of its newest entry
	order []uint32 // scratch space of finish
	err   error    // what was wrong with the last user as a whole
}

// frame restores one frame. It refuses frames that are malformed or out of order.
func (l *loader) frame(d command.Decoder) error {
	kind := d.Byte()
	switch {
	case kind == frameUser:
		l.finish()
		l.user(&d)
	case kind == frameMemberships && (l.stage == frameUser || l.stage == frameMemberships):
		l.memberships(&d)
	case kind == frameGroup && l.stage == frameUser:
		l.group(&d)
	case kind == frameMembers && (l.stage == frameGroup || l.stage == frameMembers):
		l.members(&d)
	case kind == frameGroupLetters && l.stage >= frameGroup && l.stage <= frameGroupLetters:
		l.groupLetters(&d)
	case kind == frameSanctions && l.stage >= frameGroup && l.stage <= frameSanctions:
		l.sanctions(&d)
	case kind == frameConv && l.stage != 0 && l.stage != frameDedup && l.stage < frameRemovedDedup:
		l.conversation(&d)
	case kind == frameLog && (l.stage == frameConv || l.stage == frameLog):
		l.entries(&d)
	case kind == frameHookRecords && l.u == nil:
		if l.s.frozenHooks[l.slot] == nil {
			l.s.setFrozenHooks(l.slot, &hookQueue{limit: math.MaxInt32})
		}
		l.s.frozenHooks[l.slot].decode(&d)
		kind = 0 // not a frame of a user
	case kind == frameLetters && l.stage >= frameConv && l.stage <= frameLetters:
		l.letters(&d)
	case kind == frameDedup && l.stage != 0 && l.stage < frameRemovedDedup:
		l.dedup(&l.u.dedup, &d)
	case kind == frameRemovedDedup && l.stage != 0 && l.stage < frameSettings:
		l.dedup(&l.u.removedDedup, &d)
	case kind == frameSettings && l.stage != 0 && l.stage < frameSettings:
		l.settings(&d)
	case kind == frameImports && l.stage != 0:
		l.imports(&d)
	default:
		d.Fail(command.ErrMalformed)
	}
	l.stage = kind
	if l.err != nil {
		return l.err
	}
	if err := d.End(); err != nil {
		if l.u != nil {
			return fmt.Errorf("user %q: %w", l.u.name, err)
		}
		return err
	}
	return nil
}

// finish completes the user being restored with what is derived.
func (l *loader) finish() {
	u := l.u
	l.u, l.stage = nil, 0
	if u == nil {
		return
	}
	if isGroup := strings.HasPrefix(string(u.name), command.GroupPrefix); isGroup != (u.group != nil) || isGroup && len(u.convs.items) != 1 {
		l.err = fmt.Errorf("user %q: %w", u.name, command.ErrMalformed)
		return
	}
	if u.group != nil {
		l.s.countHeapBytes(u.group)
	}
	if u.removedDedup.head != 0 {
		u.oldest = min(u.oldest, l.s.oldestDedup(&u.removedDedup))
	}
	order := l.order[:0]
	for i := range u.convs.items {
		if u.lastActivity(&u.convs.items[i]) > 0 {
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(i, j uint32) int {
		return cmp.Compare(u.lastActivity(&u.convs.items[i]), u.lastActivity(&u.convs.items[j]))
	})
	for _, i := range order {
		l.s.moveToFront(u, int(i))
	}
	l.order = order
}

func (l *loader) user(d *command.Decoder) {
	name, _ := d.Key()
	if d.Err != nil || name == "" || l.s.inSlot(l.slot, name) != nil {
		d.Fail(command.ErrMalformed)
		return
	}
	u := l.s.newUser(l.slot, name)
	l.u = u
	u.arrival, u.lastSession, u.lastSeen = d.Uint(), command.SessionID(d.Uint()), d.Int()
	u.hourStart, u.hourOpened, u.opened = d.Int(), uint32(d.UintMax(math.MaxUint32)), uint32(d.UintMax(math.MaxUint32))
	sessions := d.Count(5)
	u.sessions = make([]session, 0, sessions)
	for range sessions {
		ss := session{number: command.SessionID(d.Uint()), device: d.Text(command.MaxName), platform: d.Text(command.MaxName), loginMS: d.Int()}
		for range d.Count(3) {
			ss.answers = append(ss.answers, answer{request: d.Request(), unread: int(d.UintMax(1 << 40))})
		}
		if n := len(u.sessions); n > 0 && u.sessions[n-1].number >= ss.number || len(ss.answers) > keptAnswers {
			d.Fail(command.ErrMalformed)
		}
		u.sessions = append(u.sessions, ss)
	}
}

func (l *loader) conversation(d *command.Decoder) {
	s, u := l.s, l.u
	peer := d.User()
	if d.Err != nil || s.findConv(u, peer) >= 0 {
		d.Fail(command.ErrMalformed)
		return
	}
	l.conv, l.last = s.openConv(u, peer), 0
	c := &u.convs.items[l.conv]
	c.flags, c.goneReason = d.Byte()&^convImported, gapCode(d.Byte())
	has := d.Byte()
	if has > convHasCold|convHasExtra {
		d.Fail(command.ErrMalformed)
	}
	for _, v := range c.numbers() {
		*v = d.Uint()
	}
	c.lastTime = d.Int()
	s.addQueued(u, c, int(d.UintMax(1<<31)), int(d.UintMax(1<<31)))
	if c.flags&convBlocked != 0 {
		u.blockedUsers++
	}
	if has&convHasCold != 0 {
		cold := s.coldMut(u, c)
		for _, v := range cold.numbers() {
			*v = d.Uint()
		}
		cold.peerReadMS = d.Int()
	}
	if has&convHasExtra != 0 {
		s.extraMut(u, c).decode(s.arena, d)
	}
	first := d.Uint()
	if first == 0 || first > 1<<53 || first > 1 && (c.goneReason < gapExpired || c.goneReason > gapRecalled) {
		d.Fail(command.ErrMalformed)
		return
	}
	c.log.Reset(s.arena, first)
	l.entries(d)
}

// -
func (x *extra) decode(a *ring.Arena, d *command.Decoder) {
	decodeList(&x.tombstones, a, d, 5, func() tombstone {
		return tombstone{seq: d.Uint(), arrival: d.Uint(), by: command.SessionID(d.Uint()), reason: decodeGap(d), own: d.Bool()}
	})
	decodeList(&x.lost, a, d, 4, func() lostRun {
		return lostRun{from: d.Uint(), to: d.Uint(), count: d.Uint(), arrival: d.Uint()}
	})
	decodeList(&x.gone, a, d, 2, func() goneRun { return goneRun{to: d.Uint(), reason: decodeGap(d)} })
}

// decodeList decodes a number of items of at least size bytes each.
func decodeList[T any](l *list[T], a *ring.Arena, d *command.Decoder, size int, item func() T) {
	n := d.Count(size)
	if n == 0 {
		return
	}
	x := newArray[T](a, n)
	for range n {
		x.items = append(x.items, item())
	}
	l.set(x)
}

func (l *loader) entries(d *command.Decoder) {
	s, u := l.s, l.u
	c := &u.convs.items[l.conv]
	s.holdFor(u)
	var e ring.Entry
	for len(d.B) > 0 {
		n, err := ring.DecodeEntry(d.B, &e)
		if err != nil || e.Arrival <= l.last || e.Arrival > u.arrival {
			d.Fail(command.ErrMalformed)
			return
		}
		l.last = e.Arrival
		c.log.AppendEncoded(s.arena, d.B[:n], e.Arrival, len(d.B)-n)
		d.B = d.B[n:]
		u.bytes += n
		u.oldest = min(u.oldest, e.Time)
		s.byAge.add(e.Time, n)
		if u.group != nil && e.TTL != 0 {
			e.Seq = c.log.Next() - 1
			s.addTTLEnd(u.group, &e)
		}
		if e.Flags&ring.Own == 0 {
			s.noteTTLEnd(u, c, &e) // for an entry outside the queue it is too early, which does no harm
		}
	}
}

func (l *loader) letters(d *command.Decoder) {
	u := l.u
	c := &u.convs.items[l.conv]
	for len(d.B) > 0 {
		b := slices.Clone(d.Bytes())
		letter, err := command.DecodeLetter(b)
		if err != nil || letter.From != u.name || string(letter.To) != string(l.s.peer(c)) {
			d.Fail(command.ErrMalformed)
			return
		}
		if c.outbox == 0 {
			c.outbox = u.newOutQueue(letter.To, letter.Number)
		}
		q := &u.outbox[c.outbox-1]
		if letter.Number != q.first+uint64(len(q.bytes)) {
			d.Fail(command.ErrMalformed)
			return
		}
		q.bytes = append(q.bytes, b)
		l.s.letterBytes += len(b)
	}
}

func (l *loader) dedup(w *dedupWindow, d *command.Decoder) {
	for len(d.B) > 0 && d.Err == nil {
		r := dedupRecord{key: d.Uint(), body: d.Uint(), id: d.ID(), seq: d.Uint(), time: d.Int(), sentMS: d.Int()}
		if d.Err == nil {
			l.s.addDedup(w, &r)
		}
	}
}

func (l *loader) settings(d *command.Decoder) {
	a := account{historyTTL: d.Int(), suspended: d.Bool(), tokensFrom: d.Int(), erased: command.SessionID(d.Uint())}
	if a.historyTTL < 0 || a.historyTTL > command.MaxHistoryTTL.Milliseconds() || d.Uint() != uint64(len(l.u.sessions)) {
		d.Fail(command.ErrMalformed)
		return
	}
	l.s.setAccount(l.u, a)
	for i := range l.u.sessions {
		l.u.sessions[i].tokenMS = d.Int()
	}
}

func (l *loader) imports(d *command.Decoder) {
	u := l.u
	for len(d.B) > 0 {
		rec := importRecord{
			conv: uint32(d.UintMax(math.MaxUint32)), stream: d.Uint(), row: d.Uint(), seq: d.Uint(), arrival: d.Uint(),
		}
		marks := u.imports.items
		if d.Err != nil || int(rec.conv) >= len(u.convs.items) || rec.row == 0 || len(marks) > 0 && marks[len(marks)-1].conv >= rec.conv {
			d.Fail(command.ErrMalformed)
			return
		}
		l.s.setImport(u, int(rec.conv), rec)
	}
}

func decodeGap(d *command.Decoder) gapCode {
	g := gapCode(d.Byte())
	if g < gapExpired || g > gapRecalled {
		d.Fail(command.ErrMalformed)
	}
	return g
}
