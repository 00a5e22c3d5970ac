package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// autoReadPatience is how long the store may delay an automatic read to share a log
	// entry: half of the 200 ms that such reads may be delayed. The gateway has the other
	// half, in which it holds back the reads of a session while earlier ones are on their
	// way.
	autoReadPatience = 100 * time.Millisecond
)

// submit passes an operation to the leader of the shard that owns its key, and sees that
// it is answered.
func (s *Store) submit(op *operation) { s.shardOf(op.key).submit(op) }

// submit passes an operation to the leader of the shard.
func (sh *shardRef) submit(op *operation) {
	if op.withdrawn() {
		sh.store.deferred.answerWith(op, answer{err: errWithdrawn})
		return
	}
	l, err := sh.direct()
	if err == nil {
		_, err = l.send(op, nil)
	}
	if sh.waits(err) {
		sh.line.add(op)
	} else if err != nil {
		sh.store.deferred.answerWith(op, answer{err: err})
	}
}

// lost takes back what a leadership of this node has left undone. It is
// replica.Config.Lost. Without a cluster there is nobody to send it to.
//
// It goes to the line of the shard that it was sent to, whichever owns its key by now:
// whether it was executed is known there alone, and what has moved the next leader says.
func (sh *localShard) lost(command []byte, w *replica.Waiter, _ error) bool {
	if sh.store.cluster == nil {
		return false
	}
	sh.line.takeBack(operationOf(command, w))
	return true
}

// direct returns the leader on this node that takes what need not wait in the line, or
// the reason why there is none.
func (sh *shardRef) direct() (*leader, error) {
	if sh.store.cluster == nil {
		return sh.here().present()
	}
	if l := sh.line.direct.Load(); l != nil {
		return l, nil
	}
	return nil, errNotHere
}

// errNotHere says that what is asked of a shard has to go through its line.
var errNotHere = store.NotLeader("the leader of the shard is not here")

// waits reports whether an operation that was refused with err waits for the next leader.
// Without a cluster there is none.
func (sh *shardRef) waits(err error) bool {
	return err != nil && sh.store.cluster != nil && errors.Is(err, store.ErrNotLeader)
}

// operationOf returns the operation that a waiter is of. command is only valid during
// the call.
func operationOf(encoded []byte, w *replica.Waiter) *operation {
	if op, ok := w.Origin.(*operation); ok {
		return op
	}
	done := w.Done
	return &operation{
		kind: peer.Command, key: w.Key, encoded: bytes.Clone(encoded),
		done: func(a answer) { done(a.result, a.err) },
	}
}

// moved takes over a command whose slot is frozen or gone, to be routed again. It is
// replica.Config.Moved: command and w are only valid during the call.
func (s *Store) moved(command []byte, w *replica.Waiter) { s.deferred.retry(operationOf(command, w)) }

// Submit proposes cmd to the shard of its key and calls done exactly once, with the
// result once it has been applied, or with an error. done runs on a goroutine of the
// store and must not block. Commands that one goroutine submits for one key are
// applied in that order. An automatic read may wait for other commands to share its
// log entry.
func (s *Store) Submit(cmd command.Command, done func(command.Result, error)) {
	key, needs := command.UserID(cmd.Key()), cmd.Needs()
	e := encoders.Get().(*encoder)
	defer e.release()
	e.command = e.Append(e.command[:0], cmd)
	if err := e.Check(e.command); err != nil {
		// A malformed command in the log would stop the shard.
		s.deferred.refuse(done, answer{result: command.Result{Code: command.CodeBadRequest, Detail: err.Error()}})
		return
	}
	sh := s.shardOf(key)
	w := replica.Waiter{Routed: true, Patience: patience(cmd), Key: key, Done: done}
	l, err := sh.direct()
	if err == nil {
		err = l.propose(e.command, &needs, w)
	}
	if sh.waits(err) {
		sh.line.add(operationOf(e.command, &w))
	} else if err != nil {
		s.deferred.refuse(done, answer{err: err})
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
	done := make(chan answer, 1)
	s.Submit(cmd, func(r command.Result, err error) { done <- answer{result: r, err: err} })
	select {
	case a := <-done:
		return a.result, a.err
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
