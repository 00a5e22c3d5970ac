package main

import (
	"context"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live, roots uint64
		slack       uint64 // wanted, ± 1 %
	}{
		{0, 4 << 20, 64 << 20},
		{10 << 20, 2 << 20, 64 << 20},
		{10 << 20, 2 << 20, 8 << 20},
		{100 << 20, 50 << 20, 64 << 20},
		{384 << 20, 0, 64 << 20},
		{6 << 30, 100 << 20, 1 << 30},
	} {
		p := gcPercent(c.live, c.roots, c.slack)
		slack := (c.live + c.roots) * uint64(p) / 100
		if off := int64(slack) - int64(c.slack); p < 1 || off > 0 || -off > int64(c.live+c.roots)/100+1 {
			t.Errorf("gcPercent(%d, %d) = %d: slack %d, want %d", c.live, c.roots, p, slack, c.slack)
		}
	}
}

// A heap that is hardly there counts as 4 MiB.
func TestGCPercentOfSmallHeap(t *testing.T) {
	if p := gcPercent(1000, 1<<20, 64<<20); p != 1600 {
		t.Errorf("gcPercent = %d, want 1600 for 64 MiB", p)
	}
}

func TestGCSlack(t *testing.T) {
	for _, c := range []struct {
		name                   string
		slack, live, allocated uint64
		tight                  bool
		want                   uint64
	}{
		{"nothing happens", 8 << 20, 10 << 20, 0, false, 8 << 20},
		{"load begins", 8 << 20, 10 << 20, 100 << 20, false, 64 << 20},
		{"some load", 8 << 20, 10 << 20, 10 << 20, false, 20 << 20},
		{"load ends", 64 << 20, 10 << 20, 1 << 20, false, 32 << 20},
		{"a large heap under load", 64 << 20, 6 << 30, 2 << 30, false, 1 << 30},
		{"a large heap at rest", 8 << 20, 6 << 30, 0, false, 8 << 20},
		{"a state comes", 64 << 20, 512 << 20, 400 << 20, true, 16 << 20},
		{"a large state comes", 1 << 30, 6 << 30, 2 << 30, true, 192 << 20},
		{"it has come", 16 << 20, 512 << 20, 100 << 20, false, 512 << 20 / 6},
	} {
		if got := gcSlackFor(c.slack, mostGCSlack(c.live, c.tight), c.allocated); got != c.want {
			t.Errorf("%s: %d MiB, want %d", c.name, got>>20, c.want>>20)
		}
	}
}

func TestPaceGCFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	percent := func() int {
		sample := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
		runtimemetrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	before := percent() // not after the pacing has begun
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var tight atomic.Bool
	go func() { defer close(ended); paceGC(ctx, tight.Load) }()
	reach := func(what string, ok func(int) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(percent()); time.Sleep(time.Millisecond) {
			runtime.GC()
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d %%", what, percent())
			}
		}
	}
	reach("small heap", func(p int) bool { return p > 100 })
	ballast := make([]byte, 512<<20) // never touched, so it takes no memory
	reach("large heap", func(p int) bool { return p < 30 })
	tight.Store(true)
	reach("tight", func(p int) bool { return p <= 100/gcTightShare })
	runtime.KeepAlive(ballast)
	cancel()
	<-ended
	if p := percent(); p != before {
		t.Errorf("afterwards %d %%, want %d again", p, before)
	}
}
