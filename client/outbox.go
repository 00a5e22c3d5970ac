package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// maxCalls bounds the requests other than sends that wait for an answer.
	maxCalls = 1024
	// maxInFlight bounds the requests on the wire, so that a long queue leaves
	// room for acks and pings between its frames.
	maxInFlight = 64
	// lateAfter is the time since its first write after which a repeated send is
	// marked as a retry. It lies well inside the server's dedupe window (5 min),
	// so that no slow network or wrong clock makes an unmarked repeat arrive
	// after that.
	lateAfter = time.Minute
	// Bounds of the pause after a temporary refusal that names none.
	leastPause, mostPause = 250 * time.Millisecond, 10 * time.Second
)

// outbox holds every request that has no answer yet.
type outbox struct {
	maxSends, maxBytes int
	wake               chan struct{} // to the writer: there may be something to take
	// With a store, settle takes over calls that are kept and have ended, and closes their
	// done when the store knows; wrote is told which of them are written.
	settled func(*call)
	wrote   func(entry uint64)

	mu       sync.Mutex
	lastID   uint64
	last     uint64 // entry of the outbox on disk
	calls    map[uint64]*call
	lanes    map[protocol.Conv][]*call // sends per conversation, oldest first; only the first is written
	ready    []*call                   // callReady, in the order to write them
	inFlight int
	sends    int // in lanes
	bytes    int // bodies in lanes
	online   bool
	closed   error
}

func newOutbox(maxSends, maxBytes int) *outbox {
	return &outbox{
		maxSends: maxSends,
		maxBytes: maxBytes,
		wake:     make(chan struct{}, 1),
		calls:    make(map[uint64]*call),
		lanes:    make(map[protocol.Conv][]*call),
	}
}

// submit takes a call in. On an error nothing was sent.
func (o *outbox) submit(c *call) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed != nil:
		return o.closed
	case c.tied && !o.online:
		return ErrOffline
	case c.restored: // its place was taken when it was queued
	case c.send == nil && len(o.calls)-o.sends >= maxCalls,
		c.send != nil && (o.sends >= o.maxSends || o.bytes+len(c.send.Body) > o.maxBytes):
		return ErrQueueFull
	}
	if c.kept && !c.restored {
		o.last++
		c.entry, c.saving = o.last, true
	}
	o.lastID++
	c.id = o.lastID
	c.done = make(chan struct{})
	o.calls[c.id] = c
	if c.send != nil {
		o.sends++
		o.bytes += len(c.send.Body)
		lane := append(o.lanes[c.send.Conv], c)
		o.lanes[c.send.Conv] = lane
		if len(lane) > 1 || c.saving {
			c.state = callBehind
			return nil
		}
	}
	o.makeReady(c)
	return nil
}

// saved lets a call be written that is on disk now, or ends it with the error for which it
// is not.
func (o *outbox) saved(c *call, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.saving = false
	switch {
	case c.state == callDone:
	case err != nil:
		c.kept = false
		o.finish(c, err)
	case o.lanes[c.send.Conv][0] == c:
		o.makeReady(c)
	}
}

// newID returns an id for a request without a call.
func (o *outbox) newID() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lastID++
	return o.lastID
}

// take returns the next call to write and counts it as written; nil when there is
// none or maxInFlight are on the wire. Its args do not change until it is taken
// again.
func (o *outbox) take(now time.Time) *call {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.online || len(o.ready) == 0 || o.inFlight >= maxInFlight {
		return nil
	}
	c := o.ready[0]
	o.ready = o.ready[1:]
	c.state = callInFlight
	o.inFlight++
	if c.kept && o.wrote != nil {
		o.wrote(c.entry)
	}
	if c.restored {
		// The mark that it was written may be lost, the clock wrong, and the application may
		// have known of an earlier run: the disk does not say.
		c.send.Retry = true
	}
	if c.written.IsZero() {
		c.written = now
	} else if c.send != nil && now.Sub(c.written) >= lateAfter {
		c.send.Retry = true
	}
	return c
}

// answer ends the call of request id, or lets it pause if the refusal is
// temporary, or leaves the outcome of a kept call open. A reply that nobody waits for any more is dropped.
func (o *outbox) answer(id uint64, ok protocol.Raw, refusal *Error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.calls[id]
	if c == nil || c.state != callInFlight {
		return
	}
	switch {
	case refusal == nil:
		o.finish(c, c.readAnswer(ok))
	case !refusal.temporary() && !(c.kept && refusal.open()): // what is kept waits for an outcome
		o.finish(c, refusal)
	default:
		o.inFlight--
		c.state = callPausing
		c.refused = refusal
		pause := spread(refusal.RetryAfter)
		if refusal.RetryAfter <= 0 {
			pause = spread(min(mostPause, leastPause<<min(c.refusals, 10)))
		}
		c.refusals++
		c.pause = time.AfterFunc(pause, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if c.state == callPausing {
				o.makeReady(c)
			}
		})
		o.signal()
	}
}

// settle ends a send whose message was pushed instead of its reply: the
// connection broke between the two, and the next login brought the message, whose number
// with a store is login. It reports whether there was such a send.
func (o *outbox) settle(m *protocol.Message, login uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	lane := o.lanes[m.Conv]
	i := slices.IndexFunc(lane, func(c *call) bool {
		return c.send.CID == string(m.CID) && (c.restored || !c.written.IsZero()) && slices.Equal(c.send.Body, m.Body)
	})
	if i < 0 {
		return false
	}
	c := lane[i]
	c.sent(protocol.SendOK{ID: m.ID, Seq: m.Seq, Time: m.Time})
	c.login = login
	o.finish(c, nil)
	return true
}

// abandon ends a call whose caller no longer waits, and returns the error for the
// caller: with ErrUnknown if the request may have been carried out.
func (o *outbox) abandon(c *call, cause error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.state == callDone && !c.undone() {
		return c.err
	}
	err := cause
	if c.refused != nil {
		err = fmt.Errorf("%w (last answer: %w)", cause, c.refused)
	}
	if c.kept {
		return fmt.Errorf("%w: %w", ErrQueued, err)
	}
	if c.maybeDone() {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	o.finish(c, err)
	return c.err
}

// cancel ends a call, and reports whether this call of it or an earlier one has kept it
// from being written.
func (o *outbox) cancel(c *call) (unsent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.state != callDone {
		c.unsent = !c.maybeDone()
		o.finish(c, ErrCanceled)
	}
	return c.unsent
}

// leave ends a kept call that has its outcome and is on disk still, for a later client: what
// was canceled goes out then.
func (o *outbox) leave(c *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(c.err, ErrCanceled) {
		c.err = errors.Join(o.closed, ErrQueued)
	}
	close(c.done)
}

// keptCalls lists the calls that are on disk, in order.
func (o *outbox) keptCalls() (list []*call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.calls {
		if c.kept && !c.saving {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *call) int { return cmp.Compare(a.entry, b.entry) })
	return list
}

// refuse ends a call that take gave and that cannot be written.
func (o *outbox) refuse(c *call, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.state == callInFlight {
		o.finish(c, err)
	}
}

// connected lets calls be written, once a session has logged in.
func (o *outbox) connected() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.online = true
	o.signal()
}

// disconnected makes the calls that were on the wire ready again, the oldest first, and
// ends those tied to the connection.
func (o *outbox) disconnected() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.online = false
	for _, id := range slices.Sorted(maps.Keys(o.calls)) {
		c := o.calls[id]
		switch {
		case c.tied && c.maybeDone():
			o.finish(c, fmt.Errorf("%w: %w", ErrUnknown, ErrOffline))
		case c.tied:
			o.finish(c, ErrOffline)
		case c.state == callInFlight:
			o.inFlight--
			c.state = callReady
			o.ready = append(o.ready, c)
		}
	}
	slices.SortFunc(o.ready, func(a, b *call) int { return int(int64(a.id) - int64(b.id)) })
}

// close ends all calls, present and future, with cause.
func (o *outbox) close(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = cause
	o.settled = nil // what is on disk stays there, for a later client
	for _, c := range o.calls {
		err := cause
		if c.kept {
			err = errors.Join(cause, ErrQueued)
		} else if c.maybeDone() {
			err = errors.Join(cause, ErrUnknown)
		}
		o.finish(c, err)
	}
}

// finish ends a call with err and makes the next send to its conversation ready.
func (o *outbox) finish(c *call, err error) {
	switch c.state {
	case callInFlight:
		o.inFlight--
	case callReady:
		o.ready = slices.DeleteFunc(o.ready, func(r *call) bool { return r == c })
	case callPausing:
		c.pause.Stop()
	}
	c.state = callDone
	c.err = err
	delete(o.calls, c.id)
	if c.send != nil {
		o.sends--
		o.bytes -= len(c.send.Body)
		lane := slices.DeleteFunc(o.lanes[c.send.Conv], func(s *call) bool { return s == c })
		if len(lane) == 0 {
			delete(o.lanes, c.send.Conv)
		} else {
			o.lanes[c.send.Conv] = lane
			if lane[0].state == callBehind && !lane[0].saving {
				o.makeReady(lane[0])
			}
		}
	}
	if c.kept && o.settled != nil {
		o.settled(c)
	} else {
		close(c.done)
	}
	o.signal()
}

func (o *outbox) makeReady(c *call) {
	c.state = callReady
	o.ready = append(o.ready, c)
	o.signal()
}

// signal wakes the writer; one that has been woken already needs no second signal.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// do sends a request and waits for its answer, until ctx ends.
func (o *outbox) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := o.submit(c); err != nil {
		return err
	}
	return o.wait(ctx, c)
}

func (o *outbox) wait(ctx context.Context, c *call) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return o.abandon(c, ctx.Err())
	}
}
