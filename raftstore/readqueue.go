package raftstore

import (
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// maxReads bounds the reads from memory, and the calls, for other nodes that run at a
	// time.
	maxReads = 64
	// maxReadsWaiting bounds those that wait for their turn. More are refused.
	maxReadsWaiting = 4096
)

// A readQueue runs what other nodes read, in no order, so that none of the commands that
// come by the same streams waits for it. The zero value is ready for use.
type readQueue struct {
	working sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	running int
	waiting []func()
}

// run runs a read on another goroutine, once fewer than maxReads run. It returns an
// ErrUnavailable, and does nothing, if too many wait, and an ErrNotLeader once the queue
// is closed.
func (q *readQueue) run(read func()) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return store.NotLeader("the leader's node stops")
	case q.running < maxReads:
		q.running++
		q.working.Go(func() { q.work(read) })
	case len(q.waiting) < maxReadsWaiting:
		q.waiting = append(q.waiting, read)
	default:
		return store.Unavailable(store.DefaultRetryAfter, "too many reads wait at the leader of the shard")
	}
	return nil
}

// work runs a read and then those that wait, until none does.
func (q *readQueue) work(read func()) {
	for read != nil {
		read()
		read = q.next()
	}
}

func (q *readQueue) next() (read func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		q.running--
		return nil
	}
	read, q.waiting[0] = q.waiting[0], nil
	q.waiting = q.waiting[1:]
	return read
}

// close returns once all reads have run.
func (q *readQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.working.Wait()
}
