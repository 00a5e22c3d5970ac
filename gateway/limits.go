package gateway

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
)

const (
	// scanRate and scanBurst are how many requests a user may make that read all their
	// conversations, for each login that they may make: a login reads more.
	scanRate  = 5
	scanBurst = 20
	// historyRate and historyBurst are the same for pages of history.
	historyRate  = 10
	historyBurst = 20
	// groupsPerScan is how many groups count as one more scan, in requests that read all
	// groups of a user.
	groupsPerScan = 100
	// presenceRate and presenceBurst are how many users a user may ask the presence of,
	// for each login that they may make: some are looked up in all groups of both.
	presenceRate  = 50
	presenceBurst = 50
	// unknownUserRate (per second) and unknownUserBurst are how often a user may name
	// users who do not exist, with Config.KnownUsersOnly: otherwise they could probe for
	// names.
	unknownUserRate  = 1.0 / 60
	unknownUserBurst = 20
	// newUserRate is how many users that the store does not know yet a user may add to
	// groups in an hour, for each change of groups that they may make in a second, and
	// newUserBurst for each of a burst: the store keeps them for good.
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

// limits are the rate limits of users.
type limits struct {
	logins         *ratelimit.Keyed
	groupCreations *ratelimit.Keyed
	sends          *ratelimit.Keyed
	presences      *ratelimit.Keyed // users whose presence somebody asks for
	unknownUsers   *ratelimit.Keyed // users that somebody names and that do not exist
	scans          *ratelimit.Keyed // requests that read all conversations
	histories      *ratelimit.Keyed // pages of history
	changes        *ratelimit.Keyed // of groups, of which their members get events
	newUsers       *ratelimit.Keyed // users that somebody adds to groups and the store does not know yet
	evicted        *ratelimit.Keyed // logins of users whose sessions were closed for memory
}

func newLimits(c *Config) limits {
	perLogin := func(rates, bursts int) *ratelimit.Keyed {
		return ratelimit.NewKeyed(rate.Limit(rates*c.LoginRate), bursts*c.LoginBurst)
	}
	perHour := func(n, burst int) *ratelimit.Keyed {
		return ratelimit.NewKeyed(rate.Limit(float64(n)/time.Hour.Seconds()), burst)
	}
	return limits{
		logins:         ratelimit.NewKeyed(rate.Limit(c.LoginRate), c.LoginBurst),
		groupCreations: perHour(creationsPerOwned*c.MaxOwnedGroups, creationsPerOwned*c.MaxOwnedGroups),
		sends:          ratelimit.NewKeyed(rate.Limit(c.SendRate), c.SendBurst),
		presences:      perLogin(presenceRate, presenceBurst),
		unknownUsers:   ratelimit.NewKeyed(unknownUserRate, unknownUserBurst),
		scans:          perLogin(scanRate, scanBurst),
		histories:      perLogin(historyRate, historyBurst),
		changes:        ratelimit.NewKeyed(rate.Limit(c.GroupChangeRate), c.GroupChangeBurst),
		newUsers:       perHour(newUserRate*c.GroupChangeRate, newUserBurst*c.GroupChangeBurst),
		evicted:        ratelimit.NewKeyed(rate.Every(evictedPause), 1),
	}
}

// allowScan refuses a request that reads all of a user's conversations if there were too
// many.
func (s *session) allowScan() error {
	if wait, ok := s.gateway.scans.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests of this kind", wait}
	}
	return nil
}

// allowHistory refuses a page of history if there were too many.
func (s *session) allowHistory() error {
	if wait, ok := s.gateway.histories.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many pages of history", wait}
	}
	return nil
}

// allowSend refuses a send if there were too many of the user's sessions together.
func (s *session) allowSend() error {
	if s.sendLimit == nil || s.sendLimit.Allow() {
		return nil
	}
	wait, _ := ratelimit.TakeN(s.sendLimit, 1)
	return &refusal{protocol.CodeRateLimited, "conv: you are sending too many messages", max(wait, time.Millisecond)}
}

// allowUnknownUser refuses a request that would say whether a user exists, if the user
// has named too many that do not.
func (s *session) allowUnknownUser() error {
	if wait, ok := s.gateway.unknownUsers.Ready(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests named users who do not exist", wait}
	}
	return nil
}

// allowGroupChange refuses a change of a group if the user has made too many: all members
// get an event.
func (s *session) allowGroupChange() error {
	if wait, ok := s.gateway.changes.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: you are changing groups too often", wait}
	}
	return nil
}
