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
	wait, ok := takeToken(l.bucket, 1)
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

// takeToken takes n tokens or says how long until they are there.
func takeToken(l *rate.Limiter, n int) (wait time.Duration, ok bool) {
	r := l.ReserveN(time.Now(), min(n, l.Burst()))
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
	// historyRate and historyBurst are the same for pages of history.
	historyRate  = 10
	historyBurst = 20
	// searchGroups is how many groups cost as much as one such request, where all
	// of a user's are looked at.
	searchGroups = 100
	// presenceRate and presenceBurst are how many users a user may ask the presence
	// of, for each login that he may: some are looked for in all groups of both.
	presenceRate  = 50
	presenceBurst = 50
	// missRate (per second) and missBurst are how many users who do not exist a user
	// may name where only those that do are taken: else he could try names.
	missRate  = 1.0 / 60
	missBurst = 20
	// strangerRate is how many users of whom nothing is kept yet a user may add to
	// groups in an hour, for each change of groups that he may make in a second,
	// and strangerBurst for each of a burst: something is kept of them from then
	// on, for good.
	strangerRate  = 10
	strangerBurst = 1
)

// maySearch refuses a user's requests that walk over much, when there are many.
func (s *session) maySearch() error {
	if wait, ok := s.gateway.searches.take(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests of this kind", wait}
	}
	return nil
}

// mayPage refuses a user's pages of history beyond what fills gaps of a device.
func (s *session) mayPage() error {
	if wait, ok := s.gateway.histories.take(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many pages of history", wait}
	}
	return nil
}

// maySend refuses a user's sends beyond what all his sessions may send together.
func (s *session) maySend() error {
	if s.sends == nil || s.sends.Allow() {
		return nil
	}
	wait, _ := takeToken(s.sends, 1)
	return &refusal{protocol.CodeRateLimited, "conv: you send too much", max(wait, time.Millisecond)}
}

// mayName refuses to tell whether a user exists to who has named too many who do
// not.
func (s *session) mayName() error {
	if wait, ok := s.gateway.misses.has(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: you have named too many users who do not exist", wait}
	}
	return nil
}

// mayChange refuses what all members of a group would be told, when it comes too
// often.
func (s *session) mayChange() error {
	if wait, ok := s.gateway.changes.take(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many changes of groups", wait}
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
func (l *keyedLimit) take(key string) (wait time.Duration, ok bool) { return l.takeN(key, 1) }

// takeN is take for n tokens, or for a burst if that is less.
func (l *keyedLimit) takeN(key string, n int) (wait time.Duration, ok bool) {
	b := l.bucket(key)
	if b == nil {
		return 0, true
	}
	return takeToken(b, n)
}

// charge takes n tokens of key that were not asked for before: what key does next
// waits for them.
func (l *keyedLimit) charge(key string, n int) {
	if b := l.bucket(key); b != nil && n > 0 {
		b.ReserveN(time.Now(), min(n, l.burst))
	}
}

// has tells whether key has a token, or says how long until it has.
func (l *keyedLimit) has(key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	b := l.buckets[key]
	l.mu.Unlock()
	if b == nil {
		return 0, true
	}
	missing := 1 - b.Tokens()
	return time.Duration(missing / float64(l.rate) * float64(time.Second)), missing <= 0
}

// bucket is that of a key, nil when nothing is limited.
func (l *keyedLimit) bucket(key string) *rate.Limiter {
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
