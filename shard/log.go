package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// findTombstone returns the index of a seq's tombstone, or the index at which it would
// be, and whether there is one.
func findTombstone(tombstones []tombstone, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(tombstones, seq, func(t tombstone, seq uint64) int {
		switch {
		case t.seq < seq:
			return -1
		case t.seq > seq:
			return 1
		}
		return 0
	})
}

// tombstoneOf returns the reason of a seq's tombstone, or gapNone if it has none.
func (s *State) tombstoneOf(u *user, c *conv, seq uint64) gapCode {
	if u.extraOf(c).tombstones.n == 0 {
		return gapNone
	}
	tombstones := s.tombstonesOf(u, c)
	if i, ok := findTombstone(tombstones, seq); ok {
		return tombstones[i].reason
	}
	return gapNone
}

// historyTTL returns how long, in ms, messages of a user or group stay in history.
func (s *State) historyTTL(u *user) int64 {
	if u.group != nil {
		return s.limits.GroupTTL.Milliseconds()
	}
	return max(s.limits.HistoryTTL.Milliseconds(), u.accountOrZero().historyTTL)
}

// queueTTL returns how long, in ms, messages stay in a user's offline queue. Groups
// have no queue.
func (s *State) queueTTL(u *user) int64 {
	return min(s.limits.OfflineTTL.Milliseconds(), s.historyTTL(u))
}

// expired reports whether an entry has expired: by its own ttl, or because it is too
// old for history.
func (s *State) expired(u *user, e *ring.Entry, now int64) bool {
	return e.Flags&ring.Expired != 0 ||
		e.Time+s.historyTTL(u) <= now ||
		e.TTL != 0 && e.Time+int64(e.TTL)*1000 <= now
}

// gapOf returns why an entry that the log holds is visible to nobody, or gapNone if it
// is visible.
func (s *State) gapOf(u *user, c *conv, e *ring.Entry, now int64) gapCode {
	if code := s.tombstoneOf(u, c, e.Seq); code != gapNone {
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

// queueFrom returns the lowest seq that may be in a conversation's offline queue.
func (s *State) queueFrom(u *user, c *conv) uint64 {
	cold := u.coldOf(c)
	from := max(c.read, cold.queueFloor, c.log.First()-1) + 1
	if s.outdated(u) {
		return from
	}
	return max(from, cold.agedOutTo+1)
}

// mayQueue reports whether a conversation may have messages in the offline queue. It is
// a quick look that spares readers a search.
func (s *State) mayQueue(u *user, c *conv) bool { return c.queued > 0 || s.outdated(u) }

// inQueue reports whether an entry is in the offline queue. Its seq must be at least
// queueFrom.
func (s *State) inQueue(u *user, c *conv, e *ring.Entry, now int64) bool {
	return e.Time > s.cutoff && s.queueable(u, c, e, now)
}

// queueable is inQueue, but ignores the cutoff.
func (s *State) queueable(u *user, c *conv, e *ring.Entry, now int64) bool {
	return e.Flags&ring.Own == 0 &&
		e.Time+s.limits.OfflineTTL.Milliseconds() > now &&
		s.tombstoneOf(u, c, e.Seq) == gapNone && !s.expired(u, e, now)
}

// storeEntry appends an entry to the log of conversation i and signals the user's
// sessions.
func (s *State) storeEntry(u *user, i int, e *ring.Entry) {
	s.appendToLog(u, i, e)
	s.signal(u)
}

// appendToLog appends an entry to the log of conversation i. It sets the entry's seq
// and arrival number, and updates all totals, but signals no session.
func (s *State) appendToLog(u *user, i int, e *ring.Entry) {
	c := &u.convs.items[i]
	u.arrival++
	e.Arrival = u.arrival
	e.Time = max(e.Time, c.lastTime)
	s.holdFor(u)
	size := c.log.Append(s.arena, e)
	if u.group != nil && e.TTL != 0 {
		s.addTTLEnd(u.group, e)
	}
	if e.Flags&ring.Own == 0 {
		c.flags |= convReceived
	}
	u.bytes += size
	u.oldest = min(u.oldest, e.Time)
	s.byAge.add(e.Time, size)
	c.lastTime, c.lastArrival = e.Time, e.Arrival
	if e.Flags&ring.Own != 0 {
		c.flags |= convSent
	}
	s.moveToFront(u, i)
	if e.Seq > c.read && s.queueable(u, c, e, s.now) {
		s.addQueued(u, c, 1, size)
		s.noteTTLEnd(u, c, e)
	}
	u.due = min(u.due, s.leavesAt(u, e))
}

// leavesAt returns the time, in ms, at which an entry leaves the offline queue or
// history, whichever is first.
func (s *State) leavesAt(u *user, e *ring.Entry) int64 {
	if e.Flags&ring.Expired != 0 {
		return 0
	}
	at := e.Time + s.queueTTL(u)
	if e.TTL != 0 {
		at = min(at, e.Time+int64(e.TTL)*1000)
	}
	return at
}

// noteTTLEnd lowers earliestTTLEnd if an entry of the queue reaches the end of its ttl
// before.
func (s *State) noteTTLEnd(u *user, c *conv, e *ring.Entry) {
	if e.TTL != 0 {
		cold := s.coldMut(u, c)
		if at := e.Time + int64(e.TTL)*1000; cold.earliestTTLEnd == 0 || at < cold.earliestTTLEnd {
			cold.earliestTTLEnd = at
		}
	}
}

// addQueued adds to the queue totals of a conversation and of its user. Both numbers
// may be negative.
func (s *State) addQueued(u *user, c *conv, messages, bytes int) {
	c.queued += uint32(messages)
	c.queuedBytes += uint32(bytes)
	if c.coldIndex != 0 {
		cold := s.coldMut(u, c)
		if messages <= 0 {
			cold.queueHead = 0
		}
		if c.queued == 0 {
			cold.earliestTTLEnd = 0
		}
	}
	u.queued += messages
	u.queuedBytes += bytes
}

// recountQueue counts a conversation's queue totals again. It includes messages below
// the cutoff until they are evicted, so that evictions need not look at other messages.
func (s *State) recountQueue(u *user, c *conv) {
	messages, bytes := 0, 0
	if c.coldIndex != 0 {
		s.coldMut(u, c).earliestTTLEnd = 0
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); ; {
		size := cur.NextHeader(&e)
		if size == 0 {
			break
		}
		if s.queueable(u, c, &e, s.now) {
			messages++
			bytes += size
			s.noteTTLEnd(u, c, &e)
		}
	}
	s.addQueued(u, c, messages-int(c.queued), bytes-int(c.queuedBytes))
}

// recountAllQueues counts all queue totals of a user again, after a limit or the user's
// history time has changed.
func (s *State) recountAllQueues(u *user) {
	u.due = 0
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.coldIndex != 0 {
			cold := s.coldMut(u, c)
			cold.agedOutTo, cold.queueHead = 0, 0
		}
		s.recountQueue(u, c)
	}
}

// totalsCurrent reports whether a conversation's queue totals are right as of now: no
// message that they count has expired or is below the cutoff.
func (s *State) totalsCurrent(u *user, c *conv, now int64) bool {
	oldest, ok := s.totalsUnexpired(u, c, now)
	return ok && oldest > s.cutoff
}

// totalsUnexpired reports whether no message that the queue totals count has expired as
// of now. It also returns the time of the oldest message that they may count. Times
// never fall along a log, so that it need look only at the oldest entry and
// earliestTTLEnd.
func (s *State) totalsUnexpired(u *user, c *conv, now int64) (oldest int64, ok bool) {
	if s.outdated(u) {
		return 0, false
	}
	if c.queued == 0 {
		return math.MaxInt64, true
	}
	if soonest := u.coldOf(c).earliestTTLEnd; soonest != 0 && soonest <= now {
		return 0, false
	}
	var e ring.Entry
	life := s.queueTTL(u)
	ok = c.log.Header(s.arena, s.queueFrom(u, c), &e) > 0 && e.Time+life > now
	return e.Time, ok
}

// unread returns the number of messages in a conversation's queue as of now, which may
// be later than the shard's time.
func (s *State) unread(u *user, c *conv, now int64) int {
	if s.totalsCurrent(u, c, now) {
		return int(c.queued)
	}
	n := 0
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); cur.NextHeader(&e) > 0; {
		if s.inQueue(u, c, &e, now) {
			n++
		}
	}
	return n
}

// truncateLog removes the entries of a log up to seq upTo. Entries that were visible
// are recorded as gone for that reason, others for the reason why they were not
// visible.
func (s *State) truncateLog(u *user, c *conv, upTo uint64, reason gapCode) {
	var e ring.Entry
	cur := c.log.Ascend(s.arena, c.log.First())
	for size := cur.NextHeader(&e); size > 0 && e.Seq <= upTo; size = cur.NextHeader(&e) {
		why := s.gapOf(u, c, &e, s.now)
		if why == gapNone {
			why = reason
		}
		s.recordGone(u, c, e.Seq, why)
		if e.Flags&ring.Own != 0 && reason != gapEvicted && !s.tooOld(u, e.Time) {
			s.addRemovedDedup(u, c, e.Seq, reason)
		}
		if u.group != nil && e.TTL != 0 {
			s.removeOldestTTLEnd(u.group)
		}
		s.byAge.add(e.Time, -size)
		if e.Flags&ring.Own == 0 && e.Peer != 0 {
			cold := s.coldMut(u, c)
			if e.Seq != cold.goneIncomingSeq+1 || e.Peer != cold.goneIncomingPeerSeq+1 {
				cold.goneIncomingFrom = e.Seq
			}
			cold.goneIncomingPeerSeq, cold.goneIncomingSeq = e.Peer, e.Seq
		}
	}
	s.holdFor(u)
	u.bytes -= c.log.Truncate(s.arena, upTo)
	if c.log.Header(s.arena, c.log.First(), &e) > 0 {
		u.due = min(u.due, s.leavesAt(u, &e)) // the new head may expire first
	}
	// To remove tombstones moves those after them. If there are many, this is done only
	// once an eighth of them can go.
	tombstones := s.tombstonesOf(u, c)
	if old, _ := findTombstone(tombstones, c.log.First()); old > keptTombstones+len(tombstones)/(8*keptTombstones)*keptTombstones {
		s.extraMut(u, c).tombstones.removeFirst(s.arena, old-keptTombstones)
	}
}

// recordGone records why an entry leaves the log. seq must be that of the log's oldest
// entry.
func (s *State) recordGone(u *user, c *conv, seq uint64, why gapCode) {
	if seq > 1 && c.goneReason != why {
		gone := &s.extraMut(u, c).gone
		if gone.n == keptGone {
			gone.removeFirst(s.arena, 1)
		}
		gone.insert(s.arena, int(gone.n), goneRun{to: seq - 1, reason: c.goneReason})
	}
	c.goneReason = why
}

// purge removes expired entries from the head of a log, and counts the queue again if
// it had messages that are too old for it.
func (s *State) purge(u *user, c *conv) {
	stale := !s.totalsCurrent(u, c, s.now) // before the head of the log is removed
	var e ring.Entry
	upTo := uint64(0)
	for cur := c.log.Ascend(s.arena, c.log.First()); cur.NextHeader(&e) > 0 && s.expired(u, &e, s.now); {
		upTo = e.Seq
	}
	if upTo != 0 {
		s.truncateLog(u, c, upTo, gapExpired)
	}
	if stale {
		s.recountAgedQueue(u, c)
	}
}

// recountAgedQueue is recountQueue after the time may have made messages too old for
// the queue: it raises agedOutTo first.
func (s *State) recountAgedQueue(u *user, c *conv) {
	cutoff := s.now - s.limits.OfflineTTL.Milliseconds()
	if aged := c.log.LastThroughTime(s.arena, cutoff); aged > u.coldOf(c).agedOutTo {
		s.coldMut(u, c).agedOutTo = aged
	}
	s.recountQueue(u, c)
}

// purgeDue purges all conversations of a user if anything has expired since the last
// purge.
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

// isDue reports whether anything of the user's messages has expired since the last
// purge.
func (s *State) isDue(u *user) bool {
	if u.due == 0 {
		u.due = s.nextExpiry(u)
	}
	return u.due <= s.now
}

// nextExpiry returns the time, in ms, at which a message of the user will next leave
// the queue or history.
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
			if soonest := u.coldOf(c).earliestTTLEnd; soonest != 0 {
				at = min(at, soonest)
			}
			if c.log.Header(s.arena, s.queueFrom(u, c), &e) > 0 {
				at = min(at, e.Time+s.queueTTL(u))
			}
		}
		next = min(next, at)
	}
	return max(next, 1) // because 0 means not known
}

// enforceLimits brings a user back within the limits of the offline queue and of
// history. It removes the oldest messages of the conversation that has the most.
func (s *State) enforceLimits(u *user) {
	overQueue := func() bool {
		return u.queued > s.limits.OfflineMaxMessages || u.queuedBytes > s.limits.OfflineMaxBytes
	}
	most := s.limits.UserBytes
	if u.group != nil {
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

// queueHead reads the header of the oldest message in a conversation's queue. It
// returns the message's size, or 0 if the queue is empty.
func (s *State) queueHead(u *user, c *conv, e *ring.Entry) int {
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); ; {
		size := cur.NextHeader(e)
		if size == 0 || s.inQueue(u, c, e, s.now) {
			return size
		}
	}
}

// headArrival returns the arrival number of the oldest message in a conversation's
// queue, which must not be empty.
func (s *State) headArrival(u *user, c *conv) uint64 {
	cold := s.coldMut(u, c)
	if cold.queueHead == 0 {
		var e ring.Entry
		if s.queueHead(u, c, &e) == 0 {
			panicInvariant("user %s: a counted queue is empty", u.name)
		}
		cold.queueHead = e.Arrival
	}
	return cold.queueHead
}

// unqueueOldest takes the oldest message out of the queue of the conversation for which
// measure is highest. The message stays in history. If several have the same measure,
// it is the one whose oldest queued message is the oldest.
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
		panicInvariant("user %s: %d messages queued in no conversation", u.name, u.queued)
	}
	s.coldMut(u, victim).queueFloor = head.Seq
	s.losses.note(u, LostQueue, 1, size, s.now)
	s.addQueued(u, victim, -1, -size)
	s.recordLost(u, victim, &head)
}

// evictOldest removes the oldest entry of one log. It prefers logs whose oldest entry
// is not in the queue: of those it chooses the one with the most bytes outside the
// queue. If there are none, it chooses the largest log.
func (s *State) evictOldest(u *user) {
	var victim *conv
	var head ring.Entry
	victimRead, victimBytes, victimArrival := false, 0, uint64(0) // victimArrival 0: not looked up
	for i := range u.convs.items {
		c := &u.convs.items[i]
		// The head is read only if the log has enough bytes to be chosen.
		bytes, unqueued := c.log.Bytes(), c.log.Bytes()-int(c.queuedBytes)
		if bytes == 0 || victimRead && unqueued < victimBytes || !victimRead && unqueued == 0 && bytes < victimBytes {
			continue
		}
		read := c.queued == 0
		if !read {
			c.log.Header(s.arena, c.log.First(), &head)
			read = head.Seq < s.queueFrom(u, c) || !s.inQueue(u, c, &head, s.now)
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
		panicInvariant("user %s: %d bytes in no log", u.name, u.bytes)
	}
	size := victim.log.Header(s.arena, victim.log.First(), &head)
	if !victimRead {
		s.addQueued(u, victim, -1, -size)
		s.recordLost(u, victim, &head)
	}
	s.losses.note(u, LostHistory, 1, size, s.now)
	s.truncateLog(u, victim, head.Seq, gapEvicted)
	s.purge(u, victim) // expired entries that are at the head now go before entries of other logs
}

// recordLost records that a limit took an unread message out of the queue, so that the
// client can be told.
func (s *State) recordLost(u *user, c *conv, e *ring.Entry) {
	list := &s.extraMut(u, c).lost
	lost := list.items(s.arena)
	if n := len(lost); n > 0 && lost[n-1].to+1 == e.Seq {
		lost[n-1].to, lost[n-1].arrival = e.Seq, e.Arrival
		lost[n-1].count++
		return
	}
	if len(lost) == keptLost {
		lost[1].from = lost[0].from
		lost[1].count += lost[0].count
		list.removeFirst(s.arena, 1)
	}
	list.insert(s.arena, int(list.n), lostRun{from: e.Seq, to: e.Seq, count: 1, arrival: e.Arrival})
}
