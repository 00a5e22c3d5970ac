package loadtest

import (
	"context"
	"time"
)

// A schedule is when the messages of a run are meant to be sent. A rate fixes
// that beforehand: message n is due n/rate after the begin, from client n modulo
// clients, whatever became of those before it.
type schedule struct {
	begin, end time.Duration // since the run's epoch
	rate       int           // messages per second of all clients; 0 = whenever a window has room
	clients    int
}

// at returns when message n of all clients is due. Rounding errors do not add up.
func (s *schedule) at(n int64) time.Duration {
	rate := int64(s.rate)
	return s.begin + time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}

// due returns the intended time of message k of a client, if it is to be sent by now.
func (s *schedule) due(client int, k int64, now time.Duration) (at time.Duration, ok bool) {
	if at = now; s.rate > 0 {
		at = s.at(k*int64(s.clients) + int64(client))
	}
	return at, at >= s.begin && at < s.end && at <= now
}

// A position is how far a client has got in its schedule.
type position struct {
	schedule *schedule
	sent     int64
}

// next returns the intended time of a client's next message and counts it; ok is
// false if none is to be sent by now. A schedule other than that of the last call
// begins anew; nil has nothing due.
func (p *position) next(s *schedule, client int, now time.Duration) (at time.Duration, ok bool) {
	if s == nil {
		return 0, false
	}
	if p.schedule != s {
		p.schedule, p.sent = s, 0
	}
	if at, ok = s.due(client, p.sent, now); ok {
		p.sent++
	}
	return at, ok
}

// total returns the number of messages meant to be sent; 0 without a rate.
func (s *schedule) total() int64 {
	if s.rate == 0 {
		return 0
	}
	n := int64((s.end - s.begin) / time.Second * time.Duration(s.rate))
	for s.at(n) < s.end {
		n++
	}
	return n
}

// run calls wake for each message, with its client, when the message is due,
// until the last one or the end of ctx. While it is behind, it calls without
// waiting: messages keep their intended times. Without a rate it returns at once.
// elapsed returns the time since the run's epoch.
func (s *schedule) run(ctx context.Context, elapsed func() time.Duration, wake func(client int)) {
	if s.rate == 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(0); ; n++ {
		at := s.at(n)
		if at >= s.end || ctx.Err() != nil {
			return
		}
		if wait := at - elapsed(); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		wake(int(n % int64(s.clients)))
	}
}
