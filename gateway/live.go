package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// maxLive bounds the groups without storage that a session is in.
const maxLive = 1000

// joinLive makes the session a member of a group that stores no messages, until
// leaveLive, a removal, the end of the group, or its own. A session that is in it
// already stays so. at is the present point in the group's order, and ended that
// of the user's newest removal. The error is a refusal: the session is in too
// many, or behind.
func (s *session) joinLive(group command.GroupID, at, ended uint64) error {
	switch sub := s.subscription(group); {
	case sub == nil:
	case sub.live && ended > sub.joinedAt:
		return &refusal{protocol.CodeUnavailable, "group: this session has yet to be told of a removal", minRetry}
	case sub.live:
		return nil
	default:
		return &refusal{protocol.CodeUnavailable, "group: this session has yet to be told that the one which was there before is no more", minRetry}
	}
	s.mu.Lock()
	n := s.live
	s.mu.Unlock()
	if n >= maxLive {
		return &refusal{code: protocol.CodeRateLimited, message: "group: this session is in too many live groups", after: minRetry}
	}
	if sub, fresh, ok := s.attach(group, true, at); ok && fresh {
		s.wakeFor(sub)
	}
	return nil
}

// leaveLive ends what joinLive began. It tells whether the session was in it.
func (s *session) leaveLive(group command.GroupID) bool {
	sub := s.subscription(group)
	return sub != nil && sub.live && s.detach(sub)
}

// inLive tells whether the session is a member of a group that stores no messages.
func (s *session) inLive(group command.GroupID) bool {
	sub := s.subscription(group)
	return sub != nil && sub.live
}
