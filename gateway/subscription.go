package gateway

import (
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A subscription is a session's cursor in a group's feed. At any time it waits in the
// feed, or is in the session's queue of those that have something, or the pump works on
// it.
type subscription struct {
	// Static.
	session  *session
	feed     *feed
	live     bool   // the group stores nothing, and the session itself is the member
	joinedAt uint64 // live: point in the group's order at which the session joined

	nextReady *subscription // in session.ready; guarded by session.mu

	changed atomic.Bool // the member's own view of the group may have changed
	closed  atomic.Bool // it is over; set under feed.mu

	acked store.Span // of the group's order, while somebody looked; guarded by session.mu

	index int // in feed.waiting, -1 = it does not wait; guarded by feed.mu

	// Set by the login, and then owned by the pump. Points are of the group's order.
	positioned  bool   // the following are set
	pushedTo    uint64 // everything up to this point was pushed
	cursor      string // of pushedTo, "" = not made yet
	minSeq      uint64 // the lowest seq that the user may read, as far as is known
	changesTo   uint64 // point of the newest change of the user's own view that was pushed
	signalsFrom uint64 // signals before this point are not for the user
	nextSignal  uint64 // number of the next signal
	lostSignals uint64 // that were dropped before they were pushed, and the device does not know
	leaving     bool   // the user's shard says that they are no member any more
	cursorFrame uint64 // delivery number of the newest frame that holds cursor
	markedTo    uint64 // up to where the window's marks reach, 0 = there are none yet
}

func (sub *subscription) link() **subscription { return &sub.nextReady }

// moveTo sets the position and its cursor.
func (sub *subscription) moveTo(arrival uint64, cursor string) {
	sub.pushedTo, sub.cursor = arrival, cursor
}

// rejoin sets the position to where a membership began: the user may not see what came
// before.
func (sub *subscription) rejoin(arrival uint64) {
	sub.moveTo(arrival, "")
	sub.signalsFrom = arrival + 1
	sub.markedTo = 0
}

// subscription returns the subscription to a group, nil for none.
func (s *session) subscription(group command.GroupID) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[group]
}

// attach returns the subscription to a group, a fresh one if there was none. ok is
// false if the session is ending. live and joined are those of a fresh one.
func (s *session) attach(group command.GroupID, live bool, joined uint64) (sub *subscription, fresh, ok bool) {
	if sub := s.subscription(group); sub != nil {
		return sub, false, true
	}
	sub = s.gateway.subscribe(s, group, live, joined)
	s.mu.Lock()
	other := s.groups[group]
	if other == nil && !s.stopped {
		if s.groups == nil {
			s.groups = make(map[command.GroupID]*subscription)
		}
		s.groups[group] = sub
		if live {
			s.liveGroups++
		}
		s.mu.Unlock()
		return sub, true, true
	}
	s.mu.Unlock()
	s.gateway.unsubscribe(sub)
	return other, false, other != nil
}

// detach ends a subscription. It reports whether the session had it.
func (s *session) detach(sub *subscription) bool {
	s.mu.Lock()
	there := s.groups[sub.feed.group] == sub
	if there {
		delete(s.groups, sub.feed.group)
		if sub.live {
			s.liveGroups--
		}
	}
	s.mu.Unlock()
	if there {
		s.gateway.unsubscribe(sub)
	}
	return there
}

// detachAll ends all subscriptions. No pump and no request may start another.
func (s *session) detachAll() {
	s.mu.Lock()
	groups := s.groups
	s.groups = nil
	s.mu.Unlock()
	for _, sub := range groups {
		s.gateway.unsubscribe(sub)
	}
}

// wakeFor queues a subscription that was unparked or is new, and wakes the pump.
func (s *session) wakeFor(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
	s.wakeLocked()
}

// wakeForFeed is wakeFor for a feed, which wakes many sessions: if the pump has to be
// started, it adds the session to start instead. since is the time of the store's Wake.
func (s *session) wakeForFeed(sub *subscription, since time.Time, start *fifo[session, *session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
	if s.wokenAt.IsZero() {
		s.wokenAt = since
	}
	s.dirty = true
	if s.pumping || s.stopped || s.ended {
		return
	}
	s.pumping = true
	s.pumps.Add(1)
	start.push(s)
}

// nextReady removes and returns the first of the queue, nil for none.
func (s *session) nextReady() *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready.n > 0 {
		if sub := s.ready.pop(); !sub.closed.Load() {
			return sub
		}
	}
	return nil
}

// putBack queues a subscription for the running pump.
func (s *session) putBack(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
}
