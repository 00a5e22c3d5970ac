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
// is: its process and its log, and its leadership, unless it hands that over to where it
// belongs. A run before may have moved it, and the node there be well again.
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
	metric := func(name string) string { return fmt.Sprintf(`belfry_shard_%s_total{shard="%d"}`, name, shard) }
	failures, rescues, handovers := metric("log_failures"), metric("stuck_followers"), metric("handovers")
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
	now, err := l.leader(ctx, shard)
	if err != nil {
		return nil, err
	}
	after, err := leader.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	if before[failures] != after[failures] {
		return nil, fmt.Errorf("the log of %s, which led shard %d, failed while another node's disk was full", leader, shard)
	}
	if before[rescues] != after[rescues] {
		return nil, fmt.Errorf("%s, which led shard %d, has found %s to be stuck", leader, shard, victim)
	}
	if now != leader && before[handovers] == after[handovers] {
		return nil, fmt.Errorf("shard %d is led by %s, and %s has not handed it over", shard, now, leader)
	}
	return append(figures, figure{figureCaughtUp, caughtUp}), nil
}
