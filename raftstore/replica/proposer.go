package replica

import (
	"errors"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// A proposer turns the commands of one leadership into log entries: commands that
// arrive while an entry is on its way form the next one. A queue in which all commands
// have patience is proposed when the first of them runs out of it.
//
// One entry is on its way at a time where this node's disk alone decides how long it
// takes. Where the other voters' disks and the network add to that, up to maxInFlight
// are: see pipeline.
//
// After an entry has failed nothing else is proposed. Later commands would overtake
// those of the entry, which are sent again.
type proposer struct {
	// propose hands b to Raft. wait returns nil once b was applied, or an error:
	// ErrUnavailable if b will never be applied, else ErrUnknown.
	propose  func(b *batch) (wait func() error)
	writing  func() bool                                     // whether the log is being written; nil without pipeline
	moved    func(command []byte, w *Waiter)                 // Config.Moved
	lost     func(command []byte, w *Waiter, err error) bool // Config.Lost
	notify   func(*shard.Outcome)                            // Config.Notify
	maxBytes int                                             // of commands that wait; one batch may go over
	queued   prometheus.Gauge
	size     prometheus.Observer
	latency  prometheus.Observer

	wake  chan struct{} // there may be something to propose
	spent chan struct{} // closed once an entry has failed
	idle  sync.WaitGroup

	mu     sync.Mutex
	queue  []*batch    // the last one takes more
	urgent bool        // the queue is not empty and is to be proposed now
	due    time.Time   // when the queue is to be proposed at the latest; meaningless while it is empty
	timer  *time.Timer // runs until due while all in the queue are patient
	free   []*batch    // for reuse
	bytes  int         // of the queue
	closed bool
	drain  bool // closed, but what is queued is still to be proposed
	failed bool // an entry has failed

	// Of the pipeline.
	flying     int       // entries on their way
	onTheirWay int       // commands in them
	launched   time.Time // when the newest of them was proposed
}

// newProposer returns a proposer with a pipeline if writing is given, which reports
// whether the log is being written. wrote must be called each time when that ends.
func newProposer(propose func(*batch) func() error, writing func() bool, cfg *Config, m *shardMetrics) *proposer {
	p := &proposer{
		propose: propose, writing: writing, moved: cfg.Moved, lost: cfg.Lost, notify: cfg.Notify, maxBytes: cfg.QueueBytes,
		queued: m.queued, size: m.batch, latency: m.commit,
		wake: make(chan struct{}, 1), spent: make(chan struct{}),
	}
	p.timer = time.AfterFunc(time.Hour, p.outOfPatience)
	p.timer.Stop()
	if writing == nil {
		p.idle.Go(p.run)
		return p
	}
	launched := make(chan *batch, maxInFlight)
	p.idle.Go(func() { p.launch(launched) })
	p.idle.Go(func() { p.land(launched) })
	return p
}

// add queues an encoded command (without batch header), which it copies, or a
// read when command is nil. An error is ErrUnavailable, and w will not be called.
func (p *proposer) add(command []byte, w Waiter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.failed {
		return store.NotLeader("the shard is being handed over")
	}
	if p.bytes >= p.maxBytes {
		return store.Unavailable(time.Second, "too many commands wait to be committed")
	}
	b := p.openBatch(len(command))
	before := b.size()
	w.start, w.end = len(b.buf), len(b.buf)+len(command)
	b.buf = append(b.buf, command...)
	b.waiters = append(b.waiters, w)
	if !w.Read {
		b.commands++
	}
	p.bytes += b.size() - before
	if len(b.waiters) == p.large() && p.writing != nil {
		p.signal()
	}
	// A queue that grows past a batch is not worth the wait.
	if w.Patience == 0 || len(p.queue) > 1 {
		p.proposeNow()
	} else if !p.urgent {
		p.proposeWithin(w.Patience)
	}
	return nil
}

// proposeNow makes run propose the queue at once. The caller holds mu.
func (p *proposer) proposeNow() {
	if p.urgent {
		return
	}
	p.urgent = true
	p.timer.Stop()
	p.queue[0].opened = time.Now()
	p.signal()
}

// proposeWithin makes the timer propose the queue after patience, unless it is to do so
// earlier. The caller holds mu.
func (p *proposer) proposeWithin(patience time.Duration) {
	due := time.Now().Add(patience)
	if first := len(p.queue[0].waiters) == 1; first || due.Before(p.due) {
		p.due = due
		p.timer.Reset(patience)
	}
}

// outOfPatience is called by the timer and proposes the queue if it is due. The
// queue for which the timer was set may be gone by then.
func (p *proposer) outOfPatience() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 && !time.Now().Before(p.due) {
		p.proposeNow()
	}
}

// signal makes the proposer look for something to propose.
func (p *proposer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// openBatch returns a batch with room for n more bytes: the last one of the queue or a
// new one. The caller holds mu.
func (p *proposer) openBatch(n int) *batch {
	if len(p.queue) > 0 {
		b := p.queue[len(p.queue)-1]
		if len(b.waiters) < batchCommands && (len(b.buf)+n <= batchBytes || len(b.waiters) == 0) {
			return b
		}
	}
	var b *batch
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	} else {
		b = &batch{buf: make([]byte, headerRoom, 4<<10)}
	}
	b.buf = b.buf[:headerRoom]
	b.commands, b.waiters, b.err = 0, b.waiters[:0], nil
	b.applied = make(chan struct{})
	b.opened = time.Now()
	p.bytes += b.size()
	if p.queue = append(p.queue, b); p.urgent && p.writing != nil {
		p.signal() // the batch before is full, and need not wait to follow another
	}
	return b
}

// next removes and returns the next batch, nil if there is none to propose now. ok
// is false once there will be no more.
func (p *proposer) next() (b *batch, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take()
}

// take is next for a caller who holds mu.
func (p *proposer) take() (b *batch, ok bool) {
	if !p.urgent || p.failed || p.closed && !p.drain {
		return nil, !p.closed
	}
	b = p.queue[0]
	p.queue = p.queue[1:]
	p.urgent = len(p.queue) > 0
	p.bytes -= b.size()
	p.queued.Set(float64(p.bytes))
	p.size.Observe(float64(b.commands))
	return b, true
}

// run proposes one entry at a time.
func (p *proposer) run() {
	var last *batch // applied, not yet answered
	var result error
	for {
		b, ok := p.next()
		var wait func() error
		if b != nil {
			wait = p.propose(b)
		}
		// The batch before is answered while the disk writes this one.
		if last != nil {
			p.answer(last, result)
			last = nil
		}
		switch {
		case b != nil:
			if result = wait(); result != nil {
				p.fail()
			}
			last = b
			observe(p.latency, b.opened)
		case ok:
			<-p.wake
		default:
			return
		}
	}
}

// waiting returns the bytes of commands that have not been proposed.
func (p *proposer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

func (p *proposer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// fail is called when an entry has failed.
func (p *proposer) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.failed {
		p.failed = true
		close(p.spent)
	}
}

// answer calls the waiters of b, then notify, and keeps b for reuse.
func (p *proposer) answer(b *batch, err error) {
	result := 0
	for i := range b.waiters {
		w := &b.waiters[i]
		var r command.Result
		if !w.Read {
			if err == nil {
				r = b.out.Results[result]
			}
			result++
		}
		switch {
		case err == nil && r.Code == command.CodeMoved && w.Routed:
			p.moved(b.buf[w.start:w.end], w)
		case err != nil && w.Routed && p.lost != nil && p.lost(b.buf[w.start:w.end], w, err): // sent again by another
		case w.Done != nil:
			w.Done(r, err)
		}
	}
	if err != nil {
		return // Raft may still hold the buffer
	}
	p.notify(&b.out)
	clear(b.waiters)
	clear(b.out.Results)
	clear(b.out.Posted)
	kept := 2 // one fills while one is written
	if p.writing != nil {
		kept = maxInFlight + 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < kept {
		p.free = append(p.free, b)
	}
}

// close refuses further commands and returns when all have been answered. With
// drain, what is queued is still proposed; otherwise it gets ErrUnavailable.
func (p *proposer) close(drain bool) {
	p.mu.Lock()
	p.closed, p.drain = true, drain
	if len(p.queue) > 0 {
		p.proposeNow()
	}
	p.signal()
	p.mu.Unlock()
	p.idle.Wait()
	p.mu.Lock()
	left := p.queue
	p.queue, p.bytes = nil, 0
	p.mu.Unlock()
	p.queued.Set(0)
	for _, b := range left {
		p.answer(b, store.NotLeader("the shard is being handed over"))
	}
}

// proposeError turns Raft's error about an entry into ErrNotLeader if the entry is certain
// not to be applied, since nothing is proposed after it in that leadership, else into
// ErrUnknown.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return store.NotLeader(err.Error())
	}
	// A failed append may be found again when the log is opened; a lost
	// leadership may have left the entry with a majority.
	return errors.Join(store.ErrUnknown, err)
}
