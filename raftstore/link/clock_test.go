package link

import (
	"testing"
	"time"
)

func TestClockTakesShortestTrip(t *testing.T) {
	var c clock
	ms := int64(time.Millisecond)
	if _, ok := c.best(); ok {
		t.Error("an offset before any exchange")
	}
	// 7 s ahead; 1 ms there, 3 ms to answer, 9 ms back.
	c.take(0, 7001*ms, 7004*ms, 13*ms, time.Second)
	if got, _ := c.best(); got.trip != 10*time.Millisecond || got.offset != 6996*time.Millisecond {
		t.Errorf("best = %+v, want 6.996 s ahead in 10 ms", got)
	}
	c.take(0, 7001*ms, 7104*ms, 105*ms, time.Second)
	if got, _ := c.best(); got.trip != 2*time.Millisecond || got.offset != 7*time.Second {
		t.Errorf("best = %+v, want 7 s ahead in 2 ms", got)
	}
	c.take(0, 0, 10*ms, 5*ms, time.Second)            // set back in between
	c.take(0, 9000*ms, 9000*ms, 1001*ms, time.Second) // too long
	if got, _ := c.best(); got.offset != 7*time.Second {
		t.Errorf("best = %+v, want what was", got)
	}
	for range clockSamples {
		c.take(0, -5000*ms, -5000*ms, 20*ms, time.Second)
	}
	if got, _ := c.best(); got.offset != -5010*time.Millisecond {
		t.Errorf("best = %+v, want the newer offset", got)
	}
}

func TestMedianOffset(t *testing.T) {
	s := time.Second
	for _, test := range []struct {
		offsets []time.Duration
		want    time.Duration
	}{
		{nil, 0},
		{[]time.Duration{10 * s}, 0},              // which of two is wrong?
		{[]time.Duration{10 * s, 0}, 0},           // the one peer
		{[]time.Duration{10 * s, 10 * s}, 10 * s}, // this node
		{[]time.Duration{-10 * s, -11 * s}, -10 * s},
		{[]time.Duration{-8 * s, 9 * s, 9 * s}, 0},
		{[]time.Duration{7 * s, 8 * s, 9 * s}, 7 * s},
		{[]time.Duration{7 * s, 8 * s, 9 * s, 9 * s}, 8 * s},
	} {
		if got := medianOffset(test.offsets); got != test.want {
			t.Errorf("medianOffset(%v) = %v, want %v", test.offsets, got, test.want)
		}
	}
}

func TestOffsetOfSkewedNode(t *testing.T) {
	noLeak(t)
	var nodes []*testNode
	for _, name := range []string{"a", "b", "c"} {
		n := newTestNode(t, name, func(c *Config) {
			if name == "c" {
				c.Now = func() time.Time { return time.Now().Add(-time.Hour) }
			}
		})
		n.start(t)
		nodes = append(nodes, n)
	}
	connect(t, nodes...)
	for i, want := range []time.Duration{0, 0, time.Hour} {
		eventually(t, "offset of "+nodes[i].name, func() bool {
			got, peers := nodes[i].Offset()
			return peers == 2 && (got-want).Abs() < time.Minute
		})
	}
	nodes[0].Close()
	nodes[1].Close()
	eventually(t, "no peer counts", func() bool { got, peers := nodes[2].Offset(); return got == 0 && peers == 0 })
}
