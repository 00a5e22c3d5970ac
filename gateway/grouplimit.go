package gateway

import (
	"math/rand/v2"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// Kinds of a reservation, to be combined.
const (
	joins = 1 << iota
	owns
	unsolicited // is added by a user to whom they have never written
)

// newReservation returns a reservation for a user who may join (or own) a group.
func newReservation(user command.UserID, group command.GroupID, kind int) store.Reservation {
	return store.Reservation{ID: rand.Uint64(), User: user, Group: group, Joins: kind&joins != 0, Owns: kind&owns != 0}
}

// reserve makes a reservation, which is kept until the change is answered. It refuses a
// user who is in (or owns) as many groups as allowed; field names them in the refusal.
func (c *groupChange) reserve(user command.UserID, group command.GroupID, field string, kind int) error {
	reservation := newReservation(user, group, kind)
	reserved := c.session.gateway.backend.Reserve([]store.Reservation{reservation})[0]
	if reserved.Err != nil { // it may have been made, without an answer
		c.keepReservation(reservation, reserved.Err)
		return reserved.Err
	}
	eligibility := &c.session.gateway.backend.Eligibility("", []command.UserID{user})[0]
	err := eligibility.Err
	if err == nil {
		err = c.session.checkGroupLimits(eligibility, reserved.Joined, reserved.Owned, field+": "+string(user), kind)
	}
	c.keepReservation(reservation, err)
	return err
}

// keepReservation keeps a reservation until the change is answered. If refused is an
// error, it ends the reservation instead.
func (c *groupChange) keepReservation(reservation store.Reservation, refused error) {
	if refused != nil {
		c.session.gateway.backend.Unreserve([]store.Reservation{reservation})
	} else {
		c.reservations = append(c.reservations, reservation)
	}
}

// release ends the reservations of a change that is answered or given up.
func (c *groupChange) release() {
	if len(c.reservations) > 0 {
		c.session.gateway.backend.Unreserve(c.reservations)
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
