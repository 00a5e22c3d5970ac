package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A frameLimit bounds what one connection sends. It belongs to the read loop.
type frameLimit struct {
	bucket  *rate.Limiter // nil when off
	burst   int
	since   time.Time // start of the present span of refusals
	refused int
}

// refusalSpan is how long refusals are counted together: another burst's worth
// of them within it ends the connection.
const refusalSpan = 10 * time.Second

// A verdict is what becomes of a frame.
type verdict uint8

const (
	frameFits verdict = iota
	frameRefused
	frameExcess // the connection has to go
)

func newFrameLimit(perSecond, burst int) frameLimit {
	if perSecond <= 0 {
		return frameLimit{}
	}
	return frameLimit{bucket: rate.NewLimiter(rate.Limit(perSecond), burst), burst: burst}
}

// take judges a frame. A refused one may come again after the given time.
func (l *frameLimit) take() (verdict, time.Duration) {
	if l.bucket == nil {
		return frameFits, 0
	}
	wait, ok := takeToken(l.bucket)
	if ok {
		return frameFits, 0
	}
	now := time.Now()
	if now.Sub(l.since) > refusalSpan {
		l.since, l.refused = now, 0
	}
	if l.refused++; l.refused > l.burst {
		return frameExcess, wait
	}
	return frameRefused, wait
}

// takeToken takes a token or says how long until there is one.
func takeToken(l *rate.Limiter) (wait time.Duration, ok bool) {
	r := l.Reserve()
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
}

const (
	// searchRate and searchBurst are how many requests a user may make that walk
	// over all he has, for each login that he may: a login does that and more.
	searchRate  = 5
	searchBurst = 20
	// strangerRate is how many users of whom nothing is kept yet a user may add to
	// groups in an hour, for each change of groups that he may make in a second,
	// and strangerBurst for each of a burst: something is kept of them from then
	// on, for good.
	strangerRate  = 100
	strangerBurst = 50
)

// maySearch refuses a user's requests that walk over much, when there are many.
func (s *session) maySearch() error {
	if wait, ok := s.gateway.searches.take(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "too many requests of this kind", wait}
	}
	return nil
}

// mayChange refuses what all members of a group would be told, when it comes too
// often.
func (s *session) mayChange() error {
	if wait, ok := s.gateway.changes.take(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "group: you change too much", wait}
	}
	return nil
}

// maxBuckets bounds the limiters kept for users and addresses. Past it those
// that are full again go, as they say no more than a fresh one; if none is, any
// one goes, which errs in favour of whoever comes back.
const maxBuckets = 1 << 16

// keyedLimit has a token bucket for each key that was seen lately. The zero
// value, and a rate of 0, limit nothing.
type keyedLimit struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	swept   time.Time
}

func newKeyedLimit(r rate.Limit, burst int) *keyedLimit {
	return &keyedLimit{rate: r, burst: burst, buckets: make(map[string]*rate.Limiter)}
}

// take takes a token of key or says how long until there is one.
func (l *keyedLimit) take(key string) (wait time.Duration, ok bool) {
	if l.rate <= 0 {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		l.makeRoom()
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[key] = b
	}
	return takeToken(b)
}

func (l *keyedLimit) makeRoom() {
	if len(l.buckets) < maxBuckets {
		return
	}
	// A walk over all is worth it once a second at most.
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
