package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/hashicorp/raft"
)

const (
	// upkeepEvery is how often a group looks whether a snapshot is due.
	upkeepEvery = time.Second
	// reopenFirst and reopenMost bound the pause before a group whose log or
	// disk failed is opened again.
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 10 * time.Second
	// leadRetry is the pause before a leader that could not begin to serve
	// tries again.
	leadRetry = 100 * time.Millisecond
)

// A group is one shard on this node: its state, and the Raft group that
// replicates it.
//
// It is opened, serves while this node leads it, and is opened again after its
// log has failed. A group that meets a broken invariant or an entry that it
// cannot decode stops for good, while the process and its other groups go on.
type group struct {
	id          uint32
	dir         string
	first, last uint16 // slots, inclusive
	store       *Store
	cfg         *Config
	log         *slog.Logger
	metrics     *shardMetrics
	clock       *clock
	orphans     orphans

	mu      sync.RWMutex // held for writing by apply, for reading by reads
	state   *shard.State
	courier *courier // nil while this node does not lead the shard
	hooker  *hooker  // nil as the courier, and without Config.Hooks
	serving bool     // reads may be answered

	out        shard.Outcome // owned by Raft's apply goroutine
	restoreErr error         // of the newest attempt to load a snapshot; owned by openNode

	reign    atomic.Pointer[reign] // takes commands; nil while this node does not lead
	proposed atomic.Pointer[batch] // on its way through Raft
	applied  atomic.Int64          // ms, State.Now
	logged   backlog               // applied since the last snapshot

	stopping chan struct{} // closed once stopped is set
	stopped  atomic.Pointer[stopError]

	opened   chan struct{} // closed when the first attempt to open is over
	openOnce sync.Once
	openErr  error // of that attempt

	suspend chan chan struct{} // takes the node down, and closes what was sent
	resume  chan struct{}
	closed  chan struct{} // closed when run has ended
}

// A stopError tells why a shard serves no more.
type stopError struct {
	shard uint32
	where string // the log entry, snapshot or read that showed it
	cause any
	stack []byte // where that was; nil for one of the state's own checks
}

func (e *stopError) Error() string {
	return fmt.Sprintf("raftstore: unavailable: shard %d has stopped at %s: %v", e.shard, e.where, e.cause)
}

// stoppedRetryAfter is the time to wait for a shard that only an operator can
// bring back.
const stoppedRetryAfter = 10 * time.Second

func (e *stopError) RetryAfter() time.Duration { return stoppedRetryAfter }

func (e *stopError) Is(target error) bool { return target == store.ErrUnavailable }

// A suspension ends a node on request; done is closed when it has ended.
type suspension struct{ done chan struct{} }

func (suspension) Error() string { return "raftstore: suspended" }

func newGroup(s *Store, id uint32, m *shardMetrics) *group {
	first, last := slotRange(int(id), s.cfg.Shards)
	return &group{
		id: id, dir: filepath.Join(s.cfg.Dir, fmt.Sprintf("shard-%04d", id)),
		first: first, last: last,
		store: s, cfg: &s.cfg, log: s.cfg.Log.With("shard", id), metrics: m,
		clock:    newClock(s.cfg.Clock, s.cfg.ClockSettle),
		state:    shard.NewState(id),
		stopping: make(chan struct{}), opened: make(chan struct{}),
		suspend: make(chan chan struct{}), resume: make(chan struct{}), closed: make(chan struct{}),
	}
}

// reset empties the state before it is read from disk anew.
func (g *group) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = shard.NewState(g.id)
	g.store.replaced.Add(1)
	g.restoreErr = nil
	g.logged.reset()
}

// run keeps the group open until ctx ends.
func (g *group) run(ctx context.Context) {
	defer close(g.closed)
	pause := reopenFirst
	for ctx.Err() == nil {
		led, err := g.serve(ctx)
		if g.stoppedErr() != nil {
			g.reportStopped()
			g.attempted(nil) // the others are to start
			<-ctx.Done()
			return
		}
		if !led && noRoom(g.dir, err) {
			g.attempted(nil) // the others are to start, and this one once there is room
		} else {
			g.attempted(err)
		}
		if s, ok := errors.AsType[suspension](err); ok {
			close(s.done)
			g.awaitResume(ctx)
			continue
		}
		if ctx.Err() == nil {
			if led {
				pause = reopenFirst
			}
			g.log.Error("shard failed and will be opened again", "err", err)
			g.metrics.fail.Inc()
			g.awaitDisk(ctx, pause)
			pause = min(2*pause, reopenMost)
		}
	}
}

// awaitResume returns when the group is to be opened again, or ctx ends.
func (g *group) awaitResume(ctx context.Context) {
	for {
		select {
		case done := <-g.suspend:
			close(done)
		case <-g.resume:
			return
		case <-ctx.Done():
			return
		}
	}
}

// attempted ends the wait of Open.
func (g *group) attempted(err error) {
	g.openOnce.Do(func() {
		g.openErr = err
		close(g.opened)
	})
}

// awaitDisk returns when the disk takes writes, and the log has been written
// once more, or when ctx ends.
func (g *group) awaitDisk(ctx context.Context, pause time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		err := probeDisk(g.dir)
		if err == nil {
			err = rewriteLog(g.cfg.RaftLog, g.dir)
		}
		if err == nil {
			return
		}
		g.log.Error("disk still fails", "err", err)
		pause = min(2*pause, reopenMost)
	}
}

// serve runs one node of the group until ctx ends, its log fails or the shard
// stops. led tells whether it came to serve.
func (g *group) serve(ctx context.Context) (led bool, err error) {
	n, err := g.openNode()
	if err != nil {
		if g.restoreErr != nil {
			err = g.stop("its snapshots", g.restoreErr)
		}
		return false, err
	}
	var r *reign
	defer func() {
		// Goroutines of Raft that wait for a failed disk must end first: the
		// reign waits for their answers.
		if ctx.Err() == nil {
			n.halt.release()
		}
		r.close(ctx.Err() != nil)
		err = errors.Join(err, n.close())
	}()
	upkeep := time.NewTicker(upkeepEvery)
	defer upkeep.Stop()
	retry := time.NewTimer(0) // of taking the lead
	defer retry.Stop()
	for {
		select {
		case <-n.raft.LeaderCh():
			r.close(false)
			r = nil
			retry.Reset(0)
		case <-retry.C:
			if r != nil || n.raft.State() != raft.Leader {
				continue
			}
			if r, err = g.lead(n); err != nil {
				// Raft may still be busy with what the log holds.
				g.log.Info("leadership not taken yet", "err", err)
				retry.Reset(leadRetry)
				continue
			}
			led = true
			g.attempted(nil)
		case <-upkeep.C:
			g.upkeep(n)
		case err := <-n.failed:
			return led, err
		case <-g.stopping:
			return led, g.stoppedErr()
		case done := <-g.suspend:
			return led, suspension{done}
		case <-g.resume: // it runs
		case <-ctx.Done():
			return led, nil
		}
	}
}

// upkeep starts a snapshot when too much would have to be replayed at a restart.
func (g *group) upkeep(n *node) {
	if g.stoppedErr() != nil {
		return
	}
	g.mu.RLock()
	size := int64(g.state.Size())
	g.mu.RUnlock()
	g.metrics.stateBytes.Set(float64(size))
	if g.logged.due(g.cfg.SnapshotBytes, size) {
		n.snapshot(g)
	}
}

// A backlog is the part of the log that a restart would replay.
type backlog struct {
	bytes atomic.Int64
	time  atomic.Int64 // ns that it took to apply
}

// replayMost is the time that a restart may take to replay the log, about: a
// snapshot that becomes due takes some seconds to write, too.
const replayMost = 3 * time.Second

// due tells whether it is time for a snapshot, of a state of some size: when the
// log has grown by least, and either takes replayMost to replay or has outgrown
// the state, so that the disk holds little beside it.
func (l *backlog) due(least, size int64) bool {
	bytes := l.bytes.Load()
	return bytes >= least && (bytes >= size || time.Duration(l.time.Load()) >= replayMost)
}

func (l *backlog) add(bytes int, took time.Duration) {
	l.bytes.Add(int64(bytes))
	l.time.Add(int64(took))
}

func (l *backlog) reset() {
	l.bytes.Store(0)
	l.time.Store(0)
}

// read runs f on the state with the time as of which to read. f must not keep
// what it was given.
func (g *group) read(f func(s *shard.State, now int64)) (err error) {
	now := g.clock.now()
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := g.stoppedErr(); err != nil {
		return err
	}
	if !g.serving {
		return g.unavailable()
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = g.stop("a read", cause)
		}
	}()
	f(g.state, max(g.state.Now(), now))
	return nil
}

// enqueue proposes a command that was encoded without batch header, or a read.
// After an error, w is not called.
func (g *group) enqueue(command []byte, w waiter) error {
	if r := g.reign.Load(); r != nil {
		return r.proposer.add(command, w)
	}
	return g.unavailable()
}

// unavailable tells why the group takes nothing at present.
func (g *group) unavailable() error {
	if err := g.stoppedErr(); err != nil {
		return err
	}
	return store.Unavailable(store.DefaultRetryAfter, fmt.Sprintf("shard %d has no leader here", g.id))
}

func (g *group) stoppedErr() error {
	if e := g.stopped.Load(); e != nil {
		return e
	}
	return nil
}

// stop ends the service of this shard for good: what it holds can no longer be
// trusted. The first cause counts.
func (g *group) stop(where string, cause any) error {
	e := &stopError{shard: g.id, where: where, cause: cause}
	if _, known := cause.(error); !known {
		e.stack = debug.Stack() // no check of ours that failed: where it was matters
	}
	if g.stopped.CompareAndSwap(nil, e) {
		g.reign.Store(nil)
		close(g.stopping)
	}
	return g.stoppedErr()
}

const stoppedFile = "STOPPED"

// reportStopped says why the shard serves no more, in the log, a metric and a
// file beside its data.
func (g *group) reportStopped() {
	e := g.stopped.Load()
	g.metrics.stopped.Set(1)
	g.log.Error("shard stopped: its data is kept and not served", "at", e.where, "cause", e.cause)
	text := fmt.Sprintf("%s\n%v\n\nThe shard keeps its files and stops here again when it is started.\nIt needs a binary that can go on from this point, or a backup.\n\n%s",
		time.Now().UTC().Format(time.RFC3339), e, e.stack)
	path := filepath.Join(g.dir, stoppedFile)
	err := os.WriteFile(path+".tmp", []byte(text), fileMode)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		g.log.Error("reason for the stop not written", "err", err)
	}
}

// served removes what an earlier stop has left.
func (g *group) served() {
	g.metrics.stopped.Set(0)
	if err := os.Remove(filepath.Join(g.dir, stoppedFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		g.log.Warn("reason of an earlier stop not removed", "err", err)
	}
}
