package gateway

import (
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
)

const (
	// scanRate and searchBurst are how many requests a user may make that walk
	// over all he has, for each login that he may: a login does that and more.
	scanRate  = 5
	scanBurst = 20
	// historyRate and historyBurst are the same for pages of history.
	historyRate  = 10
	historyBurst = 20
	// groupsPerScan is how many groups cost as much as one such request, where all
	// of a user's are looked at.
	groupsPerScan = 100
	// presenceRate and presenceBurst are how many users a user may ask the presence
	// of, for each login that he may: some are looked for in all groups of both.
	presenceRate  = 50
	presenceBurst = 50
	// unknownUserRate (per second) and missBurst are how many users who do not exist a user
	// may name where only those that do are taken: else he could try names.
	unknownUserRate  = 1.0 / 60
	unknownUserBurst = 20
	// newUserRate is how many users of whom nothing is kept yet a user may add to
	// groups in an hour, for each change of groups that he may make in a second,
	// and strangerBurst for each of a burst: something is kept of them from then
	// on, for good.
	newUserRate  = 10
	newUserBurst = 1
)

const (
	// evictedPause is how long a user whose session was closed for memory has to wait
	// for the next login: all that was not read would have to be pushed again.
	evictedPause = 5 * time.Second
	// memoryRetryAfter is when to repeat a request that was refused for memory.
	memoryRetryAfter = time.Second
)

// allowScan refuses a user's requests that walk over much, when there are many.
func (s *session) allowScan() error {
	if wait, ok := s.gateway.scans.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests of this kind", wait}
	}
	return nil
}

// allowHistory refuses a user's pages of history beyond what fills gaps of a device.
func (s *session) allowHistory() error {
	if wait, ok := s.gateway.histories.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many pages of history", wait}
	}
	return nil
}

// allowSend refuses a user's sends beyond what all his sessions may send together.
func (s *session) allowSend() error {
	if s.sends == nil || s.sends.Allow() {
		return nil
	}
	wait, _ := ratelimit.TakeN(s.sends, 1)
	return &refusal{protocol.CodeRateLimited, "conv: you send too much", max(wait, time.Millisecond)}
}

// allowUnknownUser refuses to tell whether a user exists to who has named too many who do
// not.
func (s *session) allowUnknownUser() error {
	if wait, ok := s.gateway.unknownUsers.Ready(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: you have named too many users who do not exist", wait}
	}
	return nil
}

// allowGroupChange refuses what all members of a group would be told, when it comes too
// often.
func (s *session) allowGroupChange() error {
	if wait, ok := s.gateway.changes.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many changes of groups", wait}
	}
	return nil
}
