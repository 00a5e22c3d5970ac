package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

const (
	// syncMost bounds what one SyncGroups does, in entries of logs that it may
	// have to walk: below 1 ms of the shard's time.
	syncMost = 20_000
	// syncEach is what a group counts of that by itself.
	syncEach = 100
)

// SyncGroups tells a user who logs in how he finds groups of his, with at most
// backlog messages of each to push. Groups whose member he is not are left out.
// Those with the newest message come first, and have messages to push until these
// are most in all.
func (s *State) SyncGroups(user command.UserID, asks []query.GroupAsk, backlog, most int, now int64) (sync query.GroupSync) {
	found := make([]foundGroup, 0, min(len(asks), syncMost/syncEach))
	order := make([]*foundGroup, 0, cap(found))
	work := 0
	for i := range asks {
		if work >= syncMost {
			sync.Rest = asks[i:]
			break
		}
		work += syncEach
		key := asks[i].Group.Key()
		sl := s.slotFor(key)
		if sl == nil {
			sync.Moved = append(sync.Moved, asks[i])
			continue
		}
		u := s.inSlot(sl, key)
		if u == nil || u.team.dismissed != 0 || !u.team.settings.Stored {
			continue
		}
		if m := s.member(u.team, user); m != nil {
			found = append(found, foundGroup{v: s.memberView(u, m)})
			f := &found[len(found)-1]
			s.syncGroup(f, &asks[i], now)
			work += s.syncWork(u, m)
			order = append(order, f)
		}
	}
	slices.SortFunc(order, func(a, b *foundGroup) int { return compareGroups(&a.g, &b.g) })
	sync.Views = make([]query.GroupView, len(order))
	for i, f := range order {
		if most > 0 {
			s.backlog(&f.v, &f.g, backlog, now)
			most -= len(f.g.Push)
		}
		sync.Views[i] = f.g
	}
	return sync
}

// syncWork is how many entries or marks may have to be walked for a member.
func (s *State) syncWork(u *user, m *member) int {
	n := len(s.marksOf(u, &u.convs.items[0])) + len(u.team.endings)
	if m.flags&memberRewound != 0 || s.isCut(u) {
		n += u.convs.items[0].log.Len()
	}
	return n
}

// A foundGroup is a group of a user who logs in, and what he is told of it.
type foundGroup struct {
	v view
	g query.GroupView
}

func (s *State) syncGroup(f *foundGroup, ask *query.GroupAsk, now int64) {
	v, g := &f.v, &f.g
	u, m := v.u, v.m
	t := u.team
	*g = query.GroupView{
		Group: t.id, Arrival: u.arrival, Cursor: query.Cursor(s.epoch, t.id.Key(), u.arrival),
		From: m.from, Read: m.read, Time: m.joined, Unread: s.groupUnread(u, m, now), Counts: t.counts(),
		Joined: m.joinedAt,
		Muted:  m.flags&memberMuted != 0, Pinned: m.flags&memberPinned != 0, Marked: m.flags&memberMarked != 0,
	}
	if ask.HasCursor {
		since, ok := query.ParseCursor(s.epoch, t.id.Key(), ask.Cursor)
		if ok && since <= u.arrival {
			g.Since = max(since, m.joinedAt-1)
		} else {
			g.Reset = true
		}
	}
	var last ring.Entry
	if s.lastShown(v, now, &last) {
		g.LastSeq, g.Time, g.LastSent = last.Seq, last.Time, last.Arrival
		g.Hidden = last.Seq <= m.floor
	}
	after := uint64(0) // seq
	if g.Since > 0 {
		// What left the log took its arrival numbers along: the device may have
		// missed it, unless it holds something newer.
		if seq := v.log().AfterArrival(s.arena, g.Since); seq > v.log().First() {
			after = seq - 1
		}
		var b query.Batch
		s.groupChanges(u, g.Since, u.arrival, &b)
		g.Changes = append(clipRecalls(b.Changes, m.from), s.MemberChanges(t.id, command.UserID(s.memberName(m)), 0, g.Since)...)
	}
	if after < v.log().First() && v.c.lastArrival > g.Since {
		after = 0 // it is not known which of what is gone came after the cursor
	}
	if ch := &t.changed; g.Since > 0 && ch.arrival > max(g.Since, m.joinedAt) {
		g.Changed = query.GroupEvent{Kind: query.EventChanged, Group: t.id, By: ch.by, Time: ch.at, Arrival: ch.arrival}
	}
	g.Lost = s.lostOf(v, after, now)
}

// lastShown reads the newest message that a member can be shown.
func (s *State) lastShown(v *view, now int64, e *ring.Entry) bool {
	seq := v.log().Next() - 1
	for walk := s.descendShown(v.u, v.c, seq, now); walk.below(e) && e.Seq >= v.low; {
		switch {
		case v.hiddenBy(s, e, now) == gapNone:
			return true
		case e.TTL == 0 && (s.expired(v.u, e, now) || e.Time <= s.cutoff):
			return false // and so is all before it
		}
	}
	return false
}

// backlog chooses what a login pushes of a group: all that came after a cursor,
// if that is no more than limit, else the newest unread, or of a group that has
// no unread number the newest of what came.
func (s *State) backlog(v *view, g *query.GroupView, limit int, now int64) {
	if limit == 0 || g.LastSeq == 0 || g.Since == 0 && g.Unread == 0 {
		return
	}
	after := uint64(0)
	if g.Since > 0 {
		after = max(v.log().AfterArrival(s.arena, g.Since)-1, v.u.imported(0).seq)
	}
	var e ring.Entry
	take := func(low uint64, others bool) (complete bool) {
		g.Push, g.PushBytes = g.Push[:0], 0
		name := s.memberName(v.m)
		for walk := s.descendShown(v.u, v.c, v.log().Next(), now); walk.below(&e) && e.Seq >= low; {
			if others && string(e.From) == string(name) || v.hiddenBy(s, &e, now) != gapNone {
				continue
			}
			if len(g.Push) == limit {
				return false
			}
			g.Push = append(g.Push, e.Seq)
			g.PushBytes += ring.EntrySize(&e)
		}
		return true
	}
	switch {
	case g.Since > 0 && (take(max(v.low, after+1), false) || !g.Counts):
	case g.Unread == 0:
		g.Push, g.PushBytes = nil, 0
	default:
		take(max(s.unreadFrom(v.u, v.m, now), after+1), true)
	}
	slices.Reverse(g.Push)
}

// lostOf lists the unread seqs after a point that limits took away.
func (s *State) lostOf(v *view, after uint64, now int64) []query.Lost {
	u, c, m := v.u, v.c, v.m
	if !u.team.counts() {
		return nil
	}
	low := max(m.read, m.floor, m.wiped, m.from-1, after) + 1
	var lost []query.Lost
	add := func(from, to uint64, why gapCode) {
		if from = max(from, low); why != gapEvicted || from > to {
			return
		}
		if n := len(lost); n > 0 && lost[n-1].To+1 == from {
			lost[n-1].To = to
			lost[n-1].Count += int(to - from + 1)
			return
		}
		lost = append(lost, query.Lost{Group: u.team.id, From: from, To: to, Count: int(to - from + 1)})
	}
	from := uint64(1)
	for _, g := range u.extra(c).gone.items(s.arena) {
		add(from, g.to, g.reason)
		from = g.to + 1
	}
	add(from, c.log.First()-1, c.gone)
	if s.isCut(u) {
		name := s.memberName(m)
		var e ring.Entry
		for cur := c.log.Ascend(s.arena, max(low, c.log.First())); cur.Next(&e) && e.Time <= s.cutoff; {
			if string(e.From) != string(name) {
				add(e.Seq, e.Seq, v.hiddenBy(s, &e, now))
			}
		}
	}
	return lost
}
