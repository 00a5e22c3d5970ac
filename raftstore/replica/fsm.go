package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// fsm is the side of a replica that Raft calls. Raft calls Apply, Snapshot and
// Restore on one goroutine; Persist and Release run beside it.
type fsm struct {
	*Replica
	instance *instance
}

var (
	_ raft.FSM                = fsm{}
	_ raft.ConfigurationStore = fsm{}
)

// StoreConfiguration notes whether this replica is a member still.
func (f fsm) StoreConfiguration(_ uint64, c raft.Configuration) {
	in := f.instance
	member := slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == raft.ServerID(f.cfg.ID) })
	in.removed.Store(in.member && !member)
	in.member = in.member || member
}

// Apply executes one committed entry. A Waiter's Step runs here with the shard
// locked, because it must see the state as of this entry. Done and Config.Notify
// can wait for an entry that this node proposed: the proposer calls them after it
// has given the disk the next entry.
func (f fsm) Apply(entry *raft.Log) any {
	r := f.Replica
	b := r.claim(entry.Data)
	if !inItsTerm(entry) {
		if b != nil {
			b.err = store.NotLeader("the leadership has ended")
			close(b.applied)
		}
		return nil
	}
	start := time.Now()
	leader, err := r.apply(entry, b)
	took := time.Since(start)
	r.metrics.apply.Observe(took.Seconds())
	r.logged.add(len(entry.Data), took)
	if err == nil && leader != nil {
		leader.Applied(&r.out)
	}
	switch {
	case b != nil:
		b.out, r.out = r.out, b.out
		if err != nil {
			// The entry is in the log: a binary that can go on will apply it.
			b.err = fmt.Errorf("%w: %v", store.ErrUnknown, err)
		}
		close(b.applied)
	case err == nil:
		r.cfg.Notify(&r.out)
	}
	return nil
}

// termStamp returns what an entry carries that is proposed in the leadership of a term.
func termStamp(term uint64) []byte { return binary.BigEndian.AppendUint64(nil, term) }

// inItsTerm reports whether an entry came into the log in the leadership that it was
// proposed in. Raft takes entries for whichever leadership there is by then, and others of
// the earlier one, which were refused, are still to be sent again before this one. Entries
// of older versions carry no term.
func inItsTerm(entry *raft.Log) bool {
	return len(entry.Extensions) == 0 || string(entry.Extensions) == string(termStamp(entry.Term))
}

// claim returns the batch that became this entry, if this node proposed it in
// this leadership. It knows the batch by its slice, which Raft passes unchanged
// to the leader's Apply, unless the log is wrapped in a raft.LogCache.
func (r *Replica) claim(data []byte) *batch {
	if len(data) == 0 {
		return nil
	}
	for i := range r.proposed {
		b := r.proposed[i].Load()
		if b != nil && &b.entry[0] == &data[0] && r.proposed[i].CompareAndSwap(b, nil) {
			return b
		}
	}
	return nil
}

// await lets claim find b, until the place that it returns is emptied. At most
// maxInFlight batches are awaited at once.
func (r *Replica) await(b *batch) *atomic.Pointer[batch] {
	for i := range r.proposed {
		if place := &r.proposed[i]; place.CompareAndSwap(nil, b) {
			return place
		}
	}
	panic("replica: more entries on their way than allowed")
}

// apply applies an entry to the state and calls the steps of its batch. It
// returns the Leader whose Applied is to be called, nil if this node does not
// lead the shard.
func (r *Replica) apply(entry *raft.Log, b *batch) (leader Leader, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.unusable(); err != nil {
		return nil, err
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = r.Stop(fmt.Sprintf("entry %d of the log", entry.Index), cause)
		}
	}()
	if r.out.WantedChanges = 0; r.leader != nil {
		r.out.WantedChanges = r.leader.Wanted()
	}
	r.state.Apply(entry.Data, &r.out)
	r.applied.Store(r.state.Now())
	r.appliedTerm.Store(entry.Term)
	r.appliedIndex.Store(entry.Index)
	for _, c := range r.out.Checksums {
		r.sums.add(entry.Index, c)
	}
	if b != nil {
		r.step(b)
	}
	return r.leader, nil
}

// step calls Step of the batch's waiters.
func (r *Replica) step(b *batch) {
	result := 0
	for i := range b.waiters {
		w := &b.waiters[i]
		var of *command.Result
		if !w.Read {
			of = &r.out.Results[result]
			result++
		}
		if w.Step != nil {
			w.Step(r.state, max(r.state.Now(), r.clock.Now()), of)
		}
	}
}

// Snapshot takes a view of the present state, for Persist to write.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) {
	r := f.Replica
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.unusable(); err != nil {
		return nil, err
	}
	r.view = r.state.Snapshot()
	return &snapshot{Replica: r, of: r.replaced.Load(), bytes: r.logged.bytes.Load(), time: r.logged.time.Load()}, nil
}

// errPartial is the error of a state that is being read from a snapshot, or could not be.
var errPartial = errors.New("raftstore: the state is not there as a whole")

// unusable returns an error if the state must not be touched. The caller holds mu.
func (r *Replica) unusable() error {
	if r.partial {
		return errPartial
	}
	return r.stoppedErr()
}

// collectFrom is the size of a state in bytes from which on it pays to collect it as
// garbage before the next one is read.
const collectFrom = 16 << 20

// Restore replaces the state by that of a snapshot. It frees the old one first, so that
// there is memory for one only. If the snapshot cannot be read there is no state: no
// entry is applied until the replica has been opened again, with what the disk has.
func (f fsm) Restore(data io.ReadCloser) error {
	r := f.Replica
	if err := r.stoppedErr(); err != nil {
		return err
	}
	r.restoring.Store(true)
	r.metrics.restoring.Set(1)
	defer func() {
		if r.cfg.Transport != nil {
			r.installed.Store(time.Now().UnixNano())
		}
		r.restoring.Store(false)
		r.metrics.restoring.Set(0)
	}()
	if r.reset(true) >= collectFrom {
		runtime.GC()
	}
	state, err := shard.Restore(data, r.cfg.Shard)
	if err != nil {
		r.restoreErr = err
		if f.instance.logs.halt.armed() { // Raft would go on with the next entry
			f.instance.logs.fail(fmt.Errorf("restore: %w", err))
		}
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.partial = state, false
	r.replaced.Add(1)
	r.applied.Store(state.Now())
	if meta := snapshotMeta(data); meta != nil {
		r.appliedTerm.Store(meta.Term)
		r.appliedIndex.Store(meta.Index)
	}
	return nil
}
