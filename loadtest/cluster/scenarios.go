//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

// A scenario is one way to break a cluster, again and again.
type scenario struct {
	name, what string
	runs       int                   // unless the command line says otherwise
	hold       time.Duration         // how long its fault stands, unless the command line says otherwise
	shards     int                   // 0 = 2
	first      int                   // nodes at first; 0 = all
	flags      []string              // of the servers
	flagsOf    func(config) []string // more of them; nil: none
	apart      bool                  // its nodes are
	small      bool                  // their disks can be filled
	unrefused  bool                  // no send may be refused
	orders     bool                  // it needs servers that take orders to fail
	bars       []bar
	// run is one run, under load. hold is how long its fault is to stand.
	run func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error)
	// alone is the whole scenario, if it needs other loads than run has.
	alone func(ctx context.Context, b *bench, runs int) ([][]figure, error)
	// after checks the cluster once users have gone.
	after func(ctx context.Context, b *bench) error
}

// A bar is what a figure of a scenario has to keep. 0 = no limit.
type bar struct {
	figure   string
	p50, max time.Duration
}

// scenarios are all there are, in the order in which they are listed.
var scenarios = []*scenario{
	{
		name: "kill", what: "kill -9 of the leader of a shard", runs: 30, hold: 2 * time.Second,
		bars: []bar{{figureOthers, 300 * time.Millisecond, 1500 * time.Millisecond}},
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			return l.sufferLeader(ctx, i, func(n *nodes.Node) fault { return l.kill(n, hold) })
		},
	},
	{
		name: "stop", what: "SIGSTOP of the leader of a shard", runs: 10, hold: 10 * time.Second,
		bars: []bar{{figureOthers, time.Second, 1800 * time.Millisecond}},
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			return l.sufferLeader(ctx, i, func(n *nodes.Node) fault { return l.freeze(n, hold) })
		},
	},
	{
		name: "partition", what: "the leader of a shard is cut off, in one or both directions, or by half-open connections", runs: 12, hold: 10 * time.Second, apart: true,
		bars: []bar{{figureOthers, time.Second, 1800 * time.Millisecond}},
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			ways := []string{cutBoth, cutOut, cutIn, cutHalf}
			return l.sufferLeader(ctx, i/len(ways), func(n *nodes.Node) fault { return l.partition(n, hold, ways[i%len(ways)]) })
		},
	},
	{
		name: "tails", what: "the leader of a shard is cut off while it takes sends that it cannot replicate; every fourth time it is killed and started before it is let in again", runs: 200, hold: 1500 * time.Millisecond, apart: true,
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			return l.sufferLeader(ctx, i, func(n *nodes.Node) fault {
				f := l.partition(n, hold, cutBoth)
				if heal := f.end; i%4 == 3 {
					f.end = func(ctx context.Context) error {
						n.Kill()
						return errors.Join(n.Start(), heal(ctx), n.AwaitReady(ctx))
					}
				}
				return f
			})
		},
		after: noneReopened,
	},
	{
		name: "disk-hang", what: "the disk of the leader of a shard takes nothing", runs: 5, hold: 10 * time.Second, orders: true,
		bars: []bar{{figureOthers, 0, 2 * time.Second}},
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			return l.sufferLeader(ctx, i, func(n *nodes.Node) fault { return l.hang(n, hold) })
		},
	},
	{
		name: "follower-full", what: "a follower's disk is full", runs: 30, hold: 2 * time.Second, small: true, orders: true,
		bars: []bar{{figureCaughtUp, 0, 2 * time.Second}},
		run:  followerFull,
	},
	{
		name: "rolling", what: "SIGTERM and a start of each node, one after the other", runs: 5,
		run: rolling, unrefused: true,
	},
	{
		name: "transfer", what: "the leader of a shard hands it over", runs: 30, orders: true,
		bars: []bar{{figureUsers, 0, 60 * time.Millisecond}},
		run:  transfer, unrefused: true,
	},
	{
		name: "order", what: "kills and restarts of leaders and transfers by turns", runs: 12, hold: time.Second, orders: true,
		run: func(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
			if i%3 == 2 {
				f, err := transfer(ctx, l, i, hold)
				if err != nil {
					return nil, err
				}
				return []figure{{figureOthers, f[0].took}, {figureOwn, f[0].took}, {figureMending, 0}}, nil
			}
			return l.sufferLeader(ctx, i, func(n *nodes.Node) fault {
				if i%3 == 1 {
					return l.restart(n, hold)
				}
				return l.kill(n, hold)
			})
		},
	},
	{
		name: "wiped", what: "a node is killed, loses some or all of its data, is refused, and mended by the command that is named", runs: 12, hold: time.Second, orders: true,
		run: wiped,
	},
	{
		name: "behind", what: "a follower is away until the log no longer reaches back to what it has", runs: 3,
		bars:    []bar{{figureBeyond, 0, 300 * time.Millisecond}},
		flagsOf: behindFlags,
		run:     behind,
	},
	{
		name: "grow", what: "a server that stands alone becomes a cluster", runs: 1, first: 1,
		alone: grow,
	},
	{
		name: "idle", what: "64 shards, nobody there", runs: 1, shards: 64,
		bars:  []bar{{figureStart, 0, 5 * time.Second}, {figureCPU, 0, 200 * time.Millisecond}},
		alone: idle,
	},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

func scenarioNamed(name string) *scenario {
	for _, s := range scenarios {
		if s.name == name {
			return s
		}
	}
	return nil
}

// play runs a scenario on a cluster of its own and returns the figures of its runs.
// Violations are in b; an error means that it could not be run to its end.
func play(ctx context.Context, c config, s *scenario, runs int) (b *bench, figures [][]figure, err error) {
	if c.Shards == 0 {
		c.Shards = s.shards
	}
	count := c.Nodes
	if s.first > 0 {
		count = s.first
	}
	flags := s.flags
	if s.flagsOf != nil {
		flags = append(flags[:len(flags):len(flags)], s.flagsOf(c)...)
	}
	b, err = newBench(c, s.name, count, s.apart, s.small, flags...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.printf("%s: %s", s.name, s.what)
	ctx, done := b.failing(ctx)
	defer done()
	if s.alone != nil {
		figures, err = s.alone(ctx, b, runs)
		return b, figures, err
	}
	began := time.Now()
	if err := b.cluster.Start(ctx); err != nil {
		return b, nil, err
	}
	b.printf("%d nodes serve after %v", c.Nodes, time.Since(began).Round(time.Millisecond))
	if err := b.whole(ctx); err != nil {
		return b, nil, err
	}
	b.printf("the cluster is whole after %v", time.Since(began).Round(time.Millisecond))
	hold := s.hold
	if c.Hold > 0 {
		hold = c.Hold
	}
	report, _, err := b.chat(ctx, s.name+"-", protocol.Msgpack, func(ctx context.Context, l *load) error {
		for i := range runs {
			f, err := s.run(ctx, l, i, hold)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			figures = append(figures, f)
			b.printf("%s %d/%d  %s", s.name, i+1, runs, line(f))
			if err := l.healthy(ctx); err != nil {
				return fmt.Errorf("after run %d: %w", i+1, err)
			}
		}
		return nil
	})
	if err != nil {
		return b, figures, err
	}
	posts := int64(0)
	for _, r := range b.rooms {
		posts += r.posts.Load()
	}
	b.printf("%d messages, and %d in groups, each once, in the order sent and in history; %d reconnects, %d pushed again, refused: %v",
		report.Sent, posts, report.Reconnects, report.Repeated, report.Refused)
	if s.unrefused && len(report.Refused) > 0 {
		b.violated(fmt.Errorf("sends were refused: %v, want none", report.Refused))
	}
	if s.after != nil {
		if err := s.after(ctx, b); err != nil {
			b.violated(err)
		}
	}
	if err := b.verifyNodes(ctx); err != nil {
		b.violated(err)
	}
	return b, figures, nil
}

// sufferLeader lets a fault happen to the leader of a shard; runs take turns.
func (l *load) sufferLeader(ctx context.Context, i int, of func(*nodes.Node) fault) ([]figure, error) {
	n, err := l.leader(ctx, i%l.Shards)
	if err != nil {
		return nil, err
	}
	f := of(n)
	figures, err := l.suffer(ctx, f)
	if err != nil {
		err = fmt.Errorf("at %s, leader of shard %d: %w", n, i%l.Shards, err)
	}
	return figures, err
}

// healthy waits until every node serves and each shard has one leader, and then for
// a moment that differs from run to run.
func (b *bench) healthy(ctx context.Context) error {
	for _, n := range b.cluster.Nodes() {
		err := poll(ctx, b.Patience, func() (string, error) {
			if err := n.Ready(ctx); err != nil {
				return err.Error(), nil
			}
			return "", nil
		})
		if err != nil {
			return err
		}
	}
	if _, err := b.leaders(ctx); err != nil {
		return err
	}
	return sleep(ctx, time.Duration(200+b.rng.IntN(800))*time.Millisecond)
}
