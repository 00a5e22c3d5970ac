package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// maxLive is how many live groups a session may be in.
const maxLive = 1000

// joinLive makes the session a member of a live group. The membership ends with
// leaveLive, a removal, the group or the session. at is the present end of the group's
// order, and ended the point of the user's newest removal. A session that is a member
// already stays one. joinLive refuses a session that is in too many live groups, or to
// which a removal has not been pushed yet.
func (s *session) joinLive(group command.GroupID, at, ended uint64) error {
	switch sub := s.subscription(group); {
	case sub == nil:
	case sub.live && ended > sub.joinedAt:
		return &refusal{protocol.CodeUnavailable, "group: a removal has not reached this session yet; try again", minRetry}
	case sub.live:
		return nil
	default:
		return &refusal{protocol.CodeUnavailable, "group: the end of the group that had this id before has not reached this session yet; try again", minRetry}
	}
	s.mu.Lock()
	n := s.liveGroups
	s.mu.Unlock()
	if n >= maxLive {
		return &refusal{code: protocol.CodeRateLimited, message: "group: this session is in too many live groups", retryAfter: minRetry}
	}
	if sub, fresh, ok := s.attach(group, true, at); ok && fresh {
		s.wakeFor(sub)
	}
	return nil
}

// leaveLive undoes joinLive. It reports whether the session was a member.
func (s *session) leaveLive(group command.GroupID) bool {
	sub := s.subscription(group)
	return sub != nil && sub.live && s.detach(sub)
}

// inLive reports whether the session is a member of a live group.
func (s *session) inLive(group command.GroupID) bool {
	sub := s.subscription(group)
	return sub != nil && sub.live
}
