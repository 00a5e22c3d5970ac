package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// startSync returns what a login has to push, as a loginSync. It subscribes the session to
// the user's groups and reads the user's views of them. The read loop calls it, before a
// pump runs.
func (s *session) startSync(ctx context.Context, direct *query.Sync, args *protocol.LoginArgs) *loginSync {
	var views []query.GroupSyncItem
	var left []query.GroupSyncAsk
	if asks := groupAsks(direct.Groups, args.Groups); len(asks) > 0 {
		for i := range asks {
			s.attach(asks[i].Group, false, 0)
		}
		views, left = s.gateway.backend.SyncGroups(ctx, s.user, asks, args.GroupBacklog, s.gateway.config.LoginBacklog.Messages)
		views = s.placeGroups(asks, views, left)
		if len(left) > 0 {
			s.syncLate(left, args.GroupBacklog)
		}
	}
	y := &loginSync{direct: direct}
	if direct.CursorArrival > 0 {
		y.joined = unknownGroups(views, left)
	}
	y.addGroups(s, views)
	y.end = &protocol.Synced{
		Offline: direct.Offline, Cursor: direct.Cursor, Reset: direct.Reset, UnreadTotal: direct.UnreadTotal,
		UnreadUnmuted: direct.UnreadUnmuted,
	}
	lost := direct.Lost
	var resetGroups []string
	for i := range views {
		v := &views[i]
		if y.end.UnreadTotal += v.Unread; !v.Muted {
			y.end.UnreadUnmuted += v.Unread
		}
		if v.Reset {
			y.end.Reset = true
			resetGroups = append(resetGroups, string(v.Group))
		}
		lost = append(lost, v.Lost...)
	}
	if !direct.Reset {
		y.end.ResetGroups = resetGroups
	}
	for _, l := range mergeLost(lost) {
		y.end.Lost = append(y.end.Lost, protocol.Lost{Conv: wire.Conv(l.Peer, l.Group), From: l.From, To: l.To, Count: l.Count})
	}
	listed := y.recents(s, views, args.Recents)
	for i := range direct.Unread {
		if c := wire.Conversation(&direct.Unread[i]); !listed[c.Conv] {
			y.end.Users = append(y.end.Users, c)
		}
	}
	for i := range views {
		v := &views[i]
		// Of a group that the device does not know it has to learn that it counts no unread,
		// and it has to have a cursor in the place of one that was refused.
		told := v.Unread > 0 || v.MarkedUnread || v.Reset || !v.CountsUnread && !v.Unlisted && v.CursorArrival < v.JoinArrival
		if c := wire.GroupConversation(v); told && !listed[c.Conv] {
			y.end.Groups = append(y.end.Groups, c)
		}
	}
	s.resumeGroups(views)
	return y
}

// unknownGroups returns the groups that a device does not know: it has no cursor from
// after the user joined. The values are the points at which the user joined, 0 if that is
// not known yet.
func unknownGroups(views []query.GroupSyncItem, left []query.GroupSyncAsk) map[command.GroupID]uint64 {
	groups := make(map[command.GroupID]uint64)
	for i := range views {
		if v := &views[i]; v.CursorArrival < v.JoinArrival {
			groups[v.Group] = v.JoinArrival
		}
	}
	for i := range left {
		if !left[i].HasCursor {
			groups[left[i].Group] = 0
		}
	}
	return groups
}

// resumeGroups parks the subscriptions to groups, or queues them for the pump if there is
// something new. Their positions are set.
func (s *session) resumeGroups(views []query.GroupSyncItem) {
	for i := range views {
		if sub := s.subscription(views[i].Group); sub != nil && (sub.leaving || !sub.feed.park(sub)) {
			s.wakeFor(sub)
		}
	}
}

// groupAsks returns a query for each group of a user, with the cursor that the device has
// given for it.
func groupAsks(refs []query.GroupRef, cursors []protocol.GroupCursor) []query.GroupSyncAsk {
	if len(refs) == 0 {
		return nil
	}
	given := make(map[command.GroupID]string, len(cursors))
	for _, c := range cursors {
		given[command.GroupID(c.Group)] = c.Cursor
	}
	asks := make([]query.GroupSyncAsk, len(refs))
	for i, r := range refs {
		cursor, has := given[r.Group]
		asks[i] = query.GroupSyncAsk{Group: r.Group, HasCursor: has, Cursor: cursor}
	}
	return asks
}

// placeGroups sets the positions of the subscriptions to the groups of views, and returns
// these views, the one with the newest message first. A group of asks that is in neither
// views nor left no longer has the user: placeGroups leaves it to the pump, since the user
// may have been a member at the login.
func (s *session) placeGroups(asks []query.GroupSyncAsk, views []query.GroupSyncItem, left []query.GroupSyncAsk) []query.GroupSyncItem {
	known := make(map[command.GroupID]bool, len(asks))
	for i := range left {
		known[left[i].Group] = true
	}
	views = slices.DeleteFunc(views, func(v query.GroupSyncItem) bool {
		known[v.Group] = true
		sub := s.subscription(v.Group)
		if sub == nil || sub.positioned {
			return true // the subscription is gone, or set up already
		}
		sub.minSeq = v.VisibleFrom
		sub.feed.setPosition(sub, v.Arrival, false)
		sub.cursor = v.Cursor
		return false
	})
	for i := range asks {
		if sub := s.subscription(asks[i].Group); sub != nil && !known[asks[i].Group] {
			s.wakeFor(sub)
		}
	}
	sortViews(views)
	return views
}

// addGroups adds what a login pushes of groups: their changes, and as many messages as
// LoginBacklog allows. It removes other messages from Push of the views.
func (y *loginSync) addGroups(s *session, views []query.GroupSyncItem) {
	room := s.gateway.config.LoginBacklog
	for i := range views {
		v := &views[i]
		if !v.CountsUnread {
			if y.uncounted == nil {
				y.uncounted = make(map[command.GroupID]bool)
			}
			y.uncounted[v.Group] = true
		}
		y.changes = append(y.changes, v.Changes...)
		if v.LastChange.Arrival != 0 {
			y.groupEvents = append(y.groupEvents, v.LastChange)
		}
		all := len(v.Push)
		if all == 0 {
			continue
		}
		n, size := min(all, room.Messages), v.PushBytes/all
		if v.PushBytes > room.Bytes {
			n = min(n, all*room.Bytes/v.PushBytes)
		}
		v.Push = v.Push[all-n:]
		if room.Messages, room.Bytes = room.Messages-n, room.Bytes-n*size; n < all {
			room = Backlog{}
		}
		sub := s.subscription(v.Group)
		if n == 0 || sub == nil {
			continue
		}
		part := groupPart{sub: sub, seqs: v.Push, size: size}
		// Changes that are pushed later would lie before the cursor, and a device that breaks
		// off behind it would not learn that its own was refused.
		if len(v.Changes) == 0 && v.LastChange.Arrival == 0 && !v.Reset {
			part.cursor = v.Cursor
		}
		y.backlog = append(y.backlog, part)
	}
}

// recents adds the recent conversations with users and groups, and the last messages of
// these groups. It returns the conversations that it has added.
func (y *loginSync) recents(s *session, views []query.GroupSyncItem, mode string) map[protocol.Conv]bool {
	if mode == protocol.RecentsOff {
		return nil
	}
	merged := mergeRecents(y.direct.Conversations, views, max(s.maxRecents, len(y.direct.Conversations)))
	y.end.Conversations = make([]protocol.Conversation, 0, len(merged))
	listed := make(map[protocol.Conv]bool)
	users := make(map[int]bool)
	for _, recent := range merged {
		v := recent.group
		entry := protocol.Conversation{}
		if v == nil {
			entry = wire.Conversation(&y.direct.Conversations[recent.user])
			users[recent.user] = true
		} else {
			entry = wire.GroupConversation(v)
		}
		y.end.Conversations = append(y.end.Conversations, entry)
		listed[entry.Conv] = true
		if v != nil && mode == protocol.RecentsOn && v.LastArrival > v.CursorArrival && !slices.Contains(v.Push, v.LastSeq) {
			if sub := s.subscription(v.Group); sub != nil {
				y.lastMessages = append(y.lastMessages, groupPart{sub: sub, seqs: []uint64{v.LastSeq}})
			}
		}
	}
	y.direct.KeepConversations(func(i int) bool { return users[i] })
	slices.Reverse(y.lastMessages)
	return listed
}

// A recent is an entry of the recents: a group, or a one-to-one conversation by its index.
type recent struct {
	user   int
	group  *query.GroupSyncItem // nil for a one-to-one conversation
	pinned bool
}

// mergeRecents merges conversations and groups, both newest first, into at most most
// entries. If there are more, pinned ones go before others.
func mergeRecents(conversations []query.Conversation, views []query.GroupSyncItem, most int) []recent {
	merged := make([]recent, 0, len(conversations)+len(views))
	pinned := 0
	add := func(r recent, isPinned bool) {
		r.pinned = isPinned
		merged = append(merged, r)
		if isPinned {
			pinned++
		}
	}
	user := 0
	for i := 0; user < len(conversations) || i < len(views); {
		switch {
		case i < len(views) && (views[i].LastSeq == 0 || views[i].Unlisted):
			i++
		case i == len(views) || user < len(conversations) && conversations[user].Time >= views[i].Time:
			add(recent{user: user}, conversations[user].Pinned)
			user++
		default:
			add(recent{group: &views[i]}, views[i].Pinned)
			i++
		}
	}
	if len(merged) <= most {
		return merged
	}
	kept := merged[:0]
	pinned = min(pinned, most)
	others := most - pinned
	for _, r := range merged {
		room := &others
		if r.pinned {
			room = &pinned
		}
		if *room > 0 {
			*room--
			kept = append(kept, r)
		}
	}
	return kept
}

// groupViews returns the user's views of all their groups. It fails with ErrUnavailable if
// a group is not available.
func (s *session) groupViews(ctx context.Context, reads store.Reader) ([]query.GroupSyncItem, error) {
	refs, err := reads.GroupsOf(ctx, s.user)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	s.gateway.scans.Charge(string(s.user), len(refs)/groupsPerScan)
	views, left := reads.SyncGroups(ctx, s.user, groupAsks(refs, nil), 0, 0)
	if len(left) > 0 {
		return nil, store.ErrUnavailable
	}
	sortViews(views)
	return views, nil
}

// sortViews sorts views by time, the newest first.
func sortViews(views []query.GroupSyncItem) {
	order := make([]int, len(views)) // views are large: move each only once
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &views[i], &views[j]
		if c := cmp.Compare(b.Time, a.Time); c != 0 {
			return c
		}
		return cmp.Compare(a.Group, b.Group)
	})
	sorted := make([]query.GroupSyncItem, len(views))
	for i, at := range order {
		sorted[i] = views[at]
	}
	copy(views, sorted)
}

// lateRetry is the pause before a session asks again for groups that were not available.
const lateRetry = time.Second

// syncLate asks for groups that were not available at the login, until all are or the
// session ends. It queues their backlog for the pump.
func (s *session) syncLate(asks []query.GroupSyncAsk, backlog int) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		cancel()
		return
	}
	s.cancelLate = cancel
	s.mu.Unlock()
	s.submits.Go(func() {
		defer cancel()
		for len(asks) > 0 {
			select {
			case <-time.After(lateRetry):
			case <-ctx.Done():
				return
			}
			round, cancel := context.WithTimeout(ctx, s.gateway.config.RequestTimeout)
			views, left := s.gateway.backend.SyncGroups(round, s.user, asks, backlog, s.gateway.config.LoginBacklog.Messages)
			cancel()
			s.queueLate(s.placeGroups(asks, views, left))
			asks = left
		}
	})
}

// queueLate queues the sync of groups that were not available at the login.
func (s *session) queueLate(views []query.GroupSyncItem) {
	if len(views) == 0 {
		return
	}
	if slices.ContainsFunc(views, func(v query.GroupSyncItem) bool { return v.Reset }) {
		s.end(closedByDrain) // that a cursor was refused, only the onSynced of a login can tell
		return
	}
	y := &loginSync{late: views}
	y.addGroups(s, views)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lateSyncs = append(s.lateSyncs, y)
	s.wakeLocked()
}

// nextLate makes the next sync that queueLate has queued the session's sync. It reports
// whether there was one. The pump calls it.
func (s *session) nextLate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lateSyncs) == 0 {
		return false
	}
	s.sync, s.lateSyncs = s.lateSyncs[0], s.lateSyncs[1:]
	return true
}
