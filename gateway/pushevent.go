package gateway

import (
	"math"

	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// pushStandalone pushes item i of a chunk: a recall or an event.
func (s *session) pushStandalone(p *pumpState, sub *subscription, c *chunk, i int) (pushed int, end progress) {
	it := &c.items[i]
	pushedTo, ends := it.arrival, false
	if e := it.event; e != nil {
		switch {
		case e.EndsMembershipOf(s.user) && sub.live:
			ends = true
		case e.EndsMembershipOf(s.user) || e.Kind == query.EventRemoved && len(e.Users) == 0: // an event that does not name its many users
			m, err := s.membership(sub)
			if err != nil {
				return 0, storeDown
			}
			// If the user has joined again, nothing from between the two memberships is
			// visible.
			if ends = !m.IsMember; !ends {
				sub.minSeq = m.Member.VisibleFrom
				pushedTo, sub.signalsFrom = max(pushedTo, m.JoinedAt), m.JoinedAt+1
			}
		case e.Kind == query.EventJoinRequested || e.Kind == query.EventBanned:
			info, _, err := s.gateway.reads.Group(sub.feed.group, s.user)
			if err != nil {
				s.unavailable(err)
				return 0, storeDown
			}
			if info.Role < command.RoleAdmin {
				sub.moveTo(pushedTo, "")
				return 0, caughtUp
			}
		}
	}
	pushed = s.closeFrame(p)
	if e := it.event; e != nil && (e.Kind == query.EventJoined || e.Kind == query.EventCreated) && e.Arrival == sub.signalsFrom && !sub.live {
		// By this event the user joined: their devices go on from its cursor.
		cursor := query.Cursor(c.epoch, e.Group.Key(), e.Arrival)
		s.queue(frameGroupEvent, func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, cursor, c.uncounted) })
	} else if r := it.recall; r != nil && r.Ranges[0].From < sub.minSeq {
		clipped := *r
		if clipped.Ranges = query.ClipRanges(r.Ranges, sub.minSeq); len(clipped.Ranges) > 0 {
			s.queue(frameRecall, func(b []byte) []byte { return wire.AppendChange(b, s.codec, &clipped) })
		}
	} else {
		what := frameRecall
		if it.event != nil {
			what = frameGroupEvent
		}
		s.queue(what, func(b []byte) []byte { return append(b, c.span(s.codec, i, i+1)...) })
	}
	if pushedTo > it.arrival || i+1 == len(c.items) || c.items[i+1].arrival > it.arrival {
		sub.moveTo(pushedTo, "") // unless another part of the same recall follows
	}
	if ends {
		if !sub.live {
			s.pastMemberships.add(sub.feed.group, it.arrival)
		}
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushMemberChanges pushes what the user's other sessions changed in the user's view of
// the group. Each change follows the messages that came before it.
func (s *session) pushMemberChanges(p *pumpState, sub *subscription) (pushed int, end progress) {
	changes, err := s.gateway.reads.MemberChanges(sub.feed.group, s.user, s.id(), sub.changesTo)
	if err != nil {
		s.unavailable(err)
		return 0, storeDown
	}
	for i := range changes {
		at := changes[i].Arrival
		for read := false; sub.pushedTo < at && !read; {
			n := 0
			n, read, end = s.pushStored(p, sub, at)
			pushed += n
			if end != caughtUp || sub.closed.Load() {
				return pushed, end
			}
		}
		pushed += s.closeFrame(p)
		s.pushChange(&changes[i])
		sub.changesTo = at
	}
	return pushed, caughtUp
}

// pushRemaining pushes what a former member may still read, according to the user's
// shard. Usually that includes the event which closes the subscription.
func (s *session) pushRemaining(p *pumpState, sub *subscription) (pushed int, end progress) {
	m, err := s.membership(sub)
	if err != nil {
		return 0, storeDown
	}
	for read := false; !read; {
		n := 0
		n, read, end = s.pushStored(p, sub, math.MaxUint64)
		pushed += n
		if end != caughtUp || sub.closed.Load() {
			return pushed, end
		}
	}
	sub.leaving = false
	if !m.IsMember {
		s.pastMemberships.add(sub.feed.group, sub.pushedTo)
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushAssumedRemoval pushes an event that the user was removed from a live group, and
// closes the subscription. The session has missed events, and nobody knows whether a
// removal was among them.
func (s *session) pushAssumedRemoval(p *pumpState, sub *subscription) (pushed int) {
	pushed = s.closeFrame(p)
	e := &query.GroupEvent{
		Kind: query.EventRemoved, Group: sub.feed.group, Users: []command.UserID{s.user}, Time: s.gateway.backend.Now(),
	}
	s.queue(frameGroupEvent, func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, "", false) })
	s.detach(sub)
	return pushed
}
