package raftstore

import (
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A hookChangeQueue holds changes that Hooks have not been told of yet, at most
// hookEvents.
type hookChangeQueue struct {
	list    []shard.HookChange
	first   int                 // number of list[0]
	reads   map[hookReadKey]int // numbers of those changes in list that are reads
	dropped int
}

// A hookReadKey names the read cursor of one conversation.
type hookReadKey struct {
	user, peer command.UserID
	group      command.GroupID
}

func hookReadKeyOf(c *shard.HookChange) hookReadKey { return hookReadKey{c.User, c.Peer, c.Group} }

// add adds a change, or drops it if the queue is full. A read replaces one of the same
// conversation that still waits: a user who keeps reading costs one event at a time.
func (q *hookChangeQueue) add(c *shard.HookChange) {
	if c.Kind == query.ChangeRead {
		if number, waits := q.reads[hookReadKeyOf(c)]; waits {
			q.list[number-q.first] = *c
			return
		}
	}
	if len(q.list) == hookEvents {
		q.dropped++
		return
	}
	if c.Kind == query.ChangeRead {
		if q.reads == nil {
			q.reads = make(map[hookReadKey]int)
		}
		q.reads[hookReadKeyOf(c)] = q.first + len(q.list)
	}
	q.list = append(q.list, *c)
}

// next removes and returns up to n changes, oldest first, and returns how many were
// dropped since the last call.
func (q *hookChangeQueue) next(n int) (changes []shard.HookChange, dropped int) {
	n = min(n, len(q.list))
	changes, q.list = q.list[:n:n], q.list[n:]
	q.first += n
	for i := range changes {
		if changes[i].Kind == query.ChangeRead {
			delete(q.reads, hookReadKeyOf(&changes[i]))
		}
	}
	if len(q.list) == 0 {
		q.list = nil
	}
	dropped, q.dropped = q.dropped, 0
	return changes, dropped
}

// postChanges queues changes for run. It does not block.
func (h *hooker) postChanges(changes []shard.HookChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range changes {
		h.changes.add(&changes[i])
	}
	h.signal()
}

// tellChanges tells Hooks of up to hookChanges changes. It reports whether more are
// queued.
func (h *hooker) tellChanges() (more bool) {
	h.mu.Lock()
	changes, dropped := h.changes.next(hookChanges)
	more = len(h.changes.list) > 0
	h.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		h.hooks.Change(c, func() (query.UnreadSum, error) { return h.shard.store.unreadSum(c.User) })
	}
	if dropped > 0 {
		h.hooks.ChangesLost(dropped)
	}
	return more
}
