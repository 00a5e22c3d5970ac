//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// figureUsers is the longest time in which one user got no answer.
const figureUsers = "any user"

// transfer has the leader of a shard hand it over, and waits until another one leads.
func transfer(ctx context.Context, l *load, i int, _ time.Duration) ([]figure, error) {
	shard := i % l.Shards
	leader, err := l.leader(ctx, shard)
	if err != nil {
		return nil, err
	}
	l.silences.Mark()
	if err := leader.Call(ctx, "POST", fmt.Sprintf("/faults/shards/%d/transfer", shard), nil, nil); err != nil {
		return nil, err
	}
	l.silences.Expect()
	if err := l.awaitAnswers(ctx, nil); err != nil {
		return nil, err
	}
	f := []figure{{figureUsers, longest(l.silences.SinceMark())}}
	now, err := l.leader(ctx, shard)
	if err == nil && now == leader {
		err = fmt.Errorf("%s still leads shard %d after it has handed it over", leader, shard)
	}
	return f, err
}

// rolling ends and starts all nodes, one after the other.
func rolling(ctx context.Context, l *load, _ int, _ time.Duration) ([]figure, error) {
	l.silences.Mark()
	for _, n := range l.cluster.Nodes() {
		if err := n.Stop(); err != nil {
			return nil, err
		}
		if err := l.up(ctx, n); err != nil {
			return nil, err
		}
		if err := l.healthy(ctx); err != nil {
			return nil, err
		}
	}
	l.silences.Expect()
	if err := l.awaitAnswers(ctx, nil); err != nil {
		return nil, err
	}
	return []figure{{figureUsers, longest(l.silences.SinceMark())}}, nil
}
