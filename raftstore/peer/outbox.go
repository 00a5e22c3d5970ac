package peer

import "sync"

const (
	// gathered is how many bytes of items are gathered into one message, to which the
	// last item adds what it has.
	gathered = 256 << 10
	// MaxMessage bounds a message. A server has to be made to take such ones.
	MaxMessage = MaxBody + 2*gathered
)

// An outbox gathers items into messages, for one goroutine that sends them.
type outbox struct {
	mu       sync.Mutex
	messages [][]byte // the last one takes more
	last     int      // bytes of the one that was taken last
	closed   bool
	wake     chan struct{} // has room for one value; it is there while messages wait
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// add lets write append one item to a message. It reports false, and does nothing, once
// the outbox is closed.
func (o *outbox) add(write func(dst []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	n := len(o.messages)
	if n == 0 || len(o.messages[n-1]) >= gathered {
		room := max(512, o.last+o.last/4) // the next one is often as large
		o.messages = append(o.messages, append(make([]byte, 0, room), version))
		n++
	}
	o.messages[n-1] = write(o.messages[n-1])
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes and returns what waits.
func (o *outbox) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.messages
	o.messages = nil
	if len(m) > 0 {
		o.last = min(len(m[len(m)-1]), gathered)
	}
	return m
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.messages = true, nil
}
