// Package webhook tells a receiver over HTTP of what happens, in the form of
// Standard Webhooks 1.0.0: a POST of {"type", "timestamp", "data"} as JSON with
// the headers webhook-id, webhook-timestamp and webhook-signature.
//
// Emit and Deliver hand an event over and return at once: attempts are made in
// the background, a bounded number at a time, until one is answered 2xx, or the
// event is too old. Ask is one attempt whose answer matters. Redirects are not
// followed. Whatever is given up is counted by event and reason.
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
	// maxAnswer bounds what is read of the answer to an Ask.
	maxAnswer = 512 << 10
	// maxDiscard bounds what is read of other answers, so that the connection
	// can be used again.
	maxDiscard = 4 << 10
	// logEvery is how often a failure is logged: a receiver that is away makes
	// many.
	logEvery = 10 * time.Second
	// maxRetryAfter bounds what a receiver can ask for.
	maxRetryAfter = 5 * time.Minute
)

// An Event is what a receiver is told.
type Event struct {
	Type string
	// ID names the event, whatever attempt it is. It has no '.'.
	ID   string
	Time time.Time
	// Order rises from event to event of what the event is about.
	Order uint64
	Data  []byte // JSON; the client's from then on
}

// ErrVoid means that there is nothing to tell any more.
var ErrVoid = errors.New("webhook: there is nothing to tell any more")

// outcomeVoid is that of an attempt that was not made: there was nothing to tell.
const outcomeVoid = "void"

// Reasons for which events are given up.
const (
	dropFull   = "full"   // too many wait
	dropOld    = "old"    // older than Config.MaxAge
	dropGone   = "gone"   // answered 410
	dropClosed = "closed" // the server went down
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

	cancel  context.CancelFunc // ends attempts that are under way
	ctx     context.Context
	wake    chan struct{}
	senders sync.WaitGroup // the run loop and attempts

	mu      sync.Mutex
	waiting waiting
	bytes   int // of those waiting that Emit has queued, as is queued
	queued  int
	active  int // attempts under way
	closed  bool
	silent  time.Time // until then no failure is logged
}

// A delivery is an event that waits for an attempt, or is in one.
type delivery struct {
	event    Event
	body     []byte
	due      time.Time
	attempts int
	queued   bool                 // by Emit: counts in the queue
	read     func(e *Event) error // of Deliver
	done     func(over bool)      // of Deliver
}

// waiting is a heap of deliveries by the time of their next attempt.
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

// askShare is the part of the questions that may be open, one in so many, that one
// user may have.
const askShare = 8

// New returns a client, or what is wrong with its config. Close ends it.
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

// SetSecrets signs with other secrets from now on, one at least. Attempts that are
// under way go on with those before.
func (c *Client) SetSecrets(secrets []Secret) { c.secrets.Store(&secrets) }

// Wants reports whether events of a type are sent. It is false for a nil Client.
func (c *Client) Wants(event string) bool { return c != nil && c.events[event] }

// Emit queues an event, or drops it when the queue is full. What it has queued
// is lost with the process.
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

// Deliver sends an event and calls done when it was delivered or given up; over
// is false if the client was closed before. read sets Order and Data before each
// attempt; with ErrVoid the event is void, any other error counts as a failed
// attempt. The caller bounds how many are handed over at once. done must not block, and
// may run during the call.
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

// Dropped counts events that somebody else had to give up.
func (c *Client) Dropped(event, reason string, n int) {
	c.metrics.drops.WithLabelValues(event, reason).Add(float64(n))
}

// body is what is sent of an event.
func (e *Event) body() []byte {
	b := make([]byte, 0, len(e.Data)+len(e.Type)+110)
	b = append(append(append(b, `{"type":"`...), e.Type...), `","timestamp":"`...)
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = strconv.AppendUint(append(b, `","order":`...), e.Order, 10)
	b = append(append(b, `,"data":`...), e.Data...)
	return append(b, '}')
}

// push has d attempted when it is due. The caller holds mu.
func (c *Client) push(d *delivery) {
	heap.Push(&c.waiting, d)
	c.measure()
	c.poke()
}

func (c *Client) measure() {
	c.metrics.waiting.Set(float64(len(c.waiting) + c.active))
	c.metrics.bytes.Set(float64(c.bytes))
}

// drop counts an event out that is given up. Who holds mu may call it, as long
// as d has no done.
func (c *Client) drop(d *delivery, reason string) {
	c.metrics.drops.WithLabelValues(d.event.Type, reason).Inc()
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run starts attempts as they come due.
func (c *Client) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := c.start()
		timer.Reset(next)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// start starts the attempts that are due and have room, and tells how long the
// next one has to wait.
func (c *Client) start() (next time.Duration) {
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

// attempt sends an event once and says what becomes of it.
func (c *Client) attempt(d *delivery) {
	d.attempts++
	attempts := d.attempts // d is another attempt's once it waits again
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
	// Counted before it no longer waits: who sees nothing waiting sees all attempts.
	c.metrics.attempts.WithLabelValues(d.event.Type, outcome).Inc()
	c.active--
	closed := c.closed && !over
	switch {
	case closed:
		// What is left was asked for its last attempt.
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
	c.poke()
	report := err != nil && now.After(c.silent) && c.ctx.Err() == nil
	if report {
		c.silent = now.Add(logEvery)
	}
	c.mu.Unlock()

	if report {
		c.config.Log.Warn("webhook failed", "event", d.event.Type, "id", d.event.ID, "attempt", attempts, "outcome", outcome, "error", err)
	}
	if d.done != nil && (over || closed) {
		d.done(over)
	}
}

// pause is the time before the next attempt: twice as long after each, to the
// most, of which a random part of up to one half is left out. A receiver can ask
// for more.
func (c *Client) pause(attempts int, after time.Duration) time.Duration {
	p := c.config.RetryMost
	if shift := attempts - 1; shift < 20 {
		p = min(p, c.config.RetryFirst<<shift)
	}
	return max(p-rand.N(p/2+1), after)
}

var errGone = errors.New("the receiver wants no more of these (410)")

// post makes one attempt. after is how long the receiver asks to wait.
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

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// send makes a signed request.
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
		return nil, failed.Err // without the URL, which may hold a secret
	}
	return res, err
}

// Close tries what waits until ctx ends; the rest is counted as dropped, or
// given back to those who called Deliver. It leaves no goroutine behind.
func (c *Client) Close(ctx context.Context) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	now := time.Now()
	for _, d := range c.waiting {
		d.due = now // one last attempt
	}
	c.mu.Unlock()
	c.poke()
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
