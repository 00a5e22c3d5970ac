//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// A config describes a run. All fields are needed but Memory.
type config struct {
	Binary  string // of the server, built with the tag faults
	Dir     string // for the server's log and secrets, and to mount the disk in
	RaftLog string
	Seed    uint64
	For     time.Duration // in all, check points included
	Round   time.Duration // from one check point to the next
	Users   int           // of a round; an even number
	Rate    int           // messages per second
	Body    int           // bytes
	Disk    int64         // bytes; it has to hold all that is sent
	// Memory makes growth of memory a violation. It is not for the race detector,
	// which takes memory of its own.
	Memory bool
	Out    io.Writer // the events, one per line
}

// A report is the outcome of a run.
type report struct {
	Seed       uint64
	Took       time.Duration
	Events     map[kind]int
	Rounds     int
	Sent       int64
	Groups     groupsReport
	Reconnects int64
	Repeated   int64
	Refused    map[string]int64
	Logins     []time.Duration // at check points, of all users at once, sorted
	LogFails   int             // how often a log failed and was opened again
	First      footprint
	Last       footprint
	Violations []string
}

// A groupsReport is what the crowds did.
type groupsReport struct {
	Sent    int64 // to groups, and to who is away
	Changes int64 // recalls, deletions, mutes, memberships, lives of groups
	Queued  int64 // message.queued, each once
	Imports int
	Erased  int
}

// maxViolations bounds those that are kept: a run ends with the round that has
// the first.
const maxViolations = 50

// A torture is a run under way.
type torture struct {
	config
	server *server
	disk   *smalldisk.Disk
	proxy  *proxy
	hooks  *receiver
	began  time.Time
	passes atomic.Int64 // how often time passed at once

	mu     sync.Mutex // guards report, and the lines of Out
	report report
	cancel context.CancelCauseFunc // ends the round

	baseline *footprint
	clients  []*loadtest.Client // of all rounds
	crowds   []*crowd           // of all rounds
}

// run tortures a server. Violations are in the report; an error means that there
// is none.
func run(ctx context.Context, c config) (*report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &torture{config: c, began: time.Now(), cancel: cancel}
	t.report = report{Seed: c.Seed, Events: map[kind]int{}, Refused: map[string]int64{}}
	mount := c.Dir + "/disk"
	if err := os.Mkdir(mount, 0o755); err != nil {
		return nil, err
	}
	var err error
	if t.disk, err = smalldisk.Mount(mount, c.Disk); err != nil {
		return nil, err
	}
	defer t.disk.Unmount()
	if t.server, err = newServer(c.Binary, c.Dir, mount+"/store", c.RaftLog, t.violated); err != nil {
		return nil, err
	}
	defer t.server.log.Close()
	if t.hooks, err = newReceiver(t.violated); err != nil {
		return nil, err
	}
	defer t.hooks.setFault("away")
	t.server.hooks = t.hooks.url()
	if err := t.server.start(); err != nil {
		return nil, err
	}
	defer t.server.kill()
	if err := t.server.awaitReady(ctx); err != nil {
		return nil, err
	}
	if t.proxy, err = newProxy(t.server.address); err != nil {
		return nil, err
	}
	defer t.proxy.close()

	for round := 0; ctx.Err() == nil; round++ {
		left := c.For - time.Since(t.began)
		if round > 0 && left < c.Round/2 {
			break
		}
		if err := t.round(ctx, round, min(left, c.Round)); err != nil {
			if ctx.Err() == nil || len(t.report.Violations) == 0 {
				t.violated(err)
			}
			break
		}
	}
	if ctx.Err() == nil {
		if err := t.last(ctx); err != nil {
			t.violated(err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.report.Violations) == 0 && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	slices.Sort(t.report.Logins)
	t.report.Took = time.Since(t.began)
	if len(t.report.Violations) == 0 {
		t.report.Violations = t.report.missingFaults()
	}
	return &t.report, nil
}

// missingFaults returns which faults a run of that length should have made and did
// not: without them it proves little that nothing is missing.
func (r *report) missingFaults() (why []string) {
	const (
		longRun   = 25 * time.Minute
		leastKill = 50
		manyFull  = 10
	)
	if n := r.Events[kindKill] + r.Events[kindFullKill]; r.Took >= longRun && n < leastKill {
		why = append(why, fmt.Sprintf("only %d kills in %v, want %d", n, r.Took, leastKill))
	}
	if n := r.Events[kindFull] + r.Events[kindFullKill]; n >= manyFull && r.LogFails == 0 {
		why = append(why, fmt.Sprintf("the disk was full %d times, and no log failed", n))
	}
	return why
}

func (t *torture) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.Out, "%8.3fs  "+format+"\n", append([]any{time.Since(t.began).Seconds()}, args...)...)
}

// violated notes a violation and ends the round.
func (t *torture) violated(err error) {
	t.printf("VIOLATION: %v", err)
	t.mu.Lock()
	if len(t.report.Violations) < maxViolations {
		t.report.Violations = append(t.report.Violations, err.Error())
	}
	t.mu.Unlock()
	t.cancel(err)
}

// round lets new users chat while faults happen, then checks that nothing is
// missing, and nothing left over. Every second round does not end the process, so
// that what it leaks adds up.
func (t *torture) round(ctx context.Context, n int, length time.Duration) error {
	kinds, codec := processKinds, protocol.Msgpack
	if n%2 == 1 {
		kinds, codec = steadyKinds, protocol.JSON
	}
	seeded := func(lane uint64) *rand.Rand { return rand.New(rand.NewPCG(t.Seed, uint64(n)<<8|lane)) }
	process := plan(seeded(0), kinds, length)
	network := plan(seeded(1), networkKinds, length)
	t.printf("round %d, seed %d: %d faults of process and disk, %d of connections and clocks", n+1, t.Seed, len(process), len(network))

	crowd, err := newCrowd(ctx, t, codec, fmt.Sprintf("c%d-", n+1), seeded(4))
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer crowd.close()
	t.hooks.passTo(crowd.queued)
	var clients []*loadtest.Client
	report, err := loadtest.Pairs(ctx, loadtest.PairsConfig{
		Config: loadtest.Config{
			Server: loadtest.Server{URLs: []string{t.proxy.url()}, Codec: codec, Token: t.server.token},
			Prefix: fmt.Sprintf("r%d-", n+1),
		},
		Users: t.Users, Body: t.Body, Window: 8, Rate: t.Rate, Duration: length, Drain: readyPatience,
		Resume: true,
		Disturb: func(ctx context.Context, cs []*loadtest.Client, _ *loadtest.Silences) {
			clients = cs
			var lanes sync.WaitGroup
			lanes.Go(func() { t.lane(ctx, process, seeded(2)) })
			lanes.Go(func() { t.lane(ctx, network, seeded(3)) })
			lanes.Go(func() {
				// The longer an event has failed, the later it is tried again:
				// the receiver has to be well early enough.
				ctx, well := context.WithTimeout(ctx, length*3/5)
				defer well()
				t.hooks.misbehave(ctx, seeded(5))
			})
			lanes.Wait()
			if ctx.Err() == nil {
				t.awaitClients(ctx, cs)
			}
			if ctx.Err() == nil {
				if err := crowd.settle(ctx); err != nil && ctx.Err() == nil {
					t.violated(err)
				}
			}
		},
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.report.Rounds++
	t.report.Sent += report.Sent
	t.report.Reconnects += report.Reconnects
	t.report.Repeated += report.Repeated
	for code, n := range report.Refused {
		t.report.Refused[code] += n
	}
	t.mu.Unlock()
	for _, example := range report.Examples {
		t.violated(errors.New(example))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.clients = append(t.clients, clients...)
	t.crowds = append(t.crowds, crowd)
	crowd.close()
	if err := t.server.awaitGone(ctx); err != nil {
		return err
	}
	t.proxy.dropStalled()
	if err := t.readBack(ctx, clients, fmt.Sprintf("fresh-%d", n)); err != nil {
		return err
	}
	crowd.check(ctx, fmt.Sprintf("fresh-%d", n))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.printf("round %d: %d messages, each once, in order and in history; %d reconnects", n+1, report.Sent, report.Reconnects)
	crowd.count()
	return t.measure(ctx)
}

// last kills and starts the server once more and reads all that was ever sent.
func (t *torture) last(ctx context.Context) error {
	t.server.kill()
	if err := t.server.start(); err != nil {
		return err
	}
	if err := t.server.awaitReady(ctx); err != nil {
		return err
	}
	if err := t.readBack(ctx, t.clients, "last"); err != nil {
		return err
	}
	for _, c := range t.crowds {
		if c.check(ctx, "last"); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	t.printf("all %d messages are there after a last kill", t.report.Sent)
	return t.scanLog()
}

// awaitClients waits until every client has a session that answers.
func (t *torture) awaitClients(ctx context.Context, clients []*loadtest.Client) {
	var wait sync.WaitGroup
	defer wait.Wait()
	for _, c := range clients {
		wait.Go(func() {
			err := poll(ctx, readyPatience, func() (string, error) {
				ping, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				if err := c.Ping(ping); err != nil && ctx.Err() == nil {
					return fmt.Sprintf("%s has no session that answers: %v", c.User(), err), nil
				}
				return "", nil
			})
			if err != nil && ctx.Err() == nil {
				t.violated(err)
			}
		})
	}
}

// readBack logs in all users, each with a new device, and compares what they find
// with what was sent.
func (t *torture) readBack(ctx context.Context, clients []*loadtest.Client, device string) error {
	var all sync.WaitGroup
	defer all.Wait()
	limit := make(chan struct{}, 64)
	for _, c := range clients {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			took, wrong, err := c.Readback(ctx, device)
			for _, w := range wrong {
				t.violated(w)
			}
			if err != nil {
				if ctx.Err() == nil {
					t.violated(err)
				}
				return
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.report.Logins = append(t.report.Logins, took)
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// measure compares the server's footprint with that of the first round.
func (t *torture) measure(ctx context.Context) error {
	if err := t.server.awaitGone(ctx); err != nil {
		return err
	}
	// The server keeps idle connections to the webhooks' receiver, now more, now
	// fewer: close them.
	if err := errors.Join(t.hooks.setFault("away"), t.hooks.setFault("")); err != nil {
		return err
	}
	var f footprint
	err := poll(ctx, 30*time.Second, func() (string, error) {
		var err error
		if f, err = t.server.footprint(ctx); err != nil || t.baseline == nil {
			return "", err
		}
		grown := f.growth(*t.baseline)
		if grown == "" || !t.Memory && (grown == "heap" || grown == "resident memory") {
			return "", nil
		}
		return fmt.Sprintf("%s have grown: %v; at the first check point %v", grown, f, *t.baseline), nil
	})
	if err != nil {
		return err
	}
	t.printf("idle: %v", f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.baseline == nil {
		t.baseline = &f
		t.report.First = f
	}
	t.report.Last = f
	return nil
}

// scanLog returns an error if the server's log has a line that it must not have.
func (t *torture) scanLog() error {
	text, err := os.ReadFile(t.server.log.Name())
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.report.LogFails = strings.Count(string(text), "shard failed and will be opened again")
	t.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		for _, bad := range []string{"panic:", "DATA RACE", "shard stopped"} {
			if strings.Contains(line, bad) {
				return fmt.Errorf("the server's log says: %s", strings.TrimSpace(line))
			}
		}
	}
	return nil
}
