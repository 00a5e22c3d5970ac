package ratelimit

import (
	"time"

	"golang.org/x/time/rate"
)

// Frames is a rate limit for the frames of one connection. It is not safe for
// concurrent use.
type Frames struct {
	bucket  *rate.Limiter // nil when off
	burst   int
	since   time.Time // start of the present refusalSpan
	refused int       // frames refused in it
}

// refusalSpan is the time over which refusals are counted. If a connection has
// more than a burst of them in it, the result is Exceeded.
const refusalSpan = 10 * time.Second

// A Result says whether a frame is within the limit.
type Result uint8

const (
	Allowed Result = iota
	Refused
	Exceeded // refused, and so often that the connection should be closed
)

// NewFrames returns a limit of perSecond frames with bursts of burst; perSecond
// <= 0 is no limit.
func NewFrames(perSecond, burst int) Frames {
	if perSecond <= 0 {
		return Frames{}
	}
	return Frames{bucket: rate.NewLimiter(rate.Limit(perSecond), burst), burst: burst}
}

// Allow counts a frame and reports whether it is within the limit. If it is
// Refused, the client may repeat it after the returned time.
func (l *Frames) Allow() (Result, time.Duration) {
	if l.bucket == nil {
		return Allowed, 0
	}
	wait, ok := TakeN(l.bucket, 1)
	if ok {
		return Allowed, 0
	}
	now := time.Now()
	if now.Sub(l.since) > refusalSpan {
		l.since, l.refused = now, 0
	}
	if l.refused++; l.refused > l.burst {
		return Exceeded, wait
	}
	return Refused, wait
}
