package replica

import (
	"sync"
	"time"
)

const (
	// clockTolerance is how far the wall clock may be off before it counts as
	// having jumped.
	clockTolerance = 5 * time.Second
	// clockSlew bounds how much faster or slower than real time the clock runs
	// while it closes a small offset: one part in this many.
	clockSlew = 10
	// clockBrake is by how much the clock slows down while it waits for a wall clock
	// that is behind: one part of real time in this many.
	clockBrake = 2
)

// A Clock is the time that enters a shard: the wall clock at the start,
// advanced by the monotonic clock and slewed towards the wall clock. It never
// goes back.
//
// A wall clock that jumps by more than clockTolerance is not believed until the
// jump has stood for settle; a jump ahead is then followed at once, a jump back
// by running slow until the wall clock has caught up.
type Clock struct {
	source func() (wall time.Time, mono time.Duration)
	settle time.Duration

	mu     sync.Mutex
	at     time.Time     // the time at the last reading
	mono   time.Duration // the monotonic clock at the last reading
	offset time.Duration // wall clock minus at, after the last reading
	// jumped is when (mono) the wall clock was first seen beyond tolerance;
	// meaningless unless far.
	jumped time.Duration
	far    bool
}

// SystemClock returns a source for NewClock: it reads the wall clock and the
// monotonic clock of the system at one moment.
func SystemClock() func() (time.Time, time.Duration) {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start) // Round drops the monotonic reading
	}
}

// NewClock returns a Clock that starts at the wall clock of source, which reads the
// wall clock and one that never jumps, both at one moment.
func NewClock(source func() (time.Time, time.Duration), settle time.Duration) *Clock {
	wall, mono := source()
	return &Clock{source: source, settle: settle, at: wall, mono: mono}
}

// Now returns the present time in Unix milliseconds.
func (c *Clock) Now() int64 {
	wall, mono := c.source()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(wall, mono)
}

// raise makes sure that the clock never returns a time below atMS, which the
// shard has already applied. If the wall clock is far behind that, the time was
// written by a clock that was wrong: the clock stays there and runs slow.
func (c *Clock) raise(atMS int64) {
	wall, mono := c.source()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read(wall, mono)
	floor := time.UnixMilli(atMS)
	if !floor.After(c.at) {
		return
	}
	c.at = floor
	c.offset = wall.Sub(floor)
	c.far = c.offset < -clockTolerance
	c.jumped = c.mono - c.settle
}

// read advances the clock to a reading of its source and returns the time, in Unix
// milliseconds. The caller holds mu.
func (c *Clock) read(wall time.Time, mono time.Duration) int64 {
	elapsed := max(0, mono-c.mono)
	c.mono = max(c.mono, mono)

	// Both clocks advance alike, so the offset only changes when the wall clock
	// is set, or by what this clock corrects.
	offset := wall.Sub(c.at.Add(elapsed))
	var correction time.Duration
	switch {
	case offset.Abs() <= clockTolerance:
		c.far = false
		most := elapsed / clockSlew
		correction = min(max(offset, -most), most)
	case !c.far || (offset-c.offset).Abs() > clockTolerance:
		c.far = true
		c.jumped = c.mono
	case c.mono-c.jumped < c.settle:
	case offset > 0:
		c.far = false
		correction = offset
	default:
		correction = -min(elapsed/clockBrake, -offset)
	}
	c.at = c.at.Add(elapsed + correction)
	c.offset = offset - correction
	return c.at.UnixMilli()
}
