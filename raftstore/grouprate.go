package raftstore

import (
	"math"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard"
)

// maxRates bounds the groups whose rate is known. Past it those go that may send
// a whole burst again, as they say no more than a new one; if there is none, any
// one goes, which errs in favour of that group.
const maxRates = 1 << 16

// A groupRate bounds the messages of each group that pass through memory alone.
// Those that are stored are counted by the shard. The zero value bounds nothing.
type groupRate struct {
	each  time.Duration // that one message takes of the rate
	burst time.Duration // that may be taken in advance

	mu    sync.Mutex
	free  map[shard.GroupID]time.Time // when nothing is taken in advance any more
	swept time.Time
}

func newGroupRate(limits *shard.Limits) *groupRate {
	if limits.GroupRate >= math.MaxInt32 {
		return new(groupRate)
	}
	each := time.Second / time.Duration(limits.GroupRate)
	return &groupRate{
		each: each, burst: each * time.Duration(limits.GroupBurst),
		free: make(map[shard.GroupID]time.Time),
	}
}

// take counts a message, or says how long until there is room for it.
func (r *groupRate) take(group shard.GroupID, now time.Time) (wait time.Duration, ok bool) {
	if r.each == 0 {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	free, known := r.free[group]
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
	r.free[group] = free
	return 0, true
}

// makeRoom has room for one more group. A walk over all is worth it once a
// second at most.
func (r *groupRate) makeRoom(now time.Time) {
	if len(r.free) < maxRates {
		return
	}
	if now.Sub(r.swept) >= time.Second {
		r.swept = now
		for group, free := range r.free {
			if !free.After(now) {
				delete(r.free, group)
			}
		}
	}
	if len(r.free) < maxRates {
		return
	}
	for group := range r.free {
		delete(r.free, group)
		return
	}
}
