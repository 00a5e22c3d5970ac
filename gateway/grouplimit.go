package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// What a user comes to.
const (
	joins = 1 << iota
	owns
	isPut // a stranger makes him a member: he has written to others only
)

// A coming is a group that a request which has not been answered may bring a
// user to. The user's shard knows of it by the time of the answer.
type coming struct {
	user  command.UserID
	group command.GroupID // "" for one whose id is still to be made up
	what  int
}

// comings are all of this gateway, by user. Those of a session are bounded by
// its requests in flight.
type comings struct {
	mu  sync.Mutex
	all map[command.UserID][]coming
}

// begin counts a coming, and tells how many other groups the user is coming to.
func (cs *comings) begin(c coming) (joined, owned int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, other := range cs.all[c.user] {
		if c.group != "" && other.group == c.group {
			continue
		}
		if other.what&joins != 0 {
			joined++
		}
		if other.what&owns != 0 {
			owned++
		}
	}
	if cs.all == nil {
		cs.all = make(map[command.UserID][]coming)
	}
	cs.all[c.user] = append(cs.all[c.user], c)
	return joined, owned
}

func (cs *comings) end(ended []coming) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range ended {
		list := cs.all[c.user]
		if i := slices.Index(list, c); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(cs.all, c.user)
		} else {
			cs.all[c.user] = list
		}
	}
}

// may refuses a user who is in, or owns, as many groups as he may. Else he counts
// as coming to one more until the change has been answered.
func (c *change) may(user command.UserID, group command.GroupID, field string, what int) error {
	of := coming{user, group, what}
	joined, owned := c.session.gateway.comings.begin(of)
	standing := &c.session.gateway.backend.Eligibility("", []command.UserID{user})[0]
	err := standing.Err
	if err == nil {
		err = c.session.within(standing, joined, owned, field+": "+string(user), what)
	}
	c.hold(of, err)
	return err
}

// hold keeps a coming until the change has been answered, or ends it if that was
// refused.
func (c *change) hold(of coming, refused error) {
	if refused != nil {
		c.session.gateway.comings.end([]coming{of})
	} else {
		c.comings = append(c.comings, of)
	}
}

// within refuses one who has a standing and is coming to some more groups.
func (s *session) within(standing *store.Eligibility, joined, owned int, who string, what int) error {
	maxJoined, maxOwned := s.gateway.config.MaxGroups, s.gateway.config.MaxOwnedGroups
	switch {
	case what&isPut != 0 && maxJoined >= 0 && standing.ByStrangers+joined >= maxJoined:
		return &refusal{protocol.CodeRateLimited, who + " was put into as many groups by strangers as a user may be", time.Hour}
	case what&joins != 0 && maxJoined >= 0 && standing.Joined+joined >= maxJoined:
		return &refusal{protocol.CodeRateLimited, who + " is in as many groups as a user may be", time.Hour}
	case what&owns != 0 && maxOwned >= 0 && standing.Owned+owned >= maxOwned:
		return &refusal{protocol.CodeRateLimited, who + " owns as many groups as a user may", time.Hour}
	}
	return nil
}
