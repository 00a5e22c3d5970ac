// Package diskgate shuts up the leader of a Raft group whose disk hangs, so that another
// one is elected.
package diskgate

import (
	"sync"
	"time"
)

// gateRenew is how many appends pass until it is computed anew how long they take.
const gateRenew = 64

// A Gate shuts a leader up whose disk hangs. Raft's heartbeats go on meanwhile, so that
// nobody else would be elected for as long as the disk takes.
//
// It shuts while an append has been out for longer than the election time-out and what
// 99 of 100 appends take.
type Gate struct {
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

// New returns a gate for a leader whose elections have that time-out. p99 returns what 99
// of 100 appends take; shut is told when the gate shuts, and with false when it opens
// again, and must not block.
func New(timeout time.Duration, p99 func() time.Duration, shut func(bool)) *Gate {
	g := &Gate{timeout: timeout, p99: p99, shut: shut}
	g.timer = time.AfterFunc(time.Hour, g.late)
	g.timer.Stop()
	return g
}

// Begin is called when an append begins. Appends do not overlap.
func (g *Gate) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = time.Now()
	g.timer.Reset(g.timeout + g.usual)
}

// End is called when an append has ended.
func (g *Gate) End() {
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
func (g *Gate) late() {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The append for which the timer was set may have ended, and another one begun.
	if !g.out.IsZero() && !g.isShut && time.Since(g.out) >= g.timeout+g.usual {
		g.isShut = true
		g.shut(true)
	}
}
