package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyEraseUser(c *command.EraseUser, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	u := s.mutate(sl, c.User, false)
	if u == nil {
		return
	}
	if c.From == 0 {
		s.endSessions(u, r, func(*session) string { return "admin" })
		u.lastSeen, u.hourStart, u.hourOpened, u.opened = 0, 0, 0, 0
		ttl := s.historyTTL(u)
		if s.setAccount(u, account{erased: u.lastSession}); s.historyTTL(u) != ttl {
			s.recountAll(u)
		}
		s.purgeDue(u) // what has left a log is forgotten now, and the rest with its conversation
		s.eraseSent(u, &u.sent)
		s.eraseSent(u, &u.past)
	}
	work := max(int(c.MaxWork), 1)
	first := max(int(c.From), 1) - 1
	for i := first; i < len(u.convs.items); i++ {
		if work <= 0 {
			r.Seq = uint64(i + 1)
			return
		}
		removed, done := s.eraseConv(u, i, work)
		if work -= 1 + removed; !done {
			r.Seq = uint64(i + 1)
			return
		}
	}
	s.eraseRest(u)
	if u.idle() {
		number, _ := sl.users.find(s.userHash(u.name), func(n uint32) bool { return s.user(n) == u })
		s.forgetUser(sl, number)
	}
}

// eraseConv makes a stub of a conversation. Of its entries, it removes as many
// as it may at a time, and is done when none is left.
func (s *State) eraseConv(u *user, i, most int) (removed int, done bool) {
	c := &u.convs.items[i]
	newest := c.log.Next() - 1
	s.count(u, c, -int(c.queued), -int(c.queuedBytes))
	c.lastArrival = u.activity(c) // the order of activity stays
	c.read, c.readAt, c.readBy = newest, 0, 0
	s.forgetImport(u, i)
	if c.flags&convBlocked != 0 {
		u.blocked--
		c.flags &^= convBlocked
		s.post(u, i, &command.Letter{Kind: command.LetterUnblock, From: u.name, To: command.UserID(s.peer(c)), Time: s.now})
	}
	c.flags &= convBlockedBy // the peer's wish
	s.frees(u)
	if c.cold != 0 {
		cold := s.warm(u, c)
		if cold.extra != 0 {
			x := &u.extras.items[cold.extra-1]
			x.marks.free(s.arena)
			x.lost.free(s.arena)
			x.gone.free(s.arena)
			x.shared = false
		}
		*cold = coldConv{extra: cold.extra}
	}
	if newest > 0 {
		c.gone = gapDeleted
	}
	var e ring.Entry
	upTo := uint64(0)
	cur := c.log.Ascend(s.arena, c.log.First())
	for size := cur.NextHeader(&e); size > 0 && removed < most; size = cur.NextHeader(&e) {
		s.ages.add(e.Time, -size)
		upTo = e.Seq
		removed++
	}
	if upTo > 0 {
		u.bytes -= c.log.Evict(s.arena, upTo)
	}
	if c.log.Len() > 0 {
		return removed, false
	}
	c.lastTime = 0
	return removed, true
}

// eraseSent empties a window at once: its index need not be kept up
// with records that all go.
func (s *State) eraseSent(u *user, w *sentWindow) {
	s.sentRecords -= int(w.count)
	s.dropIndex(w)
	for chunk := w.head; chunk != 0; {
		next := ring.Ref(0)
		if chunk != w.tail {
			next = chunkNext(s.arena, chunk)
		}
		s.freeChunk(u, chunk)
		chunk = next
	}
	*w = sentWindow{}
}

// eraseRest gives back what stubs have no use for.
func (s *State) eraseRest(u *user) {
	u.due = 0
	for i := range u.colds.items {
		if cold := u.colds.items[i]; cold != (coldConv{extra: cold.extra}) {
			return // the account is in use again
		}
	}
	for i := range u.extras.items {
		if x := &u.extras.items[i]; x.marks.n+x.lost.n+x.gone.n > 0 {
			return
		}
	}
	for i := range u.convs.items {
		u.convs.items[i].cold = 0
	}
	s.frees(u)
	u.colds.free(s.arena)
	u.extras.free(s.arena)
}
