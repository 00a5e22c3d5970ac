package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// enqueueTimeout bounds the wait until Raft takes an entry. Raft takes it at once,
// unless a failing disk blocks it.
const enqueueTimeout = 2 * time.Second

// enqueueTry bounds one attempt of a replica that others can take over from, before it
// looks whether its leadership goes on.
const enqueueTry = 100 * time.Millisecond

// A Leader does what a shard's leader does beside applying commands, for one
// leadership. Config.Lead makes it. Its methods but Run must not block.
type Leader interface {
	// Begin runs in an apply step, with the shard locked. Applied is called for every
	// entry after it.
	Begin(s *shard.State)
	// Wanted returns the kinds of changes that Applied is to find in Outcome.Changes.
	Wanted() shard.ChangeKinds
	// Applied is called for each entry, in order, before those who submitted its
	// commands are answered. out is only valid during the call.
	Applied(out *shard.Outcome)
	// Run works until ctx ends. What it enqueues before it returns is still proposed,
	// unless the shard has failed.
	Run(ctx context.Context)
	// Close is called last: nothing of this leadership is applied or answered any more.
	Close()
}

// A leadership is one period in which this node leads the shard: it proposes
// commands, purges what has expired and runs a Leader.
type leadership struct {
	replica    *Replica
	term       uint64 // of Raft
	stamp      []byte // the term, as entries carry it
	instance   *instance
	proposer   *proposer
	leader     Leader
	configured uint64 // version of the configuration that was proposed last

	transferring sync.Mutex // held by a transfer
	// proposing has room for whoever gives something to Raft: the proposer, or a transfer
	// that holds it up.
	proposing chan struct{}

	abandoned   chan struct{} // closed by abandon
	abandonOnce sync.Once

	end        context.CancelFunc
	background sync.WaitGroup
}

// lead begins a leadership once everything that was committed has been applied. The
// shard serves from the moment at which its Leader has begun.
func (r *Replica) lead(in *instance) (*leadership, error) {
	term := in.raft.CurrentTerm()
	if err := in.raft.Barrier(enqueueTimeout).Error(); err != nil {
		return nil, err
	}
	if in.raft.CurrentTerm() != term {
		return nil, errors.New("the term has changed meanwhile")
	}
	if err := r.stoppedErr(); err != nil {
		return nil, err
	}
	r.clock.raise(r.applied.Load())
	ctx, end := context.WithCancel(context.Background())
	l := &leadership{replica: r, term: term, stamp: termStamp(term), proposing: make(chan struct{}, 1), abandoned: make(chan struct{}), instance: in, end: end}
	var writing func() bool
	if r.cfg.Transport != nil {
		writing = in.logs.appending
	}
	l.proposer = newProposer(l.propose, writing, &r.cfg, r.metrics)
	l.leader = r.cfg.Lead(l.proposer.add)

	l.configure()
	l.openSlots()
	begun := make(chan error, 1)
	// A new proposer has room for this: add cannot fail.
	l.proposer.add(nil, Waiter{Read: true, Step: l.begin, Done: func(_ command.Result, err error) { begun <- err }})
	if err := <-begun; err != nil {
		l.close(false)
		return nil, err
	}
	l.background.Go(func() { l.leader.Run(ctx) })
	l.background.Go(func() { l.expire(ctx) })
	if r.cfg.Transport != nil {
		l.background.Go(func() { l.sumUp(ctx) })
		l.background.Go(func() { l.converge(ctx) })
		l.background.Go(func() { l.watchFollowers(ctx) })
	}
	r.clearStopped()
	r.metrics.serving.Set(1)
	r.leadership.Store(l)
	r.tellLeader(term)
	return l, nil
}

// tellLeader tells Config.OnLeader.
func (r *Replica) tellLeader(term uint64) {
	if r.cfg.OnLeader != nil {
		r.cfg.OnLeader(term)
	}
}

// configure proposes the configuration if it is newer than the state's and than the one
// proposed last. One after the other may call it.
func (l *leadership) configure() {
	r := l.replica
	r.mu.RLock()
	version := r.state.ConfigVersion()
	r.mu.RUnlock()
	if c := r.cfg.Configuration(); c.Version > max(version, l.configured) {
		if l.proposer.add(command.AppendCommand(nil, &c), Waiter{}) == nil {
			l.configured = c.Version
		}
	}
}

// openSlots proposes to open the first slots if the shard is new. A new proposer has room.
func (l *leadership) openSlots() {
	r := l.replica
	r.mu.RLock()
	epoch := r.state.MapEpoch()
	r.mu.RUnlock()
	if epoch == 0 && len(r.cfg.Slots.Slots) > 0 {
		l.proposer.add(command.AppendCommand(nil, &r.cfg.Slots), Waiter{})
	}
}

// begin makes the replica serve. It is a Step, so that it runs in an apply step.
func (l *leadership) begin(s *shard.State, _ int64, _ *command.Result) {
	l.leader.Begin(s)
	l.replica.leader = l.leader
	l.replica.serving = true
}

// propose hands a batch to Raft. The function that it returns waits until the batch
// was applied or has failed.
func (l *leadership) propose(b *batch) (wait func() error) {
	r := l.replica
	l.proposing <- struct{}{}
	defer func() { <-l.proposing }()
	b.seal(r.Now())
	place := r.await(b)
	var outcome func() error
	outcome, b.refused = l.apply(b.entry)
	return func() error {
		err := outcome()
		if err != nil && place.CompareAndSwap(b, nil) {
			return proposeError(err) // not applied, and now Apply cannot claim it any more
		}
		// Applied, or about to be.
		<-b.applied
		return b.err
	}
}

// errAbandoned is the outcome of entries that a disk which hangs may still store.
var errAbandoned = errors.New("the disk hangs")

// unlessAbandoned returns a function that waits for the outcome of an entry, until the
// leadership is abandoned.
func (l *leadership) unlessAbandoned(future raft.Future) func() error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	return func() error {
		select {
		case err := <-done:
			return err
		case <-l.abandoned:
			return errAbandoned
		}
	}
}

// abandon ends the leadership although Raft does not answer: what was proposed has an
// unknown outcome, and the next leader is to be asked. A nil leadership may be abandoned.
func (l *leadership) abandon() {
	if l != nil {
		l.abandonOnce.Do(func() { close(l.abandoned) })
	}
}

func (l *leadership) isAbandoned() bool {
	select {
	case <-l.abandoned:
		return true
	default:
		return false
	}
}

// apply gives an entry to Raft, and returns a function that waits for its outcome. A disk
// that hangs may keep Raft from taking it. It is not given up then, as long as this
// leadership lasts, or what comes later would overtake it. refused reports whether it has
// failed already.
func (l *leadership) apply(entry []byte) (outcome func() error, refused bool) {
	try := enqueueTimeout
	if l.replica.cfg.Transport != nil {
		try = enqueueTry
	}
	for {
		start := time.Now()
		future := l.instance.raft.ApplyLog(raft.Log{Data: entry, Extensions: l.stamp}, try)
		outcome := future.Error
		if l.replica.cfg.Transport != nil {
			outcome = l.unlessAbandoned(future)
		}
		if time.Since(start) < try {
			return outcome, false
		}
		err := outcome() // known at once, unless Raft took it at the last moment
		if !errors.Is(err, raft.ErrEnqueueTimeout) || l.proposer.isClosed() || l.isAbandoned() {
			return func() error { return err }, err != nil
		}
	}
}

// spent returns a channel that is closed when the leadership is to end because an entry
// has failed. A nil leadership has none.
func (l *leadership) spent() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.proposer.spent
}

// expire proposes to purge what has expired, in a part of the slots at a time, and the
// configuration when there is a newer one, until ctx ends.
func (l *leadership) expire(ctx context.Context) {
	r := l.replica
	var round Expiry
	every := max(r.cfg.ExpireEvery/expirySteps, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	pending := make(chan struct{}, 1) // filled while a PurgeExpired is on its way
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.configure()
		select {
		case pending <- struct{}{}:
		default:
			continue
		}
		r.mu.RLock()
		purge := round.Next(r.state)
		r.mu.RUnlock()
		w := Waiter{Patience: every / 2, Done: func(command.Result, error) { <-pending }}
		if purge == nil || l.proposer.add(command.AppendCommand(nil, purge), w) != nil {
			<-pending
		}
	}
}

// close ends the leadership and answers all waiters: with drain, after it has
// proposed the commands in the queue, else with ErrUnavailable. It does nothing to a
// nil leadership.
func (l *leadership) close(drain bool) {
	if l == nil {
		return
	}
	r := l.replica
	r.leadership.CompareAndSwap(l, nil)
	r.tellLeader(0)
	r.metrics.serving.Set(0)
	l.end()
	l.background.Wait()
	l.proposer.close(drain)
	r.mu.Lock()
	r.leader = nil
	r.serving = false
	r.mu.Unlock()
	l.leader.Close()
}
