package hooks

import (
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

const (
	// maxDecisions and maxDecisionBytes limit the decisions that are kept. Beyond them
	// the oldest are dropped; if their messages are repeated, the receiver is asked
	// again.
	maxDecisions     = 100_000
	maxDecisionBytes = 16 << 20
	// decisionBytes is how many bytes a decision counts for, besides its key, reason and
	// body.
	decisionBytes = 256
	// decisionGrace is how much longer than the store's dedupe window a decision is
	// kept: that window begins later, when the message is stored.
	decisionGrace = time.Minute
)

// A messageKey identifies a message. The store recognizes repeats by the same fields.
type messageKey struct{ user, conv, cid string }

// A Kind is a kind of decision about a message.
type Kind uint8

const (
	Accepted Kind = iota + 1
	Refused
	Conflicting // the cid was used before with another body
	Undecided   // the receiver has not decided
	Stored      // the store has the message already, see Answer.First
)

// An Answer is the content of a decision.
type Answer struct {
	Kind   Kind
	Reason string         // if Refused: for the client
	Body   []byte         // if Accepted: canonical msgpack to send instead of the message's body; nil to send that
	First  command.Result // if Stored: what the send is answered with
}

// A Decision is the decision about a message, made by the receiver or still to be made.
type Decision struct {
	Answer // set once known is closed
	known  chan struct{}
	key    messageKey
	body   uint64    // hash of the body that was asked about
	at     time.Time // when the receiver was asked
	bytes  int       // for which it counts in decisions.bytes; 0 once it is not kept any more

	sends  int  // accepted sends that have no outcome yet
	stored bool // a send may have stored the message, or reached somebody
}

// Original returns the hash of the body that Body replaces, as command.Send has it: 0 if
// the message is sent as it is. d may be nil.
func (d *Decision) Original() uint64 {
	if d == nil || d.Body == nil {
		return 0
	}
	return d.body
}

// decisions keep every Decision for the dedupe window, so that a repeat gets the same
// answer and is sent with the same body.
type decisions struct {
	keep time.Duration

	mu    sync.Mutex
	byKey map[messageKey]*Decision
	queue []*Decision // by time; also those that are not in byKey any more
	bytes int         // of queue
}

func newDecisions(window time.Duration) decisions {
	return decisions{keep: window + decisionGrace, byKey: make(map[messageKey]*Decision)}
}

// claim returns the decision about a message. If mine is true, the decision is new: the
// caller has to ask the receiver and call setAnswer. Otherwise the caller waits for
// d.known.
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
	ds.dropExcess()
	return d, true
}

// replaceable reports whether the message has to be decided on again, with this body: the
// decision is known, and nothing was stored because of it.
func (d *Decision) replaceable(body uint64) bool {
	select {
	case <-d.known:
		return d.Kind == Undecided || d.Kind == Stored || d.Kind == Conflicting || d.Kind == Refused && d.body != body
	default:
		return false
	}
}

// setAnswer sets the answer of a decision, and wakes those that wait for it.
func (ds *decisions) setAnswer(d *Decision, a Answer) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.Answer = a
	close(d.known)
	if d.bytes > 0 { // it is still kept
		n := len(a.Reason) + len(a.Body)
		d.bytes += n
		ds.bytes += n
		ds.dropExcess()
	}
}

// beginSend notes that a message is going to be sent because of d.
func (ds *decisions) beginSend(d *Decision) {
	if d == nil {
		return
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.sends++
	if d.bytes > 0 && ds.byKey[d.key] == nil { // another send of it failed meanwhile and dropped d
		ds.byKey[d.key] = d
	}
}

// endSend notes the outcome of a send that beginSend has noted. If no send has stored
// anything, the decision is dropped: the message may be sent again with another body.
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

// dropExcess drops the oldest decisions while there are too many or too large ones. The
// caller holds mu.
func (ds *decisions) dropExcess() {
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
