package gateway

import (
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// An ack shows that the app runs. A pong does not: browsers answer pings for frozen
// pages. The gateway tells the store when an ack is late and when it comes after all,
// and the store asks which messages were acked while somebody looked at the device.

// startStallTimer starts the time (StallTimeout) within which the device has to ack,
// unless it runs already. The caller holds mu.
func (s *session) startStallTimer() {
	if s.unackedSince != 0 {
		return
	}
	now := s.age()
	s.unackedSince = now
	// The timer is not reset for each push: when it fires, checkDeadlines sets it again
	// if acks have come meanwhile.
	if at := now + s.gateway.config.StallTimeout; s.timerAt == 0 || at < s.timerAt {
		s.timerAt = at
		s.timer.Reset(at - now)
	}
}

// restartStallTimer stops that time, and starts it again if more frames wait for an ack.
// It reports whether the caller has to tell the store that the app acks again. The
// caller holds mu.
func (s *session) restartStallTimer() (recovered bool) {
	s.unackedSince = 0
	if len(s.window.frames) > 0 {
		s.startStallTimer()
	}
	if recovered = s.stalled; recovered {
		s.gateway.sick.caughtUp(s)
	}
	s.stalled = false
	return recovered
}

// checkStalled reports whether an ack has just become late, and notes it. The caller
// holds mu; if the answer is true, it unlocks mu and calls reportStalled.
func (s *session) checkStalled(now time.Duration) (stalled bool) {
	if s.unackedSince == 0 || s.stalled || now < s.unackedSince+s.gateway.config.StallTimeout {
		return false
	}
	s.stalled = true
	s.gateway.sick.fellBehind(s)
	return true
}

// reportStalled tells the store that an ack is late. If one has come meanwhile, it then
// tells the store that the app acks again.
func (s *session) reportStalled() {
	b := s.gateway.backend
	b.SetStalled(s.user, s.id(), true, s.lastActivity())
	s.mu.Lock()
	answers := !s.stalled
	s.mu.Unlock()
	if answers {
		b.SetStalled(s.user, s.id(), false, 0)
	}
}

// lastActivity returns the store's time of the device's last sign of life: while an ack
// is late, the time from which the device had something to ack, else the time at which
// the peer was last heard.
func (s *session) lastActivity() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Duration(s.activeAt.Load())
	if s.stalled {
		at = s.unackedSince
	}
	return s.gateway.backend.Now() - (s.age() - at).Milliseconds()
}

// setBackground notes whether the app is in the background, so that nobody looks at it,
// and tells the store.
func (s *session) setBackground(background bool) {
	s.mu.Lock()
	s.background = background
	s.mu.Unlock()
	s.gateway.backend.SetBackground(s.user, s.id(), background)
}

// Acked implements store.Watcher.
func (s *session) Acked(group command.GroupID, arrival uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if group == "" {
		return arrival <= s.window.acked
	}
	sub := s.groups[group]
	return sub != nil && sub.acked.Has(arrival)
}

// Acks implements store.Watcher.
func (s *session) Acks() store.Acks {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := store.Acks{UpTo: s.window.acked}
	for group, sub := range s.groups {
		if sub.acked.To == 0 {
			continue
		}
		if a.Groups == nil {
			a.Groups = make(map[command.GroupID]store.Span)
		}
		a.Groups[group] = sub.acked
	}
	return a
}
