package shard_test

import (
	"encoding/binary"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// modelHooks is what waits for hooks in a shard: records by number, of which
// those that a slot took along have no user.
type modelHooks struct {
	limit   int
	records []query.HookRef
	last    uint64
	carried map[uint16][]query.HookRef // by frozen slots
}

func (h *modelHooks) add(m query.HookRef) {
	if h.limit == 0 {
		return
	}
	h.last++
	m.Number = h.last
	h.records = append(h.records, m)
	h.cut()
}

// cut keeps to the limit.
func (h *modelHooks) cut() {
	bytes := 0
	for i := len(h.records) - 1; i >= 0; i-- {
		m := &h.records[i]
		if bytes += 2 + len(hookKey(m)) + len(m.Peer) + len(binary.AppendUvarint(nil, m.Seq)); bytes > h.limit {
			h.records = h.records[i+1:]
			return
		}
	}
}

// configure and done follow the commands.
func (h *modelHooks) configure(bytes int) {
	h.limit = bytes
	h.cut()
}

func (h *modelHooks) done(upTo uint64) {
	h.records = slices.DeleteFunc(h.records, func(m query.HookRef) bool { return m.Number <= upTo })
}

// freeze takes out what a frozen slot takes along.
func (h *modelHooks) freeze(slot uint16) {
	for i := range h.records {
		if m := &h.records[i]; hookKey(m) != "" && command.SlotOf(hookKey(m)) == slot {
			if h.carried == nil {
				h.carried = make(map[uint16][]query.HookRef)
			}
			h.carried[slot] = append(h.carried[slot], *m)
			*m = query.HookRef{Number: m.Number}
		}
	}
}

// hookKey is what places a message in a slot, "" if it was taken out.
func hookKey(m *query.HookRef) string {
	if m.Group != "" {
		return string(m.Group.Key())
	}
	return string(m.User)
}

// bringHooks has a slot bring along what it took, or take it back.
func (m *model) bringHooks(sh *modelShard, slot uint16) {
	for _, from := range m.shards {
		for _, stored := range from.hooks.carried[slot] {
			sh.hooks.add(stored)
		}
		delete(from.hooks.carried, slot)
	}
}

// tellHooks tells hooks of some of what waits, now and then, or switches them on,
// off, or to another limit.
func (w *world) tellHooks() {
	sh := w.shards[w.hookRng.IntN(simShards)]
	var cmd command.Command
	switch w.hookRng.IntN(400) {
	default:
		return
	case 0, 1:
		cmd = w.configuration(sh, w.model.shards[sh.index].limits, []int{0, 40, 400, 4000}[w.hookRng.IntN(4)])
	case 2, 3, 4, 5, 6, 7, 8, 9:
		done, last := sh.leader.HookQueueRange()
		cmd = &command.TrimHookQueue{UpTo: done + uint64(w.hookRng.IntN(int(last-done)+2))}
	}
	batch := command.AppendCommand(command.AppendBatchHeader(nil, 0), cmd)
	sh.log = append(sh.log, batch)
	sh.leader.Apply(batch, &sh.outcome)
	sh.follower.Apply(batch, &sh.second)
	w.model.apply(w.model.shards[sh.index], cmd)
	w.checkHooks(sh)
}

// checkHooks compares what waits for hooks with the model, and what they are told
// of it with the queue of the user.
func (w *world) checkHooks(sh *simShard) {
	state := sh.leader
	h := &w.model.shards[sh.index].hooks
	if _, last := state.HookQueueRange(); last != h.last || state.HookBytes() != h.limit {
		w.failf("hooks: newest number %d, limit %d, want %d, %d", last, state.HookBytes(), h.last, h.limit)
	}
	from := uint64(0)
	if len(h.records) > 0 && w.hookRng.IntN(2) == 0 {
		from = h.records[w.hookRng.IntN(len(h.records))].Number
	}
	want := slices.DeleteFunc(slices.Clone(h.records), func(m query.HookRef) bool { return hookKey(&m) == "" || m.Number <= from })
	got := slices.Collect(state.HookRefsAfter(from))
	if !slices.Equal(got, want) {
		w.failf("StoredAfter(%d) = %v, want %v", from, got, want)
	}
	if len(got) == 0 || w.hookRng.IntN(10) > 0 {
		return
	}
	if m := got[w.hookRng.IntN(len(got))]; m.Group == "" {
		w.checkQueued(sh, m)
	} else {
		w.checkGroupQueued(sh, m)
	}
}

func (w *world) checkQueued(sh *simShard, m query.HookRef) {
	now := sh.leader.Now() + int64(w.hookRng.IntN(readAhead))
	var up query.Updates
	info, ok := sh.leader.QueuedMessage(m.User, m.Peer, m.Seq, &up, now)
	header, marked := sh.leader.QueuedHeader(m.User, m.Peer, m.Seq, now)
	sync := sh.leader.StartSync(m.User, &command.Result{}, query.RecentsOn, now)
	if sum := sh.leader.UnreadTotal(m.User, now); sum.Total != sync.UnreadTotal || sum.Unmuted != sync.UnreadUnmuted {
		w.failf("UnreadTotal(%s) = %v, want %d, %d", m.User, sum, sync.UnreadTotal, sync.UnreadUnmuted)
	}
	var pushed query.Updates
	queued := false
	for range sync.Offline {
		sh.leader.NextSync(m.User, sync, &pushed, 1, 1<<20, now)
		for _, p := range pushed.Messages {
			queued = queued || p.Peer == m.Peer && p.Seq == m.Seq
		}
	}
	if ok != queued || marked != queued {
		w.failf("Queued(%v) = %v, ReadQueued %v, in the offline queue: %v", m, marked, ok, queued)
	}
	if !ok {
		return
	}
	if got := up.Messages[0]; got.Peer != m.Peer || got.Seq != m.Seq {
		w.failf("ReadQueued(%v) gave message %d of %s", m, got.Seq, got.Peer)
	} else if want := (query.QueuedHeader{ID: got.ID, Time: got.Time, Arrival: got.Arrival}); header != want {
		w.failf("Queued(%v) = %v, want %v", m, header, want)
	}
	for _, c := range sync.Conversations {
		if c.Peer == m.Peer && (c.Unread != info.Unread || c.Muted != info.Muted) {
			w.failf("ReadQueued(%v): unread %d, muted %v, want %d, %v", m, info.Unread, info.Muted, c.Unread, c.Muted)
		}
	}
}

// checkGroupQueued reads who has a message of a group unread, some members at a
// time, and compares with what makes up the unread of each.
func (w *world) checkGroupQueued(sh *simShard, m query.HookRef) {
	now := sh.leader.Now() + int64(w.hookRng.IntN(readAhead))
	var got []command.UserID
	var header query.QueuedHeader
	after := command.UserID("")
	for more := true; more; {
		room := 1 + w.hookRng.IntN(3)
		after, more = sh.leader.UnreadMembers(m.Group, m.Seq, after, 1+w.hookRng.IntN(4), now, func(user command.UserID, q query.QueuedHeader) bool {
			got, header = append(got, user), q
			room--
			return room > 0
		})
	}
	var want []command.UserID
	members, _ := sh.leader.Members(m.Group, "", 1000)
	for _, member := range members {
		unread := sh.leader.GroupUnread(m.Group, member.User, now)
		queued := slices.Contains(unread, m.Seq)
		if queued {
			want = append(want, member.User)
		}
		if n, _ := sh.leader.MemberUnread(m.Group, member.User, now); n != len(unread) {
			w.failf("MemberUnread(%s, %s) = %d, want %d", m.Group, member.User, n, len(unread))
		}
		w.checkMemberQueued(sh, m, member.User, queued, header, len(unread), now)
	}
	w.checkMemberQueued(sh, m, "nobody", false, header, 0, now)
	if !slices.Equal(got, want) {
		w.failf("GroupQueued(%v) = %v, want %v", m, got, want)
	}
}

func (w *world) checkMemberQueued(sh *simShard, m query.HookRef, user command.UserID, queued bool, header query.QueuedHeader, unread int, now int64) {
	var up query.Updates
	info, ok := sh.leader.MemberQueuedMessage(m.Group, user, m.Seq, &up, now)
	marked, has := sh.leader.MemberQueuedHeader(m.Group, user, m.Seq, now)
	if ok != queued || has != queued {
		w.failf("MemberQueued(%v, %s) = %v, ReadMemberQueued %v, want %v", m, user, has, ok, queued)
	}
	if !queued {
		return
	}
	if info.Unread != unread || marked != header {
		w.failf("MemberQueued(%v, %s) = %v with %d unread, want %v with %d", m, user, marked, info.Unread, header, unread)
	}
	got := up.Messages[0]
	if got.Group != m.Group || got.Seq != m.Seq || header != (query.QueuedHeader{ID: got.ID, Time: got.Time, Arrival: got.Arrival}) {
		w.failf("ReadMemberQueued(%v) gave message %d of %s with %v", m, got.Seq, got.Group, header)
	}
}
