//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

// A torture mixes all faults. In a round new users chat while one fault after the
// other happens, by a plan that follows from the seed: which, to the leader of which
// shard or another node, and for how long. Only one node is broken at a time, but
// for kills of two, when nobody can be served. After each fault users at the other
// nodes have to be served again, and after its end all of them. At the end of a
// round all that was sent has to be there, once and in order; in the end all nodes
// are killed at once, and the history of all rounds is read.
type torture struct {
	*bench
	events  map[kind]int
	rounds  int
	sent    int64
	again   int64 // reconnects
	refused map[string]int64
	slowest map[kind]time.Duration
	clients []*loadtest.Client // of all rounds
}

// torment runs a torture and returns the exit code.
func torment(ctx context.Context, c config) (code int, err error) {
	t, err := tortured(ctx, c)
	if t == nil || ctx.Err() != nil {
		return 0, errors.Join(err, context.Cause(ctx))
	}
	if err != nil && !t.failed() {
		t.violated(err)
	}
	t.print()
	if t.failed() {
		return 1, nil
	}
	return 0, nil
}

// tortured runs a torture. Violations are in it; an error means that it could not be
// run to its end.
func tortured(ctx context.Context, c config) (t *torture, err error) {
	b, err := newBench(c, "torture", c.Nodes, true, true, "--raft-log=wal")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	t = &torture{bench: b, events: map[kind]int{}, refused: map[string]int64{}, slowest: map[kind]time.Duration{}}
	ctx, done := b.failing(ctx)
	defer done()
	if err := b.cluster.Start(ctx); err != nil {
		return t, err
	}
	if err := b.whole(ctx); err != nil {
		return t, err
	}
	began := time.Now()
	for round := 0; ctx.Err() == nil && (round == 0 || c.For-time.Since(began) >= c.Round/2); round++ {
		if err := t.round(ctx, round, min(c.For, c.Round)); err != nil {
			return t, err
		}
	}
	return t, t.last(ctx)
}

func (t *torture) round(ctx context.Context, n int, length time.Duration) error {
	events := plan(rand.New(rand.NewPCG(t.Seed, uint64(n))), length, t.Shards)
	t.printf("round %d, seed %d: %d faults", n+1, t.Seed, len(events))
	codec := protocol.Msgpack
	if n%2 == 1 {
		codec = protocol.JSON
	}
	report, clients, err := t.chat(ctx, fmt.Sprintf("r%d-", n+1), codec, func(ctx context.Context, l *load) error {
		for _, e := range events {
			if err := sleep(ctx, e.after); err != nil {
				return err
			}
			if err := t.happen(ctx, l, e); err != nil {
				return fmt.Errorf("%v: %w", e, err)
			}
		}
		return l.healthy(ctx)
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.rounds++
	t.sent += report.Sent
	t.again += report.Reconnects
	for code, n := range report.Refused {
		t.refused[code] += n
	}
	t.clients = append(t.clients, clients...)
	if err := t.compareReplicas(ctx); err != nil {
		return err
	}
	t.printf("round %d: %d messages, and %d in groups, each once, in the order sent and in history; %d reconnects, refused: %v",
		n+1, report.Sent, t.rooms[n].posts.Load(), report.Reconnects, report.Refused)
	return nil
}

// happen makes one fault and waits until users are served again.
func (t *torture) happen(ctx context.Context, l *load, e event) error {
	leader, err := t.leader(ctx, e.shard)
	if err != nil {
		return err
	}
	n := leader
	if all := t.cluster.Nodes(); !e.leader {
		n = all[(leader.Number+1)%len(all)]
	}
	t.events[e.kind]++
	figures, err := l.suffer(ctx, t.fault(e, n))
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	t.printf("%v (%s)  %s", e, n, line(figures))
	t.slowest[e.kind] = max(t.slowest[e.kind], figures[0].took)
	return t.cluster.AwaitReady(ctx)
}

// fault returns what an event does to a node.
func (t *torture) fault(e event, n *nodes.Node) fault {
	switch e.kind {
	case kindKill:
		return t.kill(n, e.hold)
	case kindKillTwo:
		all := t.cluster.Nodes()
		other := all[(n.Number+1)%len(all)]
		f := t.kill(n, e.hold)
		f.total = true
		f.begin = func(context.Context) error { n.Kill(); other.Kill(); return nil }
		f.end = func(ctx context.Context) error {
			for _, n := range []*nodes.Node{other, n} {
				if !n.Running() { // they are one if there is only one
					if err := n.Start(); err != nil {
						return err
					}
				}
			}
			return t.cluster.AwaitReady(ctx)
		}
		return f
	case kindRestart:
		return t.restart(n, e.hold)
	case kindFreeze:
		return t.freeze(n, e.hold)
	case kindFull:
		return t.fill(n, e.hold, int64(e.n))
	case kindFullKill:
		f := t.fill(n, e.hold, int64(e.n))
		fill, free := f.begin, f.end
		f.mute = true // it may not come up before there is room
		f.begin = func(ctx context.Context) error {
			err := fill(ctx)
			n.Kill()
			return errors.Join(err, n.Start())
		}
		f.end = func(ctx context.Context) error { return errors.Join(free(ctx), n.AwaitReady(ctx)) }
		return f
	case kindHang:
		return t.hang(n, e.hold)
	case kindJump:
		return t.jump(n, e.hold, e.by)
	case kindCut:
		return t.partition(n, e.hold, cutBoth)
	case kindCutOut:
		return t.partition(n, e.hold, cutOut)
	case kindCutIn:
		return t.partition(n, e.hold, cutIn)
	case kindHalfOpen:
		return t.partition(n, e.hold, cutHalf)
	case kindDelay:
		f := t.partition(n, e.hold, "")
		f.mute = false
		f.begin = func(context.Context) error {
			for _, other := range t.cluster.Nodes() {
				if other != n {
					t.cluster.Links().Delay(n, other, e.by)
				}
			}
			return nil
		}
		return f
	case kindReset:
		f := t.partition(n, e.hold, "")
		f.mute = false
		f.begin = func(context.Context) error { t.cluster.Links().Reset(); return nil }
		return f
	}
	panic("no such fault: " + e.kind)
}

// last kills all nodes at once, starts them, and reads all that was ever sent.
func (t *torture) last(ctx context.Context) error {
	for _, n := range t.cluster.Nodes() {
		n.Kill()
	}
	if err := t.cluster.Start(ctx); err != nil {
		return err
	}
	if err := t.healthy(ctx); err != nil {
		return err
	}
	var all sync.WaitGroup
	limit := make(chan struct{}, 32)
	for _, c := range t.clients {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			_, wrong, err := c.Readback(ctx, "last")
			for _, w := range wrong {
				t.violated(w)
			}
			if err != nil && ctx.Err() == nil {
				t.violated(err)
			}
		})
	}
	all.Wait()
	for i, r := range t.rooms {
		n := t.cluster.Nodes()[i%len(t.cluster.Nodes())]
		if err := r.look(ctx, "last", n); err != nil {
			t.violated(err)
		}
		t.sent += r.posts.Load()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.printf("all %d messages are there after a kill of all nodes", t.sent)
	return t.verifyNodes(ctx)
}

// print writes the table of a run.
func (t *torture) print() {
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "\nseed %d, %v, %d rounds\ttimes\tlongest without an ack at other nodes\n", t.Seed, time.Since(t.began).Round(time.Second), t.rounds)
	for _, k := range allKinds {
		fmt.Fprintf(w, "%s\t%d\t%v\n", k, t.events[k], t.slowest[k].Round(time.Millisecond))
	}
	fmt.Fprintf(w, "messages\t%d\n", t.sent)
	fmt.Fprintf(w, "reconnects\t%d\n", t.again)
	fmt.Fprintf(w, "refused\t%v\n", t.refused)
	fmt.Fprintf(w, "violations\t%d\n", len(t.violations))
	for _, v := range t.violations {
		fmt.Fprintf(w, "VIOLATION: %s\n", v)
	}
}
