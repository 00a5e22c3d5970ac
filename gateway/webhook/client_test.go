package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// same reads nothing anew.
func same(*Event) error { return nil }

// A receiver keeps what came, and answers as the test says.
type receiver struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex

	ids    []string
	bodies []string
	answer func(n int, w http.ResponseWriter, r *http.Request) // n counts from 0; nil: 204
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = secret(r.t, vectorSecret).Verify(req.Header, body, time.Now())
	}
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s with %v: %v", req.Method, req.Header, err)
	}
	r.mu.Lock()
	n := len(r.ids)
	r.ids = append(r.ids, req.Header.Get("webhook-id"))
	r.bodies = append(r.bodies, string(body))
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(n, w, req)
}

// got gives the ids that came, in order.
func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.ids...)
}

func (r *receiver) become(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hang answers nothing until the client has gone.
func hang(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func newClient(t *testing.T, url string, change func(*Config)) *Client {
	t.Helper()
	config := Config{
		URL: url, Secrets: []Secret{secret(t, vectorSecret)}, Registerer: prometheus.NewRegistry(),
		RetryFirst: 5 * time.Millisecond, RetryMost: 20 * time.Millisecond, Timeout: time.Minute, AskTimeout: time.Minute,
	}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(c) })
	return c
}

func closeNow(c *Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Close(ctx)
}

func event(n int) Event {
	return Event{Type: MessageSent, ID: fmt.Sprint("e", n), Time: time.Now(), Data: []byte(`{"n":1}`)}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

// value reads a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func drops(c *Client, event, reason string) int {
	return int(value(c.metrics.drops.WithLabelValues(event, reason)))
}

func TestEmit(t *testing.T) {
	r := newReceiver(t, nil)
	c := newClient(t, r.URL, nil)
	at := time.Date(2026, 11, 23, 8, 30, 0, 120e6, time.FixedZone("", 3600))
	c.Emit(Event{Type: UserOnline, ID: "a", Time: at, Order: 7, Data: []byte(`{"user":"alice"}`)})
	eventually(t, "delivered", func() bool { return len(r.got()) == 1 })
	want := `{"type":"user.online","timestamp":"2026-11-23T07:30:00.120Z","order":7,"data":{"user":"alice"}}`
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.bodies[0]; got != want || !json.Valid([]byte(got)) {
		t.Errorf("body = %s, want %s", got, want)
	}
}

func TestRetriesUntilDelivered(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{500, 302, 404, 200}[min(n, 3)])
	})
	c := newClient(t, r.URL, nil)
	over := make(chan bool, 1)
	c.Deliver(event(1), same, func(ok bool) { over <- ok })
	if !<-over {
		t.Error("done(false), want true")
	}
	got := r.got()
	if len(got) != 4 {
		t.Fatalf("%d attempts, want 4", len(got))
	}
	for _, id := range got {
		if id != "e1" {
			t.Errorf("an attempt has id %s, want e1", id)
		}
	}
}

// TestNoRedirects has the receiver point elsewhere.
func TestNoRedirects(t *testing.T) {
	elsewhere := newReceiver(t, nil)
	r := newReceiver(t, func(_ int, w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	c := newClient(t, r.URL, func(c *Config) { c.MaxAge = 50 * time.Millisecond })
	c.Emit(event(1))
	eventually(t, "given up", func() bool { return drops(c, MessageSent, dropOld) == 1 })
	if _, err := c.Ask(t.Context(), "alice", event(2)); err == nil {
		t.Error("Ask followed a redirect")
	}
	if len(elsewhere.got()) > 0 {
		t.Error("a redirect was followed")
	}
}

// TestReceiverAway sends while nobody listens, and delivers when somebody does.
func TestReceiverAway(t *testing.T) {
	r := newReceiver(t, status(http.StatusServiceUnavailable))
	c := newClient(t, r.URL, nil)
	const events = 50
	for n := range events {
		c.Emit(event(n))
	}
	eventually(t, "attempts", func() bool { return len(r.got()) > 2*events })
	r.become(nil)
	eventually(t, "all delivered", func() bool { return value(c.metrics.waiting) == 0 })
	seen := make(map[string]bool)
	for _, id := range r.got() {
		seen[id] = true
	}
	if len(seen) != events || value(c.metrics.attempts.WithLabelValues(MessageSent, "delivered")) != events {
		t.Errorf("%d events came, want %d", len(seen), events)
	}
	if c.queued != 0 || c.bytes != 0 {
		t.Errorf("%d events of %d bytes counted in an empty queue", c.queued, c.bytes)
	}
}

// openRequests is a transport that counts the requests of a client that are open.
type openRequests struct {
	http.RoundTripper
	all, open, most atomic.Int32
}

func (o *openRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	o.all.Add(1)
	now := o.open.Add(1)
	defer o.open.Add(-1)
	for m := o.most.Load(); now > m && !o.most.CompareAndSwap(m, now); m = o.most.Load() {
	}
	return o.RoundTripper.RoundTrip(r)
}

// TestReceiverHangs bounds what waits, by number and by bytes, and what is open.
func TestReceiverHangs(t *testing.T) {
	r := newReceiver(t, hang)
	c := newClient(t, r.URL, func(c *Config) { c.Concurrency, c.QueueEvents, c.Timeout = 4, 10, 20*time.Millisecond })
	requests := &openRequests{RoundTripper: c.http.Transport}
	c.http.Transport = requests
	for n := range 30 {
		c.Emit(event(n))
	}
	if got := drops(c, MessageSent, dropFull); got != 20 {
		t.Errorf("%d dropped, want 20", got)
	}
	eventually(t, "many attempts", func() bool { return requests.all.Load() > 30 })
	if n := requests.most.Load(); n > 4 {
		t.Errorf("%d requests were open at a time, want at most 4", n)
	}
	closeNow(c)
	if got := drops(c, MessageSent, dropClosed); got != 10 {
		t.Errorf("%d dropped at the end, want 10", got)
	}

	small := newClient(t, r.URL, func(c *Config) { c.QueueBytes = 2*len((&Event{}).body()) + 100; c.Registerer = nil })
	for n := range 10 {
		small.Emit(event(n))
	}
	if got := drops(small, MessageSent, dropFull); got == 0 || got == 10 {
		t.Errorf("%d of 10 dropped for their bytes, want some", got)
	}
}

func TestGivenUp(t *testing.T) {
	r := newReceiver(t, status(http.StatusInternalServerError))
	c := newClient(t, r.URL, nil)
	over := make(chan bool, 1)
	old := event(1)
	old.Time = old.Time.Add(-2 * time.Hour)
	c.Deliver(old, same, func(ok bool) { over <- ok })
	if !<-over || len(r.got()) != 1 || drops(c, MessageSent, dropOld) != 1 {
		t.Errorf("an old event had %d attempts, %d dropped, want 1, 1", len(r.got()), drops(c, MessageSent, dropOld))
	}
	r.become(status(http.StatusGone))
	c.Emit(event(2))
	eventually(t, "dropped", func() bool { return drops(c, MessageSent, dropGone) == 1 })
}

func TestRetryAfter(t *testing.T) {
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	c := newClient(t, r.URL, nil)
	start := time.Now()
	over := make(chan bool, 1)
	c.Deliver(event(1), same, func(ok bool) { over <- ok })
	<-over
	if took := time.Since(start); took < time.Second {
		t.Errorf("tried again after %v, want 1s", took)
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "7": 7 * time.Second, "999999999999": maxRetryAfter,
		"Mon, 23 Nov 2026 08:00:09 GMT": 9 * time.Second, "Mon, 23 Nov 2026 07:00:00 GMT": 0, "Tue, 24 Nov 2026 08:00:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestOnlyWantedEvents(t *testing.T) {
	r := newReceiver(t, nil)
	c := newClient(t, r.URL, func(c *Config) { c.Events = []string{UserOnline} })
	c.Emit(event(1))
	c.Emit(Event{Type: UserOnline, ID: "a", Time: time.Now(), Data: []byte(`{}`)})
	eventually(t, "one came", func() bool { return len(r.got()) == 1 })
	if got := r.got()[0]; got != "a" || c.Wants(MessageSent) || (*Client)(nil).Wants(UserOnline) {
		t.Errorf("%s came", got)
	}
}

// TestClose tries what waits once more, and gives back what is not delivered.
func TestClose(t *testing.T) {
	r := newReceiver(t, status(http.StatusInternalServerError))
	c := newClient(t, r.URL, func(c *Config) { c.RetryFirst, c.RetryMost = time.Hour, time.Hour; c.MaxAge = 100 * time.Hour })
	c.Emit(event(1))
	failed := c.metrics.attempts.WithLabelValues(MessageSent, "retry")
	eventually(t, "it waits for another attempt", func() bool { return value(failed) == 1 })
	r.become(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c.Close(ctx)
	if n := len(r.got()); n != 2 || drops(c, MessageSent, dropClosed) != 0 {
		t.Errorf("%d attempts, want 2, the last one good", n)
	}
	over := make(chan bool, 1)
	c.Deliver(event(2), same, func(ok bool) { over <- ok })
	if <-over {
		t.Error("a closed client delivered")
	}

	r.become(hang)
	c = newClient(t, r.URL, func(c *Config) { c.Timeout = time.Hour })
	c.Deliver(event(3), same, func(ok bool) { over <- ok })
	eventually(t, "attempted", func() bool { return len(r.got()) == 3 })
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c.Close(ctx)
	if <-over {
		t.Error("done(true) for what hung at the end")
	}
}

func TestAsk(t *testing.T) {
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"decision":"accept"}`) })
	c := newClient(t, r.URL, func(c *Config) { c.MaxAsks = 1 })
	ask := func() (string, error) {
		b, err := c.Ask(context.Background(), "alice", event(1))
		return string(b), err
	}
	if got, err := ask(); err != nil || got != `{"decision":"accept"}` {
		t.Errorf("Ask = %s, %v", got, err)
	}
	for _, code := range []int{201, 204, 302, 500} {
		r.become(status(code))
		if _, err := ask(); err == nil {
			t.Errorf("Ask took a %d", code)
		}
	}
	r.become(func(_ int, w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxAnswer+1)) })
	if _, err := ask(); err == nil {
		t.Error("Ask took an answer without end")
	}
	n := len(r.got())
	answer, ended := make(chan bool), make(chan error)
	r.become(func(_ int, w http.ResponseWriter, _ *http.Request) { <-answer; w.WriteHeader(http.StatusNoContent) })
	go func() { _, err := ask(); ended <- err }()
	eventually(t, "it hangs", func() bool { return len(r.got()) == n+1 })
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Ask(soon, "bob", event(1)); !errors.Is(err, ErrBusy) {
		t.Errorf("a second Ask = %v, want ErrBusy", err)
	}
	close(answer)
	if err := <-ended; err == nil {
		t.Error("Ask took a 204 that came late")
	}
	r.become(hang)
	hasty := newClient(t, r.URL, func(c *Config) { c.AskTimeout, c.Registerer = time.Millisecond, nil })
	if _, err := hasty.Ask(t.Context(), "alice", event(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ask = %v, want DeadlineExceeded", err)
	}
	r.Close()
	if _, err := ask(); err == nil {
		t.Error("Ask of nobody succeeded")
	}
}

// TestDeliverReadsAnew has each attempt read what it tells, until there is nothing to
// tell any more.
func TestDeliverReadsAnew(t *testing.T) {
	r := newReceiver(t, status(http.StatusInternalServerError))
	c := newClient(t, r.URL, nil)
	over := make(chan bool, 1)
	reads := 0
	c.Deliver(Event{Type: MessageQueued, ID: "a", Time: time.Now()}, func(e *Event) error {
		switch reads++; reads {
		case 3:
			return errors.New("not now")
		case 4:
			return ErrVoid
		}
		e.Order, e.Data = uint64(reads), fmt.Appendf(nil, `{"n":%d}`, reads)
		return nil
	}, func(ok bool) { over <- ok })
	if !<-over {
		t.Error("a void event is to be told again")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bodies) != 2 || !strings.HasSuffix(r.bodies[0], `"order":1,"data":{"n":1}}`) || !strings.HasSuffix(r.bodies[1], `"order":2,"data":{"n":2}}`) {
		t.Errorf("told %v, want two attempts with what was read for each", r.bodies)
	}
	if n := value(c.metrics.attempts.WithLabelValues(MessageQueued, "void")); n != 1 {
		t.Errorf("%v void attempts counted, want 1", n)
	}
	if n := value(c.metrics.drops.WithLabelValues(MessageQueued, "old")); n != 0 {
		t.Errorf("%v dropped, want 0", n)
	}
}
