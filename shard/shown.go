package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// An ending says when an entry of a group's log runs out of a ttl of its own.
type ending struct {
	seq uint64
	at  int64 // ms
}

const endingBytes = 16

// addEnding notes the newest entry of a group's log that has a ttl.
func (s *State) addEnding(t *team, e *ring.Entry) {
	t.endings = append(t.endings, ending{seq: e.Seq, at: e.Time + int64(e.TTL)*1000})
	t.weight += endingBytes
	s.tableBytes += endingBytes
}

// dropEnding forgets the oldest, which leaves the log.
func (s *State) dropEnding(t *team) {
	t.endings = t.endings[1:]
	t.weight -= endingBytes
	s.tableBytes -= endingBytes
}

func findEnding(endings []ending, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(endings, seq, func(e ending, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
}

// gaps are what nobody can be shown of a log: what was taken away, and of a group
// what has run out of a ttl of its own. Both lists ascend, and are cut as one goes
// along the log, in either direction.
type gaps struct {
	marks   []mark
	endings []ending
	now     int64
}

func (s *State) gapsOf(u *user, c *conv, now int64) gaps {
	g := gaps{marks: s.marksOf(u, c), now: now}
	if u.team != nil {
		g.endings = u.team.endings
	}
	return g
}

// from leaves what is at or above a seq.
func (g *gaps) from(seq uint64) {
	i, _ := findMark(g.marks, seq)
	g.marks = g.marks[i:]
	i, _ = findEnding(g.endings, seq)
	g.endings = g.endings[i:]
}

// through leaves what is at or below a seq.
func (g *gaps) through(seq uint64) {
	i, _ := findMark(g.marks, seq+1)
	g.marks = g.marks[:i]
	i, _ = findEnding(g.endings, seq+1)
	g.endings = g.endings[:i]
}

// up gives why seq is not shown, gapNone for no reason of these. Seqs must ascend.
func (g *gaps) up(seq uint64) gapCode {
	for len(g.marks) > 0 && g.marks[0].seq < seq {
		g.marks = g.marks[1:]
	}
	if len(g.marks) > 0 && g.marks[0].seq == seq {
		return g.marks[0].reason
	}
	for len(g.endings) > 0 && g.endings[0].seq < seq {
		g.endings = g.endings[1:]
	}
	if len(g.endings) > 0 && g.endings[0].seq == seq && g.endings[0].at <= g.now {
		return gapExpired
	}
	return gapNone
}

// down is up for seqs that descend.
func (g *gaps) down(seq uint64) gapCode {
	for len(g.marks) > 0 && g.marks[len(g.marks)-1].seq > seq {
		g.marks = g.marks[:len(g.marks)-1]
	}
	if n := len(g.marks); n > 0 && g.marks[n-1].seq == seq {
		return g.marks[n-1].reason
	}
	for len(g.endings) > 0 && g.endings[len(g.endings)-1].seq > seq {
		g.endings = g.endings[:len(g.endings)-1]
	}
	if n := len(g.endings); n > 0 && g.endings[n-1].seq == seq && g.endings[n-1].at <= g.now {
		return gapExpired
	}
	return gapNone
}

// leastJump is the run of entries from which a new cursor costs less than to look
// at each.
const leastJump = 64

// A shownWalk is a cursor that passes over gaps. Members may fill a log with what
// nobody is shown: to look at all of that would hold up the shard.
type shownWalk struct {
	s    *State
	log  *ring.Ring
	cur  ring.Cursor
	gaps gaps
}

// ascendShown walks over a log from a seq upwards.
func (s *State) ascendShown(u *user, c *conv, from uint64, now int64) shownWalk {
	w := shownWalk{s: s, log: &c.log, cur: c.log.Ascend(s.arena, from), gaps: s.gapsOf(u, c, now)}
	w.gaps.from(from)
	return w
}

// descendShown walks over a log from a seq downwards.
func (s *State) descendShown(u *user, c *conv, from uint64, now int64) shownWalk {
	w := shownWalk{s: s, log: &c.log, cur: c.log.Descend(s.arena, from), gaps: s.gapsOf(u, c, now)}
	w.gaps.through(min(from, c.log.Next()))
	return w
}

// next reads the next entry of an ascending walk that is in no gap.
func (w *shownWalk) next(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.up(e.Seq) == gapNone {
			return true
		}
		to := e.Seq + 1
		for to < w.log.Next() && w.gaps.up(to) != gapNone {
			to++
		}
		if to-e.Seq >= leastJump {
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
func (w *shownWalk) below(e *ring.Entry) bool {
	for w.cur.Next(e) {
		if w.gaps.down(e.Seq) == gapNone {
			return true
		}
		to := e.Seq - 1
		for to >= w.log.First() && w.gaps.down(to) != gapNone {
			to--
		}
		if e.Seq-to >= leastJump {
			w.cur = w.log.Descend(w.s.arena, to)
			continue
		}
		for e.Seq-1 > to {
			w.cur.Next(e)
		}
	}
	return false
}
