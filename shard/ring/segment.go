package ring

import "encoding/binary"

// Offsets in a segment; see the package comment.
const (
	offSize    = 0
	offNext    = 4
	rootSize   = 8 // of a root's header
	offPrev    = 8
	offPrevEnd = 12
	offFirst   = 16
	offArrival = 24
	headerSize = 32
)

// Sizes of segments, header included. They were chosen by BenchmarkMemory.
const (
	// A ring that fits into this many bytes has one segment. Up to here a copy
	// on growth costs less than the room that several segments leave unused.
	singleMax = 2 << 10

	// Such a segment is made a quarter larger than its content. With a half, the many
	// conversations of two to five messages would take a fifth more memory.
	singleSlack = 4

	// A further segment is a sixteenth of the ring, within the two bounds. So the
	// unused end of the last segment and the removed entries at the start of the
	// first take little memory beside the rest.
	chainedShare = 16
	chainedMin   = 1 << 10
	chainedMax   = 16 << 10
)

// A segment is the header of a segment of a ring.
type segment []byte

// segment returns the header of the segment at r. If that is a root, only size and next
// may be read, because the other fields lie in its first entry; an entry is larger than
// those fields, so that the slice never goes beyond the piece.
func (a *Arena) segment(r Ref) segment { return a.Bytes(r, headerSize) }

func (s segment) first() uint64   { return binary.LittleEndian.Uint64(s[offFirst:]) }
func (s segment) arrival() uint64 { return binary.LittleEndian.Uint64(s[offArrival:]) }
func (s segment) prev() Ref       { return Ref(binary.LittleEndian.Uint32(s[offPrev:])) }
func (s segment) prevEnd() uint32 { return binary.LittleEndian.Uint32(s[offPrevEnd:]) }
func (s segment) size() uint32    { return binary.LittleEndian.Uint32(s[offSize:]) }
func (s segment) next() Ref       { return Ref(binary.LittleEndian.Uint32(s[offNext:])) }
func (s segment) setNext(r Ref)   { binary.LittleEndian.PutUint32(s[offNext:], uint32(r)) }

// newRoot allocates a root segment of at least n bytes.
func (a *Arena) newRoot(n int) Ref {
	n = SizeClass(n)
	ref := a.Alloc(n)
	s := a.segment(ref)
	binary.LittleEndian.PutUint32(s[offSize:], uint32(n))
	s.setNext(0)
	return ref
}

// newSegment allocates a segment of at least n bytes that comes after prev. The caller
// sets the link of prev to it.
func (a *Arena) newSegment(n int, first, arrival uint64, prev Ref, prevEnd uint32) Ref {
	n = SizeClass(n)
	ref := a.Alloc(n)
	s := a.segment(ref)
	binary.LittleEndian.PutUint64(s[offFirst:], first)
	binary.LittleEndian.PutUint64(s[offArrival:], arrival)
	binary.LittleEndian.PutUint32(s[offPrev:], uint32(prev))
	binary.LittleEndian.PutUint32(s[offPrevEnd:], prevEnd)
	binary.LittleEndian.PutUint32(s[offSize:], uint32(n))
	s.setNext(0)
	return ref
}

func (a *Arena) freeSegment(r Ref) { a.Free(r, int(a.segment(r).size())) }

// An extent is the part of a segment that holds entries of a ring.
type extent struct {
	ref          Ref
	start, end   uint32 // offsets of its first entry, and after its last
	first, limit uint64 // its seqs: first <= seq < limit
}

// extent returns the extent of the segment at ref. It reads nothing that may still
// change: where the last segment ends is known from r.
func (r *Ring) extent(a *Arena, ref Ref) extent {
	x := extent{ref: ref, start: r.start, end: r.end, first: r.First(), limit: r.Next()}
	if ref != r.head {
		x.start, x.first = headerSize, a.segment(ref).first()
	}
	if ref != r.tail {
		next := a.segment(a.segment(ref).next())
		x.end, x.limit = next.prevEnd(), next.first()
	}
	return x
}

// find returns the extent that holds entry seq. The ring must hold that entry.
func (r *Ring) find(a *Arena, seq uint64) extent {
	if seq-r.First() < r.last-seq {
		x := r.extent(a, r.head)
		for seq >= x.limit {
			x = r.extent(a, a.segment(x.ref).next())
		}
		return x
	}
	x := r.extent(a, r.tail)
	for seq < x.first {
		x = r.extent(a, a.segment(x.ref).prev())
	}
	return x
}

// bytes returns the memory of the segment from its start to the end of the extent.
func (x extent) bytes(a *Arena) []byte { return a.Bytes(x.ref, int(x.end)) }

// offset returns the offset of entry seq, or x.end if seq is x.limit. mem must be
// x.bytes().
func (x extent) offset(mem []byte, seq uint64) uint32 {
	if seq-x.first < x.limit-seq {
		off := x.start
		for range seq - x.first {
			off += sizeAt(mem[off:])
		}
		return off
	}
	off := x.end
	for range x.limit - seq {
		off -= sizeBefore(mem[:off])
	}
	return off
}
