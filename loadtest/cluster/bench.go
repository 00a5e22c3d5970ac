//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
	"github.com/belfry-im/belfry/loadtest/nodes"
	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// A config describes what is to be run. Binary, Dir, Nodes, Users, Body and Out are
// needed, and Scenarios or For.
type config struct {
	Binary, Dir string
	Plain       bool // Binary was built without the tag faults
	Scenarios   []string
	Runs        int // 0 = as many as a scenario asks for
	For, Round  time.Duration
	Seed        uint64
	Nodes       int
	Shards      int   // 0 = the scenario's, else 2
	Users       int   // an even number
	Rooms       int   // groups in which others chat
	Rate        int   // messages per second; 0 = as fast as windows allow
	Body        int   // bytes
	Fill        int64 // bytes that the scenario behind writes
	RaftLog     string
	WAN         bool          // servers have the time-outs of nodes that are far from each other
	Hold        time.Duration // 0 = the scenario's
	Patience    time.Duration // from a fault, or its end, until users have to be served again; 0 = servedWithin
	Out         io.Writer     // one line per event
}

func (c *config) check() error {
	for _, name := range c.Scenarios {
		s := scenarioNamed(name)
		if s == nil {
			return fmt.Errorf("-scenario %s: want some of %s", name, strings.Join(scenarioNames(), ", "))
		}
		if c.Plain && s.orders {
			return fmt.Errorf("-scenario %s: want servers that take orders to fail, without -plain", name)
		}
	}
	switch {
	case (len(c.Scenarios) > 0) == (c.For > 0):
		return errors.New("-scenario, -for: want one of them")
	case c.For > 0 && c.Plain:
		return errors.New("-for: want servers that take orders to fail, without -plain")
	case c.Users < 2 || c.Users%2 != 0:
		return fmt.Errorf("-users %d: want an even number", c.Users)
	case c.Rooms < 0:
		return fmt.Errorf("-rooms %d: want at least 0", c.Rooms)
	case c.Fill < 0:
		return fmt.Errorf("-fill %d: want at least 0 MB", c.Fill>>20)
	case c.Nodes < 1:
		return fmt.Errorf("-nodes %d: want at least 1", c.Nodes)
	}
	return nil
}

const (
	window = 16
	// servedWithin is the default of config.Patience: after it there is something wrong that
	// no time mends.
	servedWithin = 40 * time.Second
	// maxSilence is how long users bear that nothing comes before they go to another
	// node: longer than the bars of all faults.
	maxSilence = 4 * time.Second
	// diskBytes is the size of a node's disk where disks are filled.
	diskBytes = 2 << 30
	// maxViolations bounds those that are kept.
	maxViolations = 50
)

// A bench is a cluster on which a scenario runs.
type bench struct {
	config
	rng     *rand.Rand
	cluster *nodes.Cluster
	disks   []*smalldisk.Disk // of the nodes; none unless the bench has small ones
	began   time.Time
	rooms   []*rooms // in which users have chatted

	mu         sync.Mutex // guards violations, and the lines of Out
	violations []string
	fail       context.CancelCauseFunc // ends what runs
}

// newBench makes a cluster in a new folder of c.Dir, which does not run.
func newBench(c config, name string, count int, apart, small bool, flags ...string) (*bench, error) {
	c.Patience = cmp.Or(c.Patience, servedWithin)
	b := &bench{config: c, rng: rand.New(rand.NewPCG(c.Seed, 0)), began: time.Now(), fail: func(error) {}}
	dir := filepath.Join(c.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if b.Shards == 0 {
		b.Shards = 2
	}
	flags = append([]string{
		"--shards", strconv.Itoa(b.Shards), "--disk-reserve=0",
		// Beyond what a run sends, so that nothing leaves but by a fault.
		"--user-bytes=1GiB", "--offline-max-messages=1000000", "--offline-max-bytes=1GiB", "--recents=1000",
		"--drain-spread=1s",
	}, flags...)
	if c.RaftLog != "" {
		flags = append(flags, "--raft-log", c.RaftLog)
	}
	if c.WAN {
		flags = append(flags, "--wan")
	}
	var err error
	b.cluster, err = nodes.New(nodes.Config{
		Program: c.Binary, Dir: dir, Nodes: count, Flags: flags, Apart: apart,
		Ended: func(_ *nodes.Node, err error) { b.violated(err) },
	})
	if err != nil {
		return nil, err
	}
	for _, n := range b.cluster.Nodes() {
		if !small {
			break
		}
		mount := filepath.Join(dir, n.Name, "disk")
		if err := os.Mkdir(mount, 0o755); err != nil {
			return nil, errors.Join(err, b.close())
		}
		disk, err := smalldisk.Mount(mount, diskBytes)
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.disks = append(b.disks, disk)
		n.Data = filepath.Join(mount, "data")
	}
	return b, nil
}

func (b *bench) close() error {
	errs := []error{b.cluster.Close()}
	for _, d := range b.disks {
		errs = append(errs, d.Unmount())
	}
	return errors.Join(errs...)
}

func (b *bench) printf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.Out, "%8.3fs  "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...)
}

// violated notes a violation and ends what runs.
func (b *bench) violated(err error) {
	b.printf("VIOLATION: %v", err)
	b.mu.Lock()
	if len(b.violations) < maxViolations {
		b.violations = append(b.violations, err.Error())
	}
	fail := b.fail
	b.mu.Unlock()
	fail(err)
}

func (b *bench) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.violations) > 0
}

// failing returns a context that ends with the first violation.
func (b *bench) failing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	b.fail = cancel
	b.mu.Unlock()
	return ctx, func() { cancel(nil) }
}

// A load is users who chat while a scenario runs.
type load struct {
	*bench
	clients  []*loadtest.Client
	silences *loadtest.Silences
}

// chat lets new users chat, in pairs and in groups, for as long as do runs, and
// verifies all that they get and all of history. What is wrong is noted; an error means that nothing could be
// verified.
func (b *bench) chat(ctx context.Context, prefix string, codec protocol.Codec, do func(context.Context, *load) error) (*loadtest.PairsReport, []*loadtest.Client, error) {
	var done error
	var clients []*loadtest.Client
	rooms, err := b.openRooms(ctx, prefix, codec)
	if err != nil {
		return nil, nil, err
	}
	defer rooms.close()
	b.rooms = append(b.rooms, rooms)
	openSends := window
	if b.Rate > 0 {
		openSends = 256 // what is due waits for a node, not for the window
	}
	report, err := loadtest.Pairs(ctx, loadtest.PairsConfig{
		Config: loadtest.Config{
			Server: loadtest.Server{URLs: b.cluster.URLs(), Codec: codec, Token: b.cluster.Token}, Prefix: prefix,
		},
		Users: b.Users, Body: b.Body, Window: openSends, Rate: b.Rate, Duration: time.Second, Drain: b.Patience,
		Resume: true, Ordered: true, ReadBack: true, MaxSilence: maxSilence,
		Disturb: func(ctx context.Context, cs []*loadtest.Client, silences *loadtest.Silences) {
			clients = cs
			l := &load{bench: b, clients: cs, silences: silences}
			silences.Expect()
			if done = l.awaitAnswers(ctx, nil); done == nil {
				done = do(ctx, l)
			}
			if done == nil {
				done = rooms.settle(ctx)
			}
			if done != nil && ctx.Err() == nil {
				b.violated(done)
			}
		},
	})
	if err != nil {
		return nil, clients, errors.Join(err, done)
	}
	for _, example := range report.Examples {
		b.violated(errors.New(example))
	}
	return report, clients, nil
}

// awaitAnswers waits until each client has got an answer to something that it sent
// since silences.Expect was called, but for those that without names by number.
func (l *load) awaitAnswers(ctx context.Context, without map[int]bool) error {
	var late []string
	return poll(ctx, l.Patience, func() (string, error) {
		late = late[:0]
		for _, n := range l.silences.Unanswered() {
			if !without[n] {
				late = append(late, l.clients[n].User())
			}
		}
		if len(late) == 0 {
			return "", nil
		}
		return fmt.Sprintf("%d users, among them %s, got no answer to what they sent", len(late), late[0]), nil
	})
}

// at returns the numbers of the clients that have a session with a node.
func (l *load) at(n *nodes.Node) map[int]bool {
	numbers := map[int]bool{}
	for i, c := range l.clients {
		if c.URL() == n.URL() {
			numbers[i] = true
		}
	}
	return numbers
}

// poll calls check until it returns "", and for patience at most: then what it
// returned is the error. An error of check ends it at once.
func poll(ctx context.Context, patience time.Duration, check func() (unmet string, err error)) error {
	until := time.Now().Add(patience)
	for {
		unmet, err := check()
		switch {
		case err != nil:
			return err
		case unmet == "":
			return nil
		case time.Now().After(until):
			return fmt.Errorf("after %v: %s", patience, unmet)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return errors.Join(err, errors.New(unmet))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// visit logs a user's device in at a node and returns what onSynced says.
func (b *bench) visit(ctx context.Context, n *nodes.Node, user, device string, resume client.Cursor, messages func([]client.Message)) (*client.Client, client.Synced, error) {
	synced := make(chan client.Synced, 1)
	c, err := client.Dial(ctx, client.Config{
		URL: n.URL(), Device: device, Codec: protocol.Msgpack, ManualRead: true, Resume: resume,
		Token:      func(context.Context, client.TokenReason) (string, error) { return b.cluster.Token(user) },
		OnMessages: messages,
		OnSynced: func(s client.Synced) {
			select {
			case synced <- s:
			default:
			}
		},
	})
	if err != nil {
		return nil, client.Synced{}, fmt.Errorf("%s at %s: %w", user, n, err)
	}
	select {
	case s := <-synced:
		return c, s, nil
	case <-ctx.Done():
		c.Close()
		return nil, client.Synced{}, context.Cause(ctx)
	}
}
