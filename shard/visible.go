package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// A ttlEnd says when an entry of a group's log expires by its own ttl.
type ttlEnd struct {
	seq uint64
	at  int64 // ms
}

const ttlEndBytes = 16

// addTTLEnd adds the ttlEnd of an entry, which must be the newest of the group's log.
func (s *State) addTTLEnd(g *groupRecord, e *ring.Entry) {
	g.ttlEnds = append(g.ttlEnds, ttlEnd{seq: e.Seq, at: e.Time + int64(e.TTL)*1000})
	g.heapBytes += ttlEndBytes
	s.tableBytes += ttlEndBytes
}

// removeOldestTTLEnd removes the ttlEnd of the oldest entry with a ttl, which leaves
// the log.
func (s *State) removeOldestTTLEnd(g *groupRecord) {
	g.ttlEnds = g.ttlEnds[1:]
	g.heapBytes -= ttlEndBytes
	s.tableBytes -= ttlEndBytes
}

// findTTLEnd returns the index of a seq's ttlEnd, or the index at which it would be,
// and whether there is one.
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

// A gapScan finds out, for one seq after another in either direction, whether the entry
// is visible to nobody: because it has a tombstone or, in a group, because its own ttl
// has ended. Both lists are in order of seq and get shorter as the scan goes on.
type gapScan struct {
	tombstones []tombstone
	ttlEnds    []ttlEnd
	now        int64
}

// newGapScan returns a scan of a conversation's whole log as of now.
func (s *State) newGapScan(u *user, c *conv, now int64) gapScan {
	g := gapScan{tombstones: s.tombstonesOf(u, c), now: now}
	if u.group != nil {
		g.ttlEnds = u.group.ttlEnds
	}
	return g
}

// skipBelow ends the scan below a seq.
func (g *gapScan) skipBelow(seq uint64) {
	i, _ := findTombstone(g.tombstones, seq)
	g.tombstones = g.tombstones[i:]
	i, _ = findTTLEnd(g.ttlEnds, seq)
	g.ttlEnds = g.ttlEnds[i:]
}

// skipAbove ends the scan above a seq.
func (g *gapScan) skipAbove(seq uint64) {
	i, _ := findTombstone(g.tombstones, seq+1)
	g.tombstones = g.tombstones[:i]
	i, _ = findTTLEnd(g.ttlEnds, seq+1)
	g.ttlEnds = g.ttlEnds[:i]
}

// codeAscending returns why seq is not visible, or gapNone. From call to call seq must
// rise.
func (g *gapScan) codeAscending(seq uint64) gapCode {
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

// codeDescending is codeAscending for seqs that fall from call to call.
func (g *gapScan) codeDescending(seq uint64) gapCode {
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

// minJump is the length of a run of invisible entries from which a new cursor behind
// the run costs less than to read over each entry.
const minJump = 64

// A visibleCursor reads a log without the entries that a gapScan finds not visible.
// Members can fill a log with such entries; to read each of them would hold up the
// shard.
type visibleCursor struct {
	s    *State
	log  *ring.Ring
	cur  ring.Cursor
	gaps gapScan
}

// ascendVisible returns a cursor that reads upwards from a seq.
func (s *State) ascendVisible(u *user, c *conv, from uint64, now int64) visibleCursor {
	w := visibleCursor{s: s, log: &c.log, cur: c.log.Ascend(s.arena, from), gaps: s.newGapScan(u, c, now)}
	w.gaps.skipBelow(from)
	return w
}

// descendVisible returns a cursor that reads downwards from a seq.
func (s *State) descendVisible(u *user, c *conv, from uint64, now int64) visibleCursor {
	w := visibleCursor{s: s, log: &c.log, cur: c.log.Descend(s.arena, from), gaps: s.newGapScan(u, c, now)}
	w.gaps.skipAbove(min(from, c.log.Next()))
	return w
}

// next reads the next entry upwards that the scan does not rule out. It returns false
// if there is none.
func (w *visibleCursor) next(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.codeAscending(e.Seq) == gapNone {
			return true
		}
		to := e.Seq + 1
		for to < w.log.Next() && w.gaps.codeAscending(to) != gapNone {
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

// prev reads the next entry downwards that the scan does not rule out. It returns false
// if there is none.
func (w *visibleCursor) prev(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.codeDescending(e.Seq) == gapNone {
			return true
		}
		to := e.Seq - 1
		for to >= w.log.First() && w.gaps.codeDescending(to) != gapNone {
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
