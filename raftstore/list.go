package raftstore

import (
	"context"
	"slices"

	"github.com/belfry-im/belfry/shard/query"
)

// maxList bounds what Users and Groups return at a time.
const maxList = 1000

// walk calls read for all slots of all shards, with at most some slots in each
// call.
func (s *Store) walk(ctx context.Context, some int, read func(*shardRef, query.SlotRange) error) error {
	for _, sh := range s.shards() {
		if err := sh.walk(ctx, some, func(slots query.SlotRange) error { return read(sh, slots) }); err != nil {
			return err
		}
	}
	return nil
}

// A list collects entries from many parts, and keeps the first ones in some
// order.
type list[T any] struct {
	limit   int
	order   func(a, b T) int
	entries []T
	more    bool // there are entries beyond the limit
}

// newList returns a list that keeps limit entries, but at least 1 and at most
// maxList.
func newList[T any](limit int, order func(a, b T) int) *list[T] {
	return &list[T]{limit: max(min(limit, maxList), 1), order: order}
}

// add adds the entries of one part.
func (l *list[T]) add(part []T) {
	l.entries = append(l.entries, part...)
	if len(l.entries) >= 4*l.limit {
		l.cut()
	}
}

// last returns the last entry of a list that has cut some off: no entry behind
// it need be added. It returns zero while none was cut off.
func (l *list[T]) last() (last T) {
	if l.more {
		return l.entries[l.limit-1]
	}
	return last
}

func (l *list[T]) cut() {
	slices.SortFunc(l.entries, l.order)
	if len(l.entries) > l.limit {
		l.more = true
		clear(l.entries[l.limit:])
		l.entries = l.entries[:l.limit]
	}
}

// end returns the entries that are kept, and reports whether there are more.
func (l *list[T]) end() (entries []T, more bool) {
	l.cut()
	return l.entries, l.more
}
