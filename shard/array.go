package shard

import (
	"unsafe"

	"github.com/belfry-im/belfry/shard/ring"
)

// An array is a slice in one piece of the arena, for values without pointers,
// of which most users have a few: it costs the garbage collector nothing and
// little room is left over. The zero array is empty.
type array[T any] struct {
	items []T
	piece ring.Ref
}

// add appends v. It may move the items.
func (x *array[T]) add(a *ring.Arena, v T) {
	if len(x.items) == cap(x.items) {
		// A short array grows by what a size class holds more, a long one by an
		// eighth.
		x.move(a, len(x.items)+1+len(x.items)/64*8)
	}
	x.items = append(x.items, v)
}

// move makes room for n items in a new piece.
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
	piece := a.Alloc(bytes)
	// Pieces are aligned to 16 bytes and stay where they are until freed.
	first := (*T)(unsafe.Pointer(unsafe.SliceData(a.Bytes(piece, bytes))))
	return array[T]{items: unsafe.Slice(first, bytes/size)[:0], piece: piece}
}

// clone copies the items into a piece of their own.
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
