package gateway

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
)

const (
	// scanRate and scanBurst are how many requests that read all conversations a user may
	// make, as multiples of their logins: a login reads even more.
	scanRate  = 5
	scanBurst = 20
	// historyRate and historyBurst are how many pages of history a user may read, as
	// multiples of their logins.
	historyRate  = 10
	historyBurst = 20
	// groupsPerScan is how many groups count as one more scan in requests that read all
	// groups of a user.
	groupsPerScan = 100
	// presenceRate and presenceBurst are how many users a user may ask the presence of,
	// as multiples of their logins: for some of them the groups of both users have to be
	// searched.
	presenceRate  = 50
	presenceBurst = 50
	// unknownUserRate (per second) and unknownUserBurst are how often, with
	// Config.KnownUsersOnly, a user may name users who do not exist. Without a limit they
	// could find out which names exist.
	unknownUserRate  = 1.0 / 60
	unknownUserBurst = 20
	// newUserRate is how many users unknown to the store a user may add to groups in an
	// hour, as a multiple of GroupChangeRate; newUserBurst is the multiple of
	// GroupChangeBurst. The store keeps such users forever.
	newUserRate  = 10
	newUserBurst = 1
)

const (
	// memoryLoginPause is how long a user must wait for the next login after a session was
	// closed for memory: a login pushes again everything that was not read.
	memoryLoginPause = 5 * time.Second
	// memoryRetryAfter is when a client may repeat a request that was refused for memory.
	memoryRetryAfter = time.Second
)

// limits are the rate limits of users.
type limits struct {
	logins         *ratelimit.Keyed
	groupCreations *ratelimit.Keyed
	sends          *ratelimit.Keyed
	presences      *ratelimit.Keyed // users whose presence a user asks for
	unknownUsers   *ratelimit.Keyed // users that a user names and that do not exist
	scans          *ratelimit.Keyed // requests that read all conversations
	histories      *ratelimit.Keyed // pages of history
	groupChanges   *ratelimit.Keyed // changes of groups; all members get an event
	newUsers       *ratelimit.Keyed // users that a user adds to groups and that the store does not know yet
	memoryLogins   *ratelimit.Keyed // logins after a session was closed for memory
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
		groupChanges:   ratelimit.NewKeyed(rate.Limit(c.GroupChangeRate), c.GroupChangeBurst),
		newUsers:       perHour(newUserRate*c.GroupChangeRate, newUserBurst*c.GroupChangeBurst),
		memoryLogins:   ratelimit.NewKeyed(rate.Every(memoryLoginPause), 1),
	}
}

// allowScan returns a refusal if the user has made too many requests that read all
// conversations.
func (s *session) allowScan() error {
	if wait, ok := s.gateway.scans.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests of this kind", wait}
	}
	return nil
}

// allowHistory returns a refusal if the user has read too many pages of history.
func (s *session) allowHistory() error {
	if wait, ok := s.gateway.histories.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many pages of history", wait}
	}
	return nil
}

// allowSend returns a refusal if the user's sessions have made too many sends together.
func (s *session) allowSend() error {
	if s.sendLimit == nil || s.sendLimit.Allow() {
		return nil
	}
	wait, _ := ratelimit.TakeN(s.sendLimit, 1)
	return &refusal{protocol.CodeRateLimited, "conv: you are sending too many messages", max(wait, time.Millisecond)}
}

// allowUnknownUser returns a refusal if the user has named too many users who do not
// exist. It is for requests whose answer tells whether a user exists.
func (s *session) allowUnknownUser() error {
	if wait, ok := s.gateway.unknownUsers.Ready(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many requests named users who do not exist", wait}
	}
	return nil
}

// allowGroupChange returns a refusal if the user has made too many changes of groups. All
// members get an event of each.
func (s *session) allowGroupChange() error {
	if wait, ok := s.gateway.groupChanges.Allow(string(s.user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: you are changing groups too often", wait}
	}
	return nil
}
