package shard

import (
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// History reads a page of a conversation. Within the query's limits the page covers all
// seqs up to the next message in its direction or the end of the view, gaps included.
func (s *State) History(q query.HistoryQuery, p *query.Page, now int64) {
	p.Updates.Reset()
	*p = query.Page{Updates: p.Updates, Gaps: p.Gaps[:0]}
	v, ok := s.queriedView(&q)
	if !ok {
		return
	}
	newest := v.log().Next() - 1
	switch {
	case q.HasAfter:
		s.ascend(&v, q.After+1, newest, q, p, now)
	case q.To != 0:
		s.ascend(&v, q.From, min(q.To, newest), q, p, now)
	case q.Before != 0:
		s.descend(&v, min(q.Before-1, newest), q, p, now)
	default:
		s.descend(&v, newest, q, p, now)
	}
	if p.From != 0 {
		s.gaps(&v, p, now)
		p.CutGaps(q.MaxGaps)
	}
}

// queriedView returns the view that a history query is about, or false if there is
// none.
func (s *State) queriedView(q *query.HistoryQuery) (view, bool) {
	if q.Group == "" {
		u := s.lookup(q.User)
		if u == nil {
			return view{}, false
		}
		i := s.findConv(u, q.Peer)
		if i < 0 {
			return view{}, false
		}
		return s.ownView(u, i), true
	}
	u := s.group(q.Group)
	if u == nil {
		return view{}, false
	}
	if q.Admin {
		return s.ownView(u, 0), true
	}
	m := s.member(u.group, q.User)
	if m == nil {
		return view{}, false
	}
	v := s.memberView(u, m)
	return v, true
}

// ascend fills a page with the messages of the seqs from..to, reading upwards.
func (s *State) ascend(v *view, from, to uint64, q query.HistoryQuery, p *query.Page, now int64) {
	if from > to || from == 0 {
		return
	}
	if last := max(from, v.visibleFrom, v.log().First()) + uint64(q.MaxSeqs) - 1; q.MaxSeqs > 0 && to > last {
		to, p.More = last, true
	}
	p.From, p.To = from, to
	var e ring.Entry
	walk := s.ascendVisible(v.u, v.c, max(from, v.visibleFrom), now)
	for walk.gaps.skipAbove(to); walk.next(&e) && e.Seq <= to; {
		if v.gapOf(s, &e, now) != gapNone {
			continue
		}
		if n := len(p.Updates.Messages); n == q.Limit || n > 0 && p.Size+ring.EntrySize(&e) > q.MaxBytes {
			p.To, p.More = e.Seq-1, true
			return
		}
		p.Size += ring.EntrySize(&e)
		s.copyEntry(v.u, v.c, &e, &p.Updates)
	}
}

// descend fills a page with the newest messages of the seqs up to to, reading
// downwards.
func (s *State) descend(v *view, to uint64, q query.HistoryQuery, p *query.Page, now int64) {
	if to == 0 {
		return
	}
	p.Down = true
	p.From, p.To = 1, to
	if low := max(v.visibleFrom, v.log().First()); q.MaxSeqs > 0 && to >= low+uint64(q.MaxSeqs) {
		p.From, p.More = to-uint64(q.MaxSeqs)+1, true
	}
	var e ring.Entry
	n, low := 0, max(v.visibleFrom, p.From)
	walk := s.descendVisible(v.u, v.c, to, now)
	for walk.gaps.skipBelow(low); walk.prev(&e) && e.Seq >= low; {
		if v.gapOf(s, &e, now) != gapNone {
			continue
		}
		if n == q.Limit || n > 0 && p.Size+ring.EntrySize(&e) > q.MaxBytes {
			p.From, p.More = e.Seq+1, true
			break
		}
		p.Size += ring.EntrySize(&e)
		n++
	}
	walk = s.ascendVisible(v.u, v.c, max(p.From, v.visibleFrom), now)
	for walk.gaps.skipAbove(to); walk.next(&e) && e.Seq <= to; {
		if v.gapOf(s, &e, now) == gapNone {
			s.copyEntry(v.u, v.c, &e, &p.Updates)
		}
	}
}

// gaps fills in the gaps of a page: the reason for each seq that has no message.
func (s *State) gaps(v *view, p *query.Page, now int64) {
	u, c := v.u, v.c
	from := p.From
	if from < v.visibleFrom {
		if to := min(v.sentFrom()-1, p.To); from <= to {
			addGap(p, from, to, gapNotMember)
			from = to + 1
		}
		if to := min(v.visibleFrom-1, p.To); from <= to {
			addGap(p, from, to, gapDeleted)
			from = to + 1
		}
	}
	first := c.log.First()
	if from < first {
		for _, run := range u.extraOf(c).gone.items(s.arena) {
			if to := min(run.to, p.To); from <= to {
				addGap(p, from, to, run.reason)
				from = to + 1
			}
		}
		if to := min(first-1, p.To); from <= to {
			addGap(p, from, to, c.goneReason)
		}
	}
	known, messages := s.newGapScan(u, c, now), p.Updates.Messages
	seq := max(from, first)
	known.skipBelow(seq)
	var e ring.Entry
	var cur ring.Cursor
	for at := uint64(0); seq <= min(p.To, c.log.Next()-1); seq++ {
		if len(messages) > 0 && messages[0].Seq == seq {
			messages = messages[1:]
			continue
		}
		// The scan does not find entries that expired by age or that the member has
		// hidden. They are few or neighbours, so the cursor is mostly at the right place.
		code := known.codeAscending(seq)
		if code == gapNone {
			if at != seq {
				cur = c.log.Ascend(s.arena, seq)
			}
			cur.Next(&e)
			at = seq + 1
			code = v.gapOf(s, &e, now)
		}
		if code != gapNone {
			addGap(p, seq, seq, code)
		}
	}
}

// addGap adds a gap to a page. If the gap before it is adjacent and has the same
// reason, it extends that one.
func addGap(p *query.Page, from, to uint64, code gapCode) {
	reason := code.reason()
	if n := len(p.Gaps); n > 0 && p.Gaps[n-1].To+1 == from && p.Gaps[n-1].Reason == reason {
		p.Gaps[n-1].To = to
		return
	}
	p.Gaps = append(p.Gaps, query.Gap{From: from, To: to, Reason: reason})
}
