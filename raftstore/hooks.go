package raftstore

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// hookRead bounds the messages and members that one read checks while it locks the
	// shard, and hookMessages the messages that it finds for Hooks.
	hookRead     = 512
	hookMessages = 64
	// hookEvents bounds the queue of group events, and that of changes; further ones are
	// dropped.
	hookEvents = 4096
	// hookChanges is how many changes Hooks are told of before messages have their turn.
	hookChanges = 64
	// hookPatience is how long a TrimHookQueue may wait for other commands to share its
	// log entry. To wait may repeat messages to Hooks after a crash, not to wait costs an
	// fsync.
	hookPatience = 200 * time.Millisecond
	// hookRetry is the pause after a read or a TrimHookQueue that failed.
	hookRetry = 100 * time.Millisecond
)

// hookKinds are the kinds of changes that Hooks may want to be told of.
var hookKinds = []query.ChangeKind{
	query.ChangeRead, query.ChangeRecall, query.ChangeMessagesDeleted, query.ChangeConversationDeleted,
}

// hookBytes returns the bytes that a shard may keep for Hooks, 0 if they do not want
// to be told of queued messages.
func (c *Config) hookBytes() int {
	if c.Hooks == nil || !c.Hooks.WantsQueued() {
		return 0
	}
	return c.HookBytes
}

// connectHooks makes the hub report to Hooks when users come online, go offline or leave the
// foreground.
func (s *Store) connectHooks() {
	hooks := s.cfg.Hooks
	if hooks == nil {
		return
	}
	s.hub.changed = func(user command.UserID, online bool) { hooks.Presence(user, online, s.Now()) }
	if hooks.WantsQueued() {
		s.hub.away = func(user command.UserID) {
			if l := s.shardOf(user).leading(); l != nil {
				l.hooker.userAway(user)
			}
		}
	}
}

// A hooker tells Hooks of the messages and changes of one shard, for as long as this
// node leads it. It begins behind the last message that a committed TrimHookQueue
// names, so that no message is missed when the lead changes; the Hooks of another node may
// be told of some again.
type hooker struct {
	shard   *localShard
	hooks   store.Hooks
	enqueue enqueueFunc
	wake    chan struct{}
	wanted  shard.ChangeKinds

	mu       sync.Mutex
	returned []returnedHook          // left for run
	events   []query.GroupEvent      // left for run
	dropped  int                     // of events
	changes  hookChangeQueue         // left for run
	aways    []shard.MemberRef       // users who left the foreground; without Group: in all their conversations
	awaited  map[command.GroupID]int // messages in waiting

	// Owned by run, and begin before it.
	at       uint64         // number of the message that was read last
	done     uint64         // number that the last TrimHookQueue names, proposed or committed
	open     map[uint64]int // calls that Hooks have not finished, by number of the message
	found    uint64         // number of the last message that was there when the leadership began
	halted   bool           // Hooks are closed
	proposed bool           // a TrimHookQueue is on its way
	retryAt  time.Time
	waiting  waitingHooks

	// The members of a group are checked for a message some at a time.
	current *waitingHook   // nil when there is none
	after   command.UserID // the member of current after whom to go on

	asks  []memberAsk                                   // of the present read
	fresh map[*waitingHook]map[command.UserID]attention // of members elsewhere, for the present read

	budget int // messages and members that this read may still check
	ready  []queuedHook
}

type returnedHook struct {
	number   uint64
	over     bool
	proposal bool // the TrimHookQueue came back, over if it was committed
}

// A queuedHook is a message for one user that Hooks are to be told of.
type queuedHook struct {
	number uint64
	user   command.UserID
	peer   command.UserID
	group  command.GroupID // instead of peer
	seq    uint64
	header query.QueuedHeader
}

func newHooker(sh *localShard, enqueue enqueueFunc) *hooker {
	h := &hooker{
		shard: sh, hooks: sh.store.cfg.Hooks, enqueue: enqueue, wake: make(chan struct{}, 1), open: make(map[uint64]int), fresh: make(map[*waitingHook]map[command.UserID]attention),
		awaited: make(map[command.GroupID]int), waiting: newWaitingHooks(sh.store.cfg.QueuedAfter),
	}
	for _, kind := range hookKinds {
		if h.hooks.WantsChange(kind) {
			h.wanted.Add(kind)
		}
	}
	return h
}

// begin sets from where to read. It runs in the apply step that begins the leadership.
func (h *hooker) begin(s *shard.State) {
	h.at, h.found = s.HookQueueRange()
	h.done = h.at
	h.shard.told.begin(h, h.done, h.shard.store.cluster == nil)
	h.signal()
}

func (h *hooker) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooker) postReturned(r returnedHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned = append(h.returned, r)
	h.signal()
}

// applied queues for run what an applied entry did. It does not block.
func (h *hooker) applied(out *shard.Outcome) {
	if out.HooksQueued {
		h.signal()
	}
	if len(out.Events) > 0 {
		h.postEvents(out.Events)
	}
	if len(out.Changes) > 0 {
		h.postChanges(out.Changes)
	}
}

// postEvents queues events of groups for run. It does not block.
func (h *hooker) postEvents(events []query.GroupEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	room := min(len(events), hookEvents-len(h.events))
	h.events = append(h.events, events[:room]...)
	h.dropped += len(events) - room
	h.signal()
}

// tellEvents tells Hooks of events of groups.
func (h *hooker) tellEvents() {
	h.mu.Lock()
	events, dropped := h.events, h.dropped
	h.events, h.dropped = nil, 0
	h.mu.Unlock()
	for i := range events {
		h.hooks.GroupEvent(&events[i])
	}
	if dropped > 0 {
		h.hooks.GroupEventsLost(dropped)
	}
}

// run tells Hooks of events, changes and messages until ctx ends.
func (h *hooker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h.collectReturned()
		h.tellEvents()
		later := h.tellChanges()
		h.recheckAways()
		more := h.tell() || later
		h.confirm(hookPatience)
		next := h.waiting.next()
		if !h.retryAt.IsZero() && (next.IsZero() || h.retryAt.Before(next)) {
			next = h.retryAt
		}
		h.retryAt = time.Time{}
		switch {
		case more:
			h.signal()
		case !next.IsZero() && !h.busy():
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			h.collectReturned()
			h.tellEvents()
			for h.tellChanges() {
			}
			h.recheckAways() // what these users have acked is known only until now
			h.tell()
			h.confirm(0) // without patience: with the last commands of the leadership
			return
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// busy reports whether nothing more is to be read: Hooks are closed, or have too many
// unfinished calls.
func (h *hooker) busy() bool {
	return h.halted || int(h.shard.told.open.Load()) >= store.MaxOpenQueued
}

// collectReturned handles the calls that Hooks have finished, and the TrimHookQueue
// that came back.
func (h *hooker) collectReturned() {
	h.mu.Lock()
	returned := h.returned
	h.returned = nil
	h.mu.Unlock()
	for _, r := range returned {
		switch {
		case r.proposal:
			h.proposed = false
			if !r.over {
				h.done = 0 // it may have failed: propose again
				h.retry()
			}
		case !r.over:
			h.halted = true // the message stays open, and is told again after a restart
		default:
			if h.open[r.number]--; h.open[r.number] == 0 {
				delete(h.open, r.number)
			}
		}
	}
}

func (h *hooker) retry() { h.retryAt = time.Now().Add(hookRetry) }

// confirm proposes to trim the queue up to the first message that Hooks have not
// finished or that waits for an ack.
func (h *hooker) confirm(patience time.Duration) {
	upTo := h.at
	for number := range h.open {
		upTo = min(upTo, number-1)
	}
	if number := h.waiting.oldest(); number > 0 {
		upTo = min(upTo, number-1)
	}
	if upTo <= h.done || h.proposed {
		return
	}
	h.done, h.proposed = upTo, true
	done := func(_ command.Result, err error) { h.postReturned(returnedHook{proposal: true, over: err == nil}) }
	encoded := command.AppendCommand(nil, &command.TrimHookQueue{UpTo: upTo})
	if h.enqueue(encoded, replica.Waiter{Patience: patience, Done: done}) != nil {
		h.done, h.proposed = 0, false
		h.retry()
	}
}

// tell reads the next messages, and tells Hooks of those that nobody has acked or may
// still ack. It reports whether there is more to read now.
func (h *hooker) tell() (more bool) {
	if h.busy() {
		return false
	}
	emptyUpTo := uint64(0)
	h.ready = h.ready[:0]
	h.budget = hookRead
	if h.shard.store.cluster != nil {
		clear(h.fresh)
		h.refresh(h.waiting.upcoming(time.Now(), hookMessages))
	}
	err := h.shard.local.ReadLocal(func(s *shard.State, now int64) {
		done, last := s.HookQueueRange()
		h.at, emptyUpTo = max(h.at, done), done
		h.shard.metrics.hooks.Set(float64(last - done))
		more = h.read(s, now)
	})
	if err != nil {
		h.retry()
		return false
	}
	if lost := h.shard.told.progress(emptyUpTo, h.at); lost > 0 {
		h.hooks.QueuedLost(int(lost))
	}
	h.askElsewhere()
	for i := range h.ready {
		q := &h.ready[i]
		key := toldHook{number: q.number, id: q.header.ID, user: q.user}
		fresh, over := h.shard.told.add(key, h)
		if over {
			continue
		}
		h.open[q.number]++
		if !fresh {
			continue
		}
		m := &store.QueuedMessage{
			User: q.user, Peer: q.peer, Group: q.group, Seq: q.seq, ID: q.header.ID, Time: q.header.Time,
			Arrival: q.header.Arrival, Source: h.shard.store,
		}
		h.hooks.Queued(m, func(over bool) { h.shard.told.end(key, over) })
	}
	return more
}

// full reports whether the present read has reached one of its bounds.
func (h *hooker) full() bool {
	return h.budget <= 0 || len(h.ready) >= hookMessages || int(h.shard.told.open.Load())+len(h.ready)+len(h.asks) >= store.MaxOpenQueued
}

// read fills ready from the state. It reports whether it stopped before the end of the
// queue and may go on at once.
func (h *hooker) read(s *shard.State, now int64) (more bool) {
	if h.current != nil && !h.readGroup(s, now) || !h.recheckWaiting(s, now) {
		return true
	}
	if h.waiting.full() {
		return false // until some of these are decided
	}
	end := true
	for m := range s.HookRefsAfter(h.at) {
		if h.full() || h.waiting.full() {
			end = false
			break
		}
		h.at = m.Number
		h.budget--
		w := &waitingHook{HookRef: m, since: time.Now(), found: m.Number <= h.found}
		if m.Group != "" {
			h.await(w)
			h.current, h.after = w, ""
			if end = h.readGroup(s, now); !end {
				break
			}
		} else if h.readUser(s, now, w, false) == attentionForeground {
			h.await(w)
		}
	}
	if end {
		_, h.at = s.HookQueueRange()
	}
	return !end && !h.waiting.full()
}

// readUser decides about a message to a user. It puts the message into ready if the
// user is away, or is in the foreground and last says that the message has waited long
// enough. If it returns attentionForeground, the user may still ack the message, which
// has to wait for that.
func (h *hooker) readUser(s *shard.State, now int64, w *waitingHook, last bool) attention {
	mark, ok := s.QueuedHeader(w.User, w.Peer, w.Seq, now)
	if !ok {
		return attentionAcked // or read, or gone
	}
	h.waiting.sent(w, now-mark.Time)
	r := h.shard.store.hub.attention(w.User, "", &mark)
	if r == attentionAway || r == attentionForeground && last {
		h.ready = append(h.ready, queuedHook{number: w.Number, user: w.User, peer: w.Peer, seq: w.Seq, header: mark})
		return attentionAway
	}
	return r
}

// readMember is readUser for a member of a group, with the header that the caller has
// read.
func (h *hooker) readMember(w *waitingHook, user command.UserID, mark *query.QueuedHeader, last bool) attention {
	var r attention
	if h.shard.store.elsewhere(user) {
		var asked bool
		if r, asked = h.fresh[w][user]; !asked || r == attentionUnknown {
			r = attentionForeground // as far as is known
		}
	} else {
		r = h.shard.store.hub.attention(user, w.Group, mark)
	}
	if r == attentionAway || r == attentionForeground && last {
		h.addReady(w, user, mark)
		return attentionAway
	}
	return r
}

// addReady has Hooks told of a group's message for a member.
func (h *hooker) addReady(w *waitingHook, user command.UserID, mark *query.QueuedHeader) {
	h.ready = append(h.ready, queuedHook{number: w.Number, user: user, group: w.Group, seq: w.Seq, header: *mark})
}

// readGroup checks further members of a group for the current message. It reports
// whether all have been checked.
func (h *hooker) readGroup(s *shard.State, now int64) (end bool) {
	w := h.current
	if h.full() {
		return false
	}
	next, more := s.UnreadMembers(w.Group, w.Seq, h.after, h.budget, now, func(user command.UserID, mark query.QueuedHeader) bool {
		h.budget--
		w.header = mark
		h.waiting.sent(w, now-mark.Time)
		switch {
		case h.shard.store.elsewhere(user):
			h.asks = append(h.asks, memberAsk{w, user, mark})
			h.waiting.weight++
		case h.readMember(w, user, &mark, false) == attentionForeground:
			w.addUser(user)
			h.waiting.weight++
		}
		return !h.full()
	})
	if h.after = next; more {
		return false
	}
	h.current = nil
	w.scanned = true
	if len(w.users) == 0 && !slices.ContainsFunc(h.asks, func(a memberAsk) bool { return a.message == w }) {
		h.endWait(w)
	}
	return true
}

// await adds a message to waiting, because a session in the foreground may still ack
// it.
func (h *hooker) await(w *waitingHook) {
	h.waiting.add(w)
	if w.Group != "" {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.awaited[w.Group]++
	}
}

// endWait removes a message from waiting, because it is decided.
func (h *hooker) endWait(w *waitingHook) {
	h.waiting.remove(w)
	if w.Group != "" {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.awaited[w.Group]--; h.awaited[w.Group] == 0 {
			delete(h.awaited, w.Group)
		}
	}
}

// recheckWaiting checks messages that wait: those of users who left the foreground,
// those that are likely to be acked by now, and those that have waited long enough. It
// reports whether it has checked them all.
func (h *hooker) recheckWaiting(s *shard.State, now int64) (end bool) {
	for w, last := h.waiting.due(time.Now()); w != nil; w, last = h.waiting.due(time.Now()) {
		if h.full() || h.shard.store.cluster != nil && w.Group != "" && h.fresh[w] == nil {
			return false // its members elsewhere are asked about before the next read
		}
		if !h.recheck(s, now, w, last) {
			return false
		}
	}
	return true
}

// recheck checks a waiting message again, for the last time if last is set. It reports
// whether it has checked all users of the message.
func (h *hooker) recheck(s *shard.State, now int64, w *waitingHook, last bool) (through bool) {
	if w.Group == "" {
		h.budget--
		if h.readUser(s, now, w, last) != attentionForeground {
			h.endWait(w)
		} else {
			h.waiting.rechecked(w)
		}
		return true
	}
	// Members who may still ack the message are moved to the front, in order of name.
	for w.at < len(w.users) {
		if h.full() {
			return false
		}
		h.budget--
		user := w.users[w.at]
		w.at++
		mark, ok := s.MemberQueuedHeader(w.Group, user, w.Seq, now)
		if ok && h.readMember(w, user, &mark, last) == attentionForeground {
			w.users[w.kept] = user
			w.kept++
		} else {
			h.waiting.weight--
		}
	}
	clear(w.users[w.kept:])
	w.users, w.at, w.kept = w.users[:w.kept], 0, 0
	if w.again {
		w.again = false
		return h.recheck(s, now, w, last)
	}
	switch {
	case !w.scanned: // readGroup has not checked all members yet
	case len(w.users) == 0:
		h.endWait(w)
		return true
	}
	h.waiting.rechecked(w)
	return true
}

// userAway notes that a user of this shard left the foreground. It does not block.
func (h *hooker) userAway(user command.UserID) { h.memberAway("", user) }

func (h *hooker) memberAway(group command.GroupID, user command.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if group != "" && h.awaited[group] == 0 {
		return
	}
	h.aways = append(h.aways, shard.MemberRef{Group: group, User: user})
	h.signal()
}

// recheckAways makes recheckWaiting check the messages of users who left the
// foreground, here and in the shards of their groups.
func (h *hooker) recheckAways() {
	h.mu.Lock()
	aways := h.aways
	h.aways = nil
	h.mu.Unlock()
	for _, a := range aways {
		if a.Group != "" {
			h.waiting.recheckMember(a.Group, a.User)
			continue
		}
		h.waiting.recheckUser(a.User)
		q := query.GroupsOf{User: a.User}
		// If the shard does not serve, messages of groups wait until they are due.
		_ = h.shard.store.read(&q)
		elsewhere := make(map[*shardRef][]shard.MemberRef)
		for _, ref := range q.Groups {
			sh := h.shard.store.shardOf(ref.Group.Key())
			if l := sh.leading(); l != nil {
				l.hooker.memberAway(ref.Group, a.User)
			} else if h.shard.store.cluster != nil {
				elsewhere[sh] = append(elsewhere[sh], shard.MemberRef{Group: ref.Group, User: a.User})
			}
		}
		for sh, members := range elsewhere {
			sh.membersAway(members)
		}
	}
}

// compareUsers orders users by name.
func compareUsers(a, b command.UserID) int { return cmp.Compare(a, b) }
