package shard

import (
	"math"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// entryWork is how much the removal of an entry counts towards RaiseCutoff.MaxWork. A
// look at a user, a conversation or an entry counts 1.
const entryWork = 4

// Cutoff returns the time, in ms, up to which messages were evicted to save memory, or
// 0 if none were. It only rises.
func (s *State) Cutoff() int64 { return s.cutoff }

// LongestTTL returns the longest time, in ms, for which a message of any user or group
// is kept if memory suffices.
func (s *State) LongestTTL() int64 {
	return max(s.limits.HistoryTTL.Milliseconds(), s.limits.GroupTTL.Milliseconds(), s.longestTTL)
}

// CutoffFor returns a cutoff below now (ms) that evicts messages of about n bytes.
func (s *State) CutoffFor(n int, now int64) int64 {
	above := max(s.cutoff, now-s.LongestTTL())
	return min(s.byAge.cutoffFor(n, above, now), now-1)
}

// A Usage says how many bytes of memory a shard takes, and for which purposes.
type Usage struct {
	Held     int // in use, as State.Size returns it: the sum of the next four
	Messages int // entries of all logs; a message between two users of the shard counts twice
	Letters  int // letters that wait for their receivers' shards
	Dedupe   int // dedup windows, also those of removed messages
	Views    int // users, groups and their conversations, and unused room in their logs
	Free     int // reserved from the system, but unused
	Deferred int // freed, but kept until the snapshot being written no longer needs it
}

// Add adds the usage of another shard.
func (u *Usage) Add(v *Usage) {
	u.Held += v.Held
	u.Messages += v.Messages
	u.Letters += v.Letters
	u.Dedupe += v.Dedupe
	u.Views += v.Views
	u.Free += v.Free
	u.Deferred += v.Deferred
}

// Usage returns how much memory the shard takes, by purpose.
func (s *State) Usage() Usage {
	arena := s.arena.Stats()
	u := Usage{
		Held:     s.Size(),
		Messages: s.byAge.total,
		Letters:  s.letterBytes,
		Dedupe:   s.dedupRecords * dedupRecordUnits * dedupUnit,
		Free:     arena.Blocks - arena.Used - arena.Deferred,
		Deferred: arena.Deferred,
	}
	u.Views = u.Held - u.Messages - u.Letters - u.Dedupe
	return u
}

func (s *State) applyRaiseCutoff(c *command.RaiseCutoff, r *command.Result) {
	// Below now, because messages sent from now on must not be evicted at once.
	s.cutoff = max(s.cutoff, min(c.Cutoff, s.now-1))
	work := int(c.MaxWork)
	for id := int(c.FirstSlot); id < command.Slots; id++ {
		sl := s.slots[id]
		if sl == nil || sl.frozen {
			continue
		}
		work -= sl.users.n
		removed := s.evictSlotToCutoff(sl, &work)
		switch {
		case work > 0:
		case removed > 0:
			r.NextSlot = uint16(id) // the slot may hold more
			return
		default:
			r.NextSlot = uint16(id + 1)
			return
		}
	}
	r.NextSlot = command.Slots
}

// evictSlotToCutoff evicts messages at or below the cutoff from the users of a slot, in
// order of name, until no work is left. It subtracts its work from *work, and returns
// the number of entries and dedup records that it removed.
func (s *State) evictSlotToCutoff(sl *slot, work *int) (removed int) {
	var users []*user
	for number := range sl.users.all {
		if u := s.userAt(number); s.cutoffReaches(u) {
			users = append(users, u)
		}
	}
	slices.SortFunc(users, func(a, b *user) int { return strings.Compare(string(a.name), string(b.name)) })
	for _, u := range users {
		if removed > 0 && *work <= 0 {
			break
		}
		s.prepare(u)
		n, done := s.evictToCutoff(u)
		removed += n
		*work -= done
	}
	return removed
}

// cutoffReaches reports whether a user may hold anything at or below the cutoff.
func (s *State) cutoffReaches(u *user) bool { return s.cutoff > 0 && u.oldest <= s.cutoff }

// evictToCutoff removes from a user what is at or below the cutoff, and nothing else:
// whether it is called depends on oldest, which may differ between replicas. It returns
// the number of entries and dedup records removed, and the work this counts as, which
// is the same on all replicas.
func (s *State) evictToCutoff(u *user) (removed, work int) {
	u.oldest = math.MaxInt64
	removed = int(u.removedDedup.count)
	s.forgetDedup(u, &u.removedDedup, s.cutoff)
	removed -= int(u.removedDedup.count)
	work = removed
	if u.removedDedup.head != 0 {
		u.oldest = s.oldestDedup(&u.removedDedup)
	}
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		size := c.log.Header(s.arena, c.log.First(), &e)
		if size > 0 && e.Time <= s.cutoff {
			n, walked := s.evictConvToCutoff(u, c)
			removed += n
			work += n*entryWork + walked
			size = c.log.Header(s.arena, c.log.First(), &e)
		}
		if size > 0 {
			u.oldest = min(u.oldest, e.Time)
		}
	}
	if removed > 0 {
		work += len(u.convs.items)
	}
	return removed, work
}

// evictConvToCutoff is evictToCutoff for a conversation whose oldest entry is at or
// below the cutoff. It returns the number of entries removed, and of entries that it
// looked at again to count the queue.
func (s *State) evictConvToCutoff(u *user, c *conv) (removed, walked int) {
	_, hold := s.totalsUnexpired(u, c, s.now) // before the removed entries leave the totals
	upTo, from := uint64(0), s.queueFrom(u, c)
	queued, bytes := 0, 0
	var e ring.Entry
	cur := c.log.Ascend(s.arena, c.log.First())
	for size := cur.NextHeader(&e); size > 0 && e.Time <= s.cutoff; size = cur.NextHeader(&e) {
		upTo = e.Seq
		removed++
		if e.Seq >= from && s.queueable(u, c, &e, s.now) {
			s.recordLost(u, c, &e)
			queued++
			bytes += size
		}
	}
	before := u.bytes
	s.truncateLog(u, c, upTo, gapEvicted)
	s.losses.note(u, LostMemory, removed, before-u.bytes, s.now)
	switch before := int(c.queued); {
	case before == 0:
	case hold:
		s.addQueued(u, c, -queued, -bytes)
	default:
		s.recountAgedQueue(u, c)
		// This counts as work only if something had expired. A replica that was restored
		// from a snapshot may recount more often, but must count the same work.
		if int(c.queued) != before-queued {
			walked = c.log.Len()
		}
	}
	return removed, walked
}

// runsBelowCutoff returns the unread messages of a conversation at or below the cutoff
// that arrived after since and that no command has removed yet, as runs.
func (s *State) runsBelowCutoff(u *user, c *conv, since uint64, now int64) (runs []lostRun) {
	if !s.cutoffReaches(u) {
		return nil
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); cur.NextHeader(&e) > 0 && e.Time <= s.cutoff; {
		if e.Arrival <= since || !s.queueable(u, c, &e, now) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].to+1 == e.Seq {
			runs[n-1].to = e.Seq
			runs[n-1].count++
			continue
		}
		runs = append(runs, lostRun{from: e.Seq, to: e.Seq, count: 1})
	}
	return runs
}
