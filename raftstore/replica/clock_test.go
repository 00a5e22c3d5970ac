package replica

import (
	"testing"
	"time"
)

// fakeTime is a wall clock that can be set and a monotonic one that cannot.
type fakeTime struct {
	wall time.Time
	mono time.Duration
}

func (f *fakeTime) source() (time.Time, time.Duration) { return f.wall, f.mono }

// pass lets real time go on.
func (f *fakeTime) pass(d time.Duration) {
	f.wall = f.wall.Add(d)
	f.mono += d
}

var clockStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestClock(t *testing.T) {
	const week = 7 * 24 * time.Hour
	type step struct {
		set  time.Duration // change of the wall clock alone
		pass time.Duration // real time, in seconds of reading
		want time.Duration // the clock afterwards, since the start
	}
	for name, steps := range map[string][]step{
		"follows real time": {
			{pass: time.Hour, want: time.Hour},
			{pass: time.Hour, want: 2 * time.Hour},
		},
		"slews to a wall clock that is ahead": {
			{set: 2 * time.Second, pass: 10 * time.Second, want: 11 * time.Second},
			{pass: 10 * time.Second, want: 22 * time.Second},
			{pass: 10 * time.Second, want: 32 * time.Second},
		},
		"slews to a wall clock that is behind": {
			{set: -2 * time.Second, pass: 10 * time.Second, want: 9 * time.Second},
			{pass: 10 * time.Second, want: 18 * time.Second},
			{pass: 10 * time.Second, want: 28 * time.Second},
		},
		"believes a jump ahead only after it has stood": {
			{set: week, pass: time.Minute, want: time.Minute},
			{pass: 9 * time.Minute, want: 10 * time.Minute},
			{pass: time.Minute, want: week + 11*time.Minute},
			{pass: time.Minute, want: week + 12*time.Minute},
		},
		"ignores a jump that is taken back": {
			{set: week, pass: time.Minute, want: time.Minute},
			{set: -week, pass: time.Minute, want: 2 * time.Minute},
			{pass: time.Hour, want: time.Hour + 2*time.Minute},
		},
		"waits anew when the wall clock jumps again": {
			{set: time.Hour, pass: 9 * time.Minute, want: 9 * time.Minute},
			{set: time.Hour, pass: 9 * time.Minute, want: 18 * time.Minute},
			{pass: 9 * time.Minute, want: 27 * time.Minute},
			{pass: time.Minute, want: 2*time.Hour + 28*time.Minute},
		},
		"runs slow until a wall clock that was set back catches up": {
			{set: -10 * time.Minute, pass: time.Minute, want: time.Minute},
			{pass: 10 * time.Minute, want: 6 * time.Minute}, // half of what passed since the last reading
			{pass: 8 * time.Minute, want: 10 * time.Minute},
			{pass: 2 * time.Minute, want: 11 * time.Minute},
			{pass: time.Minute, want: 12 * time.Minute}, // 0 behind the wall clock, which is at 12m
			{pass: time.Minute, want: 13 * time.Minute},
		},
		"goes on alone while the wall clock is frozen back": {
			{set: -week, pass: time.Minute, want: time.Minute},
			{pass: 9 * time.Minute, want: 10 * time.Minute},
		},
		"does not go back when the monotonic clock stands": {
			{set: -time.Second, want: 0},
			{set: -time.Second, want: 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeTime{wall: clockStart}
			c := NewClock(f.source, 10*time.Minute)
			for i, s := range steps {
				f.wall = f.wall.Add(s.set)
				f.pass(s.pass)
				got := time.UnixMilli(c.Now()).Sub(clockStart)
				if got != s.want {
					t.Fatalf("step %d: %v after the start, want %v", i, got, s.want)
				}
			}
		})
	}
}

func TestClockNeverBack(t *testing.T) {
	f := &fakeTime{wall: clockStart}
	c := NewClock(f.source, time.Minute)
	jumps := []time.Duration{time.Hour, -2 * time.Hour, 7 * 24 * time.Hour, -time.Second, time.Second, -30 * 24 * time.Hour}
	last := c.Now()
	for i := range 5000 {
		if i%97 == 0 {
			f.wall = f.wall.Add(jumps[i/97%len(jumps)])
		}
		f.pass(time.Duration(i%7) * 500 * time.Millisecond)
		now := c.Now()
		if now < last {
			t.Fatalf("reading %d: %d after %d", i, now, last)
		}
		last = now
	}
}

func TestClockRaise(t *testing.T) {
	f := &fakeTime{wall: clockStart}
	c := NewClock(f.source, 10*time.Minute)
	floor := clockStart.Add(time.Hour) // applied by a clock that was an hour ahead
	c.raise(floor.UnixMilli())
	if got := c.Now(); got != floor.UnixMilli() {
		t.Fatalf("after raise: %v, want %v", time.UnixMilli(got), floor)
	}
	f.pass(10 * time.Minute)
	if got, want := c.Now(), floor.Add(5*time.Minute).UnixMilli(); got != want {
		t.Errorf("runs by %v in 10m, want 5m", time.UnixMilli(got).Sub(floor))
	}
	c.raise(clockStart.UnixMilli())
	if got, want := c.Now(), floor.Add(5*time.Minute).UnixMilli(); got != want {
		t.Errorf("lower raise changed the clock to %v", time.UnixMilli(got))
	}
	f.pass(3 * time.Hour)
	if got, want := time.UnixMilli(c.Now()), f.wall; got.Sub(want).Abs() > 6*time.Minute {
		t.Errorf("clock %v, wall clock %v: want it caught up", got, want)
	}
}
