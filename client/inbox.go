package client

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/client/store"
)

// Bounds of the events that wait for the application's handlers. The server
// leaves at most its window of messages unacknowledged (256 frames, 1 MiB), so
// only a flood of other pushes reaches them. That ends the connection: the next
// login goes on from the cursor and brings again what was dropped.
const (
	inboxEvents = 1024
	inboxBytes  = 8 << 20
	// signalEvents is how many events may wait before typing and presence are
	// dropped: a later one makes up for those.
	signalEvents = inboxEvents / 2
)

// An event is one call of a handler that waits for its turn.
type event struct {
	kind eventKind
	size int // bytes of the frame
	run  func()
	// keep, unless nil, writes what a frame says into the store, before run. from is the
	// session that the frame came in.
	keep func(*store.Tx)
	from *session
}

type eventKind uint8

const (
	eventFrame  eventKind = iota // dropped with its connection
	eventSignal                  // a frame that may be dropped
	eventState                   // of the client itself; the newest replaces one right before it
	eventSent                    // an outcome from the outbox, which bounds them; dropped with the client alone
	eventFinal                   // the client's last events; never dropped
)

// inbox is the queue between the connections and the dispatching goroutine.
type inbox struct {
	mu      sync.Mutex
	filled  sync.Cond
	events  []event
	bytes   int
	running int // events that takeAll has given and next has not counted
	closed  bool
}

func newInbox() *inbox {
	b := &inbox{}
	b.filled.L = &b.mu
	return b
}

// put queues an event without blocking. It returns false when the bounds are
// reached and the connection has to end.
func (b *inbox) put(e event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return true // nobody is left to tell
	}
	switch e.kind {
	case eventSignal:
		if len(b.events) >= signalEvents {
			return true
		}
	case eventFrame:
		if len(b.events) >= inboxEvents || b.bytes+e.size > inboxBytes {
			return false
		}
	case eventState:
		if n := len(b.events); n > 0 && b.events[n-1].kind == eventState {
			b.events[n-1] = e
			return true
		}
	}
	b.events = append(b.events, e)
	b.bytes += e.size
	b.filled.Signal()
	return true
}

// take waits for the next event. It returns false when the inbox is closed and
// its final events are taken.
func (b *inbox) take() (event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.events) == 0 && !b.closed {
		b.filled.Wait()
	}
	if len(b.events) == 0 {
		return event{}, false
	}
	e := b.events[0]
	b.events[0] = event{}
	b.events = b.events[1:]
	b.bytes -= e.size
	return e, true
}

// takeAll waits for events and takes all there are. The caller calls next before it runs
// each of them. It returns false when the inbox is closed and its final events are taken.
func (b *inbox) takeAll() ([]event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.events) == 0 && !b.closed {
		b.filled.Wait()
	}
	all := b.events
	b.events, b.bytes, b.running = nil, 0, len(all)
	return all, len(all) > 0
}

// next notes that it is the turn of one more of the events of takeAll, and reports whether
// to run it: once the inbox is closed, only the final ones.
func (b *inbox) next(kind eventKind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	return !b.closed || kind == eventFinal
}

// empty reports whether no event waits for a handler.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events) == 0 && b.running == 0
}

// dropFrames drops the pushes of a lost connection that no handler was called
// with: the next connection brings them again.
func (b *inbox) dropFrames() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(eventState, eventSent, eventFinal)
}

// close drops all events but the final ones. take returns these and then false.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.keep(eventFinal)
	b.filled.Broadcast()
}

// keep drops all events but those of some kinds, and of states in a row all but
// the newest.
func (b *inbox) keep(kinds ...eventKind) {
	var kept []event
	for _, e := range b.events {
		last := len(kept) - 1
		switch {
		case !slices.Contains(kinds, e.kind):
		case e.kind == eventState && last >= 0 && kept[last].kind == eventState:
			kept[last] = e
		default:
			kept = append(kept, e)
		}
	}
	b.events, b.bytes = kept, 0
}
