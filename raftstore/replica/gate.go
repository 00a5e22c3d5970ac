package replica

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// gateRenew is how many appends pass until it is computed anew how long they take.
	gateRenew = 64
	// slowDiskTimes gates within slowDiskWithin make a slow disk.
	slowDiskTimes  = 3
	slowDiskWithin = 10 * time.Minute
)

// A gate shuts a leader up whose disk hangs. Raft's heartbeats go on meanwhile, so that
// nobody else would be elected for as long as the disk takes.
//
// It shuts while an append has been out for longer than the election time-out and what
// 99 of 100 appends take.
type gate struct {
	timeout time.Duration        // of elections
	p99     func() time.Duration // what 99 of 100 appends take
	shut    func(bool)           // called with true, then with false

	mu     sync.Mutex
	timer  *time.Timer // runs while an append is out
	out    time.Time   // when it began; zero: none is out
	isShut bool
	count  int           // of all appends
	usual  time.Duration // p99 of late, at most the time-out: a disk that is always slow is no excuse
}

func newGate(timeout time.Duration, p99 func() time.Duration, shut func(bool)) *gate {
	g := &gate{timeout: timeout, p99: p99, shut: shut}
	g.timer = time.AfterFunc(time.Hour, g.late)
	g.timer.Stop()
	return g
}

// begin is called when an append begins, end when it has ended. Appends do not overlap.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = time.Now()
	g.timer.Reset(g.timeout + g.usual)
}

func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer.Stop()
	g.out = time.Time{}
	if g.count++; g.count%gateRenew == 0 {
		g.usual = min(g.p99(), g.timeout)
	}
	if g.isShut {
		g.isShut = false
		g.shut(false)
	}
}

// late is called by the timer.
func (g *gate) late() {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The append for which the timer was set may have ended, and another one begun.
	if !g.out.IsZero() && !g.isShut && time.Since(g.out) >= g.timeout+g.usual {
		g.isShut = true
		g.shut(true)
	}
}

// A gatedLog is a log whose appends a gate watches.
type gatedLog struct {
	*logStore
	gate *gate
}

func (l gatedLog) StoreLogs(entries []*raft.Log) error {
	l.gate.begin()
	defer l.gate.end()
	return l.logStore.StoreLogs(entries)
}

// gate stops, or lets on, what this replica sends as leader.
func (in *instance) gate(shut bool) {
	in.peers.gated.Store(shut)
	if running := in.peers.raft.Load(); !shut || running == nil || running.State() != raft.Leader {
		return
	}
	r := in.replica
	r.leadership.Load().abandon()
	r.metrics.gated.Inc()
	r.log.Error("disk hangs: the shard is left to another leader")
	if r.slowDisk.again(time.Now()) && r.cfg.OnSlowDisk != nil {
		r.cfg.OnSlowDisk()
	}
}

// A recurrence tells when something has happened slowDiskTimes within slowDiskWithin.
type recurrence struct {
	mu    sync.Mutex
	times []time.Time
}

// again notes that it happened, and reports whether it was often enough.
func (c *recurrence) again(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = slices.DeleteFunc(c.times, func(t time.Time) bool { return now.Sub(t) >= slowDiskWithin })
	c.times = append(c.times, now)
	return len(c.times) >= slowDiskTimes
}
