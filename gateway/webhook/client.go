// Package webhook sends events to a receiver over HTTP, in the form of Standard
// Webhooks 1.0.0: a POST of {"type", "timestamp", "data"} as JSON with the headers
// webhook-id, webhook-timestamp and webhook-signature.
//
// Emit and Deliver return at once: attempts to send the event are made in the
// background, a bounded number at a time, until one is answered with 2xx or the event
// is too old. Ask makes one attempt and returns the answer. Redirects are not followed.
// Events that are given up are counted by type and reason.
package webhook

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/turns"
)

const (
	// maxAnswer is how many bytes the answer to an Ask may have.
	maxAnswer = 512 << 10
	// maxDiscard is how many bytes of other answers are read, so that the connection
	// can be reused.
	maxDiscard = 4 << 10
	// logEvery is the shortest time between logged failures: while a receiver is away
	// there are many.
	logEvery = 10 * time.Second
	// maxRetryAfter is the longest pause that a receiver can ask for.
	maxRetryAfter = 5 * time.Minute
)

// An Event is a message to the receiver.
type Event struct {
	Type string
	// ID identifies the event; it is the same in all attempts, and has no '.'.
	ID   string
	Time time.Time
	// Order rises from event to event about the same subject.
	Order uint64
	Data  []byte // JSON; the client owns it from Emit on
}

// ErrVoid means that an event no longer has anything to say.
var ErrVoid = errors.New("webhook: there is nothing to tell any more")

// outcomeVoid is the outcome, in metrics, of an attempt that ended with ErrVoid:
// nothing was sent.
const outcomeVoid = "void"

// Reasons for which events are given up.
const (
	dropFull   = "full"   // QueueEvents or QueueBytes is reached
	dropOld    = "old"    // older than Config.MaxAge
	dropGone   = "gone"   // answered 410
	dropClosed = "closed" // the client was closed
)

// A Client sends events to one receiver. Its methods may be called from any
// goroutine.
type Client struct {
	config  Config
	secrets atomic.Pointer[[]Secret]
	http    *http.Client
	events  map[string]bool
	metrics *metrics
	asks    *turns.Turns

	cancel  context.CancelFunc // ends attempts in flight
	ctx     context.Context
	wake    chan struct{}
	senders sync.WaitGroup // run, and attempts in flight

	mu          sync.Mutex
	waiting     waiting
	bytes       int // of events that Emit has queued, as queued counts them
	queued      int
	active      int // attempts in flight
	closed      bool
	silentUntil time.Time // no failure is logged before this time
}

// A delivery is an event that waits for its next attempt, or an attempt of it is in
// flight.
type delivery struct {
	event    Event
	body     []byte
	due      time.Time
	attempts int
	queued   bool                 // Emit has queued it, so it counts in Client.queued
	read     func(e *Event) error // argument of Deliver, else nil
	done     func(over bool)      // argument of Deliver, else nil
}

// waiting is a heap of deliveries, ordered by the time of the next attempt.
type waiting []*delivery

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(d any)        { *w = append(*w, d.(*delivery)) }
func (w *waiting) Pop() any {
	old := *w
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return d
}

// askShare is the divisor of MaxAsks for one user: a user's questions may take an
// eighth of the places.
const askShare = 8

// New returns a client. Its error says what is wrong with the config. The caller must
// Close the client.
func New(c Config) (*Client, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = c.Concurrency + c.MaxAsks
	transport.MaxResponseHeaderBytes = 64 << 10
	client := &Client{
		config: c,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		events: make(map[string]bool), metrics: m,
		asks: turns.New(c.MaxAsks, max(c.MaxAsks/askShare, 1)), wake: make(chan struct{}, 1),
	}
	for _, event := range c.Events {
		client.events[event] = true
	}
	client.secrets.Store(&c.Secrets)
	client.ctx, client.cancel = context.WithCancel(context.Background())
	client.senders.Go(client.run)
	return client, nil
}

// SetSecrets replaces the secrets; there must be at least one. Attempts in flight keep
// the old ones.
func (c *Client) SetSecrets(secrets []Secret) { c.secrets.Store(&secrets) }

// Wants reports whether the client sends events of a type. A nil Client sends none.
func (c *Client) Wants(event string) bool { return c != nil && c.events[event] }

// Emit queues an event, or drops it if the queue is full. The queue is lost if the
// process dies.
func (c *Client) Emit(e Event) {
	if !c.Wants(e.Type) {
		return
	}
	d := &delivery{event: e, body: e.body(), due: time.Now(), queued: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		c.drop(d, dropClosed)
	case c.queued >= c.config.QueueEvents || c.bytes+len(d.body) > c.config.QueueBytes:
		c.drop(d, dropFull)
	default:
		c.queued++
		c.bytes += len(d.body)
		c.push(d)
	}
}

// Deliver sends an event and calls done once it was delivered or given up, with over
// true, or the client was closed, with over false. read sets Order and Data before each
// attempt; if it returns ErrVoid the event is given up, and any other error counts as a
// failed attempt. The caller limits how many events wait at once. done must not block,
// and may be called before Deliver returns.
func (c *Client) Deliver(e Event, read func(e *Event) error, done func(over bool)) {
	d := &delivery{event: e, due: time.Now(), read: read, done: done}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.push(d)
	}
	c.mu.Unlock()
	if closed {
		done(false)
	}
}

// Dropped counts n events that the caller had to drop.
func (c *Client) Dropped(event, reason string, n int) {
	c.metrics.drops.WithLabelValues(event, reason).Add(float64(n))
}

// body returns the body of the request for an event.
func (e *Event) body() []byte {
	b := make([]byte, 0, len(e.Data)+len(e.Type)+110)
	b = append(append(append(b, `{"type":"`...), e.Type...), `","timestamp":"`...)
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = strconv.AppendUint(append(b, `","order":`...), e.Order, 10)
	b = append(append(b, `,"data":`...), e.Data...)
	return append(b, '}')
}

// push adds d to those that wait. The caller holds mu.
func (c *Client) push(d *delivery) {
	heap.Push(&c.waiting, d)
	c.measure()
	c.signal()
}

func (c *Client) measure() {
	c.metrics.waiting.Set(float64(len(c.waiting) + c.active))
	c.metrics.bytes.Set(float64(c.bytes))
}

// drop counts an event that is given up. It does not call done, and may be called with
// mu held.
func (c *Client) drop(d *delivery, reason string) {
	c.metrics.drops.WithLabelValues(d.event.Type, reason).Inc()
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run starts attempts when they are due, until Close cancels it.
func (c *Client) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := c.startDue()
		timer.Reset(next)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// startDue starts the attempts that are due, as far as Concurrency allows. It returns how
// long to wait for the next one.
func (c *Client) startDue() (next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for len(c.waiting) > 0 && c.active < c.config.Concurrency && c.ctx.Err() == nil {
		if wait := c.waiting[0].due.Sub(now); wait > 0 {
			return wait
		}
		d := heap.Pop(&c.waiting).(*delivery)
		c.active++
		c.senders.Go(func() { c.attempt(d) })
	}
	return time.Hour
}

// attempt makes one attempt, and then ends the delivery or schedules the next attempt.
func (c *Client) attempt(d *delivery) {
	d.attempts++
	attempts := d.attempts // once d waits again, another attempt may change it
	after, err := c.post(d)
	outcome, over := "delivered", true
	now := time.Now()
	pause := c.pause(attempts, after)
	switch {
	case err == nil:
	case errors.Is(err, ErrVoid):
		outcome, err = outcomeVoid, nil
	case errors.Is(err, errGone):
		outcome = dropGone
	case now.Add(pause).Sub(d.event.Time) > c.config.MaxAge:
		outcome = dropOld
	default:
		outcome, over = "retry", false
	}

	c.mu.Lock()
	// Counted while the event still counts as waiting: a test that sees nothing waiting
	// sees all attempts.
	c.metrics.attempts.WithLabelValues(d.event.Type, outcome).Inc()
	c.active--
	closed := c.closed && !over
	switch {
	case closed:
		// This was the last attempt that Close allows.
		if d.done == nil {
			c.drop(d, dropClosed)
		}
	case over && err != nil:
		c.drop(d, outcome)
	case !over:
		d.due = now.Add(pause)
		heap.Push(&c.waiting, d)
	}
	if d.queued && (over || closed) {
		c.queued--
		c.bytes -= len(d.body)
	}
	c.measure()
	c.signal()
	report := err != nil && now.After(c.silentUntil) && c.ctx.Err() == nil
	if report {
		c.silentUntil = now.Add(logEvery)
	}
	c.mu.Unlock()

	if report {
		c.config.Log.Warn("webhook failed", "event", d.event.Type, "id", d.event.ID, "attempt", attempts, "outcome", outcome, "error", err)
	}
	if d.done != nil && (over || closed) {
		d.done(over)
	}
}

// pause returns the pause before the next attempt. It doubles with each attempt, up to
// RetryMost, and a random part of up to a half is left out. If the receiver asks for
// more, that counts.
func (c *Client) pause(attempts int, after time.Duration) time.Duration {
	p := c.config.RetryMost
	if shift := attempts - 1; shift < 20 {
		p = min(p, c.config.RetryFirst<<shift)
	}
	return max(p-rand.N(p/2+1), after)
}

var errGone = errors.New("the receiver wants no more of these (410)")

// post makes one attempt. after is the pause that the receiver asks for, 0 for none.
func (c *Client) post(d *delivery) (after time.Duration, err error) {
	if d.read != nil {
		if err := d.read(&d.event); err != nil {
			return 0, err
		}
		d.body = d.event.body()
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.config.Timeout)
	defer cancel()
	start := time.Now()
	defer func() { c.metrics.seconds.WithLabelValues("event").Observe(time.Since(start).Seconds()) }()
	res, err := c.send(ctx, d.event.ID, d.body)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxDiscard)
	switch {
	case res.StatusCode/100 == 2:
		return 0, nil
	case res.StatusCode == http.StatusGone:
		return 0, errGone
	}
	return retryAfter(res.Header.Get("Retry-After"), time.Now()), fmt.Errorf("the receiver answered %d", res.StatusCode)
}

// retryAfter parses a Retry-After header: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// send sends a signed request.
func (c *Client) send(ctx context.Context, id string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "belfry")
	setHeaders(req.Header, *c.secrets.Load(), id, time.Now(), body)
	res, err := c.http.Do(req)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return nil, failed.Err // the URL is left out: it may hold a secret
	}
	return res, err
}

// Close makes one last attempt for each event that waits, until ctx ends. The rest is
// counted as dropped or, if it came from Deliver, reported to done. When Close returns,
// all goroutines have ended.
func (c *Client) Close(ctx context.Context) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	now := time.Now()
	for _, d := range c.waiting {
		d.due = now // for a last attempt
	}
	c.mu.Unlock()
	c.signal()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.busy() && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	c.cancel()
	c.senders.Wait()
	c.mu.Lock()
	left := c.waiting
	c.waiting, c.queued, c.bytes = nil, 0, 0
	for _, d := range left {
		if d.done == nil {
			c.drop(d, dropClosed)
		}
	}
	c.measure()
	c.mu.Unlock()
	for _, d := range left {
		if d.done != nil {
			d.done(false)
		}
	}
	if n := len(left); n > 0 {
		c.config.Log.Warn("webhooks not delivered before the end", "events", n)
	}
	c.http.CloseIdleConnections()
	c.metrics.unregister()
}

func (c *Client) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)+c.active > 0
}
