package shard_test

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A modelRef names one message of a user.
type modelRef struct {
	view  *modelView
	entry *modelEntry
}

func byArrival(a, b modelRef) int { return cmp.Compare(a.entry.arrival, b.entry.arrival) }

// unmuted counts those of a queue whose conversation is not muted.
func (u *modelUser) unmuted(queue []modelRef) (n int) {
	for _, r := range queue {
		if !r.view.muted {
			n++
		}
	}
	return n
}

// queue lists the offline queue, oldest first.
func (u *modelUser) queue(l *command.Limits, now int64) (refs []modelRef) {
	for _, peer := range u.peers {
		v := u.views[peer]
		for _, e := range v.held() {
			if v.queued(e, l, now) {
				refs = append(refs, modelRef{v, e})
			}
		}
	}
	slices.SortFunc(refs, byArrival)
	return refs
}

// recents lists the last messages that recents show, newest first.
func (u *modelUser) recents(l *command.Limits, now int64) (refs []modelRef) {
	for _, peer := range u.peers {
		v := u.views[peer]
		if e := v.last(l, now); e != nil {
			refs = append(refs, modelRef{v, e})
		}
	}
	newest := func(a, b modelRef) int { return byArrival(b, a) }
	slices.SortFunc(refs, newest)
	slices.SortStableFunc(refs, func(a, b modelRef) int { return compareBool(b.view.pinned, a.view.pinned) })
	refs = refs[:min(len(refs), l.Recents)]
	slices.SortFunc(refs, newest)
	return refs
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// conversations lists all that the user has, the one with the newest message
// first; an entry is nil where nothing can be shown.
func (u *modelUser) conversations(l *command.Limits, now int64) (refs []modelRef) {
	for _, peer := range u.peers {
		if v := u.views[peer]; v.newest() > max(v.unlistedTo, v.timeless) {
			refs = append(refs, modelRef{v, v.last(l, now)})
		}
	}
	slices.SortFunc(refs, func(a, b modelRef) int { return cmp.Compare(b.view.place(), a.view.place()) })
	return refs
}

// place is that of the view among the conversations of its user.
func (v *modelView) place() uint64 { return max(v.at(v.newest()).arrival, v.activity) }

// conversation is the entry of recents for a last message.
func (r modelRef) conversation(l *command.Limits, now int64) query.Conversation {
	v, last := r.view, r.entry
	if last == nil {
		last = &modelEntry{time: v.newestTime()}
	}
	return query.Conversation{
		Peer: v.peer, LastSeq: last.seq, Time: last.time, ReadSeq: v.readSeq, PeerReadSeq: v.receipt,
		Unread: v.unread(l, now), Muted: v.muted, Pinned: v.pinned, MarkedUnread: v.markedUnread,
	}
}

// since lists what a session has to be pushed of the messages with
// after < arrival <= upTo.
func (u *modelUser) since(l *command.Limits, session command.SessionID, after, upTo uint64, now int64) (refs []modelRef) {
	for _, peer := range u.peers {
		v := u.views[peer]
		for _, e := range slices.Backward(v.held()) {
			if e.arrival <= after {
				break
			}
			ownHere := e.own && e.session == session && session != 0 || e.imported // that is never pushed
			if e.arrival <= upTo && !ownHere && e.gap(l, now) == "" {
				refs = append(refs, modelRef{v, e})
			}
		}
	}
	slices.SortFunc(refs, byArrival)
	return refs
}

// lost lists the seqs that a sync must name as lost, and those that it may name
// besides: lost before the cursor, and no longer held to tell.
func (v *modelView) lost(l *command.Limits, since uint64, now int64) (must, may []uint64) {
	for _, e := range v.entries {
		lost := e.lost || e.belowCutoff && v.queueable(e, l, now)
		switch {
		case !lost || e.seq <= v.readSeq:
		case e.arrival > since:
			must = append(must, e.seq)
		case e.gone != "" || e.expired(l, now):
			may = append(may, e.seq)
		}
	}
	return must, may
}

// A modelPage is what History must answer.
type modelPage struct {
	from, to uint64
	entries  []*modelEntry
	gaps     []query.Gap
	more     bool
}

func (u *modelUser) history(q query.HistoryQuery, l *command.Limits, now int64) (p modelPage) {
	v := u.views[q.Peer]
	if v == nil || v.newest() == 0 {
		return p
	}
	from, to, up := uint64(1), v.newest(), false
	switch {
	case q.HasAfter:
		from, up = q.After+1, true
	case q.To != 0:
		from, to, up = q.From, min(q.To, to), true
	case q.Before != 0:
		to = min(q.Before-1, to)
	}
	if from > to || from == 0 {
		return p
	}
	p.from, p.to = from, to
	size := 0
	full := func(e *modelEntry) bool {
		n := len(p.entries)
		return n == q.Limit || n > 0 && size+e.size > q.MaxBytes
	}
	for n := range to - from + 1 {
		seq := to - n
		if up {
			seq = from + n
		}
		e := v.at(seq)
		if e.gap(l, now) != "" {
			continue
		}
		if full(e) {
			p.more = true
			if up {
				p.to = seq - 1
			} else {
				p.from = seq + 1
			}
			break
		}
		size += e.size
		p.entries = append(p.entries, e)
	}
	if !up {
		slices.Reverse(p.entries)
	}
	for seq := p.from; seq <= p.to; seq++ {
		reason := v.at(seq).gap(l, now)
		if reason == "" {
			continue
		}
		if n := len(p.gaps); n > 0 && p.gaps[n-1].To == seq-1 && p.gaps[n-1].Reason == reason {
			p.gaps[n-1].To = seq
		} else {
			p.gaps = append(p.gaps, query.Gap{From: seq, To: seq, Reason: reason})
		}
	}
	return p
}
