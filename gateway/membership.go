package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// groupJoined subscribes to a group that the user has become a member of, according to
// the user's shard.
func (s *session) groupJoined(group command.GroupID) {
	if sub := s.subscription(group); sub != nil && sub.live {
		s.detach(sub) // a live group was dismissed, and another group has its id
	}
	if sub, fresh, ok := s.attach(group, false, 0); ok && fresh {
		s.putBack(sub)
	}
}

// groupLeft makes the pump push the rest of a group that the user has left, according to
// the user's shard.
func (s *session) groupLeft(group command.GroupID) {
	sub, fresh, ok := s.attach(group, false, 0)
	switch {
	case !ok || sub.live:
		return
	case fresh: // the end was pushed, or is known before the beginning
		s.putBack(sub)
		return
	}
	sub.leaving = true
	if sub.feed.unpark(sub) {
		s.putBack(sub)
	}
}

// positionNew sets the position of a new subscription to just before the user joined, so
// that the event of joining is pushed too. That also holds for a membership that has
// ended since: the event of its end closes the subscription. If the membership ended
// before the login, or if its end was pushed already, positionNew closes the
// subscription.
func (s *session) positionNew(sub *subscription) progress {
	if sub.live {
		sub.signalsFrom = sub.joinedAt
		sub.feed.setPosition(sub, sub.joinedAt, true)
		return caughtUp
	}
	m, err := s.membership(sub)
	lastEnd := s.pastMemberships.endOf(sub.feed.group)
	switch {
	case err != nil:
		return storeDown
	case m.IsMember:
		sub.signalsFrom, sub.minSeq = m.JoinedAt+1, m.Member.VisibleFrom
		sub.feed.setPosition(sub, m.JoinedAt, true)
	case !m.WasMember || m.Past.EndedMS < s.loginTime || m.Past.To <= lastEnd:
		s.detach(sub)
	default:
		sub.signalsFrom, sub.minSeq = max(m.Past.From, lastEnd)+1, m.Past.VisibleFrom
		sub.feed.setPosition(sub, sub.signalsFrom-1, true)
	}
	return caughtUp
}

// membership reads what a group knows of the user. After an error the pump tries again
// later.
func (s *session) membership(sub *subscription) (*query.Membership, error) {
	m := &query.Membership{Group: sub.feed.group, User: s.user}
	err := s.gateway.reads.Read(m)
	if err != nil {
		s.unavailable(err)
	}
	return m, err
}

// pastMemberships are the newest past memberships whose ends were pushed to the session.
type pastMemberships []pastMembership

type pastMembership struct {
	group   command.GroupID
	arrival uint64 // of the end, in the group's order
}

// maxPastMemberships limits pastMemberships. If one is dropped and the user's shard
// learns of the membership only later, its end is pushed twice.
const maxPastMemberships = 64

// endOf returns the arrival number of the end, pushed already, of the user's membership
// in a group; 0 for none.
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
