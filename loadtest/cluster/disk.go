//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// figureCaughtUp is how long a follower took, once it had room, until it had all
// that its leader had.
const figureCaughtUp = "caught up"

// followerFull fills a follower's disk for a while. The leader has to stay what it
// is: its process, its leadership and its log.
func followerFull(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
	shard := i % l.Shards
	leader, err := l.leader(ctx, shard)
	if err != nil {
		return nil, err
	}
	victim, err := l.follower(ctx, shard)
	if err != nil {
		return nil, err
	}
	failures := fmt.Sprintf(`belfry_shard_log_failures_total{shard="%d"}`, shard)
	before, err := leader.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	var caughtUp time.Duration
	f := l.fill(victim, hold, []int64{0, 4 << 10, 64 << 10}[i%3])
	free := f.end
	f.end = func(ctx context.Context) error {
		began := time.Now()
		if err := free(ctx); err != nil {
			return err
		}
		if err := l.awaitCaughtUp(ctx, victim, leader, shard); err != nil {
			return err
		}
		caughtUp = time.Since(began)
		return nil
	}
	figures, err := l.suffer(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s, a follower of shard %d: %w", victim, shard, err)
	}
	after, err := leader.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	if before[failures] != after[failures] {
		return nil, fmt.Errorf("the log of %s, which led shard %d, failed while another node's disk was full", leader, shard)
	}
	now, err := l.leader(ctx, shard)
	if err != nil {
		return nil, err
	}
	if now != leader {
		return nil, fmt.Errorf("shard %d is led by %v, was by %s", shard, now, leader)
	}
	return append(figures, figure{figureCaughtUp, caughtUp}), nil
}
