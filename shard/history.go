package shard

import "github.com/belfry-im/belfry/shard/ring"

// History reads a page of a conversation. The range it covers extends over
// gaps up to the next message in its direction, or the end of the view.
func (s *State) History(q HistoryQuery, p *Page, now int64) {
	p.Batch.Reset()
	*p = Page{Batch: p.Batch, Gaps: p.Gaps[:0]}
	u := s.lookup(q.User)
	if u == nil {
		return
	}
	i := s.find(u, q.Peer)
	if i < 0 {
		return
	}
	c := &u.convs.items[i]
	newest := c.log.Next() - 1
	switch {
	case q.HasAfter:
		s.ascend(u, i, q.After+1, newest, q, p, now)
	case q.To != 0:
		s.ascend(u, i, q.From, min(q.To, newest), q, p, now)
	case q.Before != 0:
		s.descend(u, i, min(q.Before-1, newest), q, p, now)
	default:
		s.descend(u, i, newest, q, p, now)
	}
	if p.From != 0 {
		s.gaps(u, c, p, now)
	}
}

// ascend covers from..to upwards.
func (s *State) ascend(u *user, i int, from, to uint64, q HistoryQuery, p *Page, now int64) {
	if from > to || from == 0 {
		return
	}
	p.From, p.To = from, to
	c := &u.convs.items[i]
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, from); cur.Next(&e) && e.Seq <= to; {
		if s.hiddenBy(u, c, &e, now) != gapNone {
			continue
		}
		if n := len(p.Batch.Messages); n == q.Limit || n > 0 && p.size+ring.EntrySize(&e) > q.MaxBytes {
			p.To, p.More = e.Seq-1, true
			return
		}
		p.size += ring.EntrySize(&e)
		s.copyMessage(u, ref{seq: e.Seq, conv: uint32(i)}, &p.Batch, now)
	}
}

// descend covers the seqs from to downwards.
func (s *State) descend(u *user, i int, to uint64, q HistoryQuery, p *Page, now int64) {
	if to == 0 {
		return
	}
	p.From, p.To = 1, to
	c := &u.convs.items[i]
	var e ring.Entry
	n := 0
	for cur := c.log.Descend(s.arena, to); cur.Next(&e); {
		if s.hiddenBy(u, c, &e, now) != gapNone {
			continue
		}
		if n == q.Limit || n > 0 && p.size+ring.EntrySize(&e) > q.MaxBytes {
			p.From, p.More = e.Seq+1, true
			break
		}
		p.size += ring.EntrySize(&e)
		n++
	}
	for cur := c.log.Ascend(s.arena, p.From); cur.Next(&e) && e.Seq <= to; {
		s.copyMessage(u, ref{seq: e.Seq, conv: uint32(i)}, &p.Batch, now)
	}
}

// gaps gives the reason of every seq of the page that has no message.
func (s *State) gaps(u *user, c *conv, p *Page, now int64) {
	first := c.log.First()
	if p.From < first {
		from := p.From
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
	for cur := c.log.Ascend(s.arena, max(p.From, first)); cur.Next(&e) && e.Seq <= p.To; {
		if code := s.hiddenBy(u, c, &e, now); code != gapNone {
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
