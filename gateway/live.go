package gateway

import "github.com/belfry-im/belfry/shard"

// joinLive makes the session a member of a group that stores no messages, until
// leaveLive or its end. A session that is in it already stays so. The error is
// a refusal: the session is in too many.
func (s *session) joinLive(group shard.GroupID) error { return nil }

// leaveLive ends what joinLive began. It tells whether the session was in it.
func (s *session) leaveLive(group shard.GroupID) bool { return false }

// inLive tells whether the session is a member of a group that stores no messages.
func (s *session) inLive(group shard.GroupID) bool { return false }
