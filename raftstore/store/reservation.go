package store

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

const (
	// ReservedFor is how long a Reservation counts unless it is removed before: then
	// whoever made it is gone.
	ReservedFor = time.Minute
	// maxReservations bounds those that are kept. Further ones are refused.
	maxReservations = 1 << 20
	// maxEnded bounds what is kept of those that have ended. Past it, one that is added
	// after its end counts until ReservedFor has passed.
	maxEnded = 1 << 16
)

// A Reservation counts a group against the limits of a user while a request by which they
// may join or own it is pending. Once that is answered, the user's shard counts the group.
type Reservation struct {
	ID          uint64 // random; to add a reservation again changes nothing
	User        command.UserID
	Group       command.GroupID // "" if it has no id yet
	Joins, Owns bool
}

// Reserved tells what else is reserved for the user of a Reservation.
type Reserved struct {
	Joined, Owned int   // other groups that they may join, or own
	Err           error // why the reservation was not made; the rest means nothing then
}

// Reservations are those of many users. The zero value is ready for use.
type Reservations struct {
	mu    sync.Mutex
	all   map[command.UserID][]keptReservation
	count int
	ended map[uint64]time.Time // by ID: until when it must not be added again
	swept time.Time
}

type keptReservation struct {
	Reservation
	until time.Time
}

// Add adds a reservation until it is removed, or for ReservedFor from now. It refuses one
// that has ended.
func (rs *Reservations) Add(r Reservation, now time.Time) (others Reserved) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if now.Sub(rs.swept) >= ReservedFor {
		rs.swept = now
		rs.delete(func(k *keptReservation) bool { return !now.Before(k.until) })
		maps.DeleteFunc(rs.ended, func(_ uint64, until time.Time) bool { return !now.Before(until) })
	}
	if until, ended := rs.ended[r.ID]; ended && now.Before(until) {
		return Reserved{Err: Unavailable(time.Second, "the reservation has ended")}
	}
	known := false
	for i := range rs.all[r.User] {
		other := &rs.all[r.User][i]
		if other.ID == r.ID {
			known = true
			continue
		}
		if r.Group != "" && other.Group == r.Group || !now.Before(other.until) {
			continue
		}
		if other.Joins {
			others.Joined++
		}
		if other.Owns {
			others.Owned++
		}
	}
	if known {
		return others
	}
	if rs.count >= maxReservations {
		return Reserved{Err: Unavailable(time.Second, "too many users join groups")}
	}
	if rs.all == nil {
		rs.all = make(map[command.UserID][]keptReservation)
	}
	rs.all[r.User] = append(rs.all[r.User], keptReservation{r, now.Add(ReservedFor)})
	rs.count++
	return others
}

// Remove removes a reservation, if it is there.
func (rs *Reservations) Remove(r Reservation) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.remove(r)
}

// End is Remove for one that may have been added more than once, or is still to be added:
// what another node asks for may come in another order.
func (rs *Reservations) End(r Reservation, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.remove(r)
	if len(rs.ended) >= maxEnded {
		return
	}
	if rs.ended == nil {
		rs.ended = make(map[uint64]time.Time)
	}
	rs.ended[r.ID] = now.Add(ReservedFor)
}

func (rs *Reservations) remove(r Reservation) {
	if i := slices.IndexFunc(rs.all[r.User], func(k keptReservation) bool { return k.ID == r.ID }); i >= 0 {
		rs.set(r.User, slices.Delete(rs.all[r.User], i, i+1))
	}
}

// Release removes all reservations of users who are with a shard.
func (rs *Reservations) Release(owns func(command.UserID) bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.delete(func(k *keptReservation) bool { return owns(k.User) })
}

func (rs *Reservations) delete(gone func(*keptReservation) bool) {
	for user, list := range rs.all {
		rs.set(user, slices.DeleteFunc(list, func(k keptReservation) bool { return gone(&k) }))
	}
}

// set sets the reservations of a user to what is left of them.
func (rs *Reservations) set(user command.UserID, list []keptReservation) {
	rs.count -= len(rs.all[user]) - len(list)
	if len(list) == 0 {
		delete(rs.all, user)
	} else {
		rs.all[user] = list
	}
}
