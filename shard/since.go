package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func byArrival(a, b query.Ref) int { return cmp.Compare(a.Arrival, b.Arrival) }

// readSince reads what came after an arrival number.
func (s *State) readSince(q *query.Since, now int64) {
	b := q.Batch
	b.Reset()
	b.Next = q.After
	u := s.lookup(q.User)
	if u == nil {
		return
	}
	upTo := u.arrival
	if q.UpTo != 0 {
		upTo = q.UpTo
	}
	s.since(u, q.Session, q.After, upTo, b, q.MaxMessages, q.MaxBytes, now)
}

func (s *State) since(u *user, session command.SessionID, after, upTo uint64, b *query.Batch, maxMessages, maxBytes int, now int64) {
	var room [64]query.Ref
	refs := s.collect(u, session, after, upTo, room[:0], now)
	b.Next = upTo
	for n, r := range refs {
		if n == maxMessages || n > 0 && b.Size >= maxBytes {
			b.More = true
			b.Next = refs[n-1].Arrival
			break
		}
		s.copyMessage(u, r, b, now)
	}
	s.changes(u, session, after, b.Next, b)
	b.Interleave()
}

// collect lists the messages with after < arrival <= upTo in arrival order.
func (s *State) collect(u *user, session command.SessionID, after, upTo uint64, refs []query.Ref, now int64) []query.Ref {
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
			if e.Flags&ring.Own != 0 && command.SessionID(e.Session) == session && session != 0 {
				continue
			}
			if s.hiddenBy(u, c, &e, now) == gapNone {
				refs = append(refs, query.Ref{Arrival: e.Arrival, Seq: e.Seq, Conv: i - 1})
			}
		}
	}
	if logs > 1 {
		slices.SortFunc(refs, byArrival)
	}
	return refs
}

// copyMessage appends the message of a ref. False: it can no longer be shown.
func (s *State) copyMessage(u *user, r query.Ref, b *query.Batch, now int64) bool {
	c := &u.convs.items[r.Conv]
	var e ring.Entry
	if !c.log.At(s.arena, r.Seq, &e) || s.hiddenBy(u, c, &e, now) != gapNone {
		return false
	}
	s.copyEntry(u, c, &e, b)
	return true
}

// copyEntry appends the message of an entry.
func (s *State) copyEntry(u *user, c *conv, e *ring.Entry, b *query.Batch) {
	b.Messages = append(b.Messages, query.Message{})
	n := len(b.Messages)
	m := &b.Messages[n-1]
	*m = query.Message{
		ID: e.ID, Seq: e.Seq, Arrival: e.Arrival, Time: e.Time, TTL: e.TTL,
		CID: b.Hold(e.CID), Body: b.Hold(e.Body),
	}
	if len(e.Mentions) > 0 {
		m.Mentions = mentionList(e.Mentions)
	}
	var last *query.Message
	if n > 1 {
		last = &b.Messages[n-2]
	}
	if u.team != nil {
		m.Group, m.Session = u.team.id, command.SessionID(e.Session)
		if last != nil && string(last.From) == string(e.From) {
			m.From = last.From
		} else {
			m.From = command.UserID(e.From)
		}
		return
	}
	if last != nil && string(last.Peer) == string(s.peer(c)) {
		m.Peer = last.Peer
	} else {
		m.Peer = command.UserID(s.peer(c))
	}
	m.From = m.Peer
	if e.Flags&ring.Own != 0 {
		m.From = u.name
	}
}

// changes appends what altered with after < arrival <= upTo, in arrival order,
// but what the session itself did (recalls excepted: everybody hears of those).
func (s *State) changes(u *user, session command.SessionID, after, upTo uint64, b *query.Batch) {
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
			b.Changes = append(b.Changes, query.Change{Kind: query.ChangeRead, Arrival: c.readAt, Seq: c.read})
		}
		if news(cold.peerReadAt) {
			b.Changes = append(b.Changes, query.Change{Kind: query.ChangeReceipt, Arrival: cold.peerReadAt, Seq: cold.peerRead, Time: cold.peerReadMS})
		}
		if news(cold.wipedAt) && (cold.wipedBy != session || session == 0) {
			b.Changes = append(b.Changes, query.Change{Kind: query.ChangeConversationDeleted, Arrival: cold.wipedAt, Seq: cold.wiped, Messages: true})
		}
		if news(cold.deletedAt) && (cold.deletedBy != session || session == 0) {
			b.Changes = append(b.Changes, query.Change{Kind: query.ChangeConversationDeleted, Arrival: cold.deletedAt, Seq: cold.hidden})
		}
		if news(cold.setAt) {
			b.Changes = append(b.Changes, query.Change{
				Kind: query.ChangeSettings, Arrival: cold.setAt,
				Settings: query.ConversationSettings{Muted: c.flags&convMuted != 0, Pinned: c.flags&convPinned != 0, Unread: c.flags&convMarked != 0},
			})
		}
		if news(cold.blockAt) {
			b.Changes = append(b.Changes, query.Change{Kind: query.ChangeBlocked, Arrival: cold.blockAt, Blocked: c.flags&convBlocked != 0})
		}
		peer := command.UserID("")
		if marks := s.marksOf(u, c); len(marks) > 0 || len(b.Changes) > first {
			peer = command.UserID(s.peer(c))
			s.markChanges(u, marks, session, news, peer, b)
		}
		for j := first; j < len(b.Changes); j++ {
			b.Changes[j].Peer = peer
		}
	}
	s.teamChanges(u, after, upTo, b)
	slices.SortFunc(b.Changes, func(x, y query.Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
}

// markChanges turns new marks into at most three changes: what the user
// recalled, what the peer recalled, what was deleted.
func (s *State) markChanges(u *user, marks []mark, session command.SessionID, news func(uint64) bool, peer command.UserID, b *query.Batch) {
	var recalled, recalledByPeer, deleted query.Change
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
			ch.Kind = query.ChangeMessagesDeleted
		case m.own:
			ch = &recalled
			ch.Kind, ch.By = query.ChangeRecall, u.name
		default:
			ch.Kind, ch.By = query.ChangeRecall, peer
		}
		// Told at the earliest of its marks: a reader that stops in between is
		// told of the later ones again, and misses none.
		if ch.Arrival == 0 || m.arrival < ch.Arrival {
			ch.Arrival = m.arrival
		}
		if n := len(ch.Ranges); n > 0 && ch.Ranges[n-1].To+1 == m.seq {
			ch.Ranges[n-1].To = m.seq
		} else {
			ch.Ranges = append(ch.Ranges, query.Range{From: m.seq, To: m.seq})
		}
	}
	for _, ch := range []query.Change{recalled, recalledByPeer, deleted} {
		if ch.Kind != 0 {
			b.Changes = append(b.Changes, ch)
		}
	}
}
