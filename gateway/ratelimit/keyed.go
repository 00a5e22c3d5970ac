// Package ratelimit limits rates with token buckets: of a connection's frames, and
// of events that are counted by a key, such as a user or an address.
package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// TakeN takes n tokens of l, or a whole burst if n is larger. If l does not have
// them it takes none, reports false, and returns how long to wait.
func TakeN(l *rate.Limiter, n int) (wait time.Duration, ok bool) {
	r := l.ReserveN(time.Now(), min(n, l.Burst()))
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
}

// maxBuckets limits the buckets of a Keyed. If there are so many, full buckets are
// dropped: a new bucket is full too. If none is full, a random one is dropped, and
// its key may use a new burst.
const maxBuckets = 1 << 16

// Keyed is a rate limit by key: a token bucket for each key that was used recently.
// It is safe for concurrent use. A rate of 0 or less limits nothing.
type Keyed struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	swept   time.Time
}

// NewKeyed returns a limit of r events per second for each key, with bursts of
// burst.
func NewKeyed(r rate.Limit, burst int) *Keyed {
	return &Keyed{rate: r, burst: burst, buckets: make(map[string]*rate.Limiter)}
}

// Allow takes a token of key. If there is none, it reports false and returns how
// long to wait.
func (l *Keyed) Allow(key string) (wait time.Duration, ok bool) { return l.AllowN(key, 1) }

// AllowN takes n tokens of key; see TakeN.
func (l *Keyed) AllowN(key string, n int) (wait time.Duration, ok bool) {
	b := l.Bucket(key)
	if b == nil {
		return 0, true
	}
	return TakeN(b, n)
}

// Charge takes n tokens of key, or a whole burst if n is larger, even if the key
// does not have them: the next Allow fails until the debt is paid.
func (l *Keyed) Charge(key string, n int) {
	if b := l.Bucket(key); b != nil && n > 0 {
		b.ReserveN(time.Now(), min(n, l.burst))
	}
}

// Ready reports whether key has a token, and does not take it. If there is none, it
// returns how long to wait.
func (l *Keyed) Ready(key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	b := l.buckets[key]
	l.mu.Unlock()
	if b == nil {
		return 0, true
	}
	missing := 1 - b.Tokens()
	return time.Duration(missing / float64(l.rate) * float64(time.Second)), missing <= 0
}

// Bucket returns the bucket of key, for callers that use it often; nil if nothing
// is limited.
func (l *Keyed) Bucket(key string) *rate.Limiter {
	if l.rate <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		l.makeRoom()
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[key] = b
	}
	return b
}

// makeRoom makes room for another bucket. The caller holds mu.
func (l *Keyed) makeRoom() {
	if len(l.buckets) < maxBuckets {
		return
	}
	// To go through all buckets costs little once a second.
	if now := time.Now(); now.Sub(l.swept) >= time.Second {
		l.swept = now
		for key, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.burst) {
				delete(l.buckets, key)
			}
		}
	}
	if len(l.buckets) < maxBuckets {
		return
	}
	for key := range l.buckets {
		delete(l.buckets, key)
		return
	}
}
