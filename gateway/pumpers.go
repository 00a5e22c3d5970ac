package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// maxIdlePumpers is how many pumpers are kept without work; others end.
	maxIdlePumpers = 256
	// trimPumpers is how often pumpers are ended that were idle all the time since.
	trimPumpers = time.Second
	// pumpsInARow is after how many pumps a pumper yields its processor.
	pumpsInARow = 4
	// bulkEvery is how often a session with much to push goes first, one in so many:
	// otherwise it waits for those that have little.
	bulkEvery = 8
)

// pumpers are the goroutines that pump sessions and read on for feeds, which wait in
// queues. At most mostWorking of them work at a time; one that waits for a peer is
// replaced by another. Idle ones are kept for a while: a fresh goroutine would have to
// grow its stack first, which costs more than the write it is there for.
type pumpers struct {
	mu      sync.Mutex
	feeds   fifo[feed, *feed] // come first: they have work for many sessions
	pumps   fifo[session, *session]
	bulk    fifo[session, *session] // those that were pumped and have more
	pumped  int                     // pumps, for bulkEvery
	working int                     // pumpers that are neither idle nor blocked
	idle    []chan bool             // the last one to go idle is the first to work; false ends it
	minIdle int                     // fewest idle since the last trim
	timer   *time.Timer             // of the next trim, nil while none is idle
	closed  bool
}

// mostWorking is how many pumpers work at a time.
var mostWorking = max(4, 2*runtime.GOMAXPROCS(0))

// start has a pumper pump s. The caller has added it to s.pumps.
func (p *pumpers) start(s *session) {
	p.mu.Lock()
	p.pumps.push(s)
	p.spawn(1)
}

// requeue queues a session that was pumped and has more.
func (p *pumpers) requeue(s *session) {
	p.mu.Lock()
	p.bulk.push(s)
	p.spawn(1)
}

// hasWaiting reports whether sessions wait to be pumped.
func (p *pumpers) hasWaiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pumps.n > 0
}

// waiting returns how many feeds and sessions are queued. The caller holds mu.
func (p *pumpers) waiting() int { return p.feeds.n + p.pumps.n + p.bulk.n }

// startAll is start for many.
func (p *pumpers) startAll(l *fifo[session, *session]) {
	if l.n == 0 {
		return
	}
	n := l.n
	p.mu.Lock()
	p.pumps.join(l)
	p.spawn(n)
}

// startFeed has a pumper read on for f.
func (p *pumpers) startFeed(f *feed) {
	p.mu.Lock()
	p.feeds.push(f)
	p.spawn(1)
}

// spawn sets up to n more pumpers to work. The caller holds mu, which spawn unlocks.
func (p *pumpers) spawn(n int) {
	for ; n > 0 && p.working < mostWorking; n-- {
		p.working++
		last := len(p.idle) - 1
		if last < 0 {
			go p.work()
			continue
		}
		p.idle[last] <- true
		p.idle = p.idle[:last]
		p.minIdle = min(p.minIdle, last)
	}
	p.mu.Unlock()
}

// next returns what a pumper is to do next, a feed or a session. If it is neither, the
// pumper no longer counts as working.
func (p *pumpers) next() (f *feed, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.working > mostWorking:
	case p.feeds.n > 0:
		return p.feeds.pop(), nil
	case p.bulk.n > 0 && (p.pumps.n == 0 || p.pumped%bulkEvery == bulkEvery-1):
		p.pumped++
		return nil, p.bulk.pop()
	case p.pumps.n > 0:
		p.pumped++
		return nil, p.pumps.pop()
	}
	p.working--
	return nil, nil
}

func (p *pumpers) work() {
	next := make(chan bool, 1)
	for {
		for n := 1; ; n++ {
			f, s := p.next()
			if s != nil {
				if s.pump() {
					p.requeue(s)
				} else {
					s.pumps.Done()
				}
			} else if f != nil {
				state := pumpStates.Get().(*pumpState)
				f.read(state)
				pumpStates.Put(state)
			} else {
				break
			}
			if n%pumpsInARow == 0 {
				runtime.Gosched()
			}
		}
		if !p.park(next) || !<-next {
			return
		}
	}
}

// Block notes that the calling pumper is going to wait, Unblock that it does no longer.
func (p *pumpers) Block() {
	p.mu.Lock()
	p.working--
	p.spawn(min(1, p.waiting()))
}

func (p *pumpers) Unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.working++
}

// park makes the caller idle, unless it reports false: then the caller ends. An idle
// pumper waits for next, which is false if it is to end.
func (p *pumpers) park(next chan bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working < mostWorking && p.waiting() > 0 {
		p.working++ // it was queued since the caller looked
		next <- true
		return true
	}
	if p.closed || len(p.idle) == maxIdlePumpers {
		return false
	}
	p.idle = append(p.idle, next)
	if p.timer == nil {
		p.minIdle = 0
		p.timer = time.AfterFunc(trimPumpers, p.trim)
	}
	return true
}

// trim ends as many pumpers as were idle all the time since the last trim.
func (p *pumpers) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return // it waited for mu when close stopped the timer
	}
	p.end(p.minIdle)
	p.minIdle = len(p.idle)
	if p.minIdle == 0 {
		p.timer = nil
		return
	}
	p.timer.Reset(trimPumpers)
}

// close ends all idle pumpers, and the others when they become idle.
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

// end ends the n pumpers that have been idle longest. The caller holds mu.
func (p *pumpers) end(n int) {
	for _, next := range p.idle[:n] {
		next <- false
	}
	p.idle = slices.Delete(p.idle, 0, n)
}

// A fifo is a queue whose elements hold the link to the next one themselves.
type fifo[T any, P fifoElement[T]] struct {
	first, last P
	n           int
}

type fifoElement[T any] interface {
	*T
	link() **T // to nil if it is the last, or in no queue
}

func (l *fifo[T, P]) push(v P) {
	if l.n == 0 {
		l.first = v
	} else {
		*l.last.link() = v
	}
	l.last = v
	l.n++
}

// join moves all elements of another queue to the end.
func (l *fifo[T, P]) join(o *fifo[T, P]) {
	if l.n == 0 {
		*l = *o
	} else {
		*l.last.link() = o.first
		l.last = o.last
		l.n += o.n
	}
	*o = fifo[T, P]{}
}

// pop removes the first element of a queue that is not empty.
func (l *fifo[T, P]) pop() P {
	v := l.first
	next := v.link()
	l.first, *next = *next, nil
	if l.n--; l.n == 0 {
		l.last = nil
	}
	return v
}

func (s *session) link() **session { return &s.nextPump }
func (f *feed) link() **feed       { return &f.nextInQueue }
