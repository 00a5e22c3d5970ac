package link

import (
	"slices"
	"sync"
	"time"
)

// clockSamples are how many of the last exchanges the offset is taken from: the one
// with the shortest round trip, whose two ways can differ least.
const clockSamples = 8

// A clock compares that of a peer with this node's.
type clock struct {
	mu      sync.Mutex
	samples [clockSamples]clockSample
	taken   int
}

type clockSample struct {
	offset, trip time.Duration
}

// take notes one exchange by its four times: left here, arrived there, left there,
// arrived here. One that a clock was set in, so that its round trip is negative or
// longer than limit, is not counted.
func (c *clock) take(t1, t2, t3, t4 int64, limit time.Duration) {
	trip := time.Duration((t4 - t1) - (t3 - t2))
	if trip < 0 || trip > limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.samples[c.taken%clockSamples] = clockSample{offset: time.Duration((t2-t1)/2 + (t3-t4)/2), trip: trip}
	c.taken++
}

// best returns the sample with the shortest round trip.
func (c *clock) best() (clockSample, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken == 0 {
		return clockSample{}, false
	}
	return slices.MinFunc(c.samples[:min(c.taken, clockSamples)], func(a, b clockSample) int {
		return int(a.trip - b.trip)
	}), true
}

// medianOffset returns the median of the offsets and of this node's own, zero. Of two
// in the middle it is the one nearer to zero: where two nodes differ, neither is the one
// to blame.
func medianOffset(offsets []time.Duration) time.Duration {
	all := append([]time.Duration{0}, offsets...)
	slices.Sort(all)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	if low.Abs() < high.Abs() {
		return low
	}
	return high
}
