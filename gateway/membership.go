package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
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
// so that the event of that is pushed too: also if the membership ended before the user's
// shard knew of its beginning, when the event of its end closes the subscription. If it
// ended before the login, or its end has been pushed, the subscription is closed at once.
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
	case m.Is:
		sub.signalsFrom, sub.minSeq = m.JoinedAt+1, m.Member.VisibleFrom
		sub.feed.setPosition(sub, m.JoinedAt, true)
	case !m.Was || m.Past.EndedMS < s.loginTime || m.Past.To <= lastEnd:
		s.detach(sub)
	default:
		sub.signalsFrom, sub.minSeq = max(m.Past.From, lastEnd)+1, m.Past.VisibleFrom
		sub.feed.setPosition(sub, sub.signalsFrom-1, true)
	}
	return caughtUp
}

// membership reads what a group knows of the user. After an error the pump comes back.
func (s *session) membership(sub *subscription) (*query.Membership, error) {
	m := &query.Membership{Group: sub.feed.group, User: s.user}
	err := s.gateway.backend.Read(m)
	if err != nil {
		s.unavailable(err)
	}
	return m, err
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
