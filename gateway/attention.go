package gateway

import (
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// What a device acks tells that its app runs, which a pong does not: browsers
// answer pings for pages that are frozen. The store is told when an ack is owed for
// too long, and when it comes after all; and it asks what was acked while somebody
// looked at the device.

// startAckTimer begins the time within which the device has to ack what was just pushed,
// unless that runs already. The caller holds mu.
func (s *session) startAckTimer() {
	if s.unackedSince != 0 {
		return
	}
	now := s.since()
	s.unackedSince = now
	// When the timer goes off, more may have been acked and pushed: so it is set
	// once in a while, not for each push.
	if at := now + s.gateway.config.StallTimeout; s.armed == 0 || at < s.armed {
		s.armed = at
		s.timer.Reset(at - now)
	}
}

// restartAckTimer ends that time, or begins it anew if there is more to ack. It reports
// whether the store is to be told that the app answers after all. The caller holds
// mu.
func (s *session) restartAckTimer() (told bool) {
	s.unackedSince = 0
	if len(s.window.frames) > 0 {
		s.startAckTimer()
	}
	told = s.stalled
	s.stalled = false
	return told
}

// checkStalled notes that the device owes an ack for too long. The caller holds mu, and
// tells the store when it does no more.
func (s *session) checkStalled(now time.Duration) (stalled bool) {
	if s.unackedSince == 0 || s.stalled || now < s.unackedSince+s.gateway.config.StallTimeout {
		return false
	}
	s.stalled = true
	return true
}

// reportStalled tells the store of a stall. Should an ack have come meanwhile, that is
// told last.
func (s *session) reportStalled() {
	b := s.gateway.backend
	b.SetStalled(s.user, s.number, true, s.lastActivity())
	s.mu.Lock()
	answers := !s.stalled
	s.mu.Unlock()
	if answers {
		b.SetStalled(s.user, s.number, false, 0)
	}
}

// lastActivity is when the device last gave a sign of life that counts: of its app, while it
// owes an ack for too long, else of its link.
func (s *session) lastActivity() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Duration(s.activeAt.Load())
	if s.stalled {
		at = s.unackedSince
	}
	return s.gateway.backend.Now() - (s.since() - at).Milliseconds()
}

// setBackground notes whether somebody looks at the device.
func (s *session) setBackground(background bool) {
	s.mu.Lock()
	s.background = background
	s.mu.Unlock()
	s.gateway.backend.SetBackground(s.user, s.number, background)
}

// Acked is for the store.
func (s *session) Acked(group command.GroupID, arrival uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if group == "" {
		return arrival <= s.window.acked
	}
	sub := s.groups[group]
	return sub != nil && sub.acked.Has(arrival)
}

// Acks is for the store.
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
