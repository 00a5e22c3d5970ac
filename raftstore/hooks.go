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
	// hookPatience is how long a HooksDone may wait for other commands. Waiting
	// costs a repeat after a crash, not waiting costs an fsync.
	hookPatience = 200 * time.Millisecond
	// hookRetry is the pause after a read or a HooksDone that failed.
	hookRetry = 100 * time.Millisecond
)

// Hooks act on messages that were stored for users who are away: without a
// session, or with all of them in the background. The methods must not block.
type Hooks interface {
	// Queued is called for each such message, at least once. It calls done exactly
	// once, maybe before it returns, when it has dealt with the message; with false
	// it has not, and is to be asked again after a restart. m and what it refers to
	// are the caller's when Queued returns. At most hookWindow of each shard are
	// open at a time.
	Queued(m *QueuedMessage, done func(over bool))
	// QueuedLost says that n messages were dropped before their turn came, because
	// too many waited.
	QueuedLost(n int)
}

// A QueuedMessage is one that was stored for a user who is away.
type QueuedMessage struct {
	User    shard.UserID
	Message *shard.Message // as the user sees it
	shard.QueuedInfo
}

// hookBytes is what a shard is configured to keep for hooks.
func (c *Config) hookBytes() int {
	if c.Hooks == nil {
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
	returned []returnedHook // left for run

	// Owned by run, and begin before it.
	at       uint64         // number of what was read last
	done     uint64         // number that the last HooksDone names, proposed or committed
	open     map[uint64]int // what Hooks have not dealt with: calls by number
	halted   bool           // Hooks are closed
	proposed bool           // a HooksDone is on its way
	retryAt  time.Time

	batch shard.Batch // of read
	ready []queuedHook
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
	return &hooker{group: g, hooks: g.cfg.Hooks, propose: p.add, wake: make(chan struct{}, 1), open: make(map[uint64]int)}
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

// run tells Hooks of what comes until ctx ends.
func (h *hooker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h.settle()
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
	if h.halted || len(h.open) >= hookWindow {
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
	for i := range h.ready {
		q := h.ready[i]
		m := QueuedMessage{User: q.user, Message: &h.batch.Messages[q.message], QueuedInfo: q.info}
		h.open[q.number]++
		h.hooks.Queued(&m, func(over bool) { h.back(returnedHook{number: q.number, over: over}) })
	}
	return more
}

// read fills ready. It reports whether it stopped before the end.
func (h *hooker) read(s *shard.State, now int64) (more bool) {
	n := 0
	for m := range s.StoredAfter(h.at) {
		if n++; n > hookRead || len(h.ready) == hookMessages || len(h.open)+len(h.ready) >= hookWindow {
			return true
		}
		h.at = m.Number
		if m.Group == "" {
			h.readUser(s, &m, now)
		}
	}
	return false
}

func (h *hooker) readUser(s *shard.State, m *shard.Stored, now int64) {
	if h.group.store.hub.foreground(m.User) {
		return
	}
	if info, ok := s.Queued(m.User, m.Peer, m.Seq, &h.batch, now); ok {
		h.ready = append(h.ready, queuedHook{number: m.Number, user: m.User, message: len(h.batch.Messages) - 1, info: info})
	}
}
