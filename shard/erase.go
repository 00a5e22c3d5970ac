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
	u := s.userMut(sl, c.User, false)
	if u == nil {
		return
	}
	if c.From == 0 {
		s.endSessions(u, r, func(*session) string { return "admin" })
		u.lastSeen, u.hourStart, u.hourOpened, u.opened = 0, 0, 0, 0
		ttl := s.historyTTL(u)
		if s.setAccount(u, account{erased: u.lastSession}); s.historyTTL(u) != ttl {
			s.recountAllQueues(u)
		}
		s.purgeDue(u) // expired messages leave their logs before the dedup records are freed
		s.freeDedup(u, &u.dedup)
		s.freeDedup(u, &u.removedDedup)
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
	s.losses.forget(c.User)
	if u.idle() {
		number, _ := sl.users.find(s.userHash(u.name), func(n uint32) bool { return s.userAt(n) == u })
		s.removeUser(sl, number)
	}
}

// eraseConv removes all of a conversation that EraseUser does not keep. It removes at
// most that many entries of the log, and returns how many it removed, and whether all
// are gone.
func (s *State) eraseConv(u *user, i, most int) (removed int, done bool) {
	c := &u.convs.items[i]
	newest := c.log.Next() - 1
	s.addQueued(u, c, -int(c.queued), -int(c.queuedBytes))
	c.lastArrival = u.lastActivity(c) // so that the conversation keeps its place in the order of activity
	c.read, c.readArrival, c.readBy = newest, 0, 0
	s.forgetImport(u, i)
	if c.flags&convBlocked != 0 {
		u.blockedUsers--
		c.flags &^= convBlocked
		s.postLetter(u, i, &command.Letter{Kind: command.LetterUnblock, From: u.name, To: command.UserID(s.peer(c)), Time: s.now})
	}
	c.flags &= convBlockedBy // which only the peer may change
	s.holdFor(u)
	if c.coldIndex != 0 {
		cold := s.coldMut(u, c)
		if cold.extraIndex != 0 {
			x := &u.extra.items[cold.extraIndex-1]
			x.tombstones.free(s.arena)
			x.lost.free(s.arena)
			x.gone.free(s.arena)
			x.shared = false
		}
		*cold = coldConv{extraIndex: cold.extraIndex}
	}
	if newest > 0 {
		c.goneReason = gapDeleted
	}
	var e ring.Entry
	upTo := uint64(0)
	cur := c.log.Ascend(s.arena, c.log.First())
	for size := cur.NextHeader(&e); size > 0 && removed < most; size = cur.NextHeader(&e) {
		s.byAge.add(e.Time, -size)
		upTo = e.Seq
		removed++
	}
	if upTo > 0 {
		u.bytes -= c.log.Truncate(s.arena, upTo)
	}
	if c.log.Len() > 0 {
		return removed, false
	}
	c.lastTime = 0
	return removed, true
}

// freeDedup empties a window. It is faster than to forget record by record, because it
// does not keep the index up to date.
func (s *State) freeDedup(u *user, w *dedupWindow) {
	s.dedupRecords -= int(w.count)
	s.freeDedupIndex(w)
	for chunk := w.head; chunk != 0; {
		next := ring.Ref(0)
		if chunk != w.tail {
			next = chunkNext(s.arena, chunk)
		}
		s.freeDedupChunk(u, chunk)
		chunk = next
	}
	*w = dedupWindow{}
}

// eraseRest frees the arrays of coldConvs and extras once all conversations are erased,
// unless the account is in use again by then.
func (s *State) eraseRest(u *user) {
	u.due = 0
	for i := range u.cold.items {
		if cold := u.cold.items[i]; cold != (coldConv{extraIndex: cold.extraIndex}) {
			return // something was set since
		}
	}
	for i := range u.extra.items {
		if x := &u.extra.items[i]; x.tombstones.n+x.lost.n+x.gone.n > 0 {
			return
		}
	}
	for i := range u.convs.items {
		u.convs.items[i].coldIndex = 0
	}
	s.holdFor(u)
	u.cold.free(s.arena)
	u.extra.free(s.arena)
}
