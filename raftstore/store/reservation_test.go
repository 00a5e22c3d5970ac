package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

func TestReservations(t *testing.T) {
	var rs Reservations
	now := time.Unix(1e9, 0)
	check := func(r Reservation, joined, owned int) {
		t.Helper()
		if got := rs.Add(r, now); got != (Reserved{Joined: joined, Owned: owned}) {
			t.Errorf("%+v: others are %+v, want %d and %d", r, got, joined, owned)
		}
	}
	first := Reservation{ID: 1, User: "alice", Group: "a", Joins: true, Owns: true}
	check(first, 0, 0)
	check(first, 0, 0) // again
	check(Reservation{ID: 2, User: "alice", Group: "a", Joins: true}, 0, 0)
	check(Reservation{ID: 3, User: "alice", Joins: true}, 2, 1)
	check(Reservation{ID: 4, User: "alice", Joins: true}, 3, 1)
	check(Reservation{ID: 5, User: "bob", Group: "a", Joins: true}, 0, 0)
	rs.Remove(first)
	rs.Remove(first)
	rs.Remove(Reservation{ID: 9, User: "nobody"})
	check(Reservation{ID: 6, User: "alice", Group: "b", Joins: true}, 3, 0)

	// What nobody removed is forgotten.
	now = now.Add(ReservedFor - 1)
	check(Reservation{ID: 7, User: "bob", Group: "b", Joins: true}, 1, 0)
	now = now.Add(1)
	check(Reservation{ID: 8, User: "bob", Group: "c", Joins: true}, 1, 0)
	if rs.count != 2 || len(rs.all) != 1 {
		t.Errorf("%d reservations of %d users are kept, want 2 of 1", rs.count, len(rs.all))
	}
	rs.Release(func(user command.UserID) bool { return strings.HasPrefix(string(user), "b") })
	if rs.count != 0 || len(rs.all) != 0 {
		t.Errorf("%d reservations of %d users are kept, want none", rs.count, len(rs.all))
	}

	// One that ends before it is added does not count.
	late := Reservation{ID: 10, User: "alice", Joins: true}
	rs.End(late, now)
	if got := rs.Add(late, now); !errors.Is(got.Err, ErrUnavailable) {
		t.Errorf("one that has ended: %+v, want ErrUnavailable", got)
	}
	check(Reservation{ID: 11, User: "alice", Joins: true}, 0, 0)
	rs.End(Reservation{ID: 11, User: "alice", Joins: true}, now)
	check(Reservation{ID: 12, User: "alice", Joins: true}, 0, 0)
	now = now.Add(ReservedFor)
	check(Reservation{ID: 13, User: "alice", Joins: true}, 0, 0)
	if len(rs.ended) != 0 {
		t.Errorf("%d that have ended are kept, want none", len(rs.ended))
	}
	for id := range uint64(maxEnded + 1) {
		rs.End(Reservation{ID: 100 + id}, now)
	}
	if len(rs.ended) != maxEnded {
		t.Errorf("%d that have ended are kept, want %d", len(rs.ended), maxEnded)
	}

	rs.count = maxReservations
	if got := rs.Add(first, now); !errors.Is(got.Err, ErrUnavailable) {
		t.Errorf("beyond the bound: %+v, want ErrUnavailable", got)
	}
}
