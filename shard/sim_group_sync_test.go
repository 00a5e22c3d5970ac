package shard_test

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// checkGroupViews compares what a login finds of a user's groups in one shard.
func (w *world) checkGroupViews(state *shard.State, user command.UserID, now int64) {
	var queries []query.GroupSyncAsk
	for _, id := range w.groups {
		if !state.Owns(command.SlotOf(string(id.Key()))) {
			continue
		}
		q := query.GroupSyncAsk{Group: id}
		if w.chance(60) {
			q.HasCursor, q.Cursor = true, w.groupCursor(w.model.group(id))
		}
		queries = append(queries, q)
	}
	backlog := w.rng.IntN(8)
	if w.chance(30) {
		backlog = 100
	}
	most := 1 + w.rng.IntN(20)
	if w.chance(50) {
		most = 1000
	}
	got := state.SyncGroups(user, w.passed(queries), backlog, most, now).Items
	var want []wantGroup
	for _, q := range queries {
		if g := w.model.group(q.Group); g.alive && g.settings.StoresMessages && g.members[user] != nil {
			want = append(want, w.groupWant(g, g.members[user], &q, backlog, now))
		}
	}
	slices.SortFunc(want, func(a, b wantGroup) int {
		return cmp.Or(cmp.Compare(b.view.Time, a.view.Time), strings.Compare(string(a.view.Group), string(b.view.Group)))
	})
	if len(got) != len(want) {
		w.failf("SyncGroups(%s, %+v) = %d views, want %d", user, queries, len(got), len(want))
	}
	for i := range got {
		if most <= 0 {
			want[i].view.Push, want[i].view.PushBytes = nil, 0
		}
		most -= len(want[i].view.Push)
		w.checkGroupView(fmt.Sprintf("SyncGroups(%s, %+v, %d)[%d]", user, queries, backlog, i), user, &got[i], &want[i])
	}
}

// passed are the asks as a state takes them.
func (w *world) passed(queries []query.GroupSyncAsk) []query.GroupSyncAsk {
	if !w.blindToTags {
		return queries
	}
	queries = slices.Clone(queries)
	for i, q := range queries {
		if p, ok := w.model.cursors[q.Cursor]; ok && w.model.groupOf(p.user) != nil {
			queries[i].Cursor = w.shardOf(q.Group.Key()).leader.GroupCursor(q.Group, p.arrival)
		}
	}
	return queries
}

// groupCursor is mostly a good one of the group.
func (w *world) groupCursor(g *modelGroup) string {
	text := func(id command.GroupID, arrival uint64) string {
		text := w.shardOf(id.Key()).leader.GroupCursor(id, arrival)
		w.model.cursors[text] = cursorPoint{id.Key(), arrival}
		return text
	}
	switch {
	case w.chance(5):
		return "nonsense"
	case w.chance(8):
		return text(pick(w, w.groups), g.arrival-min(g.arrival, uint64(w.rng.IntN(4))))
	case w.chance(4):
		return w.cursor(pick(w, w.users), g.arrival)
	case w.chance(4):
		return text(g.id, g.arrival+1+uint64(w.rng.IntN(3)))
	case w.chance(20):
		return text(g.id, uint64(1+w.rng.IntN(int(g.arrival))))
	}
	return text(g.id, max(1, g.arrival-min(g.arrival, uint64(w.rng.IntN(40)))))
}

// A wantGroup is what a login must find of a group.
type wantGroup struct {
	view    query.GroupSyncItem
	must    []uint64 // lost
	may     []uint64
	recalls wantRecall
	own     []query.Change
	hidden  map[uint64]modelHidden
}

func (w *world) groupWant(g *modelGroup, mm *groupMember, q *query.GroupSyncAsk, backlog int, now int64) wantGroup {
	limits := &w.model.shards[w.shardOf(g.id.Key()).index].limits
	unread := g.unread(mm, limits, now)
	v := query.GroupSyncItem{
		Group: g.id, Arrival: g.arrival, Cursor: w.shardOf(g.id.Key()).leader.GroupCursor(g.id, g.arrival),
		VisibleFrom: mm.visibleFrom, Read: mm.read, Time: mm.joinedMS, JoinArrival: mm.joinArrival, Unread: len(unread), CountsUnread: g.counts(), Muted: mm.quiet, Pinned: mm.pinned, MarkedUnread: mm.markedUnread,
	}
	if q.HasCursor {
		if p, ok := w.model.cursors[q.Cursor]; ok && p.user == g.id.Key() && p.arrival <= g.arrival {
			v.CursorArrival = max(p.arrival, mm.joinArrival-1)
		} else {
			v.Reset = true
		}
	}
	shown := g.shown(mm, 0, limits, now)
	if n := len(shown); n > 0 {
		last := shown[n-1]
		v.LastSeq, v.Time, v.LastArrival, v.Unlisted = last.seq, last.time, last.arrival, last.seq <= mm.unlistedTo
	}
	push := func(seqs []uint64) {
		for _, seq := range seqs {
			v.Push = append(v.Push, seq)
			v.PushBytes += g.at(seq).size
		}
	}
	var news []uint64
	for _, e := range g.shown(mm, v.CursorArrival, limits, now) {
		news = append(news, e.seq)
	}
	unread = slices.DeleteFunc(unread, func(seq uint64) bool { return g.at(seq).arrival <= v.CursorArrival })
	switch {
	case backlog == 0:
	case v.CursorArrival > 0 && len(news) <= backlog:
		push(news)
	case v.CursorArrival > 0 && !v.CountsUnread:
		push(news[len(news)-backlog:])
	default:
		push(unread[max(0, len(unread)-backlog):])
	}
	if v.CursorArrival > 0 && g.changed.Arrival > max(v.CursorArrival, mm.joinArrival) {
		v.LastChange = g.changed
	}
	want := wantGroup{view: v}
	want.must, want.may = g.lost(mm, v.CursorArrival, limits, now)
	if v.CursorArrival > 0 {
		want.recalls = g.recalledSince(v.CursorArrival, math.MaxUint64).clip(mm.visibleFrom)
		want.own, want.hidden = mm.ownChanges(g.id, 0, v.CursorArrival)
	}
	return want
}

func (w *world) checkGroupView(what string, user command.UserID, got *query.GroupSyncItem, want *wantGroup) {
	plain := *got
	plain.Push, plain.Lost, plain.Changes = nil, nil, nil
	v := want.view
	if !slices.Equal(got.Push, v.Push) {
		w.failf("%s: Push = %v, want %v", what, got.Push, v.Push)
	}
	if v.Push = nil; !reflect.DeepEqual(plain, v) {
		w.failf("%s = %+v, want %+v", what, plain, v)
	}
	named := map[uint64]bool{}
	for _, l := range got.Lost {
		if l.Group != v.Group || l.Peer != "" || uint64(l.Count) != l.To-l.From+1 {
			w.failf("%s: Lost = %+v, want runs of %s", what, got.Lost, v.Group)
		}
		for seq := l.From; seq <= l.To; seq++ {
			if !slices.Contains(want.must, seq) && !slices.Contains(want.may, seq) {
				w.failf("%s: Lost = %+v, want only %v and of %v", what, got.Lost, want.must, want.may)
			}
			named[seq] = true
		}
	}
	for _, seq := range want.must {
		if !named[seq] {
			w.failf("%s: Lost = %+v, want %v in it", what, got.Lost, want.must)
		}
	}
	g := w.model.group(v.Group)
	if v.CursorArrival == 0 {
		if len(got.Changes) > 0 {
			w.failf("%s: %d changes without a cursor", what, len(got.Changes))
		}
		return
	}
	recalls, own := splitChanges(got.Changes)
	w.checkRecalls(what, g, recalls, &want.recalls)
	w.checkOwnChanges(what, g, own, want.own, want.hidden)
}

// splitChanges parts what everybody is told from what is the member's own.
func splitChanges(changes []query.Change) (recalls, own []query.Change) {
	for _, c := range changes {
		if c.Kind == query.ChangeRecall {
			recalls = append(recalls, c)
		} else {
			own = append(own, c)
		}
	}
	return recalls, own
}

func (w *world) checkMemberChanges(state *shard.State, g *modelGroup, user command.UserID) {
	session := w.anySession(user)
	after := uint64(w.rng.IntN(int(g.arrival) + 1))
	got := state.MemberChanges(g.id, user, session, after)
	mm := g.members[user]
	if mm == nil {
		if got != nil {
			w.failf("MemberChanges(%s, %s) = %+v of no member", g.id, user, got)
		}
		return
	}
	want, hidden := mm.ownChanges(g.id, session, after)
	w.checkOwnChanges(fmt.Sprintf("MemberChanges(%s, %s, %d, %d)", g.id, user, session, after), g, got, want, hidden)
}

// checkOwnChanges compares the changes of a member's own view. Of the messages
// they hid, those that are gone may be missing.
func (w *world) checkOwnChanges(what string, g *modelGroup, got, want []query.Change, hidden map[uint64]modelHidden) {
	if !slices.IsSortedFunc(got, func(a, b query.Change) int { return cmp.Compare(a.Arrival, b.Arrival) }) {
		w.failf("%s: %+v, want them by arrival", what, got)
	}
	named := map[uint64]bool{}
	var rest []query.Change
	for _, c := range got {
		if c.Kind != query.ChangeMessagesDeleted {
			rest = append(rest, c)
			continue
		}
		first := uint64(math.MaxUint64)
		for _, r := range c.Ranges {
			for seq := r.From; seq <= r.To; seq++ {
				h, ok := hidden[seq]
				if !ok || named[seq] {
					w.failf("%s: deletion of %d, want that of %v", what, seq, hidden)
				}
				first = min(first, h.arrival)
				named[seq] = true
			}
		}
		if c.Arrival != first || c.Group != g.id {
			w.failf("%s: deletion in %s at %d, want in %s at %d", what, c.Group, c.Arrival, g.id, first)
		}
	}
	for seq := range hidden {
		if !named[seq] && g.at(seq).gone == "" {
			w.failf("%s: %+v, want %d deleted", what, got, seq)
		}
	}
	if !slices.EqualFunc(rest, want, equalChanges) {
		w.failf("%s = %+v, want %+v", what, rest, want)
	}
}

func equalChanges(a, b query.Change) bool {
	return a.Kind == b.Kind && a.Group == b.Group && a.Peer == b.Peer && a.Sender == b.Sender && a.Arrival == b.Arrival &&
		a.Settings == b.Settings && a.Blocked == b.Blocked && a.Seq == b.Seq && a.Time == b.Time && a.By == b.By && a.Messages == b.Messages && slices.Equal(a.Ranges, b.Ranges)
}

// A wantRecall is what a reader has to be told of messages taken away: the
// newest recalls as they were made, and of those before the seqs alone.
type wantRecall struct {
	exact []query.Change
	old   []*groupEntry
}

func (g *modelGroup) recalledSince(after, upTo uint64) (r wantRecall) {
	kept := g.recalls[max(0, len(g.recalls)-groupRecalls):]
	for _, rc := range kept {
		if rc.arrival > after && rc.arrival <= upTo {
			r.exact = append(r.exact, query.Change{
				Kind: query.ChangeRecall, Group: g.id, Arrival: rc.arrival, By: rc.by, Sender: rc.sender,
				Ranges: []query.Range{{From: rc.from, To: rc.to}},
			})
		}
	}
	if len(kept) == len(g.recalls) {
		return r
	}
	for _, e := range g.entries {
		if e.takenAt > after && e.takenAt < kept[0].arrival && e.takenAt <= upTo {
			r.old = append(r.old, e)
		}
	}
	return r
}

// clip leaves what a member who may read from a seq on is told.
func (r wantRecall) clip(low uint64) (clipped wantRecall) {
	for _, c := range r.exact {
		if run := c.Ranges[0]; run.To >= low {
			c.Ranges = []query.Range{{From: max(run.From, low), To: run.To}}
			clipped.exact = append(clipped.exact, c)
		}
	}
	for _, e := range r.old {
		if e.seq >= low {
			clipped.old = append(clipped.old, e)
		}
	}
	return clipped
}

func (w *world) checkRecalls(what string, g *modelGroup, got []query.Change, want *wantRecall) {
	if n := len(got) - len(want.exact); n == 1 && len(want.old) > 0 && got[0].By == "" && got[0].Sender == "" {
		named := map[uint64]bool{}
		for _, r := range got[0].Ranges {
			for seq := r.From; seq <= r.To; seq++ {
				named[seq] = true
			}
		}
		for _, e := range want.old {
			if !named[e.seq] && e.gone == "" {
				w.failf("%s: recalls %+v, want %d in the first", what, got, e.seq)
			}
			delete(named, e.seq)
		}
		if len(named) > 0 {
			w.failf("%s: recalls %+v, want none of %v in the first", what, got, named)
		}
		got = got[1:]
	}
	if !slices.EqualFunc(got, want.exact, equalChanges) {
		w.failf("%s: recalls = %+v, want %+v", what, got, want.exact)
	}
}

// checkGroupSince compares one read of what came after a point in a group's order.
func (w *world) checkGroupSince(id command.GroupID, after uint64, up *query.Updates, maxMessages, maxBytes int, now int64) {
	g := w.model.group(id)
	limits := &w.model.shards[w.shardOf(id.Key()).index].limits
	what := fmt.Sprintf("GroupSince(%s, %d)", id, after)
	var want []*groupEntry
	if g.known {
		want = g.shown(nil, after, limits, now)
	}
	upTo := max(after, g.arrival)
	if !g.known {
		upTo = after
	}
	n := len(up.Messages)
	if n > len(want) || n > maxMessages || n < len(want) && !up.More {
		w.failf("%s = %d messages, more %v, want %d, at most %d", what, n, up.More, len(want), maxMessages)
	}
	size := 0
	for i := range up.Messages {
		w.checkGroupMessage(fmt.Sprintf("%s[%d]", what, i), g, &up.Messages[i], want[i])
		if size >= maxBytes {
			w.failf("%s: %d messages of %d bytes, want at most %d bytes", what, n, size, maxBytes)
		}
		size += len(up.Messages[i].Body)
	}
	next := upTo
	if up.More {
		if n == 0 || n == len(want) {
			w.failf("%s = %d messages and more, want %d", what, n, len(want))
		}
		next = up.Messages[n-1].Arrival
	}
	if up.Through != next {
		w.failf("%s: Next = %d, want %d", what, up.Through, next)
	}
	missedTo := g.forgotten
	if missedTo <= after {
		missedTo = 0
	}
	if missed := missedTo > 0; up.MissedEvents != missed || up.MissedEventsTo != missedTo {
		w.failf("%s: Missed = %v, want %v: the events up to %d are gone", what, up.MissedEvents, missed, g.forgotten)
	}
	var events []query.GroupEvent
	for _, e := range g.events {
		if e.Arrival > after && e.Arrival <= up.Through {
			events = append(events, e)
		}
	}
	if !slices.EqualFunc(up.Events, events, equalEvents) {
		w.failf("%s: events = %+v, want %+v", what, up.Events, events)
	}
	if g.alive {
		recalls := g.recalledSince(after, up.Through)
		w.checkRecalls(what, g, up.Changes, &recalls)
	}
	w.checkGroupItems(what, up, after)
}

func equalEvents(a, b query.GroupEvent) bool {
	return a.Kind == b.Kind && a.Group == b.Group && a.By == b.By && a.Time == b.Time && a.Arrival == b.Arrival && slices.Equal(a.Users, b.Users)
}

// checkGroupItems wants all that a batch holds in one order, each thing once.
func (w *world) checkGroupItems(what string, up *query.Updates, after uint64) {
	var messages, changes, events int
	last := after
	for _, item := range up.Items {
		var arrival uint64
		switch {
		case item == query.Item{Message: messages, Change: -1, Event: -1}:
			arrival = up.Messages[messages].Arrival
			messages++
		case item == query.Item{Message: -1, Change: changes, Event: -1}:
			arrival = up.Changes[changes].Arrival
			changes++
		case item == query.Item{Message: -1, Change: -1, Event: events}:
			arrival = up.Events[events].Arrival
			events++
		default:
			w.failf("%s: item %+v after %d messages, %d changes, %d events", what, item, messages, changes, events)
		}
		if arrival <= last || arrival > up.Through {
			w.failf("%s: arrival %d after %d, and Next = %d", what, arrival, last, up.Through)
		}
		last = arrival
	}
	if messages != len(up.Messages) || changes != len(up.Changes) || events != len(up.Events) {
		w.failf("%s: items name %d messages, %d changes, %d events, want %d, %d, %d",
			what, messages, changes, events, len(up.Messages), len(up.Changes), len(up.Events))
	}
}
