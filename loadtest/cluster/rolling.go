//go:build linux

package main

import (
	"context"
	"time"
)

// figureUsers is the longest time in which one user got no answer.
const figureUsers = "any user"

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
