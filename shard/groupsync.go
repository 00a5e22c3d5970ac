package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

const (
	// syncMaxWork bounds the work of one SyncGroups, in log entries that it may have to
	// look at. That many take less than 1 ms, during which the shard does nothing else.
	syncMaxWork = 20_000
	// syncGroupWork is how much of it each group counts, besides its entries.
	syncGroupWork = 100
)

// SyncGroups returns what a login is told of several groups of its user, as
// query.SyncGroups describes.
func (s *State) SyncGroups(user command.UserID, queries []query.GroupSyncAsk, backlog, most int, now int64) (sync query.GroupSync) {
	sync.Items = make([]query.GroupSyncItem, 0, min(len(queries), syncMaxWork/syncGroupWork))
	var views []view // the views of sync.Items; only filled if messages may be pushed
	work := 0
	for i := range queries {
		if work >= syncMaxWork {
			sync.Remaining = queries[i:]
			break
		}
		work += syncGroupWork
		key := queries[i].Group.Key()
		sl := s.slotFor(key)
		if sl == nil {
			sync.Moved = append(sync.Moved, queries[i])
			continue
		}
		u := s.inSlot(sl, key)
		if u == nil || u.group.dismissedMS != 0 || !u.group.settings.StoresMessages {
			continue
		}
		if m := s.member(u.group, user); m != nil {
			v := s.memberView(u, m)
			sync.Items = append(sync.Items, query.GroupSyncItem{})
			s.syncGroup(&v, &sync.Items[len(sync.Items)-1], &queries[i], now)
			work += s.syncWork(u, m)
			if most > 0 {
				views = append(views, v)
			}
		}
	}
	if most <= 0 {
		return sync
	}
	order := make([]int, len(views))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareSyncItems(&sync.Items[a], &sync.Items[b]) })
	items := make([]query.GroupSyncItem, len(order))
	for i, at := range order {
		items[i] = sync.Items[at]
		if most > 0 {
			s.chooseBacklog(&views[at], &items[i], backlog, now)
			most -= len(items[i].Push)
		}
	}
	sync.Items = items
	return sync
}

// syncWork returns how many entries and tombstones syncGroup may have to look at for a
// member.
func (s *State) syncWork(u *user, m *member) int {
	n := len(s.tombstonesOf(u, &u.convs.items[0])) + len(u.group.ttlEnds)
	if m.flags&memberRewound != 0 || s.cutoffReaches(u) {
		n += u.convs.items[0].log.Len()
	}
	return n
}

// syncGroup fills in an item, except for Push and PushBytes.
func (s *State) syncGroup(v *view, item *query.GroupSyncItem, q *query.GroupSyncAsk, now int64) {
	u, m := v.u, v.m
	g := u.group
	*item = query.GroupSyncItem{
		Group: g.id, Arrival: u.arrival, Cursor: query.Cursor(s.epoch, g.id.Key(), u.arrival),
		VisibleFrom: m.visibleFrom, Read: m.read, Time: m.joinedMS, Unread: s.groupUnread(u, m, now), CountsUnread: g.countsUnread(),
		JoinArrival: m.joinArrival,
		Muted:       m.flags&memberMuted != 0, Pinned: m.flags&memberPinned != 0, MarkedUnread: m.flags&memberMarkedUnread != 0,
	}
	if q.HasCursor {
		since, ok := query.ParseCursor(s.epoch, g.id.Key(), q.Cursor)
		if ok && since <= u.arrival {
			item.CursorArrival = max(since, m.joinArrival-1)
		} else {
			item.Reset = true
		}
	}
	var last ring.Entry
	if s.lastVisible(v, now, &last) {
		item.LastSeq, item.Time, item.LastArrival = last.Seq, last.Time, last.Arrival
		item.Unlisted = last.Seq <= m.unlistedTo
	}
	after := uint64(0) // seq up to which the device has all messages
	if item.CursorArrival > 0 {
		// Entries that left the log have no known arrival number. The device may have
		// missed them, unless an entry that the log holds came before its cursor.
		if seq := v.log().FirstAfterArrival(s.arena, item.CursorArrival); seq > v.log().First() {
			after = seq - 1
		}
		var up query.Updates
		s.appendGroupChanges(u, item.CursorArrival, u.arrival, &up)
		item.Changes = append(clipRecalls(up.Changes, m.visibleFrom), s.MemberChanges(g.id, command.UserID(s.memberName(m)), 0, item.CursorArrival)...)
	}
	if after < v.log().First() && v.c.lastArrival > item.CursorArrival {
		after = 0 // entries that left the log may have come after the cursor
	}
	if ch := &g.lastChange; item.CursorArrival > 0 && ch.arrival > max(item.CursorArrival, m.joinArrival) {
		item.LastChange = query.GroupEvent{Kind: query.EventChanged, Group: g.id, By: ch.by, Time: ch.at, Arrival: ch.arrival}
	}
	item.Lost = s.lostOf(v, after, now)
}

// lastVisible reads the newest message that is visible in a member's view, and reports
// whether there is one.
func (s *State) lastVisible(v *view, now int64, e *ring.Entry) bool {
	seq := v.log().Next() - 1
	for walk := s.descendVisible(v.u, v.c, seq, now); walk.prev(e) && e.Seq >= v.visibleFrom; {
		switch {
		case v.gapOf(s, e, now) == gapNone:
			return true
		case e.TTL == 0 && (s.expired(v.u, e, now) || e.Time <= s.cutoff):
			return false // and so are all older ones
		}
	}
	return false
}

// chooseBacklog chooses the messages of a group that a login pushes, at most limit: all
// that came after the device's cursor if they are no more than that; otherwise the
// newest unread ones or, if the group does not count unread, the newest after the
// cursor.
func (s *State) chooseBacklog(v *view, item *query.GroupSyncItem, limit int, now int64) {
	if limit == 0 || item.LastSeq == 0 || item.CursorArrival == 0 && item.Unread == 0 {
		return
	}
	after := uint64(0)
	if item.CursorArrival > 0 {
		after = max(v.log().FirstAfterArrival(s.arena, item.CursorArrival)-1, v.u.importOf(0).seq)
	}
	var e ring.Entry
	take := func(low uint64, others bool) (complete bool) {
		item.Push, item.PushBytes = item.Push[:0], 0
		name := s.memberName(v.m)
		for walk := s.descendVisible(v.u, v.c, v.log().Next(), now); walk.prev(&e) && e.Seq >= low; {
			if others && string(e.From) == string(name) || v.gapOf(s, &e, now) != gapNone {
				continue
			}
			if len(item.Push) == limit {
				return false
			}
			item.Push = append(item.Push, e.Seq)
			item.PushBytes += ring.EntrySize(&e)
		}
		return true
	}
	switch {
	case item.CursorArrival > 0 && (take(max(v.visibleFrom, after+1), false) || !item.CountsUnread):
	case item.Unread == 0:
		item.Push, item.PushBytes = nil, 0
	default:
		take(max(s.unreadFrom(v.u, v.m, now), after+1), true)
	}
	slices.Reverse(item.Push)
}

// lostOf lists the unread seqs above after whose messages were evicted.
func (s *State) lostOf(v *view, after uint64, now int64) []query.Lost {
	u, c, m := v.u, v.c, v.m
	if !u.group.countsUnread() {
		return nil
	}
	low := max(m.read, m.unlistedTo, m.clearedTo, m.visibleFrom-1, after) + 1
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
		lost = append(lost, query.Lost{Group: u.group.id, From: from, To: to, Count: int(to - from + 1)})
	}
	from := uint64(1)
	for _, run := range u.extraOf(c).gone.items(s.arena) {
		add(from, run.to, run.reason)
		from = run.to + 1
	}
	add(from, c.log.First()-1, c.goneReason)
	if s.cutoffReaches(u) {
		name := s.memberName(m)
		var e ring.Entry
		for cur := c.log.Ascend(s.arena, max(low, c.log.First())); cur.Next(&e) && e.Time <= s.cutoff; {
			if string(e.From) != string(name) {
				add(e.Seq, e.Seq, v.gapOf(s, &e, now))
			}
		}
	}
	return lost
}
