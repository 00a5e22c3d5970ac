package gateway

import (
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A subscription is what a session has of a group's feed: a place in the group's
// order, and no messages. At any time it waits in the feed, or is in the
// session's line of those that have something, or the pump is at it.
type subscription struct {
	// Static.
	session  *session
	feed     *feed
	live     bool   // the group stores nothing: membership is the session's own
	joinedAt uint64 // live: place in the group's order at which the session joined

	nextReady *subscription // in the session's line; guarded by session.mu

	changed atomic.Bool // the member's own view of the group may have changed
	closed  atomic.Bool // it is over; set under feed.mu

	acked store.Span // of the group's order; guarded by session.mu

	index int // in feed.waiting, -1 = it does not wait; guarded by feed.mu

	// Set by the login, and then owned by the pump.
	positioned  bool   // it has a place in the group's order
	pushedTo    uint64 // arrival number up to which the device was told
	cursor      string // of told, "" when it has yet to be made
	minSeq      uint64 // the lowest seq that he may read, as far as was heard
	changesTo   uint64 // arrival number of the newest change in his own view that was told
	signalsFrom uint64 // messages that nobody stores are not his when their place is below
	nextSignal  uint64 // number of the next message of those that nobody stores
	lostSignals uint64 // of them were lost, and the device has not been told
	leaving     bool   // the user's shard says that he is no member any more
	cursorFrame uint64 // delivery number of the newest frame that gives its cursor
	markedTo    uint64 // up to where the window's marks reach, 0 = there are none yet
}

func (sub *subscription) link() **subscription { return &sub.nextReady }

// moveTo moves the place in the order.
func (sub *subscription) moveTo(arrival uint64, cursor string) {
	sub.pushedTo, sub.cursor = arrival, cursor
}

// rejoin moves the place on to where a membership began. What came before that
// is not the member's.
func (sub *subscription) rejoin(arrival uint64) {
	sub.moveTo(arrival, "")
	sub.signalsFrom = arrival + 1
	sub.markedTo = 0
}

// subscription gives what the session has of a group, nil for nothing.
func (s *session) subscription(group command.GroupID) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[group]
}

// attach subscribes the session to a group, unless it is. The subscription has
// no place yet; ok is false when the session is ending. joined is for one that
// joins a group without storage, live.
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
			s.live++
		}
		s.mu.Unlock()
		return sub, true, true
	}
	s.mu.Unlock()
	s.gateway.unsubscribe(sub)
	return other, false, other != nil
}

// detach ends a subscription of the session. It tells whether it was there.
func (s *session) detach(sub *subscription) bool {
	s.mu.Lock()
	there := s.groups[sub.feed.group] == sub
	if there {
		delete(s.groups, sub.feed.group)
		if sub.live {
			s.live--
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

// wakeFor puts a subscription that waits nowhere into the session's line, and
// wakes the pump.
func (s *session) wakeFor(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
	s.wakeLocked()
}

// wakeForFeed is rouse for a feed that has many to wake: a pump that has to start is
// left to it, in start. since is when the store had the news.
func (s *session) wakeForFeed(sub *subscription, since time.Time, start *fifo[session, *session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
	if s.woken.IsZero() {
		s.woken = since
	}
	s.dirty = true
	if s.pumping || s.stopped || s.ended {
		return
	}
	s.pumping = true
	s.pumps.Add(1)
	start.push(s)
}

// nextReady takes the subscription that has waited longest for the pump, nil for
// none.
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

// putBack has the pump come back to a subscription.
func (s *session) putBack(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
}
