package gateway

import (
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// flushBytes is how many bytes the pump queues before it writes. More would save nothing,
// and take memory.
const flushBytes = 64 << 10

// A pumpState holds the buffers of one round of a pump. While it waits for a peer, a pump
// has none.
type pumpState struct {
	batch   query.Updates
	frame   []byte // the frame that is being built
	group   groupFrame
	chunk   chunk          // for a session that reads from the store itself
	signals []*signalEntry // copied from the ring of a feed
	woken   fifo[session, *session]
}

var pumpStates = sync.Pool{New: func() any { return new(pumpState) }}

// pump does all of a session's writing: it checks the deadlines, reads from the store, and
// flushes. It returns false when there is nothing left to do, and true when there is more
// but other sessions wait for a pumper.
func (s *session) pump() (more bool) {
	for s.nextRound() {
		s.checkDeadlines()
		p := pumpStates.Get().(*pumpState)
		pushed, more := s.push(p)
		pumpStates.Put(p)
		s.flush(pushed)
		if !more {
			continue
		}
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
		if s.gateway.pumpers.hasWaiting() {
			return true
		}
	}
	return false
}

// nextRound reports whether the pump has to do another round. If not, it notes that the
// pump ends.
func (s *session) nextRound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !s.dirty {
		s.pumping = false
		s.chargeHeld()
		return false
	}
	s.dirty = false
	s.roundWoken, s.wokenAt = s.wokenAt, time.Time{}
	return true
}

// About how many bytes of memory the parts of a session take, beside its connection.
const (
	frameCost        = 16  // for an unacked frame
	markCost         = 48  // for a conversation in it
	groupMarkCost    = 32  // for a group in it, if acks of groups are asked for
	subscriptionCost = 320 // for a group: its subscription, and its entries in maps
	signalCost       = 128 // for a signal, besides its body
	syncedCost       = 256 // for an entry of what is left of a login's sync
	chargeStep       = 4 << 10
)

// chargeHeld charges the connection for what the session holds, if that has changed by
// chargeStep or more. The caller holds mu.
func (s *session) chargeHeld() {
	held := int64(cap(s.window.frames)*frameCost + cap(s.window.marks)*markCost + cap(s.window.groups)*groupMarkCost + len(s.groups)*subscriptionCost)
	for i := range s.signals {
		held += signalCost
		if m := s.signals[i].Message; m != nil {
			held += int64(len(m.Body))
		}
	}
	held += s.syncSize
	if d := held - s.charged; d >= chargeStep || d <= -chargeStep {
		s.conn.Admission.Charge(d)
		s.charged = held
	}
}

// flush writes the queued frames. pushed is the number of messages in them.
func (s *session) flush(pushed int) {
	n, err := s.conn.Flush(s.gateway.config.WriteTimeout, &s.gateway.pumpers)
	s.gateway.metrics.bytesOut.Add(float64(n))
	if err != nil {
		if ws.IsTimeout(err) {
			s.end(closedSlowWrite)
		} else {
			s.end(closedAbnormally)
		}
		return
	}
	if pushed > 0 && !s.roundWoken.IsZero() {
		s.gateway.metrics.pushSeconds.Observe(time.Since(s.roundWoken).Seconds())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity.Signal()
}

// checkDeadlines ends a session that has missed a deadline, pings a peer that has been
// silent for half of IdleTimeout, tells the store of an app that does not ack, and sets
// the timer for the next deadline. It also submits read reports that had to wait.
func (s *session) checkDeadlines() {
	c, now, heard := &s.gateway.config, s.age(), time.Duration(s.activeAt.Load())
	s.mu.Lock()
	next := heard + c.IdleTimeout
	var why closing
	due := func(at time.Duration, end closing) {
		if now >= at && why == (closing{}) {
			why = end
		}
		next = min(next, at)
	}
	due(heard+c.IdleTimeout, closedSilent)
	if !s.loggedIn {
		due(c.LoginTimeout, closedNoLogin)
	}
	if s.expiry != 0 {
		due(s.expiry, closedExpired)
	}
	if s.fullSince != 0 {
		due(s.fullSince+c.AckTimeout, closedNoAck)
	}
	if begun := time.Duration(s.unfinishedSince.Load()); begun != 0 {
		due(begun+c.FrameTimeout, closedUnfinished)
	}
	if why != (closing{}) {
		s.mu.Unlock()
		s.end(why)
		return
	}
	if ping := max(heard, s.pinged) + c.IdleTimeout/2; now >= ping {
		s.pinged = now
		s.conn.Queue(ws.PingFrame)
		next = min(next, now+c.IdleTimeout/2)
	} else {
		next = min(next, ping)
	}
	if s.unackedSince != 0 && !s.stalled {
		next = min(next, s.unackedSince+c.StallTimeout)
	}
	stalled := s.checkStalled(now)
	report := len(s.pendingReads) > 0
	if s.retryAt != 0 {
		if now >= s.retryAt {
			s.retryAt = 0
		} else {
			next, report = min(next, s.retryAt), false
		}
	}
	s.armTimer(next, now)
	s.mu.Unlock()
	if stalled {
		s.reportStalled()
	}
	if report {
		s.reportReads(false)
	}
}

// armTimer sets the timer so that onTimer is called by a deadline. A timer that fires
// earlier stays: checkDeadlines will set it again. The caller holds mu.
func (s *session) armTimer(deadline, now time.Duration) {
	if s.timerAt == 0 || deadline < s.timerAt {
		s.timerAt = deadline
		s.timer.Reset(deadline - now)
	}
}

// windowFull reports whether the device has to ack before it may get another frame of
// messages. The caller holds mu.
func (s *session) windowFull() bool {
	c := &s.gateway.config
	return len(s.window.frames) >= c.Window || s.window.bytes >= c.WindowBytes
}

// windowHasRoom reports whether the device may get another frame of messages now. If the
// window is full, AckTimeout begins.
func (s *session) windowHasRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loggedIn || s.ended || s.retryAt != 0 {
		return false
	}
	if !s.windowFull() {
		return true
	}
	if s.fullSince == 0 {
		s.fullSince = s.age()
		s.dirty = true // another round of the pump sets the timer
	}
	return false
}

// unavailable makes the pump try again when the store may be available.
func (s *session) unavailable(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryAt = s.age() + max(store.RetryAfter(err), minRetry)
	s.dirty = true
}

// minRetry is the shortest pause before the store is tried again, also for errors that name
// no time.
const minRetry = 100 * time.Millisecond
