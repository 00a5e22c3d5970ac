package shard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A loader restores the users of slots from frames. If it returns an error, the state
// is left half restored and must not be used.
type loader struct {
	x     codec.Coder // reads the current frame
	s     *State
	slot  *slot
	u     *user    // the user being restored, or nil
	stage byte     // kind of the last frame of the user; 0 = none
	conv  int      // index of the conversation restored last
	last  uint64   // arrival number of that conversation's newest entry
	order []uint32 // used by finish, kept for its memory
	err   error    // why the last user as a whole is malformed

	hooks    *hookQueue // takes records for webhooks of the slot; nil = there must be none
	arriving *arriving  // takes the users, in place of older copies of them, if it is not nil
	outdated bool       // queue totals are those of other limits
}

// frame restores one frame. It returns an error if the frame is malformed or out of
// order.
func (l *loader) frame(b []byte) error {
	l.x = codec.NewReader(b)
	x := &l.x
	kind := x.Decoder.Byte()
	switch {
	case kind == frameUser:
		l.finish()
		l.user(x)
	case kind == frameMemberships && (l.stage == frameUser || l.stage == frameMemberships):
		l.memberships(x)
	case kind == frameGroup && l.stage == frameUser:
		l.group(x)
	case kind == frameMembers && (l.stage == frameGroup || l.stage == frameMembers):
		l.members(x)
	case kind == frameGroupLetters && l.stage >= frameGroup && l.stage <= frameGroupLetters:
		l.groupLetters(x)
	case kind == frameSanctions && l.stage >= frameGroup && l.stage <= frameSanctions:
		l.sanctions(x)
	case kind == frameConv && l.stage != 0 && l.stage != frameDedup && l.stage < frameRemovedDedup:
		l.conversation(x)
	case kind == frameLog && (l.stage == frameConv || l.stage == frameLog):
		l.entries(x)
	case kind == frameHookRecords && l.hooks != nil:
		l.finish()
		l.hooks.decode(&x.Decoder)
		kind = 0 // not a frame of a user
	case kind == frameLetters && l.stage >= frameConv && l.stage <= frameLetters:
		l.letters(x)
	case kind == frameDedup && l.stage != 0 && l.stage < frameRemovedDedup:
		l.dedup(&l.u.dedup, x)
	case kind == frameRemovedDedup && l.stage != 0 && l.stage < frameSettings:
		l.dedup(&l.u.removedDedup, x)
	case kind == frameSettings && l.stage != 0 && l.stage < frameSettings:
		l.settings(x)
	case kind == frameImports && l.stage != 0:
		l.imports(x)
	default:
		x.Fail(codec.ErrMalformed)
	}
	l.stage = kind
	if l.err != nil {
		return l.err
	}
	if err := x.End(); err != nil {
		if l.u != nil {
			return fmt.Errorf("user %q: %w", l.u.name, err)
		}
		return err
	}
	return nil
}

// finish derives the fields of the user being restored that are not in frames. It sets
// l.err if the user as a whole is malformed.
func (l *loader) finish() {
	u := l.u
	l.u, l.stage = nil, 0
	if u == nil {
		return
	}
	if isGroup := strings.HasPrefix(string(u.name), command.GroupPrefix); isGroup != (u.group != nil) || isGroup && len(u.convs.items) != 1 {
		l.err = fmt.Errorf("user %q: %w", u.name, codec.ErrMalformed)
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
	if l.arriving != nil {
		l.arriving.sum += l.s.userSum(u)
	}
}

func (l *loader) user(x *codec.Coder) {
	var name command.UserID
	command.Key(x, &name)
	if l.arriving != nil && x.Err == nil {
		l.s.removeArrived(l.arriving, name)
	}
	if x.Err != nil || name == "" || l.s.inSlot(l.slot, name) != nil {
		x.Fail(codec.ErrMalformed)
		return
	}
	l.u = l.s.newUser(l.slot, name)
	l.s.holdFor(l.u)
	l.u.fields(x)
	if outdated := x.Decoder.Bool(); outdated || l.outdated {
		l.u.expiryRules--
	}
	last := command.SessionID(0)
	for i, ss := range l.u.sessions {
		if i > 0 && ss.number <= last {
			x.Fail(codec.ErrMalformed)
		}
		last = ss.number
	}
}

func (l *loader) conversation(x *codec.Coder) {
	s, u := l.s, l.u
	var peer command.UserID
	peer.Fields(x)
	if x.Err != nil || s.findConv(u, peer) >= 0 {
		x.Fail(codec.ErrMalformed)
		return
	}
	l.conv, l.last = s.openConv(u, peer), 0
	c := &u.convs.items[l.conv]
	var has byte
	c.fields(x, &has)
	c.flags &^= convImported
	s.addQueued(u, c, int(x.Decoder.UintMax(1<<31)), int(x.Decoder.UintMax(1<<31)))
	if c.flags&convBlocked != 0 {
		u.blockedUsers++
	}
	if has&convHasCold != 0 {
		s.coldMut(u, c).fields(x)
	}
	if has&convHasExtra != 0 {
		s.extraMut(u, c).fields(x, s.arena)
	}
	first := x.Decoder.Uint()
	if first == 0 || first > 1<<53 || first > 1 && (c.goneReason < firstStoredGap || c.goneReason > lastStoredGap) {
		x.Fail(codec.ErrMalformed)
		return
	}
	c.log.Reset(s.arena, first)
	l.entries(x)
}

func (l *loader) entries(x *codec.Coder) {
	s, u := l.s, l.u
	c := &u.convs.items[l.conv]
	s.holdFor(u)
	var e ring.Entry
	for len(x.B) > 0 {
		n, err := ring.DecodeEntry(x.B, &e)
		if err != nil || e.Arrival <= l.last || e.Arrival > u.arrival {
			x.Fail(codec.ErrMalformed)
			return
		}
		l.last = e.Arrival
		c.log.AppendEncoded(s.arena, x.B[:n], e.Arrival, len(x.B)-n)
		x.B = x.B[n:]
		u.bytes += n
		u.oldest = min(u.oldest, e.Time)
		s.byAge.add(e.Time, n)
		if u.group != nil && e.TTL != 0 {
			e.Seq = c.log.Next() - 1
			s.addTTLEnd(u.group, &e)
		}
		if e.Flags&ring.Own == 0 {
			s.noteTTLEnd(u, c, &e) // an entry outside the queue may make earliestTTLEnd too early, which is allowed
		}
	}
}

func (l *loader) letters(x *codec.Coder) {
	u := l.u
	c := &u.convs.items[l.conv]
	for len(x.B) > 0 {
		b := slices.Clone(x.Decoder.Bytes())
		letter, err := command.DecodeLetter(b)
		if err != nil || letter.From != u.name || string(letter.To) != string(l.s.peer(c)) {
			x.Fail(codec.ErrMalformed)
			return
		}
		if c.outbox == 0 {
			c.outbox = u.newOutQueue(letter.To, letter.Number)
		}
		q := &u.outbox[c.outbox-1]
		if letter.Number != q.first+uint64(len(q.bytes)) {
			x.Fail(codec.ErrMalformed)
			return
		}
		q.bytes = append(q.bytes, b)
		l.s.letterBytes += len(b)
	}
}

func (l *loader) dedup(w *dedupWindow, x *codec.Coder) {
	for len(x.B) > 0 {
		var r dedupRecord
		if r.fields(x); x.Err == nil {
			l.s.addDedup(w, &r)
		}
	}
}

func (l *loader) settings(x *codec.Coder) {
	var a account
	a.fields(x)
	if a.historyTTL < 0 || a.historyTTL > command.MaxHistoryTTL.Milliseconds() {
		x.Fail(codec.ErrMalformed)
		return
	}
	l.s.setAccount(l.u, a)
	l.u.tokenFields(x)
}

func (l *loader) imports(x *codec.Coder) {
	u := l.u
	for len(x.B) > 0 {
		var rec importRecord
		rec.fields(x)
		marks := u.imports.items
		if x.Err != nil || int(rec.conv) >= len(u.convs.items) || rec.row == 0 || len(marks) > 0 && marks[len(marks)-1].conv >= rec.conv {
			x.Fail(codec.ErrMalformed)
			return
		}
		l.s.setImport(u, int(rec.conv), rec)
	}
}
