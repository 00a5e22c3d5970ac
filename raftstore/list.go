package raftstore

import "slices"

// maxList bounds what Users and Groups return at a time.
const maxList = 1000

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
	// A slot that moves meanwhile may have been listed at both shards.
	l.entries = slices.CompactFunc(l.entries, func(a, b T) bool { return l.order(a, b) == 0 })
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
