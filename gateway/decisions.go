package gateway

import (
	"sync"
	"time"
)

const (
	// maxDecisions and maxDecisionBytes bound the decisions that are kept; past
	// them the oldest go, and a repeat of their message is asked about anew.
	maxDecisions     = 100_000
	maxDecisionBytes = 16 << 20
	// decisionBytes is what one counts beside its key, reason and body.
	decisionBytes = 256
	// decisionGrace is how much longer than the store's dedupe window a decision is
	// kept: that begins when the message is stored.
	decisionGrace = time.Minute
)

// A decisionKey names a message: the store, too, knows a repeat by these.
type decisionKey struct{ user, conv, cid string }

// A decision is what became of the question whether a message may be sent.
type decision struct {
	key   decisionKey
	body  uint64        // hash of the body that was asked about
	at    time.Time     // when it was asked
	known chan struct{} // closed once ruling is set
	ruling
	bytes int

	sends  int  // that were accepted and whose outcome is not known yet
	stored bool // one of them may have stored a message, or reached somebody
}

// rulingKind says what to do with a message.
type rulingKind uint8

const (
	accepted rulingKind = iota + 1
	refused
	conflicting // its cid was used with another body
	undecided   // the receiver has given no decision
)

type ruling struct {
	kind   rulingKind
	reason string // refused
	body   []byte // accepted: canonical msgpack to be sent instead; nil leaves it
}

// decisions keep what was decided, for the dedupe window, so that a repeat is
// answered alike and sent with the same body.
type decisions struct {
	keep time.Duration

	mu    sync.Mutex
	byKey map[decisionKey]*decision
	queue []*decision // by time; those that were replaced or forgotten stay in it
	bytes int         // of queue
}

func newDecisions(window time.Duration) decisions {
	return decisions{keep: window + decisionGrace, byKey: make(map[decisionKey]*decision)}
}

// claim gives the decision about a message. When mine, it is the caller's to
// settle; otherwise somebody has or will.
func (ds *decisions) claim(key decisionKey, body uint64, now time.Time) (d *decision, mine bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for len(ds.queue) > 0 && now.Sub(ds.queue[0].at) > ds.keep {
		ds.dropOldest()
	}
	if d := ds.byKey[key]; d != nil && !d.overtaken(body) {
		return d, false
	}
	d = &decision{key: key, body: body, at: now, known: make(chan struct{})}
	d.bytes = decisionBytes + len(key.user) + len(key.conv) + len(key.cid)
	ds.byKey[key] = d
	ds.queue = append(ds.queue, d)
	ds.bytes += d.bytes
	ds.bound()
	return d, true
}

// overtaken tells whether a decision has nothing to say about another body: no
// message was stored.
func (d *decision) overtaken(body uint64) bool {
	select {
	case <-d.known:
		return d.kind == undecided || d.kind == refused && d.body != body
	default:
		return false
	}
}

// settle makes a decision known.
func (ds *decisions) settle(d *decision, v ruling) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.ruling = v
	close(d.known)
	if d.bytes > 0 { // it is still kept
		n := len(v.reason) + len(v.body)
		d.bytes += n
		ds.bytes += n
		ds.bound()
	}
}

// send notes that a send goes on with a decision.
func (ds *decisions) send(d *decision) {
	if d == nil {
		return
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.sends++
	if d.bytes > 0 && ds.byKey[d.key] == nil { // forgotten by one that failed meanwhile
		ds.byKey[d.key] = d
	}
}

// sent ends what send began. A decision by which nothing was stored is forgotten:
// its message may come again with another body.
func (ds *decisions) sent(d *decision, stored bool) {
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
