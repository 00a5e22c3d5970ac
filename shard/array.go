package shard

import (
	"slices"
	"unsafe"

	"github.com/belfry-im/belfry/shard/ring"
)

// An array is a slice in one piece of the arena, for values without pointers. Users
// have a few of each kind: in the arena they cost the garbage collector nothing and
// leave little room unused. The zero array is empty.
type array[T any] struct {
	items []T
	piece ring.Ref
}

// add appends v. It may move the items to a new piece.
func (x *array[T]) add(a *ring.Arena, v T) {
	if len(x.items) == cap(x.items) {
		// A short array grows to the next size class, a long one by an eighth.
		x.move(a, len(x.items)+1+len(x.items)/64*8)
	}
	x.items = append(x.items, v)
}

// move copies the items to a new piece with room for n.
func (x *array[T]) move(a *ring.Arena, n int) {
	to := newArray[T](a, n)
	to.items = append(to.items, x.items...)
	x.free(a)
	*x = to
}

func newArray[T any](a *ring.Arena, n int) array[T] {
	var v T
	size := int(unsafe.Sizeof(v))
	bytes := ring.SizeClass(n * size)
	l := list[T]{piece: a.Alloc(bytes), room: uint32(bytes / size)}
	return l.array(a)
}

// clone returns a copy of the array in a piece of its own.
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

// A list is an array without pointers, so that it can itself be an item of an array.
type list[T any] struct {
	piece   ring.Ref
	n, room uint32 // items held, and items there is room for
}

// -
func (l *list[T]) array(a *ring.Arena) array[T] {
	if l.piece == 0 {
		return array[T]{}
	}
	var v T
	// Pieces are aligned to 16 bytes and stay where they are until freed.
	first := (*T)(unsafe.Pointer(unsafe.SliceData(a.Bytes(l.piece, int(l.room)*int(unsafe.Sizeof(v))))))
	return array[T]{items: unsafe.Slice(first, l.room)[:l.n], piece: l.piece}
}

// set makes the list hold x.
func (l *list[T]) set(x array[T]) {
	*l = list[T]{piece: x.piece, n: uint32(len(x.items)), room: uint32(cap(x.items))}
}

// items returns the items. The slice is valid until the list changes.
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

// replace makes the list a copy of items, in a piece of its own.
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
