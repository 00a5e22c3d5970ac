//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// figureFirst is the longest time in which one user got no answer while the node
	// that stood alone became the first of a cluster.
	figureFirst = "alone → first of a cluster"
	// figureJoin is the same while the others joined it.
	figureJoin = "others join"
	// figureWhole is how long it took from the start of the second node until all
	// replicas had a vote.
	figureWhole = "whole after"
)

// grow makes a cluster of a server that stands alone, under load, and compares what
// users who do nothing are told before and after.
func grow(ctx context.Context, b *bench, runs int) (all [][]figure, err error) {
	if runs > 1 {
		return nil, fmt.Errorf("grow: %d runs: want 1, because what has grown stays", runs)
	}
	first := b.cluster.Nodes()[0]
	if err := b.cluster.Start(ctx); err != nil {
		return nil, err
	}
	p, err := newPopulation(ctx, b, first)
	if err != nil {
		return nil, err
	}
	before, err := p.look(ctx, first, "before")
	if err != nil {
		return nil, err
	}
	if err := p.compare(ctx, first, "before as well", before); err != nil {
		return nil, fmt.Errorf("before anything has grown: %w", err)
	}
	var f []figure
	_, _, err = b.chat(ctx, "grow-", protocol.Msgpack, func(ctx context.Context, l *load) error {
		l.silences.Mark()
		if err := first.Stop(); err != nil {
			return err
		}
		first.Clustered = true
		if err := l.up(ctx, first); err != nil {
			return err
		}
		l.silences.Expect()
		if err := l.awaitAnswers(ctx, nil); err != nil {
			return err
		}
		f = append(f, figure{figureFirst, longest(l.silences.SinceMark())})
		l.silences.Mark()
		began := time.Now()
		for range b.config.Nodes - 1 {
			n, err := b.cluster.Add()
			if err != nil {
				return err
			}
			n.Clustered = true
			if err := l.up(ctx, n); err != nil {
				return err
			}
		}
		if err := l.whole(ctx); err != nil {
			return err
		}
		took := time.Since(began)
		f = append(f, figure{figureJoin, longest(l.silences.SinceMark())}, figure{figureWhole, took})
		return nil
	})
	if err != nil || b.failed() {
		return nil, err
	}
	b.printf("grow 1/1  %s", line(f))
	for _, n := range b.cluster.Nodes() {
		if err := p.compare(ctx, n, "after at "+n.Name, before); err != nil {
			return nil, err
		}
	}
	b.printf("unread, recents and cursors of %d users are at each node what they were", populationUsers)
	// Without the first node the others have all of it.
	first.Kill()
	rest := b.cluster.Nodes()[1:]
	if len(rest) > 0 {
		if err := p.compare(ctx, rest[0], "after without the first", before); err != nil {
			return nil, err
		}
	}
	if err := b.up(ctx, first); err != nil {
		return nil, err
	}
	return [][]figure{f}, b.verifyNodes(ctx)
}

func longest(_ time.Duration, of []time.Duration) (most time.Duration) {
	for _, d := range of {
		most = max(most, d)
	}
	return most
}
