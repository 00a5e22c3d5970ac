package raftstore

import (
	"errors"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// A seat counts how often its place is left, and refuses that if full.
type seat struct {
	left, returned int
	full           bool
}

func (s *seat) Leave() (time.Duration, error) {
	if s.full {
		return 0, store.Unavailable(store.DefaultRetryAfter, "full")
	}
	s.left++
	return 0, nil
}

func (s *seat) Return() { s.returned++ }

// What this node leads is read at one's place; only for a shard that is led elsewhere, or
// by nobody, the place is left.
func TestReadsLeaveAPlaceOnlyForOtherNodes(t *testing.T) {
	s := open(t, testConfig(t))
	var place seat
	r := s.ReaderAt(&place)
	here, elsewhere := userIn(s, 0, 0), userIn(s, 1, 0)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	var up query.Updates
	if err := r.Since(here, 0, 0, &up, 1, 1); err != nil || place != (seat{}) {
		t.Errorf("Since(here) = %v at %+v, want nil at a place that was kept", err, place)
	}
	if _, err := r.GroupsOf(t.Context(), here); err != nil || place != (seat{}) {
		t.Errorf("GroupsOf(here) = %v at %+v, want nil at a place that was kept", err, place)
	}
	if err := r.Since(elsewhere, 0, 0, &up, 1, 1); !errors.Is(err, store.ErrUnavailable) || place != (seat{left: 1, returned: 1}) {
		t.Errorf("Since(elsewhere) = %v at %+v, want ErrUnavailable at a place that was left and taken again", err, place)
	}
	if _, err := r.GroupsOf(t.Context(), elsewhere); !errors.Is(err, store.ErrUnavailable) || place != (seat{left: 2, returned: 2}) {
		t.Errorf("GroupsOf(elsewhere) = %v at %+v, want ErrUnavailable at a place that was left and taken again", err, place)
	}
	place.full = true
	if err := r.Since(elsewhere, 0, 0, &up, 1, 1); !errors.Is(err, store.ErrUnavailable) || place.returned != 2 {
		t.Errorf("Since(elsewhere) = %v at %+v, want ErrUnavailable at a place that was kept", err, place)
	}
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
}
