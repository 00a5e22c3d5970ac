package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// StartSync takes what a login pushes, in the same step of the shard as the
// login itself; r is its result.
func (s *State) StartSync(name UserID, r *Result, mode RecentsMode, now int64) *Sync {
	sync := &Sync{Session: r.Session, Since: r.Since, Reset: r.Reset}
	u := s.lookup(name)
	if u == nil {
		return sync
	}
	sync.Arrival = u.arrival
	sync.Cursor = s.Cursor(name, u.arrival)
	sync.at = r.Since
	sync.Groups, sync.MaxRecents = s.groupsOf(u), s.limits.Recents
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.queued > 0 {
			n := s.unread(u, c, now)
			if sync.UnreadTotal += n; c.flags&convMuted == 0 {
				sync.UnreadUnmuted += n
			}
			s.queue(u, uint32(i), sync, now)
		}
		s.lost(u, c, sync, now)
	}
	slices.SortFunc(sync.refs, byArrival)
	sync.Offline = len(sync.refs)
	if sync.Since > 0 {
		sync.refs = nil // read by cursor instead, with all that the queue does not hold
	}
	if mode == RecentsOff {
		return sync
	}
	recents := s.recents(u, now)
	sync.Conversations = make([]Conversation, 0, len(recents))
	var rest []ref
	for _, r := range recents {
		sync.Conversations = append(sync.Conversations, s.conversation(u, r, now))
		if _, pushed := slices.BinarySearchFunc(sync.refs, r, byArrival); !pushed && sync.Since == 0 && mode == RecentsOn {
			rest = append(rest, r)
		}
		sync.recents = append(sync.recents, r.arrival)
	}
	slices.Reverse(rest) // oldest first, as everything is pushed
	sync.refs, sync.last = append(sync.refs, rest...), len(rest)
	return sync
}

// Keep drops all but the n newest of Conversations, and does not push the last
// messages of the others. It comes before the first NextSync.
func (sync *Sync) Keep(n int) {
	if n >= len(sync.Conversations) {
		return
	}
	queue := sync.Queue()
	last := sync.refs[queue:]
	for len(last) > 0 && (n == 0 || last[0].arrival < sync.recents[n-1]) {
		last = last[1:]
	}
	sync.refs, sync.last = append(sync.refs[:queue], last...), len(last)
	sync.Conversations, sync.recents = sync.Conversations[:n], sync.recents[:n]
}

// Queue is how many messages of the offline queue are still to push, before the
// last messages of recents. With a cursor it is 0.
func (sync *Sync) Queue() int { return max(len(sync.refs)-sync.last, 0) }

// queue lists a conversation's queue, as far as it came after the cursor.
func (s *State) queue(u *user, i uint32, sync *Sync, now int64) {
	c, after := &u.convs.items[i], sync.Since
	if after > 0 {
		after = max(after, u.imported(int(i)).arrival) // not pushed by cursor
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, u.queueFrom(c)); cur.Next(&e); {
		if e.Arrival > after && s.inQueue(u, c, &e, now) {
			sync.refs = append(sync.refs, ref{arrival: e.Arrival, seq: e.Seq, conv: i})
		}
	}
}

// lost lists what limits took from a conversation's queue after the cursor.
func (s *State) lost(u *user, c *conv, sync *Sync, now int64) {
	for _, l := range s.cutRuns(u, c, sync.Since, now) {
		sync.Lost = append(sync.Lost, Lost{Peer: UserID(s.peer(c)), From: l.from, To: l.to, Count: int(l.count)})
	}
	for _, l := range u.extra(c).lost.items(s.arena) {
		if l.arrival <= sync.Since {
			continue
		}
		from, count := l.from, l.count
		if sync.Since > 0 {
			if seq := c.log.AfterArrival(s.arena, sync.Since); seq > c.log.First() && seq > from {
				from = seq
				count = min(count, l.to-from+1)
			}
		}
		sync.Lost = append(sync.Lost, Lost{Peer: UserID(s.peer(c)), From: from, To: l.to, Count: int(count)})
	}
}

// NextSync reads the next part of a sync, with the bounds of Since. Messages
// that were recalled, deleted or dropped since the login are left out. With a
// cursor the changes that the device missed come at their place.
func (s *State) NextSync(name UserID, sync *Sync, b *Batch, maxMessages, maxBytes int, now int64) {
	b.Reset()
	b.Next = sync.at
	u := s.lookup(name)
	if u == nil {
		return
	}
	if sync.Since > 0 {
		s.since(u, sync.Session, sync.at, sync.Arrival, b, maxMessages, maxBytes, now)
		sync.at = b.Next
		return
	}
	for len(sync.refs) > 0 {
		if len(b.Messages) == maxMessages || len(b.Messages) > 0 && b.size >= maxBytes {
			b.More = true
			return
		}
		r := sync.refs[0]
		sync.refs = sync.refs[1:]
		if s.copyMessage(u, r, b, now) {
			b.Items = append(b.Items, Item{Message: len(b.Messages) - 1, Change: -1, Event: -1})
		}
	}
	b.Next = sync.Arrival
}

// recents lists the last message of each conversation that has one to show,
// newest first, as many as the limit allows.
func (s *State) recents(u *user, now int64) []ref {
	refs := make([]ref, 0, len(u.convs.items))
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.log.Len() == 0 || c.log.Next()-1 <= u.cold(c).hidden {
			continue
		}
		for cur := c.log.Descend(s.arena, c.log.Next()); cur.Next(&e) && e.Seq > u.cold(c).hidden; {
			if s.hiddenBy(u, c, &e, now) == gapNone {
				refs = append(refs, ref{arrival: e.Arrival, seq: e.Seq, conv: uint32(i)})
				break
			}
		}
	}
	slices.SortFunc(refs, func(a, b ref) int { return cmp.Compare(b.arrival, a.arrival) })
	return refs[:min(len(refs), s.limits.Recents)]
}

func (s *State) conversation(u *user, r ref, now int64) Conversation {
	c := &u.convs.items[r.conv]
	var e ring.Entry
	c.log.At(s.arena, r.seq, &e)
	return Conversation{
		Peer: UserID(s.peer(c)), LastSeq: r.seq, Time: e.Time, ReadSeq: c.read, PeerReadSeq: u.cold(c).peerRead,
		Unread: s.unread(u, c, now), Muted: c.flags&convMuted != 0, Pinned: c.flags&convPinned != 0,
	}
}

// Recents lists the recent conversations, newest first; last[i] is the last
// message of conversations[i].
func (s *State) Recents(name UserID, now int64) (conversations []Conversation, last []Message) {
	u := s.lookup(name)
	if u == nil {
		return nil, nil
	}
	var b Batch
	for _, r := range s.recents(u, now) {
		conversations = append(conversations, s.conversation(u, r, now))
		s.copyMessage(u, r, &b, now)
	}
	return conversations, b.Messages
}
