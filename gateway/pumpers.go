package gateway

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxIdlePumpers is how many pumpers are kept without work; others end.
	maxIdlePumpers = 256
	// trimPumpers is how often those are ended that nobody needed since.
	trimPumpers = time.Second
)

// Pumpers are the goroutines that pump sessions. One that has run dry is kept
// for the next session: a fresh goroutine would have to grow its stack first,
// which costs more than the write it is there for.
type pumpers struct {
	mu     sync.Mutex
	idle   []chan *session // the last one to go idle is the first to work
	spare  int             // fewest idle since the last trim
	timer  *time.Timer     // of the next trim, nil while none is idle
	closed bool
}

// start has a pumper pump s. The caller has added it to s.pumps.
func (p *pumpers) start(s *session) {
	p.mu.Lock()
	last := len(p.idle) - 1
	if last < 0 {
		p.mu.Unlock()
		go p.work(s)
		return
	}
	next := p.idle[last]
	p.idle = p.idle[:last]
	p.spare = min(p.spare, last)
	p.mu.Unlock()
	next <- s
}

func (p *pumpers) work(s *session) {
	next := make(chan *session, 1)
	for s != nil {
		s.pump()
		s.pumps.Done()
		s = nil // not to be held while idle
		if !p.park(next) {
			return
		}
		s = <-next
	}
}

// park reports whether the caller may wait for another session: on next, which
// gives nil when it is to end.
func (p *pumpers) park(next chan *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == maxIdlePumpers {
		return false
	}
	p.idle = append(p.idle, next)
	if p.timer == nil {
		p.spare = 0
		p.timer = time.AfterFunc(trimPumpers, p.trim)
	}
	return true
}

// trim ends the pumpers that nobody needed since the last trim.
func (p *pumpers) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return // it waited for mu when close stopped the timer
	}
	p.end(p.spare)
	p.spare = len(p.idle)
	if p.spare == 0 {
		p.timer = nil
		return
	}
	p.timer.Reset(trimPumpers)
}

// close ends all that are idle; those at work end after it.
func (p *pumpers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.end(len(p.idle))
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// end ends n idle pumpers, those longest idle. The caller holds mu.
func (p *pumpers) end(n int) {
	for _, next := range p.idle[:n] {
		close(next)
	}
	p.idle = slices.Delete(p.idle, 0, n)
}
