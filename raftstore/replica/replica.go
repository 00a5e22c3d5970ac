package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/hashicorp/raft"
)

const (
	// upkeepEvery is how often a replica checks whether a snapshot is due.
	upkeepEvery = time.Second
	// reopenFirst and reopenMost bound the pause before a replica whose log or
	// disk failed is opened again. It grows with each failure unless the replica
	// has led, or has been open for steadyAfter, since the one before.
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 10 * time.Second
	steadyAfter = time.Second
	// probeMost bounds the pause between two looks at a disk that fails: a replica
	// is back soon after there is room, however long there was none. sayEvery is
	// how often the log says that it still fails.
	probeMost = 500 * time.Millisecond
	sayEvery  = 10 * time.Second
	// leadRetry is the pause before a leader that could not begin to serve
	// tries again.
	leadRetry = 100 * time.Millisecond
	// closeWithin is how long a leader that closes may take to commit what it has
	// accepted, and to hand over.
	closeWithin = 10 * time.Second
)

// A Replica is one shard on this node: its state, and the Raft instance that
// replicates it.
//
// It is opened, serves while this node leads the shard, and is opened again after
// its log has failed. If it meets a broken invariant or an entry that it cannot
// decode it stops for good, while the process and its other replicas go on.
type Replica struct {
	cfg     Config
	log     *slog.Logger
	metrics *shardMetrics
	clock   *Clock

	mu      sync.RWMutex // held for writing by apply, for reading by reads
	state   *shard.State
	leader  Leader                // nil while this node does not lead the shard
	serving bool                  // reads may be answered
	partial bool                  // the state is being read from a snapshot, or could not be: it must not be used
	view    *shard.SnapshotWriter // of the state, while a snapshot is taken; else nil

	out        shard.Outcome // owned by Raft's apply goroutine
	restoreErr error         // of the newest attempt to load a snapshot; owned by openInstance
	openSince  time.Time     // when the last instance was opened, zero if it could not be; owned by Run

	instance   atomic.Pointer[instance]           // the open one; nil while there is none
	leadership atomic.Pointer[leadership]         // takes commands; nil while this node does not lead
	proposed   [maxInFlight]atomic.Pointer[batch] // on their way through Raft
	applied    atomic.Int64                       // ms, State.Now
	// Of the last entry that was applied. The term is stored first and read first, so
	// that the pair is never newer than the state.
	appliedTerm, appliedIndex atomic.Uint64
	logged                    backlog // applied since the last snapshot
	sums                      checksums

	restoring atomic.Bool  // a state is being read from a snapshot
	installed atomic.Int64 // when one of several replicas got its state from a snapshot, Unix ns; 0: never
	replaced  atomic.Int64 // times that the state was replaced

	slowDisk recurrence
	rescued  time.Time // when the watchdog last did something; owned by the leadership

	stopping chan struct{} // closed once stopped is set
	stopped  atomic.Pointer[stopError]

	opened   chan struct{} // closed when the first attempt to open is over
	openOnce sync.Once
	openErr  error // of that attempt

	suspend chan chan struct{} // closes the instance, and then the channel that was sent
	resume  chan struct{}
	closed  chan struct{} // closed when Run has ended
}

// New returns a replica that does nothing before Run.
func New(c Config) *Replica {
	c.PromoteAfter = cmp.Or(c.PromoteAfter, promoteAfter)
	return &Replica{
		cfg: c, log: c.Log, metrics: c.Metrics.shard(c.Shard),
		clock:    NewClock(c.Clock, c.ClockSettle),
		state:    shard.NewState(c.Shard),
		stopping: make(chan struct{}), opened: make(chan struct{}),
		suspend: make(chan chan struct{}), resume: make(chan struct{}), closed: make(chan struct{}),
	}
}

// reset empties the state before it is read from disk anew, and returns the size of the
// old one, in bytes. With partial, what follows is a state that must not be used before
// it is there as a whole.
func (r *Replica) reset(partial bool) (size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size = r.state.Size()
	r.state, r.view, r.partial = shard.NewState(r.cfg.Shard), nil, partial
	r.replaced.Add(1)
	r.appliedTerm.Store(0)
	r.appliedIndex.Store(0)
	r.restoreErr = nil
	r.logged.reset()
	r.sums.reset()
	return size
}

// Now returns the time of what this replica would propose now, ms: that of its clock, or
// of the last entry if that is later.
func (r *Replica) Now() int64 { return max(r.clock.Now(), r.applied.Load()) }

// Run keeps the replica open until ctx ends, and opens it again after a failure.
func (r *Replica) Run(ctx context.Context) {
	defer close(r.closed)
	pause := reopenFirst
	for ctx.Err() == nil {
		led, err := r.serve(ctx)
		if r.stoppedErr() != nil {
			r.reportStopped()
			r.attempted(nil) // Open does not fail: the other shards are to start
			<-ctx.Done()
			return
		}
		if _, ok := errors.AsType[removal](err); ok {
			r.log.Info("replica closed", "cause", err)
			if r.cfg.OnRemoved != nil {
				r.cfg.OnRemoved()
			}
			for ctx.Err() == nil {
				r.awaitResume(ctx)
			}
			return
		}
		if !led && noRoom(r.cfg.Dir, err) {
			r.attempted(nil) // Open does not fail: this shard starts once there is room
		} else {
			r.attempted(err)
		}
		if s, ok := errors.AsType[suspension](err); ok {
			close(s.done)
			r.awaitResume(ctx)
			continue
		}
		if ctx.Err() == nil {
			if led || !r.openSince.IsZero() && time.Since(r.openSince) >= steadyAfter {
				pause = reopenFirst
			}
			r.log.Error("shard failed and will be opened again", "err", err)
			r.metrics.failures.Inc()
			r.awaitDisk(ctx, pause)
			pause = min(2*pause, reopenMost)
		}
	}
}

// Opened returns once the first attempt to open the replica is over: nil if the
// replica serves, has stopped, or waits for room on a full disk, else the error. With
// Config.Transport it does not wait until the replica serves.
func (r *Replica) Opened() error {
	<-r.opened
	return r.openErr
}

// awaitResume returns when the replica is to be opened again, or ctx ends.
func (r *Replica) awaitResume(ctx context.Context) {
	for {
		select {
		case done := <-r.suspend:
			close(done)
		case <-r.resume:
			return
		case <-ctx.Done():
			return
		}
	}
}

// attempted makes Opened return err, or does nothing after the first attempt.
func (r *Replica) attempted(err error) {
	r.openOnce.Do(func() {
		r.openErr = err
		close(r.opened)
	})
}

// awaitDisk returns when the disk takes writes, and the log has been written
// once more, or when ctx ends.
func (r *Replica) awaitDisk(ctx context.Context, pause time.Duration) {
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		err := probeDisk(r.cfg.Dir)
		if err == nil {
			err = rewriteLog(r.cfg.RaftLog, r.cfg.Dir)
		}
		if err == nil {
			return
		}
		if now := time.Now(); now.Sub(said) >= sayEvery {
			said = now
			r.log.Error("disk still fails", "err", err)
		}
		pause = min(2*pause, probeMost)
	}
}

// serve runs one instance until ctx ends, its log fails, Suspend is called or the
// shard stops. led reports whether this node led the shard meanwhile.
func (r *Replica) serve(ctx context.Context) (led bool, err error) {
	r.openSince = time.Time{}
	in, err := r.openInstance()
	if err != nil {
		if r.restoreErr != nil {
			err = r.Stop("its snapshots", r.restoreErr)
		}
		return false, err
	}
	r.instance.Store(in)
	r.openSince = time.Now()
	if r.cfg.Transport != nil {
		r.attempted(nil) // who leads, and when, is not up to this replica
	}
	// Without a quorum Raft answers nothing, until it steps down.
	late := time.AfterFunc(closeWithin, in.peers.cut)
	late.Stop()
	defer late.Stop()
	defer context.AfterFunc(ctx, func() { late.Reset(closeWithin) })()
	var l *leadership
	defer func() {
		// Goroutines of Raft that wait for a failed disk must end first: the
		// leadership waits for their answers.
		if ctx.Err() == nil {
			in.peers.cut()
			in.halt.release()
		}
		l.close(ctx.Err() != nil)
		if ctx.Err() != nil && l != nil && r.cfg.Transport != nil {
			if err := l.transfer(context.Background(), ""); err != nil {
				r.log.Warn("leadership not handed over", "err", err)
			}
		}
		r.instance.Store(nil)
		err = errors.Join(err, in.close())
	}()
	upkeep := time.NewTicker(upkeepEvery)
	defer upkeep.Stop()
	retry := time.NewTimer(0) // of taking the lead
	defer retry.Stop()
	for {
		select {
		case <-in.raft.LeaderCh():
			l.close(false)
			l = nil
			retry.Reset(0)
		case <-retry.C:
			if l != nil || in.raft.State() != raft.Leader {
				continue
			}
			if in.peers.gated.Load() {
				retry.Reset(leadRetry)
				continue
			}
			if l, err = r.lead(in); err != nil {
				// Raft may still be busy with what the log holds.
				r.log.Info("leadership not taken yet", "err", err)
				retry.Reset(leadRetry)
				continue
			}
			led = true
			r.attempted(nil)
		case <-l.spent():
			l.close(false)
			l = nil
			retry.Reset(leadRetry)
		case <-upkeep.C:
			r.upkeep(in)
			if l == nil && r.isRemoved(in) {
				return led, removal{r.cfg.ID}
			}
		case err := <-in.failed:
			return led, err
		case <-in.stale:
			in.snapshotIfIdle()
		case <-r.stopping:
			return led, r.stoppedErr()
		case done := <-r.suspend:
			return led, suspension{done}
		case <-r.resume: // it runs
		case <-ctx.Done():
			return led, nil
		}
	}
}

// upkeep starts a snapshot when too much would have to be replayed at a restart.
func (r *Replica) upkeep(in *instance) {
	if r.stoppedErr() != nil {
		return
	}
	r.mu.RLock()
	size := int64(r.state.Size())
	r.mu.RUnlock()
	r.metrics.stateBytes.Set(float64(size))
	part := 1.0
	if r.cfg.Transport != nil {
		part = duePart(r.cfg.ID)
	}
	if r.logged.snapshotDue(r.cfg.SnapshotBytes, size, part) {
		in.snapshotIfIdle()
	}
}
