package raftstore

import (
	"math"
	"sync"
	"time"
)

// maxRates bounds the keys that a keyRate holds. At that bound it removes keys
// that may send a whole burst again, as a new key may; if there are none it
// removes any one, which may then send a burst too early.
const maxRates = 1 << 16

// A keyRate limits what a shard does not count: the messages of each key, a group or a
// user, that pass through memory alone, and the logins of a user. The zero value limits
// nothing.
type keyRate[K comparable] struct {
	each  time.Duration // time that one message uses up
	burst time.Duration // time that may be used in advance

	mu    sync.Mutex
	free  map[K]time.Time // when no time is used in advance any more
	swept time.Time
}

// newKeyRate returns a keyRate that allows each key most messages per span on
// average and burst at once. A most of math.MaxInt32 or more, or of 0 or less, is
// no limit.
func newKeyRate[K comparable](most, burst int, span time.Duration) *keyRate[K] {
	if most >= math.MaxInt32 || most <= 0 {
		return new(keyRate[K])
	}
	each := span / time.Duration(most)
	return &keyRate[K]{each: each, burst: each * time.Duration(burst), free: make(map[K]time.Time)}
}

// allow counts a message of a key, or returns the time until the key may send one.
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

// makeRoom makes room for one more key if there are maxRates. It looks through all
// keys once a second at most.
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
