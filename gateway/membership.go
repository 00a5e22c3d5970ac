package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// groupJoined subscribes to a group: the user's shard says that they are a member now.
func (s *session) groupJoined(group command.GroupID) {
	if sub := s.subscription(group); sub != nil && sub.live {
		s.detach(sub) // that group was dismissed, and another one has its id
	}
	if sub, fresh, ok := s.attach(group, false, 0); ok && fresh {
		s.putBack(sub)
	}
}

// groupLeft pushes what is left of a group: the user's shard says that they are no
// member any more.
func (s *session) groupLeft(group command.GroupID) {
	sub, fresh, ok := s.attach(group, false, 0)
	switch {
	case !ok || sub.live:
		return
	case fresh: // the end was pushed, or it came before the user's shard knew of the beginning
		s.putBack(sub)
		return
	}
	sub.leaving = true
	if sub.feed.unpark(sub) {
		s.putBack(sub)
	}
}

// positionNew sets the position of a fresh subscription to just before the user joined,
// so that the event of that is pushed too.
func (s *session) positionNew(p *pumpState, sub *subscription) progress {
	b, group := s.gateway.backend, sub.feed.group
	if sub.live {
		sub.signalsFrom = sub.joinedAt
		sub.feed.setPosition(sub, sub.joinedAt, true)
		return caughtUp
	}
	at, member, err := b.JoinedAt(group, s.user)
	switch {
	case err != nil:
		s.unavailable(err)
		return storeDown
	case !member:
		return s.positionPast(sub)
	default:
		sub.signalsFrom, sub.minSeq = at+1, endOfOrder
		if err := s.loadMinSeq(sub); err != nil {
			return storeDown
		}
		sub.feed.setPosition(sub, at, true)
	}
	return caughtUp
}

// positionPast sets the position of a fresh subscription to the beginning of a past
// membership, one that ended before the user's shard knew of its beginning. The event of
// its end closes the subscription. If it ended before the login, or its end has been
// pushed, the subscription is closed at once.
func (s *session) positionPast(sub *subscription) progress {
	past, known, err := s.gateway.backend.PastMembership(sub.feed.group, s.user)
	lastEnd := s.pastMemberships.endOf(sub.feed.group)
	switch {
	case err != nil:
		s.unavailable(err)
		return storeDown
	case !known || past.EndedMS < s.loginTime || past.To <= lastEnd:
		s.detach(sub)
	default:
		sub.signalsFrom, sub.minSeq = max(past.From, lastEnd)+1, past.VisibleFrom
		sub.feed.setPosition(sub, sub.signalsFrom-1, true)
	}
	return caughtUp
}

// loadMinSeq sets the lowest seq that the user may read. If they are no member any more
// it leaves what is set.
func (s *session) loadMinSeq(sub *subscription) error {
	m, member, err := s.gateway.backend.Member(sub.feed.group, s.user)
	switch {
	case err != nil:
		s.unavailable(err)
	case member:
		sub.minSeq = m.VisibleFrom
	}
	return err
}

// pastMemberships are the newest past memberships whose ends the session has pushed.
type pastMemberships []pastMembership

type pastMembership struct {
	group   command.GroupID
	arrival uint64 // of its end, in the group's order
}

// maxPastMemberships bounds them. If one is dropped and the user's shard learns of the
// membership only then, its end is pushed once more.
const maxPastMemberships = 64

// endOf returns the arrival number of the pushed end of a membership, 0 for none.
func (e pastMemberships) endOf(group command.GroupID) uint64 {
	for i := range e {
		if e[i].group == group {
			return e[i].arrival
		}
	}
	return 0
}

func (e *pastMemberships) add(group command.GroupID, arrival uint64) {
	*e = slices.DeleteFunc(*e, func(s pastMembership) bool { return s.group == group })
	if len(*e) == maxPastMemberships {
		*e = slices.Delete(*e, 0, 1)
	}
	*e = append(*e, pastMembership{group, arrival})
}
