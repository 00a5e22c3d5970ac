package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// An ttlEnd says when an entry of a group's log runs out of a ttl of its own.
type ttlEnd struct {
	seq uint64
	at  int64 // ms
}

const ttlEndBytes = 16

// addTTLEnd notes the newest entry of a group's log that has a ttl.
func (s *State) addTTLEnd(g *groupRecord, e *ring.Entry) {
	g.ttlEnds = append(g.ttlEnds, ttlEnd{seq: e.Seq, at: e.Time + int64(e.TTL)*1000})
	g.heapBytes += ttlEndBytes
	s.tableBytes += ttlEndBytes
}

// removeOldestTTLEnd forgets the oldest, which leaves the log.
func (s *State) removeOldestTTLEnd(g *groupRecord) {
	g.ttlEnds = g.ttlEnds[1:]
	g.heapBytes -= ttlEndBytes
	s.tableBytes -= ttlEndBytes
}

func findTTLEnd(endings []ttlEnd, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(endings, seq, func(e ttlEnd, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
}

// gapScan are what nobody can be shown of a log: what was taken away, and of a group
// what has run out of a ttl of its own. Both lists ascend, and are cut as one goes
// along the log, in either direction.
type gapScan struct {
	tombstones []tombstone
	ttlEnds    []ttlEnd
	now        int64
}

func (s *State) scanGaps(u *user, c *conv, now int64) gapScan {
	g := gapScan{tombstones: s.tombstonesOf(u, c), now: now}
	if u.group != nil {
		g.ttlEnds = u.group.ttlEnds
	}
	return g
}

// skipBelow leaves what is at or above a seq.
func (g *gapScan) skipBelow(seq uint64) {
	i, _ := findTombstone(g.tombstones, seq)
	g.tombstones = g.tombstones[i:]
	i, _ = findTTLEnd(g.ttlEnds, seq)
	g.ttlEnds = g.ttlEnds[i:]
}

// skipAbove leaves what is at or below a seq.
func (g *gapScan) skipAbove(seq uint64) {
	i, _ := findTombstone(g.tombstones, seq+1)
	g.tombstones = g.tombstones[:i]
	i, _ = findTTLEnd(g.ttlEnds, seq+1)
	g.ttlEnds = g.ttlEnds[:i]
}

// ascending gives why seq is not shown, gapNone for no reason of these. Seqs must ascend.
func (g *gapScan) ascending(seq uint64) gapCode {
	for len(g.tombstones) > 0 && g.tombstones[0].seq < seq {
		g.tombstones = g.tombstones[1:]
	}
	if len(g.tombstones) > 0 && g.tombstones[0].seq == seq {
		return g.tombstones[0].reason
	}
	for len(g.ttlEnds) > 0 && g.ttlEnds[0].seq < seq {
		g.ttlEnds = g.ttlEnds[1:]
	}
	if len(g.ttlEnds) > 0 && g.ttlEnds[0].seq == seq && g.ttlEnds[0].at <= g.now {
		return gapExpired
	}
	return gapNone
}

// descending is up for seqs that descend.
func (g *gapScan) descending(seq uint64) gapCode {
	for len(g.tombstones) > 0 && g.tombstones[len(g.tombstones)-1].seq > seq {
		g.tombstones = g.tombstones[:len(g.tombstones)-1]
	}
	if n := len(g.tombstones); n > 0 && g.tombstones[n-1].seq == seq {
		return g.tombstones[n-1].reason
	}
	for len(g.ttlEnds) > 0 && g.ttlEnds[len(g.ttlEnds)-1].seq > seq {
		g.ttlEnds = g.ttlEnds[:len(g.ttlEnds)-1]
	}
	if n := len(g.ttlEnds); n > 0 && g.ttlEnds[n-1].seq == seq && g.ttlEnds[n-1].at <= g.now {
		return gapExpired
	}
	return gapNone
}

// minJump is the run of entries from which a new cursor costs less than to look
// at each.
const minJump = 64

// A visibleCursor is a cursor that passes over gaps. Members may fill a log with what
// nobody is shown: to look at all of that would hold up the shard.
type visibleCursor struct {
	s    *State
	log  *ring.Ring
	cur  ring.Cursor
	gaps gapScan
}

// ascendVisible walks over a log from a seq upwards.
func (s *State) ascendVisible(u *user, c *conv, from uint64, now int64) visibleCursor {
	w := visibleCursor{s: s, log: &c.log, cur: c.log.Ascend(s.arena, from), gaps: s.scanGaps(u, c, now)}
	w.gaps.skipBelow(from)
	return w
}

// descendVisible walks over a log from a seq downwards.
func (s *State) descendVisible(u *user, c *conv, from uint64, now int64) visibleCursor {
	w := visibleCursor{s: s, log: &c.log, cur: c.log.Descend(s.arena, from), gaps: s.scanGaps(u, c, now)}
	w.gaps.skipAbove(min(from, c.log.Next()))
	return w
}

// next reads the next entry of an ascending walk that is in no gap.
func (w *visibleCursor) next(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.ascending(e.Seq) == gapNone {
			return true
		}
		to := e.Seq + 1
		for to < w.log.Next() && w.gaps.ascending(to) != gapNone {
			to++
		}
		if to-e.Seq >= minJump {
			w.cur = w.log.Ascend(w.s.arena, to)
			continue
		}
		for e.Seq+1 < to {
			w.cur.Next(e)
		}
	}
	return false
}

// below reads the next entry of a descending walk that is in no gap.
func (w *visibleCursor) below(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.descending(e.Seq) == gapNone {
			return true
		}
		to := e.Seq - 1
		for to >= w.log.First() && w.gaps.descending(to) != gapNone {
			to--
		}
		if e.Seq-to >= minJump {
			w.cur = w.log.Descend(w.s.arena, to)
			continue
		}
		for e.Seq-1 > to {
			w.cur.Next(e)
		}
	}
	return false
}
