package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/hashicorp/raft"
)

// A Stamp tells how new the state of a replica is. Of two stamps of one shard, the one
// with the higher term is newer, and within a term that with the higher index.
type Stamp struct {
	// Term is that of the leadership while the replica leads, else of the last entry
	// that was applied.
	Term    uint64
	Applied uint64 // Raft index of the last entry that was applied
}

// Read answers queries from memory under one lock, without waiting for commands that
// are on their way. It stops at the first query that the state refuses, and returns a
// *command.RefusedError.
func (r *Replica) Read(queries ...query.Query) error {
	var refused error
	err := r.ReadLocal(func(s *shard.State, now int64) { refused = answer(s, now, queries) })
	if err != nil {
		return err
	}
	return refused
}

func answer(s *shard.State, now int64, queries []query.Query) error {
	for _, q := range queries {
		if err := s.Answer(q, now); err != nil {
			return err
		}
	}
	return nil
}

// ReadCommitted is Read in an apply step, after all that was enqueued before: it is
// linearizable, and costs a place in a log entry. Every failure but a refusal is a
// store.ErrUnavailable, since a read changes nothing that could be in doubt, or the
// error of ctx. It is a store.ErrNotLeader only if the leadership has ended. After an
// error of ctx the queries may still be written to.
func (r *Replica) ReadCommitted(ctx context.Context, queries ...query.Query) error {
	read := make(chan error, 1)
	var refused error
	w := Waiter{
		Read: true,
		Step: func(s *shard.State, now int64, _ *command.Result) { refused = answer(s, now, queries) },
		Done: func(_ command.Result, err error) {
			if err != nil {
				read <- store.NotLeader(err.Error()) // no leadership outlives a batch that failed
				return
			}
			read <- refused
		},
	}
	if err := r.Enqueue(0, nil, w); err != nil {
		return err
	}
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ReadLocal calls f with the state and the time as of which to read it, if this node
// serves the shard. It is for the Leader of the shard. No command is applied while f
// runs, and f must not keep the state.
func (r *Replica) ReadLocal(f func(s *shard.State, now int64)) (err error) {
	now := r.clock.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.stoppedErr(); err != nil {
		return err
	}
	if !r.serving || r.partial {
		return r.unavailable()
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = r.Stop("a read", cause)
		}
	}()
	f(r.state, max(r.state.Now(), now))
	return nil
}

// Inspect calls f with the state of this replica, whether or not it serves, and with
// the time that Read would use. It is for what concerns this replica alone, such as
// its memory. f must not keep the state.
func (r *Replica) Inspect(f func(s *shard.State, now int64)) {
	now := r.clock.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	f(r.state, max(r.state.Now(), now))
}

// Enqueue proposes a command that was encoded without batch header, or a read if
// command is nil, in the leadership of term, or 0 for whichever there is. It is applied
// in that leadership, in the order of Enqueue, or not at all. After an error, which is a
// store.ErrUnavailable, w is not called.
func (r *Replica) Enqueue(term uint64, command []byte, w Waiter) error {
	l := r.leadership.Load()
	if l == nil {
		return r.unavailable()
	}
	if term != 0 && term != l.term {
		return store.NotLeader(fmt.Sprintf("shard %d is led in term %d, not %d", r.cfg.Shard, l.term, term))
	}
	return l.proposer.add(command, w)
}

// Stamp returns how new the state is. Whoever reads the state after Stamp has returned
// reads that state or a newer one.
func (r *Replica) Stamp() Stamp {
	var s Stamp
	if l := r.leadership.Load(); l != nil {
		s.Term = l.term
	} else {
		s.Term = r.appliedTerm.Load()
	}
	s.Applied = r.appliedIndex.Load()
	return s
}

// Leader returns which replica leads the shard in which term, as far as this one knows;
// "" while it knows none. It names itself only while it serves.
func (r *Replica) Leader() (id string, term uint64) {
	if l := r.leadership.Load(); l != nil {
		return r.cfg.ID, l.term
	}
	in := r.instance.Load()
	if in == nil {
		return "", 0
	}
	for {
		term := in.raft.CurrentTerm()
		_, id := in.raft.LeaderWithID()
		if in.raft.CurrentTerm() != term {
			continue // the leader may be that of either
		}
		if id == raft.ServerID(r.cfg.ID) {
			id = ""
		}
		return string(id), term
	}
}

// Ready returns nil if this node leads the shard and serves it, else the reason why
// not.
func (r *Replica) Ready() error {
	if r.Leads() {
		return nil
	}
	return r.unavailable()
}

// Leads reports whether this node leads the shard and takes commands for it.
func (r *Replica) Leads() bool { return r.leadership.Load() != nil }

// unavailable returns the error for commands and reads of a replica that does not
// serve.
func (r *Replica) unavailable() error {
	if err := r.stoppedErr(); err != nil {
		return err
	}
	return store.NotLeader(fmt.Sprintf("shard %d has no leader here", r.cfg.Shard))
}

// Queued returns the bytes of commands that wait to be proposed.
func (r *Replica) Queued() int {
	if l := r.leadership.Load(); l != nil {
		return l.proposer.waiting()
	}
	return 0
}

// Restoring reports whether a state is being read from a snapshot: that state takes
// memory already, and Inspect does not show it yet.
func (r *Replica) Restoring() bool { return r.restoring.Load() }

// catchUpTime is how long a replica that got its state from a snapshot counts as catching
// up: longer than it takes to apply what came meanwhile, and to be told of all that the
// sessions of its node missed.
const catchUpTime = time.Minute

// CatchingUp reports whether a state is being read from a snapshot, or, unless the replica
// stands alone, was within catchUpTime.
func (r *Replica) CatchingUp() bool {
	if r.restoring.Load() {
		return true
	}
	at := r.installed.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < catchUpTime
}

// Replaced returns how often the state was replaced by another one.
func (r *Replica) Replaced() int64 { return r.replaced.Load() }

// Applied returns the time of the last command that was applied, ms.
func (r *Replica) Applied() int64 { return r.applied.Load() }

// Backlog returns how much of the log a restart would replay, in bytes, and how long
// it took to apply that part.
func (r *Replica) Backlog() (bytes int64, took time.Duration) {
	return r.logged.bytes.Load(), time.Duration(r.logged.time.Load())
}
