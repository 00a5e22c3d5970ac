//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-im/belfry/loadtest/nodes"
)

// Figures of a run: the longest times in which sends waited and none was answered.
const (
	// figureOthers is that of one user whose node was not the broken one.
	figureOthers = "others"
	// figureOwn is that of one user who was at the broken node.
	figureOwn = "own node"
	// figureMending is that of one user at another node from when the fault began to be
	// mended.
	figureMending = "mending"
)

// A figure is a time that a run took.
type figure struct {
	name string
	took time.Duration
}

// A fault is something that happens to one node, and its end.
type fault struct {
	victim *nodes.Node
	begin  func(context.Context) error
	hold   time.Duration // from its begin
	end    func(context.Context) error
	// mute: users who are at the node are not served before the end, because the
	// node still lets them in.
	mute bool
	// total: nobody is served before the end.
	total bool
}

// suffer lets a fault happen, and returns how long users waited for it. It ends the
// fault also when it returns an error.
func (l *load) suffer(ctx context.Context, f fault) (figures []figure, err error) {
	// Those who have gone to other nodes come back, so that there are some at each.
	for _, c := range l.clients {
		c.Home()
	}
	l.silences.Expect()
	if err := l.awaitAnswers(ctx, nil); err != nil {
		return nil, err
	}
	own := l.at(f.victim)
	l.silences.Mark()
	began := time.Now()
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	ended := false
	defer func() {
		if !ended {
			f.end(context.WithoutCancel(ctx)) // the first error says more
		}
	}()
	l.silences.Expect()
	without := own
	if !f.mute {
		without = nil
	}
	if len(own) == len(l.clients) {
		without = own // there is no other node
	}
	if !f.total {
		if err := l.awaitAnswers(ctx, without); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, f.hold-time.Since(began)); err != nil {
		return nil, err
	}
	_, during := l.silences.SinceMark()
	l.silences.Mark()
	ended = true
	if err := f.end(ctx); err != nil {
		return nil, err
	}
	l.silences.Expect()
	if err := l.awaitAnswers(ctx, nil); err != nil {
		return nil, err
	}
	_, after := l.silences.SinceMark()
	var others, at, mending time.Duration
	for i := range during {
		if own[i] {
			at = max(at, during[i], after[i])
		} else {
			others, mending = max(others, during[i]), max(mending, after[i])
		}
	}
	return []figure{{figureOthers, others}, {figureOwn, at}, {figureMending, mending}}, nil
}

// leaders returns which node leads each shard, once there is exactly one for each.
// Nodes that do not answer, such as frozen ones, are not asked twice.
func (b *bench) leaders(ctx context.Context) (leaders []*nodes.Node, err error) {
	err = poll(ctx, b.Patience, func() (string, error) {
		leaders = make([]*nodes.Node, b.Shards)
		for _, n := range b.cluster.Nodes() {
			if !n.Running() {
				continue
			}
			asked, cancel := context.WithTimeout(ctx, 2*time.Second)
			metrics, err := n.Metrics(asked)
			cancel()
			if err != nil {
				continue
			}
			for name, value := range metrics {
				number, ok := strings.CutPrefix(name, `belfry_shard_serving{shard="`)
				if !ok || value == 0 {
					continue
				}
				shard, err := strconv.Atoi(strings.TrimSuffix(number, `"}`))
				if err != nil || shard >= b.Shards {
					return "", fmt.Errorf("%s has the metric %s, want shards below %d", n, name, b.Shards)
				}
				if leaders[shard] != nil {
					return fmt.Sprintf("shard %d is led by %s and %s", shard, leaders[shard], n), nil
				}
				leaders[shard] = n
			}
		}
		for shard, n := range leaders {
			if n == nil {
				return fmt.Sprintf("shard %d has no leader", shard), nil
			}
		}
		return "", nil
	})
	return leaders, err
}

// leader returns the node that leads a shard.
func (b *bench) leader(ctx context.Context, shard int) (*nodes.Node, error) {
	leaders, err := b.leaders(ctx)
	if err != nil {
		return nil, err
	}
	return leaders[shard%b.Shards], nil
}

// follower returns a node that does not lead a shard; the leader if it is alone.
func (b *bench) follower(ctx context.Context, shard int) (*nodes.Node, error) {
	leader, err := b.leader(ctx, shard)
	if err != nil {
		return nil, err
	}
	all := b.cluster.Nodes()
	return all[(leader.Number+1)%len(all)], nil
}

// up starts a node and waits until it serves.
func (b *bench) up(ctx context.Context, n *nodes.Node) error {
	if err := n.Start(); err != nil {
		return err
	}
	return n.AwaitReady(ctx)
}

// kill is a fault: kill -9, and a start after it.
func (b *bench) kill(n *nodes.Node, hold time.Duration) fault {
	return fault{
		victim: n, hold: hold,
		begin: func(context.Context) error { n.Kill(); return nil },
		end:   func(ctx context.Context) error { return b.up(ctx, n) },
	}
}

// restart is a fault: SIGTERM, the end of the process, and a start.
func (b *bench) restart(n *nodes.Node, hold time.Duration) fault {
	f := b.kill(n, hold)
	f.begin = func(context.Context) error { return n.Stop() }
	return f
}

// freeze is a fault: SIGSTOP, and SIGCONT.
func (b *bench) freeze(n *nodes.Node, hold time.Duration) fault {
	return fault{
		victim: n, hold: hold, mute: true,
		begin: func(context.Context) error { return n.Pause() },
		end:   func(context.Context) error { return n.Continue() },
	}
}

// hang is a fault: the disk takes nothing for a while.
func (b *bench) hang(n *nodes.Node, hold time.Duration) fault {
	return fault{
		victim: n, hold: hold,
		begin: func(ctx context.Context) error { return n.Call(ctx, "POST", "/faults/disk/hang", nil, nil) },
		end:   func(ctx context.Context) error { return n.Call(ctx, "POST", "/faults/disk/resume", nil, nil) },
	}
}

// fill is a fault: the disk has only so many bytes left for a while.
func (b *bench) fill(n *nodes.Node, hold time.Duration, leave int64) fault {
	disk := b.disks[n.Number]
	return fault{
		victim: n, hold: hold, mute: len(b.cluster.Nodes()) == 1,
		begin: func(context.Context) error { return disk.Fill(leave) },
		end:   func(context.Context) error { return disk.Free() },
	}
}

// jump is a fault: the wall clock is wrong for a while.
func (b *bench) jump(n *nodes.Node, hold, by time.Duration) fault {
	set := func(by time.Duration) func(context.Context) error {
		return func(ctx context.Context) error {
			return n.Call(ctx, "POST", fmt.Sprintf("/faults/clock/jump/%v", by), nil, nil)
		}
	}
	return fault{victim: n, hold: hold, begin: set(by), end: set(-by)}
}

// The ways in which a node can be cut off.
const (
	cutBoth = "both"      // nothing gets in or out
	cutOut  = "out"       // what it sends is lost
	cutIn   = "in"        // what is sent to it is lost
	cutHalf = "half-open" // its connections vanish for the others alone
)

// partition is a fault: a node is cut off from the others.
func (b *bench) partition(n *nodes.Node, hold time.Duration, how string) fault {
	links := b.cluster.Links()
	return fault{
		victim: n, hold: hold, mute: true,
		begin: func(context.Context) error {
			for _, other := range b.cluster.Nodes() {
				if other == n {
					continue
				}
				switch how {
				case cutBoth:
					links.Isolate(n)
				case cutOut:
					links.Cut(n, other)
				case cutIn:
					links.Cut(other, n)
				case cutHalf:
					links.HalfOpen(other, n)
				}
			}
			return nil
		},
		end: func(context.Context) error { links.Heal(); return nil },
	}
}
