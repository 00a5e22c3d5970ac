package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// findMark gives the position of seq's mark, or where it would be.
func findMark(marks []mark, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(marks, seq, func(m mark, seq uint64) int {
		switch {
		case m.seq < seq:
			return -1
		case m.seq > seq:
			return 1
		}
		return 0
	})
}

// markOf gives why a held entry must not be shown, gapNone when it may.
func (s *State) markOf(u *user, c *conv, seq uint64) gapCode {
	if u.extra(c).marks.n == 0 {
		return gapNone
	}
	marks := s.marksOf(u, c)
	if i, ok := findMark(marks, seq); ok {
		return marks[i].reason
	}
	return gapNone
}

// historyTTL is how long a user's, or a group's, messages stay in history, in ms.
func (s *State) historyTTL(u *user) int64 {
	if u.team != nil {
		return s.limits.GroupTTL.Milliseconds()
	}
	return max(s.limits.HistoryTTL.Milliseconds(), u.settings().historyTTL)
}

// queueTTL is how long a user's messages stay in his queue, in ms. Nothing of a
// group is queued.
func (s *State) queueTTL(u *user) int64 {
	return min(s.limits.OfflineTTL.Milliseconds(), s.historyTTL(u))
}

// expired tells whether an entry's life in history is over.
func (s *State) expired(u *user, e *ring.Entry, now int64) bool {
	return e.Flags&ring.Expired != 0 ||
		e.Time+s.historyTTL(u) <= now ||
		e.TTL != 0 && e.Time+int64(e.TTL)*1000 <= now
}

// hiddenBy gives why an entry that the log holds is not shown.
func (s *State) hiddenBy(u *user, c *conv, e *ring.Entry, now int64) gapCode {
	if code := s.markOf(u, c, e.Seq); code != gapNone {
		return code
	}
	if s.expired(u, e, now) {
		return gapExpired
	}
	if e.Time <= s.cutoff {
		return gapEvicted
	}
	return gapNone
}

// queueFrom is the lowest seq that can be in the queue.
func (u *user) queueFrom(c *conv) uint64 {
	cold := u.cold(c)
	return max(c.read, cold.floor, cold.aged, c.log.First()-1) + 1
}

// inQueue tells whether an entry at or above queueFrom is in the offline queue.
func (s *State) inQueue(u *user, c *conv, e *ring.Entry, now int64) bool {
	return e.Time > s.cutoff && s.queueable(u, c, e, now)
}

// queueable is inQueue but for the cutoff.
func (s *State) queueable(u *user, c *conv, e *ring.Entry, now int64) bool {
	return e.Flags&ring.Own == 0 &&
		e.Time+s.limits.OfflineTTL.Milliseconds() > now &&
		s.markOf(u, c, e.Seq) == gapNone && !s.expired(u, e, now)
}

// store appends an entry to a view, gives it its place in the arrival order and
// has the user's sessions told.
func (s *State) store(u *user, i int, e *ring.Entry) {
	s.keep(u, i, e)
	s.touch(u)
}

// keep is store without a word to anybody.
func (s *State) keep(u *user, i int, e *ring.Entry) {
	c := &u.convs.items[i]
	u.arrival++
	e.Arrival = u.arrival
	e.Time = max(e.Time, c.lastTime)
	s.frees(u)
	size := c.log.Append(s.arena, e)
	if u.team != nil && e.TTL != 0 {
		s.addEnding(u.team, e)
	}
	if e.Flags&ring.Own == 0 {
		c.flags |= convHeard
	}
	u.bytes += size
	u.oldest = min(u.oldest, e.Time)
	s.ages.add(e.Time, size)
	c.lastTime, c.lastArrival = e.Time, e.Arrival
	if e.Flags&ring.Own != 0 {
		c.flags |= convWrote
	}
	s.activate(u, i)
	if e.Seq > c.read && s.queueable(u, c, e, s.now) {
		s.count(u, c, 1, size)
		s.expireBy(u, c, e)
	}
	u.due = min(u.due, s.expiry(u, e))
}

// expiry is the first time at which an entry leaves the queue or history.
func (s *State) expiry(u *user, e *ring.Entry) int64 {
	if e.Flags&ring.Expired != 0 {
		return 0
	}
	at := e.Time + s.queueTTL(u)
	if e.TTL != 0 {
		at = min(at, e.Time+int64(e.TTL)*1000)
	}
	return at
}

// expireBy notes when an entry of the queue that has a ttl will leave it.
func (s *State) expireBy(u *user, c *conv, e *ring.Entry) {
	if e.TTL != 0 {
		cold := s.warm(u, c)
		if at := e.Time + int64(e.TTL)*1000; cold.soonest == 0 || at < cold.soonest {
			cold.soonest = at
		}
	}
}

// count moves the queue's totals.
func (s *State) count(u *user, c *conv, messages, bytes int) {
	c.queued += uint32(messages)
	c.queuedBytes += uint32(bytes)
	if c.cold != 0 {
		cold := s.warm(u, c)
		if messages <= 0 {
			cold.queueHead = 0
		}
		if c.queued == 0 {
			cold.soonest = 0
		}
	}
	u.queued += messages
	u.queuedBytes += bytes
}

// recount derives a conversation's totals anew. What the cutoff has taken counts
// until it is removed, so that its removal need not look at what stays.
func (s *State) recount(u *user, c *conv) {
	messages, bytes := 0, 0
	if c.cold != 0 {
		s.warm(u, c).soonest = 0
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, u.queueFrom(c)); ; {
		size := cur.NextHeader(&e)
		if size == 0 {
			break
		}
		if s.queueable(u, c, &e, s.now) {
			messages++
			bytes += size
			s.expireBy(u, c, &e)
		}
	}
	s.count(u, c, messages-int(c.queued), bytes-int(c.queuedBytes))
}

// recountAll forgets what was counted with other lifetimes.
func (s *State) recountAll(u *user) {
	u.due = 0
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.cold != 0 {
			s.warm(u, c).aged = 0
		}
		s.recount(u, c)
	}
}

// counted tells whether the totals hold as of now: nothing they count has
// expired, or was taken by the cutoff.
func (s *State) counted(u *user, c *conv, now int64) bool {
	oldest, ok := s.unexpired(u, c, now)
	return ok && oldest > s.cutoff
}

// unexpired tells whether nothing has expired that the totals count, and the
// time of the oldest they may count. Times never fall along a log, so its oldest
// entry speaks for all but those with a ttl of their own.
func (s *State) unexpired(u *user, c *conv, now int64) (oldest int64, ok bool) {
	if c.queued == 0 {
		return math.MaxInt64, true
	}
	if soonest := u.cold(c).soonest; soonest != 0 && soonest <= now {
		return 0, false
	}
	var e ring.Entry
	life := s.queueTTL(u)
	ok = c.log.Header(s.arena, u.queueFrom(c), &e) > 0 && e.Time+life > now
	return e.Time, ok
}

// unread is the size of the queue as of now, which may be later than the last
// command: what has expired since does not count.
func (s *State) unread(u *user, c *conv, now int64) int {
	if s.counted(u, c, now) {
		return int(c.queued)
	}
	n := 0
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, u.queueFrom(c)); cur.NextHeader(&e) > 0; {
		if s.inQueue(u, c, &e, now) {
			n++
		}
	}
	return n
}

// drop removes the head of a log: all entries up to seq. Those that were shown
// till now are gone for the given reason.
func (s *State) drop(u *user, c *conv, upTo uint64, reason gapCode) {
	var e ring.Entry
	cur := c.log.Ascend(s.arena, c.log.First())
	for size := cur.NextHeader(&e); size > 0 && e.Seq <= upTo; size = cur.NextHeader(&e) {
		why := s.hiddenBy(u, c, &e, s.now)
		if why == gapNone {
			why = reason
		}
		s.noteGone(u, c, e.Seq, why)
		if e.Flags&ring.Own != 0 && reason != gapEvicted && !s.tooOld(u, e.Time) {
			s.addPast(u, c, e.Seq, reason)
		}
		if u.team != nil && e.TTL != 0 {
			s.dropEnding(u.team)
		}
		s.ages.add(e.Time, -size)
		if e.Flags&ring.Own == 0 && e.Peer != 0 {
			cold := s.warm(u, c)
			if e.Seq != cold.gonePeerSeq+1 || e.Peer != cold.gonePeer+1 {
				cold.goneFrom = e.Seq
			}
			cold.gonePeer, cold.gonePeerSeq = e.Peer, e.Seq
		}
	}
	s.frees(u)
	u.bytes -= c.log.Evict(s.arena, upTo)
	if c.log.Header(s.arena, c.log.First(), &e) > 0 {
		u.due = min(u.due, s.expiry(u, &e)) // a head now, whose end counts
	}
	// Of many marks, an eighth goes at a time: each time moves the others.
	marks := s.marksOf(u, c)
	if old, _ := findMark(marks, c.log.First()); old > keptMarks+len(marks)/(8*keptMarks)*keptMarks {
		s.rare(u, c).marks.cut(s.arena, old-keptMarks)
	}
}

// noteGone records why seq, the oldest of the log, leaves it.
func (s *State) noteGone(u *user, c *conv, seq uint64, why gapCode) {
	if seq > 1 && c.gone != why {
		gone := &s.rare(u, c).gone
		if gone.n == keptGone {
			gone.cut(s.arena, 1)
		}
		gone.insert(s.arena, int(gone.n), goneRun{to: seq - 1, reason: c.gone})
	}
	c.gone = why
}

// purge removes from a conversation what has expired: the head of its log, and
// from the queue's totals what is still history but too old for the queue.
func (s *State) purge(u *user, c *conv) {
	stale := !s.counted(u, c, s.now) // as the totals stand now, before their head goes
	var e ring.Entry
	upTo := uint64(0)
	for cur := c.log.Ascend(s.arena, c.log.First()); cur.NextHeader(&e) > 0 && s.expired(u, &e, s.now); {
		upTo = e.Seq
	}
	if upTo != 0 {
		s.drop(u, c, upTo, gapExpired)
	}
	if stale {
		s.recountAged(u, c)
	}
}

// recountAged is recount when something that was counted has expired.
func (s *State) recountAged(u *user, c *conv) {
	cutoff := s.now - s.limits.OfflineTTL.Milliseconds()
	if aged := c.log.ExpireThrough(s.arena, cutoff); aged > u.cold(c).aged {
		s.warm(u, c).aged = aged
	}
	s.recount(u, c)
}

// purgeDue purges all conversations of a user, if something he holds has
// expired since the last time.
func (s *State) purgeDue(u *user) {
	if !s.isDue(u) {
		return
	}
	for i := range u.convs.items {
		if c := &u.convs.items[i]; c.log.Len() > 0 {
			s.purge(u, c)
		}
	}
	u.due = s.nextExpiry(u)
}

func (s *State) isDue(u *user) bool {
	if u.due == 0 {
		u.due = s.nextExpiry(u)
	}
	return u.due <= s.now
}

// nextExpiry is the first time at which a purge of the user will find something.
func (s *State) nextExpiry(u *user) int64 {
	next := int64(math.MaxInt64)
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.log.Header(s.arena, c.log.First(), &e) == 0 {
			continue
		}
		at := e.Time + s.historyTTL(u)
		if e.TTL != 0 {
			at = min(at, e.Time+int64(e.TTL)*1000)
		}
		if e.Flags&ring.Expired != 0 {
			at = 0
		}
		if c.queued > 0 {
			if soonest := u.cold(c).soonest; soonest != 0 {
				at = min(at, soonest)
			}
			if c.log.Header(s.arena, u.queueFrom(c), &e) > 0 {
				at = min(at, e.Time+s.queueTTL(u))
			}
		}
		next = min(next, at)
	}
	return max(next, 1) // 0 is unknown
}

// enforce brings a user back within the offline limits and his bytes of
// history, oldest of the fullest conversation first.
func (s *State) enforce(u *user) {
	overQueue := func() bool {
		return u.queued > s.limits.OfflineMaxMessages || u.queuedBytes > s.limits.OfflineMaxBytes
	}
	most := s.limits.UserBytes
	if u.team != nil {
		most = s.limits.GroupBytes
	}
	if !overQueue() && u.bytes <= most {
		return
	}
	s.purgeDue(u)
	for u.queued > s.limits.OfflineMaxMessages {
		s.unqueueOldest(u, func(c *conv) uint32 { return c.queued })
	}
	for u.queuedBytes > s.limits.OfflineMaxBytes {
		s.unqueueOldest(u, func(c *conv) uint32 { return c.queuedBytes })
	}
	for u.bytes > most {
		s.evictOldest(u)
	}
}

// queueHead finds the oldest message of a conversation's queue and returns its
// size, 0 if the queue is empty. It reads the header alone.
func (s *State) queueHead(u *user, c *conv, e *ring.Entry) int {
	for cur := c.log.Ascend(s.arena, u.queueFrom(c)); ; {
		size := cur.NextHeader(e)
		if size == 0 || s.inQueue(u, c, e, s.now) {
			return size
		}
	}
}

// headArrival is the arrival number of the oldest message of a queue.
func (s *State) headArrival(u *user, c *conv) uint64 {
	cold := s.warm(u, c)
	if cold.queueHead == 0 {
		var e ring.Entry
		if s.queueHead(u, c, &e) == 0 {
			broken("user %s: a counted queue is empty", u.name)
		}
		cold.queueHead = e.Arrival
	}
	return cold.queueHead
}

// unqueueOldest takes the oldest message out of the queue of the conversation
// with the highest measure; it stays in history. Ties go to the older head.
func (s *State) unqueueOldest(u *user, measure func(*conv) uint32) {
	var victim *conv
	for i := range u.convs.items {
		c := &u.convs.items[i]
		switch {
		case c.queued == 0 || victim != nil && measure(c) < measure(victim):
		case victim == nil, measure(c) > measure(victim), s.headArrival(u, c) < s.headArrival(u, victim):
			victim = c
		}
	}
	var head ring.Entry
	size := 0
	if victim != nil {
		size = s.queueHead(u, victim, &head)
	}
	if size == 0 {
		broken("user %s: %d messages queued in no conversation", u.name, u.queued)
	}
	s.warm(u, victim).floor = head.Seq
	s.count(u, victim, -1, -size)
	s.noteLost(u, victim, &head)
}

// evictOldest drops the oldest entry of one log: of the conversation with the
// most bytes that are not in the queue, as long as one begins with such an
// entry, else of the biggest.
func (s *State) evictOldest(u *user) {
	var victim *conv
	var head ring.Entry
	victimRead, victimBytes, victimArrival := false, 0, uint64(0) // 0 = not looked up
	for i := range u.convs.items {
		c := &u.convs.items[i]
		// Heads are only looked at where the bytes let a log win.
		bytes, unqueued := c.log.Bytes(), c.log.Bytes()-int(c.queuedBytes)
		if bytes == 0 || victimRead && unqueued < victimBytes || !victimRead && unqueued == 0 && bytes < victimBytes {
			continue
		}
		read := c.queued == 0
		if !read {
			c.log.Header(s.arena, c.log.First(), &head)
			read = head.Seq < u.queueFrom(c) || !s.inQueue(u, c, &head, s.now)
		}
		if read {
			bytes = unqueued
		}
		switch {
		case victim == nil, read && !victimRead, read == victimRead && bytes > victimBytes:
			victim, victimRead, victimBytes, victimArrival = c, read, bytes, 0
		case read == victimRead && bytes == victimBytes:
			if victimArrival == 0 {
				victimArrival = victim.log.FirstArrival(s.arena)
			}
			if arrival := c.log.FirstArrival(s.arena); arrival < victimArrival {
				victim, victimArrival = c, arrival
			}
		}
	}
	if victim == nil {
		broken("user %s: %d bytes in no log", u.name, u.bytes)
	}
	size := victim.log.Header(s.arena, victim.log.First(), &head)
	if !victimRead {
		s.count(u, victim, -1, -size)
		s.noteLost(u, victim, &head)
	}
	s.drop(u, victim, head.Seq, gapEvicted)
	s.purge(u, victim) // what has expired behind it goes before anything else
}

// noteLost records that a limit took an unread message from the queue.
func (s *State) noteLost(u *user, c *conv, e *ring.Entry) {
	list := &s.rare(u, c).lost
	lost := list.items(s.arena)
	if n := len(lost); n > 0 && lost[n-1].to+1 == e.Seq {
		lost[n-1].to, lost[n-1].arrival = e.Seq, e.Arrival
		lost[n-1].count++
		return
	}
	if len(lost) == keptLost {
		lost[1].from = lost[0].from
		lost[1].count += lost[0].count
		list.cut(s.arena, 1)
	}
	list.insert(s.arena, int(list.n), lostRun{from: e.Seq, to: e.Seq, count: 1, arrival: e.Arrival})
}
