package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func byArrival(a, b query.MessageRef) int { return cmp.Compare(a.Arrival, b.Arrival) }

// readUpdatesAfter answers an UpdatesAfter query.
func (s *State) readUpdatesAfter(q *query.UpdatesAfter, now int64) {
	up := q.Updates
	up.Reset()
	up.Through = q.After
	u := s.lookup(q.User)
	if u == nil {
		return
	}
	upTo := u.arrival
	if q.UpTo != 0 {
		upTo = q.UpTo
	}
	s.updatesAfter(u, q.Session, q.After, upTo, up, q.MaxMessages, q.MaxBytes, now)
}

// updatesAfter reads what came with after < arrival <= upTo into up, as
// query.UpdatesAfter describes.
func (s *State) updatesAfter(u *user, session command.SessionID, after, upTo uint64, up *query.Updates, maxMessages, maxBytes int, now int64) {
	var room [64]query.MessageRef
	refs := s.messagesAfter(u, session, after, upTo, room[:0], now)
	up.Through = upTo
	for n, r := range refs {
		if n == maxMessages || n > 0 && up.Size >= maxBytes {
			up.More = true
			up.Through = refs[n-1].Arrival
			break
		}
		s.copyMessage(u, r, up, now)
	}
	s.appendChanges(u, session, after, up.Through, up)
	up.Interleave()
}

// messagesAfter appends to refs the visible messages with after < arrival <= upTo that
// the session did not send, in order of arrival.
func (s *State) messagesAfter(u *user, session command.SessionID, after, upTo uint64, refs []query.MessageRef, now int64) []query.MessageRef {
	var e ring.Entry
	logs := 0
	for i := u.newest; i != 0; i = u.convs.items[i-1].older {
		c := &u.convs.items[i-1]
		if u.lastActivity(c) <= after {
			break
		}
		from := max(after, u.importOf(int(i-1)).arrival) // imported messages are not pushed
		if c.lastArrival <= from || c.log.Len() == 0 {
			continue
		}
		logs++
		for cur := c.log.Ascend(s.arena, c.log.FirstAfterArrival(s.arena, from)); cur.Next(&e) && e.Arrival <= upTo; {
			if e.Flags&ring.Own != 0 && command.SessionID(e.Session) == session && session != 0 {
				continue
			}
			if s.gapOf(u, c, &e, now) == gapNone {
				refs = append(refs, query.MessageRef{Arrival: e.Arrival, Seq: e.Seq, Conv: i - 1})
			}
		}
	}
	if logs > 1 {
		slices.SortFunc(refs, byArrival)
	}
	return refs
}

// copyMessage appends the message that r names to up. It returns false if the message
// is not visible.
func (s *State) copyMessage(u *user, r query.MessageRef, up *query.Updates, now int64) bool {
	c := &u.convs.items[r.Conv]
	var e ring.Entry
	if !c.log.At(s.arena, r.Seq, &e) || r.Arrival != 0 && e.Arrival != r.Arrival || s.gapOf(u, c, &e, now) != gapNone {
		return false
	}
	s.copyEntry(u, c, &e, up)
	return true
}

// copyEntry appends the message in entry e to up.
func (s *State) copyEntry(u *user, c *conv, e *ring.Entry, up *query.Updates) {
	up.Messages = append(up.Messages, query.Message{})
	n := len(up.Messages)
	m := &up.Messages[n-1]
	*m = query.Message{
		ID: e.ID, Seq: e.Seq, Arrival: e.Arrival, Time: e.Time, TTL: e.TTL,
		CID: up.Copy(e.CID), Body: up.Copy(e.Body),
	}
	if len(e.Mentions) > 0 {
		m.Mentions = mentionList(e.Mentions)
	}
	var last *query.Message
	if n > 1 {
		last = &up.Messages[n-2]
	}
	if u.group != nil {
		m.Group, m.Session = u.group.id, command.SessionID(e.Session)
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

// appendChanges appends to up the changes with after < arrival <= upTo, in order of
// arrival. It leaves out those that the session made, except recalls, which every
// session is told of.
func (s *State) appendChanges(u *user, session command.SessionID, after, upTo uint64, up *query.Updates) {
	news := func(at uint64) bool { return at > after && at <= upTo }
	for i := u.newest; i != 0; i = u.convs.items[i-1].older {
		c := &u.convs.items[i-1]
		if u.lastActivity(c) <= after {
			break
		}
		if u.lastChange(c) <= after {
			continue
		}
		first, cold := len(up.Changes), u.coldOf(c)
		if news(c.readArrival) && (c.readBy != session || session == 0) {
			up.Changes = append(up.Changes, query.Change{Kind: query.ChangeRead, Arrival: c.readArrival, Seq: c.read})
		}
		if news(cold.peerReadArrival) {
			up.Changes = append(up.Changes, query.Change{Kind: query.ChangeReceipt, Arrival: cold.peerReadArrival, Seq: cold.peerRead, Time: cold.peerReadMS})
		}
		if news(cold.clearedArrival) && (cold.clearedBy != session || session == 0) {
			up.Changes = append(up.Changes, query.Change{Kind: query.ChangeConversationDeleted, Arrival: cold.clearedArrival, Seq: cold.clearedTo, Messages: true})
		}
		if news(cold.unlistedArrival) && (cold.unlistedBy != session || session == 0) {
			up.Changes = append(up.Changes, query.Change{Kind: query.ChangeConversationDeleted, Arrival: cold.unlistedArrival, Seq: cold.unlistedTo})
		}
		if news(cold.settingsArrival) {
			up.Changes = append(up.Changes, query.Change{
				Kind: query.ChangeSettings, Arrival: cold.settingsArrival,
				Settings: query.ConversationSettings{Muted: c.flags&convMuted != 0, Pinned: c.flags&convPinned != 0, Unread: c.flags&convMarkedUnread != 0},
			})
		}
		if news(cold.blockArrival) {
			up.Changes = append(up.Changes, query.Change{Kind: query.ChangeBlocked, Arrival: cold.blockArrival, Blocked: c.flags&convBlocked != 0})
		}
		peer := command.UserID("")
		if tombstones := s.tombstonesOf(u, c); len(tombstones) > 0 || len(up.Changes) > first {
			peer = command.UserID(s.peer(c))
			s.tombstoneChanges(u, tombstones, session, news, peer, up)
		}
		for j := first; j < len(up.Changes); j++ {
			up.Changes[j].Peer = peer
		}
	}
	s.appendMembershipChanges(u, after, upTo, up)
	slices.SortFunc(up.Changes, func(x, y query.Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
}

// tombstoneChanges appends to up at most three changes for the tombstones that news
// reports as new: messages that the user recalled, that the peer recalled, and that
// were deleted.
func (s *State) tombstoneChanges(u *user, tombstones []tombstone, session command.SessionID, news func(uint64) bool, peer command.UserID, up *query.Updates) {
	var recalled, recalledByPeer, deleted query.Change
	for _, t := range tombstones {
		if !news(t.arrival) {
			continue
		}
		ch := &recalledByPeer
		switch {
		case t.reason == gapDeleted:
			if t.by == session && session != 0 {
				continue
			}
			ch = &deleted
			ch.Kind = query.ChangeMessagesDeleted
		case t.own:
			ch = &recalled
			ch.Kind, ch.By = query.ChangeRecall, u.name
		default:
			ch.Kind, ch.By = query.ChangeRecall, peer
		}
		// The change gets the arrival number of its earliest tombstone. A session whose
		// cursor is between two of them is told of the later one again, and misses none.
		if ch.Arrival == 0 || t.arrival < ch.Arrival {
			ch.Arrival = t.arrival
		}
		if n := len(ch.Ranges); n > 0 && ch.Ranges[n-1].To+1 == t.seq {
			ch.Ranges[n-1].To = t.seq
		} else {
			ch.Ranges = append(ch.Ranges, query.Range{From: t.seq, To: t.seq})
		}
	}
	for _, ch := range []query.Change{recalled, recalledByPeer, deleted} {
		if ch.Kind != 0 {
			up.Changes = append(up.Changes, ch)
		}
	}
}
