//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// lane makes the faults of a plan happen one after the other, and undoes each.
// rng chooses what the plan cannot know, such as connections.
func (t *torture) lane(ctx context.Context, events []event, rng *rand.Rand) {
	for _, e := range events {
		if sleep(ctx, e.after) != nil {
			return
		}
		t.printf("%v", e)
		t.mu.Lock()
		t.report.Events[e.kind]++
		t.mu.Unlock()
		if err := t.do(ctx, e, rng); err != nil && ctx.Err() == nil {
			t.violated(fmt.Errorf("%v: %w", e, err))
			return
		}
	}
}

// do makes a fault and undoes it, also when ctx has ended meanwhile.
func (t *torture) do(ctx context.Context, e event, rng *rand.Rand) error {
	switch e.kind {
	case kindKill:
		t.server.kill()
		sleep(ctx, e.hold)
		return t.up(ctx)
	case kindRestart:
		if err := t.server.stop(); err != nil {
			return err
		}
		sleep(ctx, e.hold)
		return t.up(ctx)
	case kindFreeze:
		if err := t.server.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		sleep(ctx, e.hold)
		return t.server.signal(syscall.SIGCONT)
	case kindFull:
		if err := t.disk.Fill(int64(e.n)); err != nil {
			return err
		}
		sleep(ctx, e.hold)
		if err := t.disk.Free(); err != nil {
			return err
		}
		return t.awaitServing(ctx)
	case kindFullKill:
		if err := t.disk.Fill(int64(e.n)); err != nil {
			return err
		}
		sleep(ctx, e.hold/2)
		t.server.kill()
		if err := t.server.start(); err != nil {
			return err
		}
		sleep(ctx, e.hold/2)
		if err := t.disk.Free(); err != nil {
			return err
		}
		return t.server.awaitReady(ctx)
	case kindShard:
		if _, _, err := t.server.call(ctx, "POST", fmt.Sprintf("/faults/shards/%d/stop", e.n)); err != nil {
			return err
		}
		sleep(ctx, e.hold)
		if _, _, err := t.server.call(context.WithoutCancel(ctx), "POST", fmt.Sprintf("/faults/shards/%d/resume", e.n)); err != nil {
			return err
		}
		return t.awaitServing(ctx)
	case kindStorm:
		t.printf("%s: %d connections cut", e.kind, t.proxy.cut())
		return nil
	case kindHalfOpen, kindDeaf, kindMute:
		abandon, n := t.proxy.stall(rng, e.n, e.kind)
		if n < e.n {
			t.printf("%s: only %d connections", e.kind, n)
		}
		sleep(ctx, e.hold)
		abandon()
		return nil
	case kindJump:
		jumped := t.clock(ctx, "jump", e.by)
		sleep(ctx, e.hold)
		if jumped == t.server.current() { // another process has another clock
			t.clock(context.WithoutCancel(ctx), "jump", -e.by)
		}
		return nil
	case kindPass:
		t.passes.Add(1)
		t.clock(ctx, "pass", e.by)
		return nil
	}
	return fmt.Errorf("no such fault: %s", e.kind)
}

// up starts the server and waits until it serves.
func (t *torture) up(ctx context.Context) error {
	began := time.Now()
	if err := t.server.start(); err != nil {
		return err
	}
	if err := t.server.awaitReady(ctx); err != nil {
		return err
	}
	t.printf("up again in %v", time.Since(began).Round(time.Millisecond))
	return nil
}

// awaitServing waits until all shards serve.
func (t *torture) awaitServing(ctx context.Context) error {
	return poll(ctx, readyPatience, func() (string, error) {
		if _, _, err := t.server.call(ctx, "GET", "/readyz"); err != nil {
			return fmt.Sprintf("not ready: %v", err), nil
		}
		return "", nil
	})
}

// clock sends an order to the server's clock and returns the generation of the
// process that got it; 0 if there was no process, since the other lane may have
// ended it.
func (t *torture) clock(ctx context.Context, what string, d time.Duration) (generation int) {
	_, generation, err := t.server.call(ctx, "POST", fmt.Sprintf("/faults/clock/%s/%v", what, d))
	if err != nil {
		t.printf("%s: the server is not there: %v", what, err)
		return 0
	}
	return generation
}
