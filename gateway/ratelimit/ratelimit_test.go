package ratelimit

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestFrameLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewFrames(10, 20)
		count := func(n int) (fits, refused, excess int) {
			for range n {
				switch v, wait := l.Allow(); v {
				case Allowed:
					fits++
				case Refused:
					refused++
					if wait <= 0 {
						t.Fatalf("a refused frame may come again after %v, want > 0", wait)
					}
				case Exceeded:
					excess++
				}
			}
			return fits, refused, excess
		}
		if fits, refused, _ := count(30); fits != 20 || refused != 10 {
			t.Errorf("of 30 frames %d fit and %d are refused, want 20 and 10", fits, refused)
		}
		time.Sleep(time.Second)
		if fits, refused, excess := count(21); fits != 10 || refused != 10 || excess != 1 {
			t.Errorf("a second later %d fit, %d are refused, %d excess, want 10, 10, 1", fits, refused, excess)
		}
		time.Sleep(refusalSpan + time.Second)
		if fits, refused, excess := count(25); fits != 20 || refused != 5 || excess != 0 {
			t.Errorf("after the span %d fit, %d are refused, %d excess, want 20, 5, 0", fits, refused, excess)
		}
	})
}

func TestFrameLimitOff(t *testing.T) {
	l := NewFrames(-1, 1)
	for range 10000 {
		if v, _ := l.Allow(); v != Allowed {
			t.Fatalf("take = %v with the limit off", v)
		}
	}
}

func TestKeyedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewKeyed(2, 3)
		for range 3 {
			if _, ok := l.Allow("alice"); !ok {
				t.Fatal("a token of the burst is refused")
			}
		}
		if wait, ok := l.Allow("alice"); ok || wait != 500*time.Millisecond {
			t.Errorf("take after the burst = %v, %v, want 500ms, false", wait, ok)
		}
		if _, ok := l.Allow("bob"); !ok {
			t.Error("another key is refused")
		}
		time.Sleep(500 * time.Millisecond)
		if _, ok := l.Allow("alice"); !ok {
			t.Error("the token of the next half second is refused")
		}
	})
}

func TestKeyedLimitIsBounded(t *testing.T) {
	l := NewKeyed(1, 1)
	for i := range 2 * maxBuckets {
		l.Allow(strconv.Itoa(i))
		if len(l.buckets) > maxBuckets {
			t.Fatalf("%d buckets, want at most %d", len(l.buckets), maxBuckets)
		}
	}
}
