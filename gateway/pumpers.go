package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// maxIdlePumpers is how many idle pumpers are kept; further ones end.
	maxIdlePumpers = 256
	// trimPumpers is how often idle pumpers are ended: those that were not needed since
	// the last time.
	trimPumpers = time.Second
	// pumpsInARow is after how many tasks a pumper yields its processor.
	pumpsInARow = 4
	// maxAsking is how many pumpers may wait for other nodes at a time: each holds the
	// buffers of its read. Further ones do not ask, and their sessions try again later.
	maxAsking = 256
	// maxAskTime is how long a pumper waits for another node, or for a leader.
	maxAskTime = 100 * time.Millisecond
	// bulkEvery is how often a session with much to push goes first: once in so many
	// pumps. Otherwise such sessions wait for those with little.
	bulkEvery = 8
)

// pumpers are the goroutines that pump sessions and read for feeds, which wait in
// queues. At most mostWorking of them work at a time; while one waits for a peer or for
// another node, another takes its place. Idle ones are kept for a while: a new goroutine
// would first have to grow its stack, which costs more than the write that it is needed
// for. For what pumpers read, pumpers are the store.Place.
type pumpers struct {
	mu        sync.Mutex
	feeds     fifo[feed, *feed] // first: each has work for many sessions
	pumps     fifo[session, *session]
	bulk      fifo[session, *session] // sessions that were pumped and have more
	pumped    int                     // number of pumps, for bulkEvery
	working   int                     // number of pumpers that are neither idle nor blocked
	asking    int                     // number of pumpers that wait for another node
	idle      []chan bool             // the last one is the first to work again; false ends a pumper
	minIdle   int                     // the fewest that were idle since the last trim
	trimTimer *time.Timer             // for the next trim, nil while no pumper is idle
	closed    bool
}

// mostWorking is how many pumpers may work at a time.
var mostWorking = max(4, 2*runtime.GOMAXPROCS(0))

// start queues s for a pumper. The caller has added one to s.pumps.
func (p *pumpers) start(s *session) {
	p.mu.Lock()
	p.pumps.push(s)
	p.spawn(1)
}

// requeue queues a session that was pumped and has more to push.
func (p *pumpers) requeue(s *session) {
	p.mu.Lock()
	p.bulk.push(s)
	p.spawn(1)
}

// hasWaiting reports whether sessions wait for their first pump.
func (p *pumpers) hasWaiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pumps.n > 0
}

// waiting returns how many feeds and sessions are queued. The caller holds mu.
func (p *pumpers) waiting() int { return p.feeds.n + p.pumps.n + p.bulk.n }

// startAll queues all sessions of l for pumpers.
func (p *pumpers) startAll(l *fifo[session, *session]) {
	if l.n == 0 {
		return
	}
	n := l.n
	p.mu.Lock()
	p.pumps.join(l)
	p.spawn(n)
}

// startFeed queues f for a pumper, which reads for it.
func (p *pumpers) startFeed(f *feed) {
	p.mu.Lock()
	p.feeds.push(f)
	p.spawn(1)
}

// spawn makes up to n more pumpers work, as far as mostWorking allows. The caller holds
// mu, which spawn unlocks.
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

// next takes a feed or a session from the queues for the calling pumper. If both are
// nil, the caller no longer counts as working.
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

// Block notes that the calling pumper is going to wait for a peer, Unblock that it has
// done so.
func (p *pumpers) Block() {
	p.mu.Lock()
	p.working--
	p.spawn(min(1, p.waiting()))
}

// Leave is Block for a pumper that is going to wait for another node's answer. It must not
// wait for long: the session's replies wait with it.
func (p *pumpers) Leave() (atMost time.Duration, err error) {
	p.mu.Lock()
	if p.asking == maxAsking {
		p.mu.Unlock()
		return 0, store.Unavailable(minRetry, "too many reads wait for other nodes")
	}
	p.asking++
	p.working--
	p.spawn(min(1, p.waiting()))
	return maxAskTime, nil
}

// Return is Unblock after Leave.
func (p *pumpers) Return() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking--
	p.working++
}

func (p *pumpers) Unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.working++
}

// park makes the calling pumper idle. The caller then waits for next: true means that
// there is work, false that it must end. If park reports false, the caller ends at
// once.
func (p *pumpers) park(next chan bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working < mostWorking && p.waiting() > 0 {
		p.working++ // something was queued since the caller looked
		next <- true
		return true
	}
	if p.closed || len(p.idle) == maxIdlePumpers {
		return false
	}
	p.idle = append(p.idle, next)
	if p.trimTimer == nil {
		p.minIdle = 0
		p.trimTimer = time.AfterFunc(trimPumpers, p.trim)
	}
	return true
}

// trim ends as many pumpers as were idle ever since the last trim.
func (p *pumpers) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return // close ran before it got mu
	}
	p.endIdle(p.minIdle)
	p.minIdle = len(p.idle)
	if p.minIdle == 0 {
		p.trimTimer = nil
		return
	}
	p.trimTimer.Reset(trimPumpers)
}

// close ends idle pumpers, and makes the others end when they become idle.
func (p *pumpers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.endIdle(len(p.idle))
	if p.trimTimer != nil {
		p.trimTimer.Stop()
		p.trimTimer = nil
	}
}

// endIdle ends the n pumpers that have been idle for longest. The caller holds mu.
func (p *pumpers) endIdle(n int) {
	for _, next := range p.idle[:n] {
		next <- false
	}
	p.idle = slices.Delete(p.idle, 0, n)
}

// A fifo is a queue that is linked through its elements.
type fifo[T any, P fifoElement[T]] struct {
	first, last P
	n           int
}

type fifoElement[T any] interface {
	*T
	link() **T // the element's link to the next one
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

// join moves all elements of o to the end of l.
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

// pop removes and returns the first element. The queue must not be empty.
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
