package sharedlog

import "fmt"

const (
	// reviewAfter is the number of segments up to which all may be kept, however little
	// lives in them.
	reviewAfter = 4
	// copyAfter is how many segments more are begun before the entries of groups that were
	// asked for a snapshot are copied.
	copyAfter = 4
	// copyPart is the part of a segment that is copied with one batch: 128 KiB of 8 MiB.
	copyPart = 64
)

// A copying is the work of moving what lives in the oldest segment to the newest.
type copying struct {
	from uint32 // number of the segment
	left []copied
}

// A copied entry is one that may be copied.
type copied struct {
	group *Group
	index uint64
}

// review looks for groups whose oldest entries keep files that hold little else, once a
// segment has begun: of all segments since then less than half lives. It asks for their
// snapshots or, where that was long ago, has their entries copied.
func (l *Log) review() {
	l.mu.Lock()
	stale := l.reviewOldest()
	l.mu.Unlock()
	for _, u := range stale {
		if u.Stale != nil {
			u.Stale()
		}
	}
}

// sparse reports whether less than half of the content of segments lives.
func sparse(segments []*segment) bool {
	all, live := 0.0, 0.0
	for _, s := range segments {
		all += float64(s.end)
		if s.count > 0 {
			live += float64(s.end) * float64(s.live) / float64(s.count)
		}
	}
	return 2*live < all
}

// reviewOldest returns the users of groups that have to take snapshots, because of the oldest
// segment in which something lives. l.mu is held.
func (l *Log) reviewOldest() (stale []User) {
	sealed := l.segments[:len(l.segments)-1]
	for len(sealed) > 0 && sealed[0].live == 0 {
		sealed = sealed[1:]
	}
	if len(sealed) <= reviewAfter || !sparse(sealed) {
		return nil
	}
	newest, oldest := l.current().number, sealed[0].number
	if oldest == l.copying.from && len(l.copying.left) > 0 {
		return nil
	}
	late := false
	var entries []copied
	for _, g := range l.numbered {
		before := len(entries)
		for i, at := range g.at {
			if at.segment() == oldest {
				entries = append(entries, copied{g, g.bounds.first + uint64(i)})
			}
		}
		switch {
		case len(entries) == before:
			g.asked = 0
		case g.asked == 0:
			g.asked = newest
			stale = append(stale, l.users[g])
		case newest-g.asked >= copyAfter:
			late = true
		}
	}
	if late {
		l.copying = copying{oldest, entries}
	}
	return stale
}

// copySome puts copies of some entries of the oldest segment into the batch, which is
// empty. It reports whether the last ones are among them.
func (l *Log) copySome() (all bool, err error) {
	c := &l.copying
	if len(c.left) == 0 {
		return false, nil
	}
	for bytes := 0; len(c.left) > 0 && bytes < l.cfg.SegmentBytes/copyPart; {
		e, g := c.left[0], c.left[0].group
		c.left = c.left[1:]
		if g.dropped || e.index < g.bounds.first || e.index > g.bounds.last {
			continue
		}
		at := g.at[e.index-g.bounds.first]
		if at.segment() != c.from {
			continue // it was replaced by another one
		}
		l.mu.RLock()
		s := l.segment(at.segment())
		l.mu.RUnlock()
		f, err := s.read(at.offset())
		if err != nil {
			return false, &CorruptError{Segment: s.path(), Offset: at.offset(), Groups: []string{g.name}, Reason: fmt.Sprintf("copy entry %d: %v", e.index, err)}
		}
		b := append(beginFrame(nil), f.payload...)
		b = endFrame(b, 0, kindCopy, g.number)
		bytes += len(b)
		if err := l.put(g, &record{kind: kindCopy, group: g.number, first: e.index, last: e.index}, b); err != nil {
			return false, err
		}
	}
	return len(c.left) == 0, nil
}
