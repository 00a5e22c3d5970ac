package hooks

import (
	"sync"
	"time"
)

const (
	// maxDecisions and maxDecisionBytes bound the decisions that are kept; beyond them
	// the oldest are dropped, and the receiver is asked about a repeat of their message.
	maxDecisions     = 100_000
	maxDecisionBytes = 16 << 20
	// decisionBytes is what one counts for beside its key, reason and body.
	decisionBytes = 256
	// decisionGrace is how much longer than the store's dedupe window a decision is
	// kept: the window begins later, when the message is stored.
	decisionGrace = time.Minute
)

// A messageKey names a message. The store knows repeats by the same.
type messageKey struct{ user, conv, cid string }

// A Kind says what to do with a message.
type Kind uint8

const (
	Accepted Kind = iota + 1
	Refused
	Conflicting // its cid was used with another body
	Undecided   // the receiver has given no decision
)

// An Answer is what was decided.
type Answer struct {
	Kind   Kind
	Reason string // Refused: for the client
	Body   []byte // Accepted: canonical msgpack to be sent instead; nil for the message's own
}

// A Decision is kept for each message that the receiver was asked about.
type Decision struct {
	Answer // set once known is closed
	known  chan struct{}
	key    messageKey
	body   uint64    // hash of the body that was asked about
	at     time.Time // when it was asked
	bytes  int       // that it counts for; 0 once it is not kept any more

	sends  int  // that were accepted and have no outcome yet
	stored bool // one of them may have stored a message, or reached somebody
}

// decisions keep each Decision for the dedupe window, so that a repeat gets the same
// answer and is sent with the same body.
type decisions struct {
	keep time.Duration

	mu    sync.Mutex
	byKey map[messageKey]*Decision
	queue []*Decision // by time; those that were replaced or dropped from byKey stay in it
	bytes int         // of queue
}

func newDecisions(window time.Duration) decisions {
	return decisions{keep: window + decisionGrace, byKey: make(map[messageKey]*Decision)}
}

// claim returns the decision about a message. If mine, the caller has to ask the
// receiver and call answer; otherwise another caller has or will.
func (ds *decisions) claim(key messageKey, body uint64, now time.Time) (d *Decision, mine bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for len(ds.queue) > 0 && now.Sub(ds.queue[0].at) > ds.keep {
		ds.dropOldest()
	}
	if d := ds.byKey[key]; d != nil && !d.replaceable(body) {
		return d, false
	}
	d = &Decision{key: key, body: body, at: now, known: make(chan struct{})}
	d.bytes = decisionBytes + len(key.user) + len(key.conv) + len(key.cid)
	ds.byKey[key] = d
	ds.queue = append(ds.queue, d)
	ds.bytes += d.bytes
	ds.bound()
	return d, true
}

// replaceable reports whether the receiver has to be asked about the message with this
// body, although there is a decision: no message was stored because of it.
func (d *Decision) replaceable(body uint64) bool {
	select {
	case <-d.known:
		return d.Kind == Undecided || d.Kind == Refused && d.body != body
	default:
		return false
	}
}

// answer sets the answer of a decision.
func (ds *decisions) answer(d *Decision, a Answer) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.Answer = a
	close(d.known)
	if d.bytes > 0 { // it is still kept
		n := len(a.Reason) + len(a.Body)
		d.bytes += n
		ds.bytes += n
		ds.bound()
	}
}

// beginSend notes that a message is sent because of a decision.
func (ds *decisions) beginSend(d *Decision) {
	if d == nil {
		return
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.sends++
	if d.bytes > 0 && ds.byKey[d.key] == nil { // dropped by another send that failed meanwhile
		ds.byKey[d.key] = d
	}
}

// endSend undoes beginSend. A decision because of which nothing was stored is dropped:
// its message may be sent again with another body.
func (ds *decisions) endSend(d *Decision, stored bool) {
	if d == nil {
		return
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.sends--
	d.stored = d.stored || stored
	if d.sends == 0 && !d.stored && ds.byKey[d.key] == d {
		delete(ds.byKey, d.key)
	}
}

// bound drops the oldest decisions while there are too many. The caller holds mu.
func (ds *decisions) bound() {
	for len(ds.queue) > maxDecisions || ds.bytes > maxDecisionBytes {
		ds.dropOldest()
	}
}

func (ds *decisions) dropOldest() {
	d := ds.queue[0]
	ds.queue[0] = nil
	ds.queue = ds.queue[1:]
	ds.bytes -= d.bytes
	d.bytes = 0
	if ds.byKey[d.key] == d {
		delete(ds.byKey, d.key)
	}
}
