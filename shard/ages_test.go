package shard

import (
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
	a := newAges()
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
		for range rng.IntN(200) {
			m := message{now - rng.Int64N(5_000), 100 + rng.IntN(400)}
			if rng.IntN(50) == 0 {
				m.at = now - rng.Int64N(20*24*3_600_000) // a letter that was long under way
			}
			if m.at > cutoff {
				held = append(held, m)
				a.add(m.at, m.size)
			}
		}
		if rng.IntN(4) > 0 {
			continue
		}
		want := rng.IntN(a.total + 1)
		got := a.cutoff(want, cutoff, now)
		if got > now {
			t.Fatalf("cutoff(%d) = %d, after now, %d", want, got, now)
		}
		// It must lie in the right step: a second of late, a minute before that.
		step := int64(60_000)
		if got > now-int64(agesSeconds-1)*1000 {
			step = 1000
		}
		if old := a.minutes.oldest() * 60_000; got < old+step {
			continue // all that is older counts as one
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
		sum := 0
		for _, h := range []*histogram{&a.seconds, &a.minutes} {
			sum = 0
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
		if want := below(now); a.total != want {
			t.Fatalf("total = %d, want %d", a.total, want)
		}
	}
}

func TestAgesEmptyAndExtreme(t *testing.T) {
	a := newAges()
	if got := a.cutoff(1, 0, 5000); got != 5000 {
		t.Errorf("cutoff of nothing = %d, want now", got)
	}
	for _, at := range []int64{0, -1, -1 << 62, 1 << 62, 7} { // as a foreign log may have them
		a.add(at, 10)
		a.add(at, -10)
	}
	if a.total != 0 {
		t.Errorf("total = %d, want 0", a.total)
	}
}
