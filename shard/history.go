package shard

import "github.com/belfry-im/belfry/shard/ring"

// History reads a page of a conversation. The range it covers extends over
// gaps up to the next message in its direction, or the end of the view.
func (s *State) History(q HistoryQuery, p *Page, now int64) {
	p.Batch.Reset()
	*p = Page{Batch: p.Batch, Gaps: p.Gaps[:0]}
	v, ok := s.viewOf(&q)
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
	}
}

// viewOf finds what a query asks for. False: there is nothing of it.
func (s *State) viewOf(q *HistoryQuery) (view, bool) {
	if q.Group == "" {
		u := s.lookup(q.User)
		if u == nil {
			return view{}, false
		}
		i := s.find(u, q.Peer)
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
	m := s.member(u.team, q.User)
	if m == nil {
		return view{}, false
	}
	v := s.memberView(u, m)
	return v, true
}

// ascend covers from..to upwards.
func (s *State) ascend(v *view, from, to uint64, q HistoryQuery, p *Page, now int64) {
	if from > to || from == 0 {
		return
	}
	p.From, p.To = from, to
	var e ring.Entry
	for cur := v.log().Ascend(s.arena, max(from, v.low)); cur.Next(&e) && e.Seq <= to; {
		if v.hiddenBy(s, &e, now) != gapNone {
			continue
		}
		if n := len(p.Batch.Messages); n == q.Limit || n > 0 && p.size+ring.EntrySize(&e) > q.MaxBytes {
			p.To, p.More = e.Seq-1, true
			return
		}
		p.size += ring.EntrySize(&e)
		s.copyEntry(v.u, v.c, &e, &p.Batch)
	}
}

// descend covers the seqs from to downwards.
func (s *State) descend(v *view, to uint64, q HistoryQuery, p *Page, now int64) {
	if to == 0 {
		return
	}
	p.From, p.To = 1, to
	var e ring.Entry
	n := 0
	for cur := v.log().Descend(s.arena, to); cur.Next(&e) && e.Seq >= v.low; {
		if v.hiddenBy(s, &e, now) != gapNone {
			continue
		}
		if n == q.Limit || n > 0 && p.size+ring.EntrySize(&e) > q.MaxBytes {
			p.From, p.More = e.Seq+1, true
			break
		}
		p.size += ring.EntrySize(&e)
		n++
	}
	for cur := v.log().Ascend(s.arena, max(p.From, v.low)); cur.Next(&e) && e.Seq <= to; {
		if v.hiddenBy(s, &e, now) == gapNone {
			s.copyEntry(v.u, v.c, &e, &p.Batch)
		}
	}
}

// gaps gives the reason of every seq of the page that has no message.
func (s *State) gaps(v *view, p *Page, now int64) {
	u, c := v.u, v.c
	from := p.From
	if from < v.low {
		if to := min(v.joined()-1, p.To); from <= to {
			p.gap(from, to, gapNotMember)
			from = to + 1
		}
		if to := min(v.low-1, p.To); from <= to {
			p.gap(from, to, gapDeleted)
			from = to + 1
		}
	}
	first := c.log.First()
	if from < first {
		for _, g := range u.extra(c).gone.items(s.arena) {
			if to := min(g.to, p.To); from <= to {
				p.gap(from, to, g.reason)
				from = to + 1
			}
		}
		if to := min(first-1, p.To); from <= to {
			p.gap(from, to, c.gone)
		}
	}
	var e ring.Entry
	for cur := v.log().Ascend(s.arena, max(from, first)); cur.Next(&e) && e.Seq <= p.To; {
		if code := v.hiddenBy(s, &e, now); code != gapNone {
			p.gap(e.Seq, e.Seq, code)
		}
	}
}

// gap adds seqs, joined with their neighbours of the same reason.
func (p *Page) gap(from, to uint64, code gapCode) {
	reason := code.reason()
	if n := len(p.Gaps); n > 0 && p.Gaps[n-1].To+1 == from && p.Gaps[n-1].Reason == reason {
		p.Gaps[n-1].To = to
		return
	}
	p.Gaps = append(p.Gaps, Gap{From: from, To: to, Reason: reason})
}
