//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

const (
	// figureAlone is the longest time in which one user got no answer, while a follower was
	// down and nothing else happened; figureCatching is the same while the follower came
	// back, and figureBeyond by how much that was longer.
	figureAlone    = "alone"
	figureCatching = "catching up"
	figureBeyond   = "beyond alone"

	behindBody    = 10 << 10 // bytes of a message that fills
	behindWriters = 32
	// behindAlone is how long figureAlone is measured, longer than catching up takes.
	behindAlone = 20 * time.Second
	// Fill is written in so many parts, and so often at most.
	behindParts, behindMost = 4, 8
	// behindPatience bounds the catching up.
	behindPatience = 10 * time.Minute
	// behindMemory is the bar for the follower's memory, in parts of its state.
	behindMemory = 1.2
)

// behindFlags bound what is kept of each user who fills, so that all of them have a state
// of about Fill: while a state grows with its log, that is not cut.
func behindFlags(c config) []string {
	return []string{fmt.Sprintf("--user-bytes=%d", max(1<<20, c.Fill/(2*behindWriters)))}
}

// behind kills a follower, has others write Fill bytes or more, until the log no longer
// reaches back to what it has, and starts it again.
func behind(ctx context.Context, l *load, i int, _ time.Duration) ([]figure, error) {
	leader, err := l.leader(ctx, i%l.Shards)
	if err != nil {
		return nil, err
	}
	victim, err := l.follower(ctx, i%l.Shards)
	if err != nil {
		return nil, err
	}
	had, err := newestSegment(victim.Data)
	if err != nil {
		return nil, err
	}
	victim.Kill()
	began := time.Now()
	written := int64(0)
	for first := uint64(0); written < l.Fill || first <= had; {
		if written > behindMost*l.Fill {
			return nil, fmt.Errorf("the log of %s still begins with entry %d after %d MB, that of %s ends behind %d: want it cut", leader, first, written>>20, victim, had)
		}
		if err := l.writeFill(ctx, leader, i); err != nil {
			return nil, err
		}
		written += l.Fill / behindParts
		if first, err = oldestSegment(leader.Data); err != nil {
			return nil, err
		}
	}
	l.printf("%d MB were written in %v without %s", written>>20, time.Since(began).Round(time.Second), victim)
	l.silences.Expect()
	if err := l.awaitAnswers(ctx, nil); err != nil {
		return nil, err
	}
	l.silences.Mark()
	if err := sleep(ctx, behindAlone); err != nil {
		return nil, err
	}
	_, gaps := l.silences.SinceMark()
	alone := longest(0, gaps)

	before := make(map[*nodes.Node]usage)
	for _, n := range l.cluster.Nodes() {
		if n == victim {
			continue
		}
		if before[n], err = usageOf(ctx, n); err != nil {
			return nil, err
		}
		if err := forgetPeak(n); err != nil {
			return nil, err
		}
	}
	l.silences.Mark()
	began = time.Now()
	if err := victim.Start(); err != nil {
		return nil, err
	}
	err = poll(ctx, behindPatience, func() (string, error) {
		s, err := l.status(ctx, leader)
		if err != nil {
			return "", err
		}
		if unsound := s.unsound(len(l.cluster.Nodes())); unsound != "" {
			return unsound, sleep(ctx, 100*time.Millisecond)
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	caughtUp := time.Since(began)
	_, gaps = l.silences.SinceMark()
	catching := longest(0, gaps)
	if err := victim.AwaitReady(ctx); err != nil {
		return nil, err
	}
	return []figure{{figureAlone, alone}, {figureCatching, catching}, {figureBeyond, max(0, catching-alone)}, {figureCaughtUp, caughtUp}},
		l.reportMemory(ctx, victim, leader, before)
}

// writeFill has users who are nobody else's write a part of Fill, each to one other.
func (b *bench) writeFill(ctx context.Context, at *nodes.Node, run int) error {
	messages := int(b.Fill / behindBody / behindParts / behindWriters)
	g, ctx := errgroup.WithContext(ctx)
	for w := range behindWriters {
		g.Go(func() error {
			from, to := fmt.Sprintf("fill-%d-%d", run, w), fmt.Sprintf("u:filled-%d-%d", run, w)
			c, err := client.Dial(ctx, client.Config{
				URL: at.URL(), Device: "desk", Codec: protocol.Msgpack,
				Token: func(context.Context, client.TokenReason) (string, error) { return b.cluster.Token(from) },
			})
			if err != nil {
				return err
			}
			defer c.Close()
			rng := rand.New(rand.NewPCG(b.Seed, uint64(w)))
			body := make([]byte, behindBody)
			for range messages {
				for k := range body {
					body[k] = byte('a' + rng.IntN(26))
				}
				if _, err := c.Send(ctx, to, string(body), client.SendOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// A usage is what a node has in memory, in bytes.
type usage struct {
	state    float64 // as its shards count it
	heap     float64 // garbage included
	resident float64 // of the process
	peak     float64 // of resident, since the process began or forgetPeak
}

// usageOf reads what a node has in memory.
func usageOf(ctx context.Context, n *nodes.Node) (u usage, err error) {
	m, err := n.Metrics(ctx)
	if err != nil {
		return u, err
	}
	for name, value := range m {
		if strings.HasPrefix(name, "belfry_shard_state_bytes") {
			u.state += value
		}
	}
	u.heap = m["go_memstats_heap_alloc_bytes"]
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			u.resident = kib * (1 << 10)
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			u.peak = kib * (1 << 10)
		}
	}
	return u, nil
}

// forgetPeak has the peak of a node's memory counted from now on.
func forgetPeak(n *nodes.Node) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", n.PID()), []byte("5"), 0)
}

// reportMemory prints what nodes have in memory beside their states: the one that was
// away, for which there is a bar, and the others. before holds what these had when it came
// back.
func (b *bench) reportMemory(ctx context.Context, back, leader *nodes.Node, before map[*nodes.Node]usage) error {
	for _, n := range b.cluster.Nodes() {
		u, err := usageOf(ctx, n)
		if err != nil {
			return err
		}
		const mib = 1 << 20
		what := "a follower that stayed"
		switch n {
		case leader:
			what = "the leader"
		case back:
			what = "the follower that was away"
		}
		line := fmt.Sprintf("memory of %s, %s: state %.0f MiB; resident %.0f MiB, at most %.0f MiB, %.2f of the state; heap %.0f MiB",
			n, what, u.state/mib, u.resident/mib, u.peak/mib, u.peak/u.state, u.heap/mib)
		if was, stayed := before[n]; stayed {
			line += fmt.Sprintf("; resident before %.0f MiB", was.resident/mib)
		} else if u.peak > behindMemory*u.state {
			line += fmt.Sprintf("; MISSED: %.1f", behindMemory)
		} else {
			line += fmt.Sprintf("; kept: %.1f", behindMemory)
		}
		b.printf("%s", line)
	}
	return nil
}

// oldestSegment returns the first entry of the log of the shard whose log begins first.
func oldestSegment(data string) (first uint64, err error) {
	first = ^uint64(0)
	err = segments(data, func(bases []uint64) { first = min(first, bases[0]) })
	return first, err
}

// newestSegment returns the entry with which the last file of a log begins, of the shard
// where that is most.
func newestSegment(data string) (last uint64, err error) {
	err = segments(data, func(bases []uint64) { last = max(last, bases[len(bases)-1]) })
	return last, err
}

// segments tells of each log of a node with which entries its files begin, in order.
func segments(data string, tell func(bases []uint64)) error {
	logs, err := filepath.Glob(filepath.Join(data, "shard-*", "log"))
	if err == nil && len(logs) == 0 {
		err = errors.New(data + " has no logs of raft-wal")
	}
	if err != nil {
		return err
	}
	for _, log := range logs {
		files, err := filepath.Glob(filepath.Join(log, "*.wal")) // in order
		if err != nil {
			return err
		}
		var bases []uint64
		for _, file := range files {
			base, _, _ := strings.Cut(filepath.Base(file), "-")
			n, err := strconv.ParseUint(base, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			bases = append(bases, n)
		}
		if len(bases) > 0 {
			tell(bases)
		}
	}
	return nil
}
