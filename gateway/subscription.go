package gateway

import (
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A subscription is the position of a session in a group's feed. At any time it waits
// in the feed, or it is in the session's queue ready, or the pump works on it.
type subscription struct {
	// Constant.
	session  *session
	feed     *feed
	live     bool   // of a live group, whose member is the session itself
	joinedAt uint64 // for live groups: the point in the group's order at which the session joined

	nextReady *subscription // in session.ready; guarded by session.mu

	changed atomic.Bool // the user's own view of the group may have changed
	closed  atomic.Bool // it has ended; set under feed.mu

	acked store.Span // the part of the group's order that was acked while somebody looked; guarded by session.mu

	index int // in feed.waiting, -1 if it does not wait; guarded by feed.mu

	// Set by the login, then owned by the pump. Points are points of the group's order.
	positioned  bool   // the fields below are set
	pushedTo    uint64 // everything up to this point was pushed
	cursor      string // cursor of pushedTo, "" if it has not been made yet
	minSeq      uint64 // lowest seq that the user may read, as far as the session knows
	changesTo   uint64 // point of the newest pushed change of the user's own view
	signalsFrom uint64 // signals before this point are not visible to the user
	nextSignal  uint64 // number of the next signal
	lostSignals uint64 // signals that were dropped before they were pushed; the device has yet to be told
	leaving     bool   // the user is no member any more, according to their shard
	cursorFrame uint64 // delivery number of the newest frame with this group's cursor
	markedTo    uint64 // end of the newest mark in the window, 0 for none
}

func (sub *subscription) link() **subscription { return &sub.nextReady }

// moveTo sets the position, and the cursor for it.
func (sub *subscription) moveTo(arrival uint64, cursor string) {
	sub.pushedTo, sub.cursor = arrival, cursor
}

// rejoin moves the position to the beginning of a newer membership. The user may not
// see what came before.
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

// attach returns the session's subscription to a group. If there is none, it makes one
// with the given live and joined, and reports it as fresh. ok is false if the session
// is ending.
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

// detach ends a subscription. It reports whether the session still had it.
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

// detachAll ends all subscriptions. No pump runs, and no request is handled any more.
func (s *session) detachAll() {
	s.mu.Lock()
	groups := s.groups
	s.groups = nil
	s.mu.Unlock()
	for _, sub := range groups {
		s.gateway.unsubscribe(sub)
	}
}

// wakeFor queues a new or unparked subscription, and wakes the pump.
func (s *session) wakeFor(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
	s.wakeLocked()
}

// wakeForFeed is wakeFor for a feed, which wakes many sessions: if the session's pump
// has to be started, it adds the session to start, for the caller to do so. since is
// the time of the store's Wake.
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

// popReady removes and returns the first subscription of the queue ready, nil for
// none.
func (s *session) popReady() *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready.n > 0 {
		if sub := s.ready.pop(); !sub.closed.Load() {
			return sub
		}
	}
	return nil
}

// putBack adds a subscription to the queue ready, for the pump that runs.
func (s *session) putBack(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready.push(sub)
}
