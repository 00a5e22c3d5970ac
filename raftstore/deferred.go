package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// movedFirst and movedMost bound the pause before an operation whose slot is frozen
	// or gone is routed again. After movedGiveUp it gets ErrUnavailable instead.
	movedFirst  = 10 * time.Millisecond
	movedMost   = 200 * time.Millisecond
	movedGiveUp = 3 * time.Second
	// maxDeferred bounds the operations that wait for their slot; further ones
	// get ErrUnavailable at once.
	maxDeferred = 10_000
)

// deferred answers operations that were refused before they reached a shard, and routes
// again those whose slot had moved, all on one goroutine.
type deferred struct {
	route func(*operation)
	wake  chan struct{}

	mu      sync.Mutex
	waiting []*operation
	closed  bool
}

func newDeferred(route func(*operation)) *deferred {
	return &deferred{route: route, wake: make(chan struct{}, 1)}
}

// answerWith schedules op to be answered with a. The number of these is not bounded
// here: a caller waits for each.
func (d *deferred) answerWith(op *operation, a answer) {
	op.answer, op.due = &a, time.Time{}
	d.push(op)
}

// refuse is answerWith for a command that no operation was made of.
func (d *deferred) refuse(done func(command.Result, error), a answer) {
	d.answerWith(&operation{done: func(a answer) { done(a.result, a.err) }}, a)
}

// retry schedules op to be routed again after a pause, or to be answered with errMoving
// if it was routed for too long or too many wait.
func (d *deferred) retry(op *operation) {
	now := time.Now()
	if op.pause == 0 {
		op.giveUpMove = now.Add(movedGiveUp)
	}
	op.pause = min(max(movedFirst, 2*op.pause), movedMost)
	op.due = now.Add(op.pause)
	if op.due.After(op.giveUpMove) || d.full() {
		d.answerWith(op, answer{err: errMoving})
		return
	}
	d.push(op)
}

func (d *deferred) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) >= maxDeferred
}

func (d *deferred) push(op *operation) {
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.waiting = append(d.waiting, op)
	}
	d.mu.Unlock()
	if closed {
		op.finish() // the goroutine is gone, and so is the store
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// finish answers an operation that will not be routed any more.
func (op *operation) finish() {
	if op.answer == nil {
		op.answer = &answer{err: store.Unavailable(store.DefaultRetryAfter, "the store is closed")}
	}
	op.answer.err = op.certain(op.answer.err)
	op.done(*op.answer)
}

// run answers and routes operations as they become due. Once ctx has ended, it answers
// the rest and returns.
func (d *deferred) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.wake:
		case <-timer.C:
		case <-ctx.Done():
			d.mu.Lock()
			left := d.waiting
			d.waiting, d.closed = nil, true
			d.mu.Unlock()
			for _, op := range left {
				op.finish()
			}
			return
		}
		due, next := d.nextDue(time.Now())
		for _, op := range due {
			if op.answer != nil {
				op.finish()
			} else {
				d.route(op)
			}
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// nextDue removes and returns the operations that are due, and returns how long the next
// one has to wait, 0 if none waits.
func (d *deferred) nextDue(now time.Time) (due []*operation, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.waiting[:0]
	for _, op := range d.waiting {
		wait := op.due.Sub(now)
		if wait <= 0 {
			due = append(due, op)
			continue
		}
		kept = append(kept, op)
		if next == 0 || wait < next {
			next = wait
		}
	}
	clear(d.waiting[len(kept):])
	d.waiting = kept
	return due, next
}
