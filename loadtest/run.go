package loadtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// MaxUsers bounds the clients of a run.
	MaxUsers = 1 << 20
	// ownFiles are the open files that a process has beside its connections.
	ownFiles = 64
	// progressEvery is the time between two calls of Config.Progress.
	progressEvery = time.Second
	// maxPrefix leaves room for a number behind it in a user's name.
	maxPrefix = protocol.MaxUserLen - 8
)

// A Config is what all scenarios have in common. Server is needed.
type Config struct {
	Server Server
	// Prefix begins the names of the run's users, at most 56 bytes; "" = a random
	// one. The users have to be new to the server: otherwise seqs do not begin at
	// 1, and verification fails.
	Prefix string
	// Parallel bounds the connections being opened at a time. 0 = 128, but in
	// Login all of them.
	Parallel int
	// ServerPIDs are the process ids of the server's nodes on this machine, whose
	// use of CPU and memory, in sum, goes into the report; none = unknown.
	ServerPIDs []int
	// Progress, if set, is called once a second with how far the run is.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Phase     string // "connect", "warm-up", "measure" …
	Elapsed   time.Duration
	Done, Of  int64 // of the phase, in its own unit; Of 0 = unknown
	Sent      int64
	Delivered int64
}

// A run is one scenario under way.
type run struct {
	config  Config
	tally   *Tally
	clients []*Client
	streams []*Stream // of one-to-one conversations
	began   time.Time

	receivers int64 // of each message

	mu    sync.Mutex
	phase string
	done  func() int64
	of    int64
}

// begin checks what all scenarios share and returns a run for so many
// connections, its context, and the function that ends it. The context ends with
// ctx, when that function is called, or with the first violation: what is
// measured after one says little, and a run that waits for what was lost takes
// long to end.
func begin(ctx context.Context, config Config, connections int) (context.Context, *run, func(), error) {
	if err := config.Server.check(); err != nil {
		return nil, nil, nil, err
	}
	if config.Prefix == "" {
		config.Prefix = "load-" + strings.ToLower(rand.Text()[:8]) + "-"
	}
	switch {
	case len(config.Prefix) > maxPrefix || !protocol.ValidUser(config.Prefix):
		return nil, nil, nil, fmt.Errorf("loadtest: Config.Prefix %q: want 1-%d bytes of printable ASCII without spaces, not . or .. alone", config.Prefix, maxPrefix)
	case config.Parallel < 0:
		return nil, nil, nil, fmt.Errorf("loadtest: Config.Parallel %d: want at least 0", config.Parallel)
	}
	if config.Parallel == 0 {
		config.Parallel = 128
	}
	if _, err := readUsages(config.ServerPIDs); err != nil {
		return nil, nil, nil, err
	}
	if err := allowFiles(connections); err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{config: config, tally: NewTally(), began: time.Now(), receivers: 1}
	r.tally.failed = cancel
	r.enter("prepare", nil, 0)
	var shown sync.WaitGroup
	if config.Progress != nil {
		shown.Go(func() { r.show(ctx) })
	}
	return ctx, r, func() {
		cancel(context.Canceled)
		for _, c := range r.clients {
			c.Close()
		}
		shown.Wait()
	}, nil
}

// enter begins a phase, as Progress tells of it: done counts, up to of, how far
// it is.
func (r *run) enter(phase string, done func() int64, of int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.done, r.of = phase, done, of
}

// secondsSince returns a function that counts the seconds since a time, for enter.
func (r *run) secondsSince(since time.Duration) func() int64 {
	return func() int64 { return int64((r.tally.Now() - since).Seconds()) }
}

func (r *run) show(ctx context.Context) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		p := Progress{Phase: r.phase, Of: r.of, Elapsed: time.Since(r.began)}
		if r.done != nil {
			p.Done = r.done()
		}
		r.mu.Unlock()
		p.Sent, p.Delivered = r.tally.sent.Load(), r.tally.delivered.Load()
		r.config.Progress(p)
	}
}

// client adds a client to the run. Its user's name is the prefix, kind and n. It
// counts in the run's tally, unless config has another.
func (r *run) client(kind string, n int, config ClientConfig) (*Client, error) {
	config.Server = &r.config.Server
	if config.Tally == nil {
		config.Tally = r.tally
	}
	config.User = fmt.Sprintf("%s%s%d", r.config.Prefix, kind, n)
	config.Number = len(r.clients)
	c, err := NewClient(config)
	if err == nil {
		r.clients = append(r.clients, c)
	}
	return c, err
}

// stream adds the stream of what from sends to, with bodies of body bytes.
func (r *run) stream(from, to *Client, body int) *Stream {
	s := NewStream(uint32(len(r.streams)+1), from.User(), to.User(), body)
	r.streams = append(r.streams, s)
	return s
}

// each calls do for all clients, up to parallel at a time, and returns the first
// error.
func each(ctx context.Context, clients []*Client, parallel int, do func(context.Context, *Client) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, c := range clients {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return do(inner, c) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// connect logs in all clients and waits until each is synced.
func (r *run) connect(ctx context.Context) error {
	return r.connectAll(ctx, r.clients)
}

// connectAll is connect for some of the clients.
func (r *run) connectAll(ctx context.Context, clients []*Client) error {
	var connected atomic.Int64
	r.enter("connect", connected.Load, int64(len(clients)))
	return each(ctx, clients, r.config.Parallel, func(ctx context.Context, c *Client) error {
		if err := c.Connect(ctx); err != nil {
			return err
		}
		_, err := c.Synced(ctx)
		connected.Add(1)
		return err
	})
}

// until polls value and returns once it is want.
func (r *run) until(ctx context.Context, value func() int64, want int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for value() != want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// settle waits until every message sent is answered and delivered, for up to
// patience. What is missing then is a violation.
func (r *run) settle(ctx context.Context, patience time.Duration) error {
	r.enter("drain", nil, 0)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for r.tally.pending.Load() > 0 {
		select {
		case <-r.tally.settled:
		case <-timeout.C:
			for _, s := range r.streams {
				if err := s.settled(); err != nil {
					r.tally.violated(fmt.Errorf("%w after %v", err, patience))
				}
			}
			for _, c := range r.clients {
				c.reportMissing()
			}
			return context.Cause(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// audit checks that totals match and that the server's views end where the
// clients' do.
func (r *run) audit(ctx context.Context) error {
	r.enter("audit", nil, 0)
	for _, s := range r.streams {
		if err := s.settled(); err != nil {
			r.tally.violated(err)
		}
	}
	sent, answered, delivered := r.tally.sent.Load(), r.tally.answered.Load(), r.tally.delivered.Load()+r.tally.skipped.Load()
	if sent != answered || sent*r.receivers != delivered {
		r.tally.violated(fmt.Errorf("%d messages were sent, %d answered, %d delivered or skipped; want %[1]d, %[1]d, %[4]d", sent, answered, delivered, sent*r.receivers))
	}
	return each(ctx, r.clients, r.config.Parallel, func(ctx context.Context, c *Client) error { return c.Audit(ctx) })
}

// measured waits for the warm-up and then for duration, and returns the counters
// at the begin and the end of the latter.
func (r *run) measured(ctx context.Context, begin, warmup, duration time.Duration) (before, after reading, err error) {
	from := begin + warmup
	r.enter("warm-up", r.secondsSince(begin), int64(warmup.Seconds()))
	if err = r.sleepUntil(ctx, from); err != nil {
		return before, after, err
	}
	if before, err = r.reading(); err != nil {
		return before, after, err
	}
	r.enter("measure", r.secondsSince(from), int64(duration.Seconds()))
	if err = r.sleepUntil(ctx, from+duration); err != nil {
		return before, after, err
	}
	after, err = r.reading()
	return before, after, err
}

// usages returns what the server and this process have used so far.
func (r *run) usages() (server, self usage, err error) {
	if server, err = readUsages(r.config.ServerPIDs); err != nil {
		return server, self, err
	}
	if len(r.config.ServerPIDs) > 0 {
		self, err = readUsage(os.Getpid())
	}
	return server, self, err
}

// verdict returns the violations of a run that ended with err. It returns err
// only if there are none: then there is no report.
func (r *run) verdict(err error) (Verdict, error) {
	v := r.tally.Verdict()
	if v.Violations == 0 && err != nil {
		return v, err
	}
	return v, nil
}

// sleepUntil waits until at, counted from the run's epoch.
func (r *run) sleepUntil(ctx context.Context, at time.Duration) error {
	timer := time.NewTimer(at - r.tally.Now())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
