package raftstore

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A sweep asks about each slot once, at the shard that owns it, and about those that
// moved meanwhile once more.
func TestSweepCoversAllSlots(t *testing.T) {
	s := open(t, testConfig(t))
	asked := make([]int, command.Slots)
	moved := false
	w := sweep[*query.Count]{
		slots: 100, gathered: 3,
		ask: func(r query.SlotRange) *query.Count { return &query.Count{SlotRange: r} },
		take: func(q *query.Count) {
			for slot := q.First; slot <= q.Last; slot++ {
				asked[slot]++
			}
			if !moved {
				moved = true
				m := &placement.Map{Version: 2, Shards: []placement.Shard{{ID: 0}, {ID: 1}}, Slots: slices.Clone(s.owners.Load().ranges)}
				r := &m.Slots[0]
				m.Slots = slices.Insert(m.Slots, 0, placement.SlotRange{First: 0, Last: 9, Shard: 1, Epoch: r.Epoch + 1})
				m.Slots[1].First = 10
				s.setMap(m)
			}
		},
	}
	if err := w.run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for slot, n := range asked {
		if want := 1 + b2i(slot < 10); n != want {
			t.Fatalf("slot %d was asked about %d times, want %d", slot, n, want)
		}
	}
	if err := s.stopShard(0); err != nil {
		t.Fatal(err)
	}
	if err := w.run(t.Context(), s); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("sweep with a shard down: %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.run(ctx, s); err == nil {
		t.Error("sweep goes on after its context has ended")
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
