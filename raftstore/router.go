package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// movedFirst and movedMost bound the pause before a command whose slot is frozen or
	// gone is routed again. After movedGiveUp it gets ErrUnavailable instead.
	movedFirst  = 10 * time.Millisecond
	movedMost   = 200 * time.Millisecond
	movedGiveUp = 3 * time.Second
	// maxDeferred bounds the commands that wait for their slot; further ones
	// get ErrUnavailable at once.
	maxDeferred = 10_000
	// autoReadPatience is how long the store may delay an automatic read to share a log
	// entry: half of the 200 ms that such reads may be delayed. The gateway has the other
	// half, in which it holds back the reads of a session while earlier ones are on their
	// way.
	autoReadPatience = 100 * time.Millisecond
)

// A request is a command that Store.deferred has to answer, or to route again.
type request struct {
	command []byte // encoded, without batch header
	waiter  replica.Waiter

	pause  time.Duration // before it is routed again; 0 = it never was
	due    time.Time     // of the next attempt
	giveUp time.Time
	answer *outcome // nil: route the command again
}

type outcome struct {
	result command.Result
	err    error
}

// route enqueues a request at its shard, and answers it with the error if that fails.
func (s *Store) route(r *request) {
	if err := s.shardOf(r.waiter.Key).here().replica.Enqueue(0, r.command, r.waiter); err != nil {
		s.deferred.answer(r, outcome{err: err})
	}
}

// moved takes over a command whose slot is frozen or gone, to be routed again. It is
// replica.Config.Moved: command and w are only valid during the call.
func (s *Store) moved(command []byte, w *replica.Waiter) {
	r, again := w.Origin.(*request)
	if !again {
		r = &request{command: bytes.Clone(command), waiter: *w}
		r.waiter.Origin = r
	}
	s.deferred.retry(r)
}

// Submit proposes cmd to the shard of its key and calls done exactly once, with the
// result once it has been applied, or with an error. done runs on a goroutine of the
// store and must not block. Commands that one goroutine submits for one key are
// applied in that order. An automatic read may wait for other commands to share its
// log entry.
func (s *Store) Submit(cmd command.Command, done func(command.Result, error)) {
	s.submit(cmd, nil, done)
}

func (s *Store) submit(cmd command.Command, step stepFunc, done func(command.Result, error)) {
	key, needs := command.UserID(cmd.Key()), cmd.Needs()
	done = s.afterLetters(key, needs.Members, done)
	w := replica.Waiter{Routed: true, Patience: patience(cmd), Key: key, Step: step, Done: done}
	from := s.shardOf(key)
	if err := s.admit(from, &needs); err != nil {
		s.deferred.answer(&request{waiter: w}, outcome{err: err})
		return
	}
	e := encoders.Get().(*encoder)
	defer e.release()
	e.command = e.Append(e.command[:0], cmd)
	if err := e.Check(e.command); err != nil {
		// A malformed command in the log would stop the shard.
		s.deferred.answer(&request{waiter: w}, outcome{result: command.Result{Code: command.CodeBadRequest, Detail: err.Error()}})
		return
	}
	if err := from.here().replica.Enqueue(0, e.command, w); err != nil {
		s.deferred.answer(&request{waiter: w}, outcome{err: err})
	}
}

// patience returns how long a command may wait for others to share its log entry.
// Commands that the same goroutine submits later for the same key are still applied
// after it.
func patience(cmd command.Command) time.Duration {
	if r, ok := cmd.(*command.ReadReport); ok && r.Auto {
		return autoReadPatience
	}
	return 0
}

// A stepFunc is Waiter.Step.
type stepFunc = func(st *shard.State, now int64, result *command.Result)

// An encoder is the buffer in which a command is encoded and checked before a proposer
// copies it into a batch: the proposer is locked for the copy alone.
type encoder struct {
	command.Encoder
	shard.Checker
	command []byte
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

func (e *encoder) release() {
	if cap(e.command) <= 64<<10 { // larger ones are rare
		encoders.Put(e)
	}
}

// Propose is Submit, but waits for the outcome. A refusal by the state is in the
// result, not the error. If ctx ends first, it returns ErrUnknown.
func (s *Store) Propose(ctx context.Context, cmd command.Command) (command.Result, error) {
	return s.await(ctx, cmd, nil)
}

func (s *Store) await(ctx context.Context, cmd command.Command, step stepFunc) (command.Result, error) {
	answer := make(chan outcome, 1)
	s.submit(cmd, step, func(r command.Result, err error) { answer <- outcome{r, err} })
	select {
	case o := <-answer:
		return o.result, o.err
	case <-ctx.Done():
		return command.Result{}, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
}

// admit refuses a command that needs room where there is none: on the disk, in memory,
// or in the outbox for a shard that too many letters wait for.
func (s *Store) admit(from *shardRef, needs *command.Needs) error {
	if needs.Room {
		if err := s.room(); err != nil {
			return err
		}
	}
	if needs.Peer != "" {
		if err := s.admitLetter(from, s.shardOf(needs.Peer)); err != nil {
			return err
		}
	}
	for _, user := range needs.Members {
		if err := s.admitLetter(from, s.shardOf(user)); err != nil {
			return err
		}
	}
	if needs.AllShards {
		for _, dest := range s.shards() {
			if err := s.admitLetter(from, dest); err != nil {
				return err
			}
		}
	}
	return nil
}

// admitLetter refuses a command that writes a letter when too many wait for the
// shard of its receiver.
func (s *Store) admitLetter(from, dest *shardRef) error {
	if from != dest && s.outboxFull(dest) {
		return tooMuchWaits(dest)
	}
	return nil
}

// afterLetters returns a function to call instead of done. It calls done but, if the
// command succeeded, only once its letters have reached the shards of users, as far as
// these serve: a caller who was answered then finds the change in the users' lists of
// groups.
func (s *Store) afterLetters(key command.UserID, users []command.UserID, done func(command.Result, error)) func(command.Result, error) {
	if len(users) == 0 {
		return done
	}
	users = slices.Clone(users)
	return func(r command.Result, err error) {
		if err == nil && r.Code == command.OK {
			if l := s.shardOf(key).leading(); l != nil {
				l.courier.whenDelivered(key, users, func() { done(r, nil) })
				return
			}
		}
		done(r, err)
	}
}

// room returns an ErrUnavailable while the disk or the memory has no room for
// messages.
func (s *Store) room() error {
	switch {
	case s.diskLow.Load():
		return store.Unavailable(10*time.Second, "the disk is nearly full")
	case s.memoryFull.Load():
		return store.Unavailable(memoryRetryAfter, "the memory is full")
	}
	return nil
}

func (s *Store) outboxFull(dest *shardRef) bool {
	return dest.outbox.Load() >= int64(s.cfg.OutboxBytes)
}

func tooMuchWaits(dest *shardRef) error {
	return store.Unavailable(time.Second, fmt.Sprintf("too much waits for shard %d already", dest.id))
}

// deferred answers requests that were refused before they reached a shard, and routes
// again those whose slot had moved, all on one goroutine.
type deferred struct {
	route func(*request)
	wake  chan struct{}

	mu      sync.Mutex
	waiting []*request
	closed  bool
}

func newDeferred(route func(*request)) *deferred {
	return &deferred{route: route, wake: make(chan struct{}, 1)}
}

// answer schedules r to be answered with o. The number of these is not bounded here: a
// caller waits for each.
func (d *deferred) answer(r *request, o outcome) {
	r.answer, r.due = &o, time.Time{}
	d.push(r)
}

// retry schedules r to be routed again after a pause, or to be answered with errMoving
// if it was routed for too long or too many wait.
func (d *deferred) retry(r *request) {
	now := time.Now()
	if r.pause == 0 {
		r.giveUp = now.Add(movedGiveUp)
	}
	r.pause = min(max(movedFirst, 2*r.pause), movedMost)
	r.due = now.Add(r.pause)
	if r.due.After(r.giveUp) || d.full() {
		d.answer(r, outcome{err: errMoving})
		return
	}
	d.push(r)
}

func (d *deferred) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) >= maxDeferred
}

func (d *deferred) push(r *request) {
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.waiting = append(d.waiting, r)
	}
	d.mu.Unlock()
	if closed {
		r.finish() // the goroutine is gone, and so is the store
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// finish answers a request that will not be routed any more.
func (r *request) finish() {
	if r.answer == nil {
		r.answer = &outcome{err: store.Unavailable(store.DefaultRetryAfter, "the store is closed")}
	}
	r.waiter.Done(r.answer.result, r.answer.err)
}

// run answers and routes requests as they become due. Once ctx has ended, it answers
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
			for _, r := range left {
				r.finish()
			}
			return
		}
		due, next := d.nextDue(time.Now())
		for _, r := range due {
			if r.answer != nil {
				r.finish()
			} else {
				d.route(r)
			}
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// nextDue removes and returns the requests that are due, and returns how long the next
// one has to wait, 0 if none waits.
func (d *deferred) nextDue(now time.Time) (due []*request, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.waiting[:0]
	for _, r := range d.waiting {
		wait := r.due.Sub(now)
		if wait <= 0 {
			due = append(due, r)
			continue
		}
		kept = append(kept, r)
		if next == 0 || wait < next {
			next = wait
		}
	}
	clear(d.waiting[len(kept):])
	d.waiting = kept
	return due, next
}
