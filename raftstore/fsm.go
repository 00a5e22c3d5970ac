package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// fsm is the side of a group that Raft calls. Raft calls Apply, Snapshot and
// Restore on one goroutine; Persist and Release run beside it.
type fsm struct {
	*group
	logs *logStore
}

var _ raft.FSM = fsm{}

// Apply executes one committed entry. Those who must see the state as of this
// entry are told under the shard's lock. Those who only need to know that
// something came are told by the proposer, after it has given the disk the next
// entry and answered who waits for this one.
func (f fsm) Apply(entry *raft.Log) any {
	g := f.group
	b := g.claim(entry.Data)
	start := time.Now()
	courier, err := g.apply(entry, b)
	took := time.Since(start)
	g.metrics.apply.Observe(took.Seconds())
	g.logged.add(len(entry.Data), took)
	if err == nil && courier != nil && len(g.out.Posted) > 0 {
		courier.post(g.out.Posted)
	}
	switch {
	case b != nil:
		b.out, g.out = g.out, b.out
		if err != nil {
			// The entry is in the log: a binary that can go on will apply it.
			b.err = fmt.Errorf("%w: %v", store.ErrUnknown, err)
		}
		close(b.applied)
	case err == nil:
		g.store.hub.notify(&g.out)
	}
	return nil
}

// claim returns the batch whose entry this is, if this node proposed it in this
// reign. Raft hands the leader the very slice that it was given.
func (g *group) claim(data []byte) *batch {
	b := g.proposed.Load()
	if b == nil || len(data) == 0 || &b.entry[0] != &data[0] || !g.proposed.CompareAndSwap(b, nil) {
		return nil
	}
	return b
}

// apply changes the state. It returns the courier that carries what was posted,
// nil where this node does not lead the shard.
func (g *group) apply(entry *raft.Log, b *batch) (c *courier, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.stoppedErr(); err != nil {
		return nil, err
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = g.stop(fmt.Sprintf("entry %d of the log", entry.Index), cause)
		}
	}()
	if g.out.WantedChanges = 0; g.hooker != nil {
		g.out.WantedChanges = g.hooker.wanted
	}
	g.state.Apply(entry.Data, &g.out)
	g.applied.Store(g.state.Now())
	if g.hooker != nil {
		if g.out.HooksQueued {
			g.hooker.poke()
		}
		if len(g.out.Events) > 0 {
			g.hooker.post(g.out.Events)
		}
		if len(g.out.Changes) > 0 {
			g.hooker.postChanges(g.out.Changes)
		}
	}
	if b != nil {
		result := 0
		for i := range b.waiters {
			w := &b.waiters[i]
			var r *command.Result
			if !w.read {
				r = &g.out.Results[result]
				result++
			}
			if w.step != nil {
				w.step(g.state, r)
			}
		}
	}
	return g.courier, nil
}

// Snapshot marks the present state.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) {
	g := f.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.stoppedErr(); err != nil {
		return nil, err
	}
	return &snapshot{group: g, view: g.state.Snapshot(), bytes: g.logged.bytes.Load(), time: g.logged.time.Load()}, nil
}

// Restore replaces the state by that of a snapshot.
func (f fsm) Restore(r io.ReadCloser) error {
	g := f.group
	g.store.restoring.Add(1)
	defer g.store.restoring.Add(-1)
	state, err := shard.Restore(r, g.id)
	if err != nil {
		g.restoreErr = err
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = state
	g.store.replaced.Add(1)
	g.applied.Store(state.Now())
	g.logged.reset()
	// Raft drops the log that the snapshot replaces, unless it is just starting.
	f.logs.install.Store(f.logs.halt.armed())
	return nil
}

// A snapshot is one on its way to the disk.
type snapshot struct {
	*group
	view *shard.SnapshotWriter
	// What was applied since the snapshot before, when this one was marked.
	bytes, time int64
}

// Persist writes the snapshot. The shard is locked for one chunk at a time, and
// never while writing.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink)
	if err == nil {
		s.logged.bytes.Add(-s.bytes)
		s.logged.time.Add(-s.time)
		return nil
	}
	// Raft's store keeps what it could not finish, and with it the room that a
	// full disk lacks.
	return errors.Join(err, os.RemoveAll(filepath.Join(s.dir, "snapshots", sink.ID()+".tmp")))
}

func (s *snapshot) write(sink raft.SnapshotSink) error {
	var chunk []byte
	for more := true; more; {
		var err error
		if chunk, more, err = s.next(chunk[:0]); err == nil {
			_, err = sink.Write(chunk)
		}
		if err != nil {
			return errors.Join(err, sink.Cancel())
		}
	}
	return sink.Close()
}

func (s *snapshot) next(dst []byte) (chunk []byte, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stoppedErr(); err != nil {
		return nil, false, err
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = s.stop("a snapshot", cause)
		}
	}()
	chunk, more = s.view.Next(dst)
	return chunk, more, nil
}

func (s *snapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stoppedErr() == nil { // a stopped state is not touched again
		s.view.Release()
	}
}
