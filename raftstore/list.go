package raftstore

import (
	"context"
	"slices"

	"github.com/belfry-im/belfry/shard/query"
)

// maxList bounds what Users and Groups return at a time.
const maxList = 1000

// walk calls read for all slots of all shards, some at a time.
func (s *Store) walk(ctx context.Context, some int, read func(*localShard, query.SlotRange) error) error {
	for _, sh := range s.shards {
		if err := sh.walk(ctx, some, func(slots query.SlotRange) error { return read(sh, slots) }); err != nil {
			return err
		}
	}
	return nil
}

// A list gathers the first entries, in some order, of many parts.
type list[T any] struct {
	limit   int
	order   func(a, b T) int
	entries []T
	more    bool // there are entries beyond the limit
}

// newList returns a list of limit entries, at least 1 and at most maxList.
func newList[T any](limit int, order func(a, b T) int) *list[T] {
	return &list[T]{limit: max(min(limit, maxList), 1), order: order}
}

// add adds a part.
func (l *list[T]) add(part []T) {
	l.entries = append(l.entries, part...)
	if len(l.entries) >= 4*l.limit {
		l.cut()
	}
}

// last returns the entry at or behind which none is needed any more, zero while
// there is none.
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

// end returns the entries, and whether there are more.
func (l *list[T]) end() (entries []T, more bool) {
	l.cut()
	return l.entries, l.more
}
