package ratelimit

import (
	"time"

	"golang.org/x/time/rate"
)

// Frames limits the frames of one connection. It is not safe for concurrent use.
type Frames struct {
	bucket  *rate.Limiter // nil when off
	burst   int
	since   time.Time // start of the present refusal span
	refused int       // frames refused in it
}

// refusalSpan is how long refusals are counted together: more than a burst of
// them within it is Exceeded.
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

// Allow counts a frame. One that is not allowed may be sent again after the
// returned time.
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
