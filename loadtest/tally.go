package loadtest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keptViolations bounds the violations whose text is kept; all are counted.
	keptViolations = 20
	// maxCodes bounds the names that counts tells apart. The protocol has eleven
	// error codes; a server that invents more is counted under "other".
	maxCodes = 32
)

// A Tally gathers what the clients of one run did, measured and found wrong. It
// is safe for concurrent use.
type Tally struct {
	epoch time.Time // intended times count from here
	// failed, if set, is called with each violation. It must not block.
	failed func(error)

	sent, answered atomic.Int64 // messages, each once
	delivered      atomic.Int64 // the same, once for each receiver
	skipped        atomic.Int64 // deliveries that a live group is said to have left out
	repeated       atomic.Int64 // messages pushed again after a reconnect
	reconnects     atomic.Int64
	// pending counts what has still to happen: an answer to each message sent,
	// and a delivery to each of its receivers. settled gets a value when it falls
	// to 0.
	pending atomic.Int64
	settled chan struct{}

	// Latencies are recorded of messages whose intended time is in [from, to).
	from, to            atomic.Int64
	ack, delivery, late *recorder
	silences            *Silences // nil: not measured

	codes  counts // of refusals
	losses counts // of lost connections, by how they ended

	mu         sync.Mutex
	violations []error
	wrong      int64 // violations, also those not kept
}

// NewTally returns a tally whose epoch is now. It records no latency before
// Measure is called.
func NewTally() *Tally {
	return &Tally{
		epoch:   time.Now(),
		settled: make(chan struct{}, 1),
		ack:     newRecorder(), delivery: newRecorder(), late: newRecorder(),
	}
}

// Now returns the time since the run's epoch.
func (t *Tally) Now() time.Duration { return time.Since(t.epoch) }

// Measure makes the tally record the latencies of messages that were meant to be
// sent between from and to, and forget those recorded before.
func (t *Tally) Measure(from, to time.Duration) {
	for _, r := range []*recorder{t.ack, t.delivery, t.late} {
		r.reset()
	}
	t.from.Store(int64(from))
	t.to.Store(int64(to))
}

func (t *Tally) measures(at time.Duration) bool {
	return int64(at) >= t.from.Load() && int64(at) < t.to.Load()
}

func (t *Tally) sending(at, now time.Duration, receivers int) {
	t.sent.Add(1)
	t.pending.Add(1 + int64(receivers))
	if t.measures(at) {
		t.late.record(now - at)
	}
}

func (t *Tally) sendAnswered(at, now time.Duration) {
	t.answered.Add(1)
	if t.measures(at) {
		t.ack.record(now - at)
	}
	t.done(1)
}

func (t *Tally) sendDelivered(at, now time.Duration) {
	t.delivered.Add(1)
	if t.measures(at) {
		t.delivery.record(now - at)
	}
	t.done(1)
}

// groupDelivered is sendDelivered for messages that came in one frame.
func (t *Tally) groupDelivered(messages []*groupMessage, now time.Duration) {
	t.delivered.Add(int64(len(messages)))
	t.delivery.mu.Lock()
	for _, m := range messages {
		if t.measures(m.at) {
			t.delivery.add(now - m.at)
		}
	}
	t.delivery.mu.Unlock()
	t.done(int64(len(messages)))
}

// deliveriesSkipped counts deliveries that the server has left out.
func (t *Tally) deliveriesSkipped(n int64) {
	t.skipped.Add(n)
	t.done(n)
}

// done counts n answers or deliveries that were pending.
func (t *Tally) done(n int64) {
	if t.pending.Add(-n) == 0 {
		select {
		case t.settled <- struct{}{}:
		default:
		}
	}
}

// refused counts a send that got an error.
func (t *Tally) refused(code string) { t.codes.add(code) }

// violated notes a violation and passes it to failed.
func (t *Tally) violated(err error) {
	t.mu.Lock()
	t.wrong++
	if len(t.violations) < keptViolations {
		t.violations = append(t.violations, err)
	}
	failed := t.failed
	t.mu.Unlock()
	if failed != nil {
		failed(err)
	}
}

// Verdict returns the violations that the clients have found so far.
func (t *Tally) Verdict() Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := Verdict{Violations: t.wrong}
	for _, err := range t.violations {
		v.Examples = append(v.Examples, err.Error())
	}
	return v
}

// Refused returns how many sends got an error, by its code.
func (t *Tally) Refused() map[string]int64 { return t.codes.all() }

// A Verdict is the violations that clients found.
type Verdict struct {
	Violations int64    `json:"violations"`
	Examples   []string `json:"examples,omitempty"` // the first 20
}

// Err returns nil if there was no violation.
func (v Verdict) Err() error {
	if v.Violations == 0 {
		return nil
	}
	return fmt.Errorf("verification failed %d times, first: %s", v.Violations, v.Examples[0])
}
