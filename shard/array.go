package shard

import (
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/ring"
)

// An array is a slice whose items lie in one piece of the arena and have no pointers.
// Each user has several arrays: in the arena they cost the garbage collector nothing
// and leave little room unused. The zero array is empty.
type array[T any] struct {
	items []T
	piece ring.Ref
}

// add appends v. If the array is full, it moves the items to a larger piece.
func (x *array[T]) add(a *ring.Arena, v T) {
	if len(x.items) == cap(x.items) {
		// A short array grows to the next size class, a long one by an eighth.
		x.move(a, len(x.items)+1+len(x.items)/64*8)
	}
	x.items = append(x.items, v)
}

// move moves the items to a new piece with room for n items, and frees the old piece.
func (x *array[T]) move(a *ring.Arena, n int) {
	to := newArray[T](a, n)
	to.items = append(to.items, x.items...)
	x.free(a)
	*x = to
}

// newArray returns an empty array with room for at least n items.
func newArray[T any](a *ring.Arena, n int) array[T] {
	var v T
	size := int(unsafe.Sizeof(v))
	bytes := ring.SizeClass(n * size)
	l := list[T]{piece: a.Alloc(bytes), room: uint32(bytes / size)}
	return l.array(a)
}

// clone returns a copy of the array in a new piece.
func (x *array[T]) clone(a *ring.Arena) array[T] {
	if len(x.items) == 0 {
		return array[T]{}
	}
	to := newArray[T](a, len(x.items))
	to.items = append(to.items, x.items...)
	return to
}

func (x *array[T]) free(a *ring.Arena) {
	if x.piece != 0 {
		var v T
		a.Free(x.piece, cap(x.items)*int(unsafe.Sizeof(v)))
	}
	*x = array[T]{}
}

// A list is an array in a form without pointers, so that lists can be items of an
// array.
type list[T any] struct {
	piece   ring.Ref
	n, room uint32 // number of items, and number of items that the piece has room for
}

// array returns the list as an array, which shares the list's piece.
func (l *list[T]) array(a *ring.Arena) array[T] {
	if l.piece == 0 {
		return array[T]{}
	}
	var v T
	// Pieces are aligned to 16 bytes and stay where they are until freed.
	first := (*T)(unsafe.Pointer(unsafe.SliceData(a.Bytes(l.piece, int(l.room)*int(unsafe.Sizeof(v))))))
	return array[T]{items: unsafe.Slice(first, l.room)[:l.n], piece: l.piece}
}

// set makes the list hold the items of x, whose piece it takes over.
func (l *list[T]) set(x array[T]) {
	*l = list[T]{piece: x.piece, n: uint32(len(x.items)), room: uint32(cap(x.items))}
}

// items returns the list's items. The slice is valid until the list changes.
func (l *list[T]) items(a *ring.Arena) []T { return l.array(a).items }

// insert inserts v before item i.
func (l *list[T]) insert(a *ring.Arena, i int, v T) {
	x := l.array(a)
	x.add(a, v)
	copy(x.items[i+1:], x.items[i:])
	x.items[i] = v
	l.set(x)
}

// removeFirst removes the first i items.
func (l *list[T]) removeFirst(a *ring.Arena, i int) {
	x := l.array(a)
	if x.items = slices.Delete(x.items, 0, i); len(x.items) == 0 {
		x.free(a)
	}
	l.set(x)
}

// replace makes the list hold a copy of items in a new piece, and frees the old piece.
func (l *list[T]) replace(a *ring.Arena, items []T) {
	x, old := array[T]{items: items}, l.array(a)
	l.set(x.clone(a))
	old.free(a)
}

func (l *list[T]) free(a *ring.Arena) {
	x := l.array(a)
	x.free(a)
	*l = list[T]{}
}
