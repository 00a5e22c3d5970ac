package shard

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAgesAgainstList fills an ages and a plain list alike, takes from both, and
// compares sums and cutoffs.
func TestAgesAgainstList(t *testing.T) {
	type message struct {
		at   int64
		size int
	}
	rng := rand.New(rand.NewPCG(1, 2))
	a := newAgeIndex()
	var held []message
	now, cutoff := int64(1_700_000_000_000), int64(0)
	below := func(limit int64) (n int) {
		for _, m := range held {
			if m.at <= limit {
				n += m.size
			}
		}
		return n
	}
	for range 300 {
		switch rng.IntN(10) {
		case 0:
			now += rng.Int64N(3 * 24 * 3_600_000)
		case 1, 2:
			now += rng.Int64N(3_600_000)
		default:
			now += rng.Int64N(20_000)
		}
		a.advance(now)
		for range rng.IntN(200) {
			m := message{now - rng.Int64N(5_000), 100 + rng.IntN(400)}
			switch rng.IntN(50) {
			case 0:
				m.at = now - rng.Int64N(300*24*3_600_000) // a letter that was long under way
			case 1:
				m.at = now + rng.Int64N(120_000) // of a shard whose time is ahead
			case 2:
				m.at = now + rng.Int64N(20*24*3_600_000)
			}
			if m.at > cutoff {
				held = append(held, m)
				a.add(m.at, m.size)
			}
		}
		if rng.IntN(4) > 0 {
			continue
		}
		want := rng.IntN(below(now) + 1)
		got := a.cutoffFor(want, cutoff, now)
		if got > now {
			t.Fatalf("cutoff(%d) = %d, after now, %d", want, got, now)
		}
		// It must lie in the right step: of a second, a minute or an hour.
		step := int64(1000)
		for i, coarser := range a.histograms[1:] {
			if finer := &a.histograms[i]; got < finer.oldest()*finer.width+coarser.width {
				step = coarser.width
			}
		}
		if least, most := below(got-step), below(got+step); least > want || most < want {
			t.Fatalf("cutoff(%d) = %d: %d bytes lie a step below, %d a step above", want, got, least, most)
		}
		cutoff = max(cutoff, got)
		kept := held[:0]
		for _, m := range held {
			if m.at > cutoff {
				kept = append(kept, m)
			} else {
				a.add(m.at, -m.size)
			}
		}
		held = kept
		for _, h := range a.histograms {
			sum := 0
			for _, n := range a.future {
				sum += n
			}
			for _, n := range h.buckets {
				if n < 0 {
					t.Fatalf("a bucket holds %d bytes", n)
				}
				sum += n
			}
			if sum != a.total {
				t.Fatalf("buckets of %d ms hold %d bytes, want %d", h.width, sum, a.total)
			}
		}
		if want := below(math.MaxInt64); a.total != want {
			t.Fatalf("total = %d, want %d", a.total, want)
		}
	}
}

const day = 24 * 3_600_000

// spread fills an ages with messages of 100 bytes, one each ten minutes of so
// many days before now.
func spread(now int64, days int64) *ageIndex {
	a := newAgeIndex()
	a.advance(now)
	for at := now - days*day + 1; at <= now; at += 600_000 {
		a.add(at, 100)
	}
	return &a
}

// However long a history is, 2 % of what is spread evenly over it are the oldest
// 2 % of its time.
func TestAgesOfLongHistories(t *testing.T) {
	const now = 1_700_000_000_000
	for _, days := range []int64{6, 9, 90, 399, 1000} {
		start := now - days*day
		got := spread(now, days).cutoffFor(int(days*24*6*100/50), start, now)
		if want := start + days*day/50; got < want-days*day/500 || got > want+days*day/500 {
			t.Errorf("cutoff of 2 %% of %d days is %.1f days ago, want %.1f", days, float64(now-got)/day, float64(now-want)/day)
		}
	}
}

// A message of a shard whose time is ahead moves no cutoff, neither while it is
// there nor when it has gone or its time has come.
func TestAgesOfMessagesAhead(t *testing.T) {
	now := int64(1_700_000_000_000)
	for _, ahead := range []int64{1000, 90_000, 3_600_000, day, 9 * day, 500 * day} {
		a := spread(now, 6)
		want := a.cutoffFor(1000, 0, now)
		for _, n := range []int{100, -100} {
			a.add(now+ahead, n)
			if got := a.cutoffFor(1000, 0, now); got != want {
				t.Errorf("%d ms ahead, %d bytes: cutoff %d, want %d", ahead, n, got, want)
			}
		}
		a.add(now+ahead, 100)
		a.advance(now + ahead - 120_000)
		a.advance(now + ahead + 1000)
		a.add(now+ahead, -100)
		for at := now - 6*day + 1; at <= now; at += 600_000 {
			a.add(at, -100)
		}
		for _, h := range a.histograms {
			for step, n := range h.buckets {
				if n != 0 {
					t.Errorf("%d ms ahead, all gone: bucket %d of %d ms holds %d bytes", ahead, step, h.width, n)
				}
			}
		}
		if a.total != 0 || len(a.future) != 0 {
			t.Errorf("%d ms ahead, all gone: %d bytes in all, %d sums ahead", ahead, a.total, len(a.future))
		}
	}
}

func TestAgesEmptyAndExtreme(t *testing.T) {
	a := newAgeIndex()
	if got := a.cutoffFor(1, 0, 5000); got != 5000 {
		t.Errorf("cutoff of nothing = %d, want now", got)
	}
	for _, at := range []int64{0, -1, -1 << 62, 1 << 62, 7} { // as a foreign log may have them
		a.add(at, 10)
		a.add(at, -10)
	}
	if a.total != 0 || len(a.future) != 0 {
		t.Errorf("total = %d and %d sums ahead, want none", a.total, len(a.future))
	}
}
