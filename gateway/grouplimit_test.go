package gateway

import (
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
)

// An unansweringStore makes the first reservations, and loses the answer.
type unansweringStore struct {
	*testStore
	lost bool
}

func (s *unansweringStore) Reserve(list []store.Reservation) []store.Reserved {
	reserved := s.testStore.Reserve(list)
	if !s.lost {
		s.lost = true
		for i := range reserved {
			reserved[i].Err = store.ErrUnavailable
		}
	}
	return reserved
}

// A request that is refused because it is not known whether a place was reserved takes none.
func TestUnansweredReservation(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) {
			c.MaxOwnedGroups = 1
			c.Backend = &unansweringStore{testStore: c.Backend.(*testStore)}
		})
		alice := e.online("alice", codec)
		create := obj{"kind": "private", "name": "team"}
		alice.refused("createGroup", create, "unavailable")
		alice.call("createGroup", create)
	})
}
