package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// traceMessage answers a TraceMessage query.
func (s *State) traceMessage(q *query.TraceMessage, now int64) {
	q.Trace = query.MessageTrace{}
	h := query.HistoryQuery{User: q.User, Peer: q.Peer, Group: q.Group, Admin: q.Group != "" && q.User == ""}
	v, ok := s.queriedView(&h)
	if !ok {
		return
	}
	t, log := &q.Trace, v.log()
	var e ring.Entry
	held := false
	if q.Seq != 0 {
		held = log.At(s.arena, q.Seq, &e)
		if !held && q.Seq >= log.Next() {
			return
		}
	} else {
		for cur := log.Descend(s.arena, log.Next()); !held && cur.Next(&e); {
			held = e.ID == q.ID
		}
		if !held {
			return
		}
	}
	t.Seq, t.First, t.Last = q.Seq, log.First(), log.Next()-1
	if held {
		t.Seq, t.ID, t.Time, t.TTL, t.Bytes = e.Seq, e.ID, e.Time, e.TTL, ring.EntrySize(&e)
		switch {
		case q.Group != "":
			t.From = command.UserID(e.From)
		case e.Flags&ring.Own != 0:
			t.From = q.User
		default:
			t.From = q.Peer
		}
	}
	page := query.Page{From: t.Seq, To: t.Seq}
	if held && v.gapOf(s, &e, now) == gapNone {
		page.From = t.Seq + 1 // it is no gap
	}
	if s.gaps(&v, &page, now); len(page.Gaps) > 0 {
		t.Reason = page.Gaps[0].Reason
	}
	switch {
	case v.m != nil:
		t.ReadSeq = v.m.read
		t.Unread = slices.Contains(s.unreadSeqs(v.u, v.m, now), t.Seq)
	case q.Group == "":
		t.ReadSeq, t.PeerReadSeq = v.c.read, v.u.coldOf(v.c).peerRead
		t.Unread = held && t.Seq >= s.queueFrom(v.u, v.c) && s.inQueue(v.u, v.c, &e, now)
	}
}

// findMessage answers a FindMessage query.
func (s *State) findMessage(q *query.FindMessage) {
	q.Places = nil
	var e ring.Entry
	for u := range s.records(q.First, q.Last) {
		for i := range u.convs.items {
			c := &u.convs.items[i]
			if c.lastTime < q.From || c.log.Len() == 0 {
				continue
			}
			if c.log.Header(s.arena, c.log.First(), &e); e.Time > q.To {
				continue
			}
			for cur := c.log.Ascend(s.arena, c.log.FirstSinceTime(s.arena, q.From)); cur.Next(&e) && e.Time <= q.To; {
				if e.ID != q.ID {
					continue
				}
				at := query.MessagePlace{Seq: e.Seq}
				if u.group != nil {
					at.Group = u.group.id
				} else {
					at.User, at.Peer = u.name, command.UserID(s.peer(c))
				}
				q.Places = append(q.Places, at)
			}
		}
	}
}

// countSender answers a CountSender query.
func (s *State) countSender(q *query.CountSender, now int64) {
	q.Exists, q.Messages, q.Bytes = false, 0, 0
	u := s.group(q.Group)
	if u == nil {
		return
	}
	q.Exists = true
	c := &u.convs.items[0]
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, c.log.First()); cur.Next(&e); {
		if string(e.From) == string(q.Sender) && s.gapOf(u, c, &e, now) == gapNone {
			q.Messages++
			q.Bytes += ring.EntrySize(&e)
		}
	}
}
