package raftstore

import (
	"context"
	"errors"
	"iter"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// A storeReader reads for callers at a place, or without one. It leaves the place while
// another node is asked.
type storeReader struct {
	store *Store
	place store.Place // nil: none
}

var _ store.Reader = (*storeReader)(nil)

// ReaderAt returns a Reader for callers who are at p.
func (s *Store) ReaderAt(p store.Place) store.Reader { return &storeReader{store: s, place: p} }

// read answers a query from the leader's memory.
func (r *storeReader) read(q query.Query) error {
	if r.place == nil {
		return r.store.read(q)
	}
	sh := r.store.shardOfSlot(uint16(q.Slot()))
	if from := sh.memory(); from != nil && sh.leading() != nil {
		// The lead may end at this moment: then the question goes elsewhere.
		if err := readOne(from, q); sh.leading() != nil || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
	}
	atMost, err := r.place.Leave()
	if err != nil {
		return err
	}
	defer r.place.Return()
	if atMost == 0 || r.store.cluster == nil {
		return r.store.read(q)
	}
	return readError(sh.askWithin(atMost, peer.Read, []query.Query{q}))
}

// readCommitted is Store.readCommitted.
func (r *storeReader) readCommitted(ctx context.Context, queries ...query.Query) error {
	sh := r.store.shardOfSlot(uint16(queries[0].Slot()))
	back, err := r.leave(func(yield func(*shardRef) bool) { yield(sh) })
	if err != nil {
		return err
	}
	defer back()
	return r.store.readCommitted(ctx, queries...)
}

// leave leaves the place, if there is one, unless this node leads all the shards that
// are to be asked. The caller has to call back once they have answered.
func (r *storeReader) leave(asked iter.Seq[*shardRef]) (back func(), err error) {
	stay := func() {}
	if r.place == nil {
		return stay, nil
	}
	for sh := range asked {
		if sh.leading() == nil {
			if _, err := r.place.Leave(); err != nil { // these reads have a ctx
				return stay, err
			}
			return r.place.Return, nil
		}
	}
	return stay, nil
}
