package raftstore

import (
	"context"
	"errors"
	"sync"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// scatterMost is how many shards are asked at a time.
	scatterMost = 8
	// scatterRounds is how often slots are asked for again that had another owner than
	// the map said.
	scatterRounds = 3
)

// A sweep is a question about all slots, asked of each shard for the slots that it owns.
type sweep[Q query.Query] struct {
	// slots is how many are asked about under one lock of a shard, and gathered how many
	// of such questions go to another node in one request.
	slots, gathered int
	ask             func(query.SlotRange) Q
	take            func(Q) // called for one answer at a time
}

// run asks all shards, some at a time, and takes their answers in any order. It fails if
// a shard does not answer, or when ctx ends: then only some answers were taken. If the
// owner of a range of slots changes meanwhile, the new one is asked about that range too,
// so that no slot is missed, and what lies in it may be in two answers.
func (w *sweep[Q]) run(ctx context.Context, s *Store) error {
	return w.runOver(ctx, s, s.owners.Load().ranges)
}

// runOver is run for some ranges of slots.
func (w *sweep[Q]) runOver(ctx context.Context, s *Store, ranges []placement.SlotRange) error {
	for round := 0; len(ranges) > 0; round++ {
		if round == scatterRounds {
			return store.Unavailable(movedMost, "slots are on their way to other shards")
		}
		o := s.owners.Load()
		if err := errors.Join(w.runShards(ctx, o.byShard(ranges), true)...); err != nil {
			return err
		}
		ranges = s.owners.Load().moved(ranges)
	}
	return nil
}

// byShard sorts ranges by the shards that own them.
func (o *owners) byShard(ranges []placement.SlotRange) map[*shardRef][]placement.SlotRange {
	by := make(map[*shardRef][]placement.SlotRange)
	for _, r := range ranges {
		sh := o.shard(r.Shard)
		by[sh] = append(by[sh], r)
	}
	return by
}

// runShards asks shards about ranges that they own, and returns the errors. After the
// first one, with all, the others are asked no more.
func (w *sweep[Q]) runShards(ctx context.Context, byShard map[*shardRef][]placement.SlotRange, all bool) (errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // held for take
	var asking sync.WaitGroup
	turns := make(chan struct{}, scatterMost)
	for sh, ranges := range byShard {
		turns <- struct{}{}
		asking.Go(func() {
			defer func() { <-turns }()
			if err := w.runShard(ctx, sh, ranges, &mu); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if !all || len(errs) == 0 {
					errs = append(errs, err)
				}
				if all {
					cancel()
				}
			}
		})
	}
	asking.Wait()
	return errs
}

func (w *sweep[Q]) runShard(ctx context.Context, sh *shardRef, ranges []placement.SlotRange, mu *sync.Mutex) error {
	var asked []Q
	var queries []query.Query
	flush := func() error {
		if len(asked) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sh.readApart(queries...); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, q := range asked {
			w.take(q)
		}
		asked, queries = asked[:0], queries[:0]
		return nil
	}
	for _, r := range ranges {
		for first := int(r.First); first <= int(r.Last); first += w.slots {
			last := min(first+w.slots-1, int(r.Last))
			mu.Lock() // ask may look at what was taken
			q := w.ask(query.SlotRange{First: uint16(first), Last: uint16(last)})
			mu.Unlock()
			asked, queries = append(asked, q), append(queries, q)
			if len(asked) == w.gathered || sh.memory() != nil {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// moved returns the parts of ranges that have another owner, or epoch, in o.
func (o *owners) moved(ranges []placement.SlotRange) (moved []placement.SlotRange) {
	for _, r := range ranges {
		for _, now := range o.ranges {
			first, last := max(r.First, now.First), min(r.Last, now.Last)
			if first <= last && (r.Shard != now.Shard || r.Epoch != now.Epoch) {
				moved = append(moved, placement.SlotRange{First: first, Last: last, Shard: now.Shard, Epoch: now.Epoch})
			}
		}
	}
	return moved
}
