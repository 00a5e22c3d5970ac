package shard

import (
	"cmp"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// A ref names one stored message of a user.
type ref struct {
	arrival uint64
	seq     uint64
	conv    uint32
}

func byArrival(a, b ref) int { return cmp.Compare(a.arrival, b.arrival) }

// Since reads what came after an arrival number: messages that can be shown,
// but those the session itself sent, and changes, but those it made itself. At
// most maxMessages messages and, beyond the first message, maxBytes bytes.
func (s *State) Since(name UserID, session SessionID, after uint64, b *Batch, maxMessages, maxBytes int, now int64) {
	u := s.lookup(name)
	b.Reset()
	b.Next = after
	if u == nil {
		return
	}
	s.since(u, session, after, u.arrival, b, maxMessages, maxBytes, now)
}

func (s *State) since(u *user, session SessionID, after, upTo uint64, b *Batch, maxMessages, maxBytes int, now int64) {
	var room [64]ref
	refs := s.collect(u, session, after, upTo, room[:0], now)
	b.Next = upTo
	for n, r := range refs {
		if n == maxMessages || n > 0 && b.size >= maxBytes {
			b.More = true
			b.Next = refs[n-1].arrival
			break
		}
		s.copyMessage(u, r, b, now)
	}
	s.changes(u, session, after, b.Next, b)
	b.interleave()
}

// collect lists the messages with after < arrival <= upTo in arrival order.
func (s *State) collect(u *user, session SessionID, after, upTo uint64, refs []ref, now int64) []ref {
	var e ring.Entry
	logs := 0
	for i := u.recent; i != 0; i = u.convs.items[i-1].older {
		c := &u.convs.items[i-1]
		if u.activity(c) <= after {
			break
		}
		from := max(after, u.imported(int(i-1)).arrival) // nobody is pushed what was imported
		if c.lastArrival <= from || c.log.Len() == 0 {
			continue
		}
		logs++
		for cur := c.log.Ascend(s.arena, c.log.AfterArrival(s.arena, from)); cur.Next(&e) && e.Arrival <= upTo; {
			if e.Flags&ring.Own != 0 && SessionID(e.Session) == session && session != 0 {
				continue
			}
			if s.hiddenBy(u, c, &e, now) == gapNone {
				refs = append(refs, ref{arrival: e.Arrival, seq: e.Seq, conv: i - 1})
			}
		}
	}
	if logs > 1 {
		slices.SortFunc(refs, byArrival)
	}
	return refs
}

// hold copies bytes into the batch and returns them as they lie there.
func (b *Batch) hold(v []byte) []byte {
	b.size += len(v)
	if len(b.buf)+len(v) > cap(b.buf) {
		// A new piece instead of a grown one: what was handed out stays valid.
		b.buf = make([]byte, 0, max(2*cap(b.buf), len(v), 1024))
	}
	start := len(b.buf)
	b.buf = append(b.buf, v...)
	return b.buf[start:len(b.buf):len(b.buf)]
}

// copyMessage appends the message of a ref. False: it can no longer be shown.
func (s *State) copyMessage(u *user, r ref, b *Batch, now int64) bool {
	c := &u.convs.items[r.conv]
	var e ring.Entry
	if !c.log.At(s.arena, r.seq, &e) || s.hiddenBy(u, c, &e, now) != gapNone {
		return false
	}
	s.copyEntry(u, c, &e, b)
	return true
}

// copyEntry appends the message of an entry.
func (s *State) copyEntry(u *user, c *conv, e *ring.Entry, b *Batch) {
	b.Messages = append(b.Messages, Message{})
	n := len(b.Messages)
	m := &b.Messages[n-1]
	*m = Message{
		ID: e.ID, Seq: e.Seq, Arrival: e.Arrival, Time: e.Time, TTL: e.TTL,
		CID: b.hold(e.CID), Body: b.hold(e.Body),
	}
	if len(e.Mentions) > 0 {
		m.Mentions = mentionList(e.Mentions)
	}
	var last *Message
	if n > 1 {
		last = &b.Messages[n-2]
	}
	if u.team != nil {
		m.Group, m.Session = u.team.id, SessionID(e.Session)
		if last != nil && string(last.From) == string(e.From) {
			m.From = last.From
		} else {
			m.From = UserID(e.From)
		}
		return
	}
	if last != nil && string(last.Peer) == string(s.peer(c)) {
		m.Peer = last.Peer
	} else {
		m.Peer = UserID(s.peer(c))
	}
	m.From = m.Peer
	if e.Flags&ring.Own != 0 {
		m.From = u.name
	}
}

// changes appends what altered with after < arrival <= upTo, in arrival order,
// but what the session itself did (recalls excepted: everybody hears of those).
func (s *State) changes(u *user, session SessionID, after, upTo uint64, b *Batch) {
	news := func(at uint64) bool { return at > after && at <= upTo }
	for i := u.recent; i != 0; i = u.convs.items[i-1].older {
		c := &u.convs.items[i-1]
		if u.activity(c) <= after {
			break
		}
		if u.changed(c) <= after {
			continue
		}
		first, cold := len(b.Changes), u.cold(c)
		if news(c.readAt) && (c.readBy != session || session == 0) {
			b.Changes = append(b.Changes, Change{Kind: ChangeRead, Arrival: c.readAt, Seq: c.read})
		}
		if news(cold.peerReadAt) {
			b.Changes = append(b.Changes, Change{Kind: ChangeReceipt, Arrival: cold.peerReadAt, Seq: cold.peerRead, Time: cold.peerReadMS})
		}
		if news(cold.wipedAt) && (cold.wipedBy != session || session == 0) {
			b.Changes = append(b.Changes, Change{Kind: ChangeConversationDeleted, Arrival: cold.wipedAt, Seq: cold.wiped, Messages: true})
		}
		if news(cold.deletedAt) && (cold.deletedBy != session || session == 0) {
			b.Changes = append(b.Changes, Change{Kind: ChangeConversationDeleted, Arrival: cold.deletedAt, Seq: cold.hidden})
		}
		if news(cold.setAt) {
			b.Changes = append(b.Changes, Change{
				Kind: ChangeSettings, Arrival: cold.setAt,
				Settings: ConversationSettings{Muted: c.flags&convMuted != 0, Pinned: c.flags&convPinned != 0, Unread: c.flags&convMarked != 0},
			})
		}
		if news(cold.blockAt) {
			b.Changes = append(b.Changes, Change{Kind: ChangeBlocked, Arrival: cold.blockAt, Blocked: c.flags&convBlocked != 0})
		}
		peer := UserID("")
		if marks := s.marksOf(u, c); len(marks) > 0 || len(b.Changes) > first {
			peer = UserID(s.peer(c))
			s.markChanges(u, marks, session, news, peer, b)
		}
		for j := first; j < len(b.Changes); j++ {
			b.Changes[j].Peer = peer
		}
	}
	s.teamChanges(u, after, upTo, b)
	slices.SortFunc(b.Changes, func(x, y Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
}

// markChanges turns new marks into at most three changes: what the user
// recalled, what the peer recalled, what was deleted.
func (s *State) markChanges(u *user, marks []mark, session SessionID, news func(uint64) bool, peer UserID, b *Batch) {
	var recalled, recalledByPeer, deleted Change
	for _, m := range marks {
		if !news(m.arrival) {
			continue
		}
		ch := &recalledByPeer
		switch {
		case m.reason == gapDeleted:
			if m.by == session && session != 0 {
				continue
			}
			ch = &deleted
			ch.Kind = ChangeMessagesDeleted
		case m.own:
			ch = &recalled
			ch.Kind, ch.By = ChangeRecall, u.name
		default:
			ch.Kind, ch.By = ChangeRecall, peer
		}
		// Told at the earliest of its marks: a reader that stops in between is
		// told of the later ones again, and misses none.
		if ch.Arrival == 0 || m.arrival < ch.Arrival {
			ch.Arrival = m.arrival
		}
		if n := len(ch.Ranges); n > 0 && ch.Ranges[n-1].To+1 == m.seq {
			ch.Ranges[n-1].To = m.seq
		} else {
			ch.Ranges = append(ch.Ranges, Range{From: m.seq, To: m.seq})
		}
	}
	for _, ch := range []Change{recalled, recalledByPeer, deleted} {
		if ch.Kind != 0 {
			b.Changes = append(b.Changes, ch)
		}
	}
}

// interleave lists messages, changes and events, each in arrival order, as one.
func (b *Batch) interleave() {
	m, c, e := 0, 0, 0
	for {
		item, first := Item{Message: -1, Change: -1, Event: -1}, uint64(math.MaxUint64)
		if m < len(b.Messages) {
			item.Message, first = m, b.Messages[m].Arrival
		}
		if c < len(b.Changes) && b.Changes[c].Arrival < first {
			item, first = Item{Message: -1, Change: c, Event: -1}, b.Changes[c].Arrival
		}
		if e < len(b.Events) && b.Events[e].Arrival < first {
			item = Item{Message: -1, Change: -1, Event: e}
		}
		switch {
		case item.Event >= 0:
			e++
		case item.Change >= 0:
			c++
		case item.Message >= 0:
			m++
		default:
			return
		}
		b.Items = append(b.Items, item)
	}
}
