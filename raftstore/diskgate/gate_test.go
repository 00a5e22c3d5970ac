package diskgate

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The gate shuts when an append takes longer than the time-out and what appends usually
// take, and opens when it has ended.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shut atomic.Bool
		var all Latencies
		g := New(300*time.Millisecond, all.P99, shut.Store)
		took := func(d time.Duration) {
			g.Begin()
			time.Sleep(d)
			all.Add(d)
			g.End()
		}
		for n := range 300 {
			took(20 * time.Millisecond)
			if n%100 == 0 {
				took(50 * time.Millisecond)
			}
		}
		g.Begin()
		time.Sleep(319 * time.Millisecond)
		if synctest.Wait(); shut.Load() {
			t.Error("shut before the time-out and the usual 20 ms")
		}
		time.Sleep(40 * time.Millisecond)
		if synctest.Wait(); !shut.Load() {
			t.Error("open after 359 ms")
		}
		g.End()
		if shut.Load() {
			t.Error("shut after the append")
		}
		for range 10 {
			took(250 * time.Millisecond)
			if shut.Load() {
				t.Error("shut by short appends")
			}
		}
		for range 1000 { // a disk that is always slow counts as usual up to the time-out
			took(5 * time.Second)
		}
		g.Begin()
		time.Sleep(601 * time.Millisecond)
		if synctest.Wait(); !shut.Load() {
			t.Error("open after twice the time-out")
		}
		g.End()
	})
}
