package client

import (
	"slices"
	"sync"
)

// Bounds of what waits for the application's handlers. The server keeps at
// most its window of messages unacknowledged (256 frames, 1 MiB), so only a
// flood of other pushes gets here. It ends the connection: what is dropped
// comes again with the next login, from the cursor.
const (
	inboxEvents = 1024
	inboxBytes  = 8 << 20
	// signalEvents bounds the part of typing and presence, which are dropped
	// past it: they say nothing that a later one does not.
	signalEvents = inboxEvents / 2
)

// An event is one call of a handler that waits for its turn.
type event struct {
	kind eventKind
	size int // bytes of the frame
	run  func()
}

type eventKind uint8

const (
	eventFrame  eventKind = iota // goes with its connection
	eventSignal                  // a frame that may be dropped
	eventState                   // of the client itself; the newest replaces one right before it
	eventFinal                   // the last words of a client; nothing drops them
)

// inbox is the queue between the connections and the dispatching goroutine.
type inbox struct {
	mu     sync.Mutex
	filled sync.Cond
	events []event
	bytes  int
	closed bool
}

func newInbox() *inbox {
	b := &inbox{}
	b.filled.L = &b.mu
	return b
}

// put queues an event without blocking. It reports false when the bounds are
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

// take waits for the next event. It reports false when the inbox is closed and
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

// empty reports whether a handler that returns now has caught up.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events) == 0
}

// dropFrames forgets what a connection that is gone brought and nobody has
// handled: the next one brings it again.
func (b *inbox) dropFrames() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(eventState, eventFinal)
}

// close drops everything but final events and lets take end after them.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.keep(eventFinal)
	b.filled.Broadcast()
}

// keep drops all but some kinds of events; of states the newest is enough.
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
