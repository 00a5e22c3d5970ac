package gateway

import (
	"math"

	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// pushStandalone pushes item i of a chunk, which is no message but a recall or an event.
func (s *session) pushStandalone(p *pumpState, sub *subscription, c *chunk, i int) (pushed int, end progress) {
	it := &c.items[i]
	pushedTo, ends := it.arrival, false
	if e := it.event; e != nil {
		switch {
		case e.EndsMembershipOf(s.user) && sub.live:
			ends = true
		case e.EndsMembershipOf(s.user) || e.Kind == query.EventRemoved && len(e.Users) == 0: // too many to be named
			m, err := s.membership(sub)
			if err != nil {
				return 0, storeDown
			}
			// They may have joined again: they may not see what lies between.
			if ends = !m.Is; !ends {
				sub.minSeq = m.Member.VisibleFrom
				pushedTo, sub.signalsFrom = max(pushedTo, m.JoinedAt), m.JoinedAt+1
			}
		case e.Kind == query.EventJoinRequested || e.Kind == query.EventBanned:
			info, _, err := s.gateway.backend.Group(sub.feed.group, s.user)
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
		// The user joined by this event: with its cursor their devices go on from here.
		cursor := query.Cursor(c.epoch, e.Group.Key(), e.Arrival)
		s.queue(func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, cursor) })
	} else if r := it.recall; r != nil && r.Ranges[0].From < sub.minSeq {
		clipped := *r
		if clipped.Ranges = query.ClipRanges(r.Ranges, sub.minSeq); len(clipped.Ranges) > 0 {
			s.queue(func(b []byte) []byte { return wire.AppendChange(b, s.codec, &clipped) })
		}
	} else {
		s.queue(func(b []byte) []byte { return append(b, c.span(s.codec, i, i+1)...) })
	}
	if pushedTo > it.arrival || i+1 == len(c.items) || c.items[i+1].arrival > it.arrival {
		sub.moveTo(pushedTo, "") // no other part follows
	}
	if ends {
		if !sub.live {
			s.pastMemberships.add(sub.feed.group, it.arrival)
		}
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushMemberChanges pushes what the user's other sessions changed in their view of the
// group, each change after the messages that came before it.
func (s *session) pushMemberChanges(p *pumpState, sub *subscription) (pushed int, end progress) {
	changes, err := s.gateway.backend.MemberChanges(sub.feed.group, s.user, s.id, sub.changesTo)
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

// pushRemaining pushes what the user may still read after their shard has said that they
// are no member any more. The event that closes the subscription usually is among it.
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
	if !m.Is {
		s.pastMemberships.add(sub.feed.group, sub.pushedTo)
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushAssumedRemoval pushes that the user was removed from a live group, and closes the
// subscription: the session has missed events, and whether this was among them is known
// nowhere else.
func (s *session) pushAssumedRemoval(p *pumpState, sub *subscription) (pushed int) {
	pushed = s.closeFrame(p)
	e := &query.GroupEvent{
		Kind: query.EventRemoved, Group: sub.feed.group, Users: []command.UserID{s.user}, Time: s.gateway.backend.Now(),
	}
	s.queue(func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, "") })
	s.detach(sub)
	return pushed
}
