package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// Kinds of a join reservation, to be combined.
const (
	joins = 1 << iota
	owns
	unsolicited // is added by a user to whom they have never written
)

// A joinReservation counts a group against a user's limits while the request by which the
// user may join it is pending. Once that is answered, the user's shard counts the group.
type joinReservation struct {
	user  command.UserID
	group command.GroupID // "" if it has no id yet
	kind  int
}

// joinReservations are the reservations at this gateway, by user. Their number is limited
// by that of pending requests.
type joinReservations struct {
	mu  sync.Mutex
	all map[command.UserID][]joinReservation
}

// add adds a reservation. It returns how many other groups the user has reservations for,
// as a member and as the owner.
func (cs *joinReservations) add(c joinReservation) (joined, owned int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, other := range cs.all[c.user] {
		if c.group != "" && other.group == c.group {
			continue
		}
		if other.kind&joins != 0 {
			joined++
		}
		if other.kind&owns != 0 {
			owned++
		}
	}
	if cs.all == nil {
		cs.all = make(map[command.UserID][]joinReservation)
	}
	cs.all[c.user] = append(cs.all[c.user], c)
	return joined, owned
}

func (cs *joinReservations) remove(ended []joinReservation) {
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

// reserve makes a reservation, which is kept until the change is answered. It refuses a
// user who is in (or owns) as many groups as allowed; field names them in the refusal.
func (c *groupChange) reserve(user command.UserID, group command.GroupID, field string, kind int) error {
	reservation := joinReservation{user, group, kind}
	joined, owned := c.session.gateway.reservations.add(reservation)
	eligibility := &c.session.gateway.backend.Eligibility("", []command.UserID{user})[0]
	err := eligibility.Err
	if err == nil {
		err = c.session.checkGroupLimits(eligibility, joined, owned, field+": "+string(user), kind)
	}
	c.keepReservation(reservation, err)
	return err
}

// keepReservation keeps a reservation until the change is answered. If refused is an
// error, it removes the reservation instead.
func (c *groupChange) keepReservation(reservation joinReservation, refused error) {
	if refused != nil {
		c.session.gateway.reservations.remove([]joinReservation{reservation})
	} else {
		c.reservations = append(c.reservations, reservation)
	}
}

// checkGroupLimits returns a refusal if a user is in (or owns) as many groups as allowed.
// joined and owned are the groups that the user has reservations for, and who names the
// user in the refusal.
func (s *session) checkGroupLimits(eligibility *store.Eligibility, joined, owned int, who string, kind int) error {
	maxJoined, maxOwned := s.gateway.config.MaxGroups, s.gateway.config.MaxOwnedGroups
	switch {
	case kind&unsolicited != 0 && maxJoined >= 0 && eligibility.ByStrangers+joined >= maxJoined:
		return &refusal{protocol.CodeRateLimited, who + " was added to as many groups by users they have never written to as is allowed", time.Hour}
	case kind&joins != 0 && maxJoined >= 0 && eligibility.Joined+joined >= maxJoined:
		return &refusal{protocol.CodeRateLimited, who + " is in as many groups as a user may be", time.Hour}
	case kind&owns != 0 && maxOwned >= 0 && eligibility.Owned+owned >= maxOwned:
		return &refusal{protocol.CodeRateLimited, who + " owns as many groups as a user may", time.Hour}
	}
	return nil
}
