package store

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A Query asks for a page of a conversation. One of Before, After and FromStart, and From
// and To is set; without any, it asks for the newest messages.
type Query struct {
	Before    uint64
	After     uint64
	FromStart bool
	From, To  uint64
	Limit     int // messages, at least 1
}

// A Hole is a range of seqs that a page lacks and the server may have: From..To, the one
// nearest to where the page begins. Open says that it has no end: seqs beyond the newest
// known may be taken. Need is how many messages the page still has room for, Newest the
// newest seq that is known.
type Hole struct {
	From, To uint64
	Open     bool
	Need     int
	Newest   uint64
}

// Page returns a page as far as it is stored, and the first hole in it, nil if it is
// complete. tail says that the newest known seq is the newest of all.
//
// As the server's, a page accounts for all seqs from From to To, reaches over gaps to the
// next message or the end, and has More if there is, or may be, more behind it. What
// is not known is a gap with ReasonUnknown or ReasonLost.
func (t *Tx) Page(conv protocol.Conv, q Query, tail bool) (protocol.PageOK, *Hole) {
	end := t.entry(conv).End
	w := walk{t: t, conv: conv, limit: q.Limit, first: 1, last: end}
	if q.To > 0 {
		w.first, w.last = q.From, q.To
		if tail {
			w.last = min(q.To, end)
		}
		if w.first <= w.last {
			w.ascend(w.first)
		}
	} else if q.After > 0 || q.FromStart {
		w.ascend(q.After + 1)
		if !tail && !w.page.More {
			w.page.More = true
			if need := w.limit - len(w.page.Messages); need > 0 && w.missing == nil {
				w.missing = &Hole{From: end + 1, Open: true, Need: need}
			}
		}
	} else {
		if !tail && (q.Before == 0 || q.Before > end+1) {
			w.missing = &Hole{From: end + 1, Open: true, Need: q.Limit}
		}
		from := end
		if q.Before > 0 {
			from = min(end, q.Before-1)
		}
		if from > 0 {
			w.descend(from)
		}
	}
	if w.missing != nil {
		w.missing.Newest = end
	}
	return w.page, w.missing
}

// maxPageGaps ends a page that is all gaps.
const maxPageGaps = protocol.MaxGaps

// A walk goes over a conversation from one seq on, and gathers a page.
type walk struct {
	t           *Tx
	conv        protocol.Conv
	limit       int
	first, last uint64 // where it ends

	page    protocol.PageOK
	missing *Hole
	full    bool
}

func (w *walk) hole(from, to uint64) {
	if w.missing == nil {
		w.missing = &Hole{From: from, To: to, Need: w.limit - len(w.page.Messages)}
	}
}

// ascend gathers from seq up.
func (w *walk) ascend(seq uint64) {
	w.page.From = seq
	next := seq
	for next <= w.last && w.t.err == nil {
		r := w.t.runAt(w.conv, next)
		r.To = min(r.To, w.last)
		if w.stops(r.Kind) {
			w.page.More = true
			break
		}
		switch {
		case r.Kind == Held:
			next = w.take(next, r.To, false)
			if w.full {
				w.end(w.page.From, next-1)
				return
			}
			continue
		case r.Kind.missing():
			w.hole(next, r.To)
		}
		w.gap(next, r.To, r.Kind, false)
		next = r.To + 1
	}
	w.end(w.page.From, next-1)
}

// descend gathers from seq down.
func (w *walk) descend(seq uint64) {
	to := seq
	next := seq
	for next >= w.first && w.t.err == nil {
		r := w.t.runBelow(w.conv, next)
		r.From = max(r.From, w.first)
		if w.stops(r.Kind) {
			w.page.More = true
			break
		}
		switch {
		case r.Kind == Held:
			next = w.take(r.From, next, true)
			if w.full {
				w.finish(next+1, to)
				return
			}
			continue
		case r.Kind.missing():
			w.hole(r.From, next)
		}
		w.gap(r.From, next, r.Kind, true)
		next = r.From - 1
	}
	w.finish(next+1, to)
}

// stops reports whether the page ends before a run: it is full, and goes on over gaps
// alone, of which it has room for so many.
func (w *walk) stops(k Kind) bool {
	return len(w.page.Gaps) >= maxPageGaps || len(w.page.Messages) >= w.limit && k.missing()
}

// take gathers held messages of from..to until the page is full, with the gaps that expired
// ones leave, and returns the seq to go on with.
func (w *walk) take(from, to uint64, descending bool) (next uint64) {
	next = from
	if descending {
		next = to
	}
	w.t.messages(w.conv, from, to, descending, func(r *record) bool {
		if len(w.page.Messages) >= w.limit || len(w.page.Gaps) >= maxPageGaps {
			// What has expired before it is a gap that belongs to the page.
			if descending {
				w.gap(r.Seq+1, next, Expired, true)
			} else {
				w.gap(next, r.Seq-1, Expired, false)
			}
			next = r.Seq
			w.full, w.page.More = true, true
			return false
		}
		if descending {
			w.gap(r.Seq+1, next, Expired, true)
			next = r.Seq - 1
		} else {
			w.gap(next, r.Seq-1, Expired, false)
			next = r.Seq + 1
		}
		w.page.Messages = append(w.page.Messages, r.Message)
		return true
	})
	switch {
	case w.full:
		return next
	case descending:
		w.gap(from, next, Expired, true)
		return from - 1
	}
	w.gap(next, to, Expired, false)
	return to + 1
}

// gap adds from..to, unless empty, to the gaps.
func (w *walk) gap(from, to uint64, k Kind, descending bool) {
	if from > to || from == 0 {
		return
	}
	g := protocol.Gap{From: from, To: to, Reason: reasons[k]}
	if n := len(w.page.Gaps); n > 0 && w.page.Gaps[n-1].Reason == g.Reason {
		last := &w.page.Gaps[n-1]
		if descending && last.From == to+1 {
			last.From = from
			return
		}
		if !descending && last.To == from-1 {
			last.To = to
			return
		}
	}
	w.page.Gaps = append(w.page.Gaps, g)
}

// finish is end for a walk that has descended.
func (w *walk) finish(from, to uint64) {
	slices.Reverse(w.page.Messages)
	slices.Reverse(w.page.Gaps)
	w.end(from, to)
}

func (w *walk) end(from, to uint64) {
	w.page.From, w.page.To = from, to
	if from > to {
		w.page.From, w.page.To = 0, 0
	}
}
