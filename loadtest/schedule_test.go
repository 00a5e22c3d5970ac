package loadtest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestScheduleIntendedTimes(t *testing.T) {
	s := &schedule{begin: time.Second, end: 3 * time.Second, rate: 3, clients: 2}
	for n, want := range map[int64]time.Duration{
		0: time.Second,
		1: time.Second + 333_333_333,
		2: time.Second + 666_666_666,
		3: 2 * time.Second, // no rounding error adds up
		// A year on, it is still to the nanosecond.
		3 * 365 * 86400: time.Second + 365*24*time.Hour,
	} {
		if got := s.at(n); got != want {
			t.Errorf("at(%d) = %v, want %v", n, got, want)
		}
	}
	if got := s.total(); got != 6 {
		t.Errorf("total = %d, want 6", got)
	}
	for _, c := range []struct {
		client int
		k      int64
		now    time.Duration
		at     time.Duration
		ok     bool
	}{
		{0, 0, time.Second, time.Second, true},
		{1, 0, time.Second, s.at(1), false}, // not yet
		{1, 0, time.Minute, s.at(1), true},  // late: it keeps its time
		{0, 1, time.Minute, s.at(2), true},
		{1, 2, time.Minute, s.at(5), true},
		{0, 3, time.Minute, s.at(6), false}, // the end
	} {
		if at, ok := s.due(c.client, c.k, c.now); at != c.at || ok != c.ok {
			t.Errorf("due(%d, %d, %v) = %v, %v; want %v, %v", c.client, c.k, c.now, at, ok, c.at, c.ok)
		}
	}
}

func TestScheduleWithoutRate(t *testing.T) {
	s := &schedule{begin: 1, end: 3, clients: 2}
	if at, ok := s.due(0, 99, 2); at != 2 || !ok {
		t.Errorf("due at 2 = %v, %v; want 2, true", at, ok)
	}
	if _, ok := s.due(0, 99, 3); ok {
		t.Error("due at the end: true, want false")
	}
	s.run(t.Context(), func() time.Duration { return 2 }, func(int) { t.Error("woken without a rate") })
}

// TestScheduleCatchesUp stalls the run: what was due meanwhile is woken at once
// and keeps its intended times, so that the stall shows in their latencies.
func TestScheduleCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		epoch := time.Now()
		elapsed := func() time.Duration { return time.Since(epoch) }
		s := &schedule{begin: 0, end: time.Second, rate: 100, clients: 4}
		var sent [4]int64
		var worst time.Duration
		n := 0
		s.run(t.Context(), elapsed, func(client int) {
			if n++; n == 50 {
				time.Sleep(200 * time.Millisecond) // as a server does that takes nothing
			}
			for {
				at, ok := s.due(client, sent[client], elapsed())
				if !ok {
					break
				}
				sent[client]++
				worst = max(worst, elapsed()-at)
			}
		})
		if total := sent[0] + sent[1] + sent[2] + sent[3]; total != s.total() {
			t.Errorf("%d messages were due, want %d", total, s.total())
		}
		if want := 200 * time.Millisecond; worst != want {
			t.Errorf("the latest was sent %v late, want %v", worst, want)
		}
		if got := elapsed(); got != 990*time.Millisecond {
			t.Errorf("the last was sent at %v, want 990ms", got)
		}
	})
}
