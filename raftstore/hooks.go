package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard"
)

const (
	// hookWindow bounds the messages of one shard that Hooks have been told of and
	// have not dealt with.
	hookWindow = 256
	// hookRead bounds what one read looks at, with the shard locked, and
	// hookMessages the messages that it copies.
	hookRead     = 512
	hookMessages = 64
	// hookMembers is how many members of a group one read looks at.
	hookMembers = 512
	// hookEvents bounds the events of groups that wait to be told; further ones are
	// dropped.
	hookEvents = 4096
	// hookPatience is how long a HooksDone may wait for other commands. Waiting
	// costs a repeat after a crash, not waiting costs an fsync.
	hookPatience = 200 * time.Millisecond
	// hookRetry is the pause after a read or a HooksDone that failed.
	hookRetry = 100 * time.Millisecond
)

// Hooks act on messages that were stored for users who are away: without a
// session, or with all of them in the background. The methods must not block.
type Hooks interface {
	// WantsQueued tells whether Queued is to be called at all. It is asked when a
	// shard begins to serve.
	WantsQueued() bool
	// Queued is called for each such message, at least once. It calls done exactly
	// once, maybe before it returns, when it has dealt with the message; with false
	// it has not, and is to be asked again after a restart. m and what it refers to
	// are the caller's when Queued returns. At most hookWindow of each shard are
	// open at a time.
	Queued(m *QueuedMessage, done func(over bool))
	// GroupEvent tells of what changed in a group, at most once.
	GroupEvent(e *shard.GroupEvent)
	// QueuedLost says that n messages were dropped before their turn came, because
	// too many waited.
	QueuedLost(n int)
	// GroupEventsLost says the same of events.
	GroupEventsLost(n int)
}

// A QueuedMessage is one that was stored for a user who is away.
type QueuedMessage struct {
	User        shard.UserID
	Message     *shard.Message // as the user sees it
	UnreadTotal int            // of all conversations and groups
	shard.QueuedInfo
}

// hookBytes is what a shard is configured to keep for hooks.
func (c *Config) hookBytes() int {
	if c.Hooks == nil || !c.Hooks.WantsQueued() {
		return 0
	}
	return c.HookBytes
}

// A hooker tells Hooks of what one shard has stored, for as long as this node
// leads it. It reads from the point up to which HooksDone has committed, so that
// nothing is missed when the lead changes; Hooks may be told again of some.
type hooker struct {
	group   *group
	hooks   Hooks
	propose func(command []byte, w waiter) error
	wake    chan struct{}

	mu       sync.Mutex
	returned []returnedHook     // left for run
	events   []shard.GroupEvent // left for run
	dropped  int                // of events

	// Owned by run, and begin before it.
	at       uint64         // number of what was read last
	done     uint64         // number that the last HooksDone names, proposed or committed
	open     map[uint64]int // what Hooks have not dealt with: calls by number
	calls    int            // of them all
	halted   bool           // Hooks are closed
	proposed bool           // a HooksDone is on its way
	retryAt  time.Time

	// A message of a group is told to some members at a time.
	inHand shard.Stored // its Number is 0 when there is none
	after  shard.UserID // the member from whom to go on

	batch  shard.Batch // of read
	ready  []queuedHook
	totals map[shard.UserID]int // of the users in ready
}

type returnedHook struct {
	number   uint64
	over     bool
	proposal bool // it is the HooksDone that came back; over tells whether it committed
}

// A queuedHook is a message to be told of, read under the shard's lock.
type queuedHook struct {
	number  uint64
	user    shard.UserID
	message int // index into the batch
	info    shard.QueuedInfo
}

func newHooker(g *group, p *proposer) *hooker {
	return &hooker{group: g, hooks: g.cfg.Hooks, propose: p.add, wake: make(chan struct{}, 1), open: make(map[uint64]int), totals: make(map[shard.UserID]int)}
}

// begin runs in the apply step that begins the reign.
func (h *hooker) begin(s *shard.State) {
	h.at, _ = s.StoredUpTo()
	h.done = h.at
	h.poke()
}

func (h *hooker) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooker) back(r returnedHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned = append(h.returned, r)
	h.poke()
}

// post leaves events of groups for run. It does not block.
func (h *hooker) post(events []shard.GroupEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	room := min(len(events), hookEvents-len(h.events))
	h.events = append(h.events, events[:room]...)
	h.dropped += len(events) - room
	h.poke()
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

// run tells Hooks of what comes until ctx ends.
func (h *hooker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h.settle()
		h.tellEvents()
		more := h.tell()
		h.confirm(hookPatience)
		switch {
		case more:
			h.poke()
		case !h.retryAt.IsZero():
			timer.Reset(time.Until(h.retryAt))
			h.retryAt = time.Time{}
		}
		select {
		case <-ctx.Done():
			h.settle()
			h.tellEvents()
			h.confirm(0) // with the rest of what the reign proposes
			return
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// settle takes what came back.
func (h *hooker) settle() {
	h.mu.Lock()
	returned := h.returned
	h.returned = nil
	h.mu.Unlock()
	for _, r := range returned {
		switch {
		case r.proposal:
			h.proposed = false
			if !r.over {
				h.done = 0 // it may have failed: again
				h.retry()
			}
		case !r.over:
			h.halted = true // and the number stays open
		default:
			h.calls--
			h.close(r.number)
		}
	}
}

func (h *hooker) retry() { h.retryAt = time.Now().Add(hookRetry) }

func (h *hooker) close(number uint64) {
	if h.open[number]--; h.open[number] == 0 {
		delete(h.open, number)
	}
}

// confirm proposes to forget what has been dealt with.
func (h *hooker) confirm(patience time.Duration) {
	upTo := h.at
	for number := range h.open {
		upTo = min(upTo, number-1)
	}
	if upTo <= h.done || h.proposed {
		return
	}
	h.done, h.proposed = upTo, true
	done := func(_ shard.Result, err error) { h.back(returnedHook{proposal: true, over: err == nil}) }
	command := shard.AppendCommand(nil, &shard.HooksDone{UpTo: upTo})
	if h.propose(command, waiter{patience: patience, done: done}) != nil {
		h.done, h.proposed = 0, false
		h.retry()
	}
}

// tell reads on and tells Hooks of what they need to know. It reports whether
// there is more to read now.
func (h *hooker) tell() (more bool) {
	if h.halted || h.calls >= hookWindow {
		return false
	}
	lost := uint64(0)
	h.batch.Reset()
	h.ready = h.ready[:0]
	err := h.group.read(func(s *shard.State, now int64) {
		done, last := s.StoredUpTo()
		if done > h.at {
			lost, h.at = done-h.at, done
		}
		h.group.metrics.hooks.Set(float64(last - done))
		more = h.read(s, now)
		if !more {
			h.at = last
		}
	})
	if err != nil {
		h.retry()
		return false
	}
	if lost > 0 {
		h.hooks.QueuedLost(int(lost))
	}
	clear(h.totals)
	for i := range h.ready {
		q := h.ready[i]
		m := QueuedMessage{User: q.user, Message: &h.batch.Messages[q.message], QueuedInfo: q.info}
		m.UnreadTotal = max(h.total(q.user), q.info.Unread) // what cannot be read counts as none
		h.open[q.number]++
		h.calls++
		h.hooks.Queued(&m, func(over bool) { h.back(returnedHook{number: q.number, over: over}) })
	}
	return more
}

// read fills ready. It reports whether it stopped before the end.
func (h *hooker) read(s *shard.State, now int64) (more bool) {
	n := 0
	if h.inHand.Number != 0 && !h.readGroup(s, now) {
		return true
	}
	for m := range s.StoredAfter(h.at) {
		if n++; n > hookRead || h.full() {
			return true
		}
		h.at = m.Number
		if m.Group == "" {
			h.readUser(s, &m, now)
			continue
		}
		h.inHand, h.after = m, ""
		h.open[m.Number]++ // until all its members are told
		if !h.readGroup(s, now) {
			return true
		}
	}
	return false
}

// full tells whether no more is to be read now.
func (h *hooker) full() bool {
	return len(h.ready) >= hookMessages || h.calls+len(h.ready) >= hookWindow
}

func (h *hooker) readUser(s *shard.State, m *shard.Stored, now int64) {
	if h.group.store.hub.foreground(m.User) {
		return
	}
	if info, ok := s.Queued(m.User, m.Peer, m.Seq, &h.batch, now); ok {
		h.ready = append(h.ready, queuedHook{number: m.Number, user: m.User, message: len(h.batch.Messages) - 1, info: info})
	}
}

// readGroup goes on with the members of the message in hand. It reports whether it
// came to their end.
func (h *hooker) readGroup(s *shard.State, now int64) (end bool) {
	m := &h.inHand
	if h.full() {
		return false
	}
	message := len(h.batch.Messages)
	away := func(user shard.UserID) bool { return !h.group.store.hub.foreground(user) }
	next, more := s.GroupQueued(m.Group, m.Seq, h.after, hookMembers, away, &h.batch, now, func(q shard.QueuedMember) bool {
		h.ready = append(h.ready, queuedHook{number: m.Number, user: q.User, message: message, info: q.QueuedInfo})
		return !h.full()
	})
	if h.after = next; more {
		return false
	}
	h.close(m.Number)
	h.inHand = shard.Stored{}
	return true
}

// total is the number of a user's unread messages, in all his conversations and
// groups as far as their shards serve.
func (h *hooker) total(user shard.UserID) int {
	n, known := h.totals[user]
	if !known {
		n = h.group.store.unreadTotal(user)
		h.totals[user] = n
	}
	return n
}

// unreadTotal reads the memory of one shard after the other.
func (s *Store) unreadTotal(user shard.UserID) (n int) {
	var groups []shard.GroupRef
	err := s.read(user, func(st *shard.State, now int64) { n, groups = st.UnreadTotal(user, now), st.GroupsOf(user) })
	if err != nil {
		return 0
	}
	byShard := make(map[*group][]shard.GroupID)
	for _, ref := range groups {
		g := s.group(ref.Group.Key())
		byShard[g] = append(byShard[g], ref.Group)
	}
	for g, ids := range byShard {
		// One that does not serve adds nothing.
		_ = g.read(func(st *shard.State, now int64) {
			for _, id := range ids {
				n += st.MemberUnread(id, user, now)
			}
		})
	}
	return n
}
