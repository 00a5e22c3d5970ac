package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// StartSync returns what a login pushes; r is the login's result. It has to be called
// before another batch is applied, so that the sync begins where the login was.
func (s *State) StartSync(name command.UserID, r *command.Result, mode query.RecentsMode, now int64) *query.Sync {
	sync := &query.Sync{Session: r.Session, CursorArrival: r.CursorArrival, Reset: r.Reset}
	u := s.lookup(name)
	if u == nil {
		return sync
	}
	sync.Arrival = u.arrival
	sync.Cursor = query.Cursor(s.epoch, name, u.arrival)
	sync.ReadTo = r.CursorArrival
	sync.Groups, sync.MaxRecents = s.groupsOf(u), s.limits.Recents
	var unread []query.MessageRef
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if s.mayQueue(u, c) {
			n := s.unread(u, c, now)
			if sync.UnreadTotal += n; c.flags&convMuted == 0 {
				sync.UnreadUnmuted += n
			}
			s.appendQueue(u, uint32(i), sync, now)
		}
		if (s.mayQueue(u, c) && s.unread(u, c, now) > 0 || c.flags&convMarkedUnread != 0) && s.lastListed(u, c, now, &e) {
			unread = append(unread, query.MessageRef{Arrival: e.Arrival, Seq: e.Seq, Conv: uint32(i)})
		}
		s.appendLost(u, c, sync, now)
	}
	slices.SortFunc(unread, newestFirst)
	for _, r := range unread {
		sync.Unread = append(sync.Unread, s.conversation(u, r, now))
	}
	slices.SortFunc(sync.Refs, byArrival)
	sync.Offline = len(sync.Refs)
	if sync.CursorArrival > 0 {
		sync.Refs = nil // ReadNext reads by cursor instead, which finds messages outside the queue too
	}
	if mode == query.RecentsOff {
		return sync
	}
	recents := s.recents(u, now)
	sync.Conversations = make([]query.Conversation, 0, len(recents))
	var rest []query.MessageRef
	for _, r := range recents {
		sync.Conversations = append(sync.Conversations, s.conversation(u, r, now))
		if _, pushed := slices.BinarySearchFunc(sync.Refs, r, byArrival); !pushed && sync.CursorArrival == 0 && mode == query.RecentsOn {
			rest = append(rest, r)
		}
		sync.Recents = append(sync.Recents, r.Arrival)
	}
	slices.Reverse(rest) // messages are pushed oldest first
	sync.Refs, sync.LastMessages = append(sync.Refs, rest...), len(rest)
	return sync
}

// appendQueue appends to sync.Refs the messages in a conversation's queue that came
// after the cursor.
func (s *State) appendQueue(u *user, i uint32, sync *query.Sync, now int64) {
	c, after := &u.convs.items[i], sync.CursorArrival
	if after > 0 {
		after = max(after, u.importOf(int(i)).arrival) // imported messages are not pushed
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, s.queueFrom(u, c)); cur.Next(&e); {
		if e.Arrival > after && s.inQueue(u, c, &e, now) {
			sync.Refs = append(sync.Refs, query.MessageRef{Arrival: e.Arrival, Seq: e.Seq, Conv: i})
		}
	}
}

// appendLost appends to sync.Lost the messages that limits took out of a conversation's
// queue and that came after the cursor.
func (s *State) appendLost(u *user, c *conv, sync *query.Sync, now int64) {
	for _, run := range s.runsBelowCutoff(u, c, sync.CursorArrival, now) {
		sync.Lost = append(sync.Lost, query.Lost{Peer: command.UserID(s.peer(c)), From: run.from, To: run.to, Count: int(run.count)})
	}
	for _, run := range u.extraOf(c).lost.items(s.arena) {
		if run.arrival <= sync.CursorArrival {
			continue
		}
		from, count := run.from, run.count
		if sync.CursorArrival > 0 {
			if seq := c.log.FirstAfterArrival(s.arena, sync.CursorArrival); seq > c.log.First() && seq > from {
				from = seq
				count = min(count, run.to-from+1)
			}
		}
		sync.Lost = append(sync.Lost, query.Lost{Peer: command.UserID(s.peer(c)), From: from, To: run.to, Count: int(count)})
	}
}

// syncMessages answers a SyncMessages query.
func (s *State) syncMessages(q *query.SyncMessages, now int64) {
	up := q.Updates
	up.Reset()
	q.Done = 0
	u := s.lookup(q.User)
	for _, r := range q.Refs {
		if up.More = len(up.Messages) == q.MaxMessages || len(up.Messages) > 0 && up.Size >= q.MaxBytes; up.More {
			return
		}
		q.Done++
		// The user may have been erased since the login, and the name be in use again.
		if u != nil && int(r.Conv) < len(u.convs.items) && s.copyMessage(u, r, up, now) {
			up.Items = append(up.Items, query.Item{Message: len(up.Messages) - 1, Change: -1, Event: -1})
		}
	}
}

// recents returns the last visible message of each recent conversation, newest first.
// If there are more than the limit, pinned conversations go before others, and newer
// before older ones.
func (s *State) recents(u *user, now int64) []query.MessageRef {
	most := s.limits.Recents
	var pinned, others []query.MessageRef
	for i := u.newest; i != 0; i = u.convs.items[i-1].older {
		c, list := &u.convs.items[i-1], &others
		if c.flags&convPinned != 0 {
			list = &pinned
		}
		// This conversation's last message cannot be newer than those in the full list.
		if n := len(*list); n == most && (n == 0 || u.lastActivity(c) < (*list)[n-1].Arrival) {
			continue
		}
		var e ring.Entry
		if s.lastListed(u, c, now, &e) {
			*list = insertNewest(*list, query.MessageRef{Arrival: e.Arrival, Seq: e.Seq, Conv: i - 1}, most)
		}
	}
	refs := append(pinned, others[:min(len(others), most-len(pinned))]...)
	slices.SortFunc(refs, newestFirst)
	return refs
}

func newestFirst(a, b query.MessageRef) int { return cmp.Compare(b.Arrival, a.Arrival) }

// insertNewest inserts r into refs, which are in order of arrival, newest first. If
// there are more than most then, it drops the oldest.
func insertNewest(refs []query.MessageRef, r query.MessageRef, most int) []query.MessageRef {
	at, _ := slices.BinarySearchFunc(refs, r, newestFirst)
	if at == most {
		return refs
	}
	refs = slices.Insert(refs, at, r)
	return refs[:min(len(refs), most)]
}

// lastListed reads the newest visible message of a conversation into e. It returns
// false if there is none, or if the user took the conversation off their recents after
// it came.
func (s *State) lastListed(u *user, c *conv, now int64, e *ring.Entry) bool {
	hidden := u.coldOf(c).unlistedTo
	if c.log.Len() == 0 || c.log.Next()-1 <= hidden {
		return false
	}
	for walk := s.descendVisible(u, c, c.log.Next()-1, now); walk.prev(e) && e.Seq > hidden; {
		switch {
		case s.gapOf(u, c, e, now) == gapNone:
			return true
		case e.TTL == 0 && e.Flags&ring.Expired == 0 && (s.expired(u, e, now) || e.Time <= s.cutoff):
			return false // and so are all older ones
		}
	}
	return false
}

// conversation returns the list entry of a conversation, whose last message is r.
func (s *State) conversation(u *user, r query.MessageRef, now int64) query.Conversation {
	c := &u.convs.items[r.Conv]
	e := ring.Entry{Time: c.lastTime}
	if r.Seq != 0 {
		c.log.At(s.arena, r.Seq, &e)
	}
	return query.Conversation{
		Peer: command.UserID(s.peer(c)), LastSeq: r.Seq, Time: e.Time, ReadSeq: c.read, PeerReadSeq: u.coldOf(c).peerRead,
		Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0, Pinned: c.flags&convPinned != 0, MarkedUnread: c.flags&convMarkedUnread != 0,
	}
}

// Recents lists the recent conversations, newest first. It stops when their last
// messages take maxBytes.
func (s *State) Recents(name command.UserID, maxBytes int, now int64) (list query.ConversationList) {
	u := s.lookup(name)
	if u == nil {
		return list
	}
	var up query.Updates
	for _, r := range s.recents(u, now) {
		if list.More = up.Size >= maxBytes; list.More {
			break
		}
		list.Conversations = append(list.Conversations, s.conversation(u, r, now))
		s.copyMessage(u, r, &up, now)
	}
	list.Last = up.Messages
	return list
}

// Conversations lists one-to-one conversations as query.Conversations describes, after
// the place behind; 0 = from the first.
func (s *State) Conversations(name command.UserID, behind uint64, limit, maxBytes int, now int64) (list query.ConversationList) {
	u := s.lookup(name)
	if u == nil {
		return list
	}
	var refs []query.MessageRef
	for i := u.newest; i != 0; i = u.convs.items[i-1].older {
		c := &u.convs.items[i-1]
		if n := len(refs); n > limit && u.lastActivity(c) < refs[n-1].Arrival {
			break // and so are the remaining ones
		}
		if c.lastTime == 0 || behind != 0 && c.lastArrival >= behind || c.log.Next()-1 <= u.coldOf(c).unlistedTo {
			continue
		}
		refs = insertNewest(refs, query.MessageRef{Arrival: c.lastArrival, Conv: i - 1}, limit+1)
	}
	var up query.Updates
	var e ring.Entry
	for _, r := range refs {
		if list.More = len(list.Conversations) == limit || up.Size >= maxBytes; list.More {
			break
		}
		c := &u.convs.items[r.Conv]
		if s.lastListed(u, c, now, &e) {
			r.Seq = e.Seq
			s.copyEntry(u, c, &e, &up)
		} else {
			up.Messages = append(up.Messages, query.Message{})
		}
		entry := s.conversation(u, r, now)
		entry.Place = r.Arrival
		list.Conversations = append(list.Conversations, entry)
	}
	list.Last = up.Messages
	return list
}
