package shard_test

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// checkUser compares all that can be read of a user.
func (w *world) checkUser(user command.UserID) {
	if w.moving(user) {
		return
	}
	sh := w.shardOf(user)
	u := w.model.user(user)
	now := w.readTime(sh)
	limits := &w.model.shards[sh.index].limits
	state := sh.leader
	if w.chance(20) {
		state = sh.follower
	}

	queue := w.checkSync(user, &command.Result{}, query.RecentsOff, state.StartSync(user, &command.Result{}, query.RecentsOff, now), now)
	up := &w.batch
	state.NextSync(user, state.StartSync(user, &command.Result{}, query.RecentsOff, now), up, 1<<20, 1<<30, now)
	w.checkBatch(fmt.Sprintf("queue(%s)", user), u, up, queue, 1<<20, 1<<30)

	recents := u.recents(limits, now)
	w.checkList(fmt.Sprintf("recents(%s)", user), u, state.Recents(user, 1<<30, now), recents, limits, now)
	w.checkAllConversations(state, u, limits, now)
	for _, peer := range u.peers {
		if w.chance(40) {
			w.checkHistory(state, u, peer, now)
		}
		v := u.views[peer]
		if got, want := state.HasConversation(user, peer), v.newest() > 0; got != want {
			w.failf("Knows(%s, %s) = %v, want %v", user, peer, got, want)
		}
		if got := state.HasReceivedFrom(user, peer); got != v.received {
			w.failf("Heard(%s, %s) = %v, want %v", user, peer, got, v.received)
		}
		if got, want := state.BlockedBy(user, peer), u.blockedBy[peer]; got != want {
			w.failf("BlockedBy(%s, %s) = %v, want %v", user, peer, got, want)
		}
		if got, want := state.Blocks(user, peer), slices.Contains(u.blocks, peer); got != want {
			w.failf("Blocks(%s, %s) = %v, want %v", user, peer, got, want)
		}
	}
	if got := state.Blocked(user); !slices.Equal(got, u.blocks) {
		w.failf("Blocked(%s) = %v, want %v", user, got, u.blocks)
	}
	if got, want := state.Exists(user), u.lastSession > u.erased; got != want {
		w.failf("Exists(%s) = %v, want %v", user, got, want)
	}
	if got := state.LastSeen(user); got != u.lastSeen {
		w.failf("LastSeen(%s) = %d, want %d", user, got, u.lastSeen)
	}
	w.checkGroupsOf(u, state.GroupsOf(user))
	w.checkAdmin(state, u, limits, now)
	sessions := state.Sessions(user)
	if !slices.EqualFunc(sessions, u.sessions, func(got query.SessionInfo, want *modelSession) bool {
		return got.Number == want.number && got.Device == want.device && got.Platform == want.platform
	}) {
		w.failf("Sessions(%s) = %v, want %d", user, sessions, len(u.sessions))
	}
}

// checkElsewhere wants nothing of a user from a shard that does not serve them.
func (w *world) checkElsewhere(user command.UserID) {
	for _, sh := range w.shards {
		if sh.leader.Owns(command.SlotOf(string(user))) {
			continue
		}
		now := sh.leader.Now()
		sync := sh.leader.StartSync(user, &command.Result{}, query.RecentsOn, now)
		sh.leader.UpdatesAfter(user, 1, 0, &w.batch, 100, 1<<20, now)
		conversations := len(sh.leader.Recents(user, 1, now).Conversations) + len(sh.leader.Conversations(user, 0, 1, 1, now).Conversations)
		if sync.Arrival != 0 || len(w.batch.Items) != 0 || conversations != 0 ||
			sh.leader.Exists(user) || sh.leader.LastSeen(user) != 0 || sh.leader.Blocked(user) != nil ||
			sh.leader.Sessions(user) != nil || sh.leader.GroupsOf(user) != nil || sync.Groups != nil || sh.leader.HasConversation(user, user) || sh.leader.Blocks(user, user) {
			w.failf("shard %d knows of %s, whom it does not serve", sh.index, user)
		}
	}
}

// checkSessions compares all sessions of a shard.
func (w *world) checkSessions(sh *simShard) {
	got := map[command.UserID]int{}
	sh.leader.AllSessions(func(user command.UserID, number command.SessionID) bool {
		if w.model.user(user).session(number) == nil {
			w.failf("AllSessions gives %s/%d, want none", user, number)
		}
		got[user]++
		return true
	})
	for _, user := range w.users {
		if u := w.model.user(user); w.shardOf(user) == sh && !w.moving(user) && got[user] != len(u.sessions) {
			w.failf("AllSessions gives %d of %s, want %d", got[user], user, len(u.sessions))
		}
	}
}

// checkSync compares a sync and gives what it has to push without a cursor.
func (w *world) checkSync(user command.UserID, r *command.Result, mode query.RecentsMode, got *query.Sync, now int64) []modelRef {
	sh := w.shardOf(user)
	u := w.model.user(user)
	limits := &w.model.shards[sh.index].limits
	what := fmt.Sprintf("StartSync(%s, since %d)", user, r.CursorArrival)
	if got.Arrival == 0 && u.arrival == 1 {
		return nil // nothing is known of them yet
	}
	if got.Session != r.Session || got.CursorArrival != r.CursorArrival || got.Reset != r.Reset || got.Arrival != u.arrival {
		w.failf("%s: session %d, since %d, reset %v, arrival %d, want %d, %d, %v, %d", what,
			got.Session, got.CursorArrival, got.Reset, got.Arrival, r.Session, r.CursorArrival, r.Reset, u.arrival)
	}
	if want := w.cursor(user, u.arrival); got.Cursor != want {
		w.failf("%s: Cursor = %q, want %q", what, got.Cursor, want)
	}
	w.checkGroupsOf(u, got.Groups)
	queue := u.queue(limits, now)
	if got.UnreadTotal != len(queue) {
		w.failf("%s: UnreadTotal = %d, want %d", what, got.UnreadTotal, len(queue))
	}
	if want := u.unmuted(queue); got.UnreadUnmuted != want {
		w.failf("%s: UnreadUnmuted = %d, want %d", what, got.UnreadUnmuted, want)
	}
	var unread []modelRef
	for _, ref := range u.conversations(limits, now) {
		if ref.entry != nil && (ref.view.unread(limits, now) > 0 || ref.view.markedUnread) {
			unread = append(unread, ref)
		}
	}
	slices.SortFunc(unread, func(a, b modelRef) int { return byArrival(b, a) })
	w.checkConversations(user, got.Unread, unread, limits, now)
	push := slices.DeleteFunc(slices.Clone(queue), func(ref modelRef) bool {
		return ref.entry.arrival <= r.CursorArrival || r.CursorArrival > 0 && ref.entry.imported
	})
	if got.Offline != len(push) {
		w.failf("%s: Offline = %d, want %d", what, got.Offline, len(push))
	}
	for _, peer := range u.peers {
		w.checkLost(what, u.views[peer], got.Lost, r.CursorArrival, limits, now)
	}
	for _, l := range got.Lost {
		if u.views[l.Peer] == nil {
			w.failf("%s: lost in u:%s, want none", what, l.Peer)
		}
	}
	if mode == query.RecentsOff {
		if got.Conversations != nil {
			w.failf("%s: %d conversations, want none", what, len(got.Conversations))
		}
		return push
	}
	recents := u.recents(limits, now)
	w.checkConversations(user, got.Conversations, recents, limits, now)
	if mode == query.RecentsOn {
		for _, ref := range slices.Backward(recents) {
			if !slices.Contains(push, ref) {
				push = append(push, ref)
			}
		}
	}
	return push
}

// checkLost compares the seqs that a sync names as lost in one conversation.
func (w *world) checkLost(what string, v *modelView, got []query.Lost, since uint64, l *command.Limits, now int64) {
	must, may := v.lost(l, since, now)
	named := map[uint64]bool{}
	exact := true
	count := 0
	for _, lost := range got {
		if lost.Peer != v.peer {
			continue
		}
		count += lost.Count
		exact = exact && uint64(lost.Count) == lost.To-lost.From+1
		for seq := lost.From; seq <= lost.To; seq++ {
			named[seq] = true
		}
	}
	for _, seq := range must {
		if !named[seq] {
			w.failf("%s: lost(u:%s) = %v, want %d in it", what, v.peer, got, seq)
		}
		delete(named, seq)
	}
	for _, seq := range may {
		delete(named, seq)
	}
	if exact && len(named) > 0 || count < len(must) || count > len(must)+len(may) {
		w.failf("%s: lost(u:%s) = %v, want %v", what, v.peer, got, must)
	}
}

func (w *world) checkConversations(user command.UserID, got []query.Conversation, want []modelRef, l *command.Limits, now int64) {
	if len(got) != len(want) {
		w.failf("recents(%s) = %d conversations, want %d", user, len(got), len(want))
	}
	for i := range got {
		want := want[i].conversation(l, now)
		if got[i].Unread != want.Unread && got[i].Peer == want.Peer {
			w.failf("unread(%s,%s) = %d, want %d", user, want.Peer, got[i].Unread, want.Unread)
		}
		if got[i] != want {
			w.failf("recents(%s)[%d] = %+v, want %+v", user, i, got[i], want)
		}
	}
}

// checkList compares a list, and the last messages of its conversations.
func (w *world) checkList(what string, u *modelUser, got query.ConversationList, want []modelRef, l *command.Limits, now int64) {
	w.checkConversations(u.id, got.Conversations, want, l, now)
	if got.More || len(got.Last) != len(want) {
		w.failf("%s = %d messages, more %v, want %d", what, len(got.Last), got.More, len(want))
	}
	for i := range got.Last {
		if want[i].entry != nil {
			w.checkMessage(fmt.Sprintf("%s[%d]", what, i), u, &got.Last[i], want[i])
		} else if got.Last[i].ID != (command.MsgID{}) {
			w.failf("%s[%d] has message %d, want none", what, i, got.Last[i].Seq)
		}
	}
}

// checkAllConversations reads all conversations of a user in pages.
func (w *world) checkAllConversations(state *shard.State, u *modelUser, l *command.Limits, now int64) {
	want := u.conversations(l, now)
	limit, maxBytes := 1+w.rng.IntN(5), pick(w, []int{1, 200, 1 << 20})
	for behind := uint64(0); ; {
		got := state.Conversations(u.id, behind, limit, maxBytes, now)
		n := len(got.Conversations)
		if n > min(limit, len(want)) || got.More != (len(want) > n) || got.More && n == 0 || got.More && n < limit && maxBytes == 1<<20 {
			w.failf("Conversations(%s, %d, %d) = %d, more %v, of %d", u.id, behind, limit, n, got.More, len(want))
		}
		for i := range got.Conversations {
			c := &got.Conversations[i]
			if behind = want[i].view.place(); c.Place != behind {
				w.failf("Conversations(%s)[%d] is at %d, want %d", u.id, i, c.Place, behind)
			}
			c.Place = 0
		}
		more := got.More
		got.More = false
		w.checkList(fmt.Sprintf("Conversations(%s)", u.id), u, got, want[:n], l, now)
		if want = want[n:]; !more {
			return
		}
	}
}

func (w *world) checkMessage(what string, u *modelUser, got *query.Message, want modelRef) {
	e := want.entry
	from := want.view.peer
	if e.own {
		from = u.id
	}
	switch {
	case got.Peer != want.view.peer || got.Seq != e.seq || got.Arrival != e.arrival:
		w.failf("%s = u:%s/%d, arrival %d, want u:%s/%d, arrival %d", what, got.Peer, got.Seq, got.Arrival, want.view.peer, e.seq, e.arrival)
	case got.ID != e.id || got.From != from || got.Time != e.time || string(got.CID) != e.cid || got.TTL != e.ttl ||
		!slices.Equal(got.Mentions, e.mentions) || !bytes.Equal(got.Body, e.body):
		w.failf("%s = %+v, want %+v", what, *got, *e)
	}
}

// checkBatch compares the messages of a batch with the ones still to come, and
// its size with what was asked for.
func (w *world) checkBatch(what string, u *modelUser, up *query.Updates, want []modelRef, maxMessages, maxBytes int) {
	if len(up.Messages) > len(want) {
		m := &up.Messages[len(want)]
		w.failf("%s = %d messages, the last u:%s/%d, want %d", what, len(up.Messages), m.Peer, m.Seq, len(want))
	}
	size := 0
	for i := range up.Messages {
		w.checkMessage(fmt.Sprintf("%s[%d]", what, i), u, &up.Messages[i], want[i])
		if size >= maxBytes {
			w.failf("%s: %d messages of %d bytes, want at most %d bytes", what, len(up.Messages), size, maxBytes)
		}
		size += len(up.Messages[i].Body)
	}
	if len(up.Messages) > maxMessages {
		w.failf("%s = %d messages, want at most %d", what, len(up.Messages), maxMessages)
	}
	if !up.More && len(up.Messages) < len(want) {
		next := want[len(up.Messages)]
		w.failf("%s = %d messages, want %d, next u:%s/%d", what, len(up.Messages), len(want), next.view.peer, next.entry.seq)
	}
	if up.More && len(up.Messages) == 0 {
		w.failf("%s: nothing, and more", what)
	}
	messages, changes := 0, 0
	for _, item := range up.Items {
		switch {
		case item.Message == messages && item.Change == -1:
			messages++
		case item.Change == changes && item.Message == -1:
			changes++
		default:
			w.failf("%s: item %+v after %d messages and %d changes", what, item, messages, changes)
		}
	}
	if messages != len(up.Messages) || changes != len(up.Changes) {
		w.failf("%s: items name %d messages and %d changes, want %d and %d", what, messages, changes, len(up.Messages), len(up.Changes))
	}
}

// checkOrder wants the items of a batch in arrival order, between two points.
func (w *world) checkOrder(what string, up *query.Updates, after, upTo uint64) {
	last := after
	for _, item := range up.Items {
		arrival := uint64(0)
		if item.Message >= 0 {
			arrival = up.Messages[item.Message].Arrival
		} else {
			arrival = up.Changes[item.Change].Arrival
		}
		if arrival <= last || arrival > up.Through {
			w.failf("%s: arrival %d after %d, and Next = %d", what, arrival, last, up.Through)
		}
		last = arrival
	}
	if up.Through < after || up.Through > upTo {
		w.failf("%s: Next = %d, want within %d and %d", what, up.Through, after, upTo)
	}
}

// checkHistory compares one page of a conversation.
func (w *world) checkHistory(state *shard.State, u *modelUser, peer command.UserID, now int64) {
	newest := int(u.views[peer].newest())
	q := query.HistoryQuery{User: u.id, Peer: peer, Limit: 1 + w.rng.IntN(12), MaxBytes: 1 << 20}
	anySeq := func() uint64 { return uint64(w.rng.IntN(newest + 3)) }
	switch w.rng.IntN(5) {
	case 0:
		q.Before = anySeq()
	case 1:
		q.After, q.HasAfter = anySeq(), true
	case 2:
		q.From, q.To = anySeq(), anySeq()
	case 3:
		q.HasAfter, q.Limit = true, 1<<20 // all of it
	}
	if w.chance(30) {
		q.MaxBytes = 1 + w.rng.IntN(1500)
	}
	sh := w.shardOf(u.id)
	want := u.history(q, &w.model.shards[sh.index].limits, now)
	p := &w.page
	state.History(q, p, now)
	what := fmt.Sprintf("History(%+v)", q)
	if p.From != want.from || p.To != want.to || p.More != want.more {
		w.failf("%s = %d to %d, more %v, want %d to %d, more %v", what, p.From, p.To, p.More, want.from, want.to, want.more)
	}
	if len(p.Updates.Messages) != len(want.entries) {
		w.failf("%s = %d messages, want %d", what, len(p.Updates.Messages), len(want.entries))
	}
	for i := range want.entries {
		w.checkMessage(fmt.Sprintf("%s[%d]", what, i), u, &p.Updates.Messages[i], modelRef{u.views[peer], want.entries[i]})
	}
	w.checkLimitedPage(state, q, p, now)
	vague := u.views[peer].vague()
	got := slices.Clone(p.Gaps)
	if !slices.Equal(trimGaps(got, vague), trimGaps(want.gaps, vague)) {
		w.failf("%s: gaps = %v, want %v", what, p.Gaps, want.gaps)
	}
}

// checkLimitedPage compares a page that covers few gaps and seqs with the one that
// the same query gives without these limits.
func (w *world) checkLimitedPage(state *shard.State, q query.HistoryQuery, all *query.Page, now int64) {
	q.MaxGaps, q.MaxSeqs = 1+w.rng.IntN(4), 1+w.rng.IntN(40)
	what := fmt.Sprintf("History(%+v)", q)
	var p query.Page
	state.History(q, &p, now)
	down := !q.HasAfter && q.To == 0
	switch whole := p.From == all.From && p.To == all.To; {
	case len(p.Gaps) > q.MaxGaps:
		w.failf("%s = %d gaps", what, len(p.Gaps))
	case p.More != (all.More || !whole):
		w.failf("%s = %d to %d, more %v, of %d to %d, more %v", what, p.From, p.To, p.More, all.From, all.To, all.More)
	case p.From != all.From && !down || p.To != all.To && down || p.To < p.From || all.From == 0 && p.From != 0:
		w.failf("%s = %d to %d of %d to %d", what, p.From, p.To, all.From, all.To)
	}
	var messages, of []uint64
	for i := range p.Updates.Messages {
		messages = append(messages, p.Updates.Messages[i].Seq)
	}
	for i := range all.Updates.Messages {
		if seq := all.Updates.Messages[i].Seq; seq >= p.From && seq <= p.To {
			of = append(of, seq)
		}
	}
	if !slices.Equal(messages, of) {
		w.failf("%s = messages %v, want %v", what, messages, of)
	}
	if got, want := seqsOf(p.Gaps, p.From, p.To), seqsOf(all.Gaps, p.From, p.To); !slices.Equal(got, want) {
		w.failf("%s: gaps = %v, want %v", what, got, want)
	}
}

// seqsOf returns the part of gaps that lies in from..to, with a gap for each seq.
func seqsOf(gaps []query.Gap, from, to uint64) (seqs []query.Gap) {
	for _, g := range gaps {
		for seq := max(g.From, from); seq <= min(g.To, to); seq++ {
			seqs = append(seqs, query.Gap{From: seq, To: seq, Reason: g.Reason})
		}
	}
	return seqs
}

// keptGone is how many runs of gone seqs a state keeps the reasons of, besides
// the newest; of older ones it only knows that they are gone.
const keptGone = 64

// vague is the seq up to which the reasons of gaps are not known exactly.
func (v *modelView) vague() uint64 {
	runs, reason := 0, query.GapReason("")
	gone := len(v.entries) - len(v.held())
	for _, e := range slices.Backward(v.entries[:gone]) {
		if e.gone != reason {
			runs, reason = runs+1, e.gone
		}
		if runs > keptGone+1 {
			return e.seq
		}
	}
	return 0
}

// trimGaps makes one gap of any reason of all seqs up to a point.
func trimGaps(gaps []query.Gap, upTo uint64) (trimmed []query.Gap) {
	for _, g := range gaps {
		if g.From <= upTo {
			head := query.Gap{From: g.From, To: min(g.To, upTo)}
			if n := len(trimmed); n > 0 {
				trimmed[n-1].To = head.To
			} else {
				trimmed = append(trimmed, head)
			}
			g.From = upTo + 1
		}
		if g.From <= g.To {
			trimmed = append(trimmed, g)
		}
	}
	return trimmed
}

// checkStranger wants a user who never logs in to be known as long as something is
// kept of them, and no longer.
func (w *world) checkStranger(user command.UserID) {
	sh := w.shardOf(user)
	u := w.model.users[user]
	if !w.model.serves(w.model.shards[sh.index], user) {
		return
	}
	for _, state := range []*shard.State{sh.leader, sh.follower} {
		if known := state.HasUser(user); known && u == nil || !known && u != nil && !u.idle() {
			w.failf("Known(%s) = %v", user, known)
		}
	}
}

// checkConservation wants every acknowledged message in its receiver's view
// exactly once, shown or with the reason why not, or stopped by a block.
func (w *world) checkConservation() {
	for _, user := range w.users {
		state := w.shardOf(user).leader
		now := state.Now()
		for _, peer := range w.users {
			var p query.Page
			state.History(query.HistoryQuery{User: user, Peer: peer, HasAfter: true, Limit: 1 << 20, MaxBytes: 1 << 30}, &p, now)
			covered := uint64(len(p.Updates.Messages))
			seen := map[command.MsgID]bool{}
			for _, m := range p.Updates.Messages {
				if seen[m.ID] {
					w.failf("History(%s, %s) shows %x twice", user, peer, m.ID)
				}
				seen[m.ID] = true
			}
			for _, g := range p.Gaps {
				covered += g.To - g.From + 1
			}
			want := uint64(w.acked[[2]command.UserID{user, peer}])
			if peer != user {
				want += uint64(w.acked[[2]command.UserID{peer, user}] - w.model.user(user).refusedFrom[peer])
			}
			want += uint64(w.imported[[2]command.UserID{user, peer}])
			if covered != want || p.To != want {
				w.failf("History(%s, %s) covers %d seqs up to %d, want %d: all that was acknowledged", user, peer, covered, p.To, want)
			}
		}
	}
}
