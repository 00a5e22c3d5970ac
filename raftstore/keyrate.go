package raftstore

import (
	"math"
	"sync"
	"time"
)

// maxRates bounds the keys whose rate is known. Past it those go that may send
// a whole burst again, as they say no more than a new one; if there is none, any
// one goes, which errs in favour of that one.
const maxRates = 1 << 16

// A keyRate bounds what each group, or user, does that passes through memory
// alone. What is stored is counted by the shard. The zero value bounds nothing.
type keyRate[K comparable] struct {
	each  time.Duration // that one message takes of the rate
	burst time.Duration // that may be taken in advance

	mu    sync.Mutex
	free  map[K]time.Time // when nothing is taken in advance any more
	swept time.Time
}

// newKeyRate lets so many through in a span, after a burst; math.MaxInt32 and more
// is no limit.
func newKeyRate[K comparable](most, burst int, span time.Duration) *keyRate[K] {
	if most >= math.MaxInt32 || most <= 0 {
		return new(keyRate[K])
	}
	each := span / time.Duration(most)
	return &keyRate[K]{each: each, burst: each * time.Duration(burst), free: make(map[K]time.Time)}
}

// allow counts a message, or returns how long until there is room for it.
func (r *keyRate[K]) allow(key K, now time.Time) (wait time.Duration, ok bool) {
	if r.each == 0 {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	free, known := r.free[key]
	if !known {
		r.makeRoom(now)
	}
	if free.Before(now) {
		free = now
	}
	free = free.Add(r.each)
	if wait := free.Sub(now) - r.burst; wait > 0 {
		return wait, false
	}
	r.free[key] = free
	return 0, true
}

// makeRoom has room for one more key. A walk over all is worth it once a
// second at most.
func (r *keyRate[K]) makeRoom(now time.Time) {
	if len(r.free) < maxRates {
		return
	}
	if now.Sub(r.swept) >= time.Second {
		r.swept = now
		for key, free := range r.free {
			if !free.After(now) {
				delete(r.free, key)
			}
		}
	}
	if len(r.free) < maxRates {
		return
	}
	for key := range r.free {
		delete(r.free, key)
		return
	}
}
