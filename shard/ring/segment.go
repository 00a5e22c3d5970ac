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

	// Such a segment has a quarter of room to grow: at half, the many
	// conversations of two to five messages would take a fifth more.
	singleSlack = 4

	// Further segments are a sixteenth of the ring, so that the unused room of
	// the last and the evicted part of the first stay small beside the rest.
	chainedShare = 16
	chainedMin   = 1 << 10
	chainedMax   = 16 << 10
)

// A segment is the header of one piece of a ring's chain.
type segment []byte

// segment returns the header of a segment. Only the head of a ring may be a root, of
// which only size and next may be read: an entry is larger than the rest, so that
// reading beyond it is harmless.
func (a *Arena) segment(r Ref) segment { return a.Bytes(r, headerSize) }

func (s segment) first() uint64   { return binary.LittleEndian.Uint64(s[offFirst:]) }
func (s segment) arrival() uint64 { return binary.LittleEndian.Uint64(s[offArrival:]) }
func (s segment) prev() Ref       { return Ref(binary.LittleEndian.Uint32(s[offPrev:])) }
func (s segment) prevEnd() uint32 { return binary.LittleEndian.Uint32(s[offPrevEnd:]) }
func (s segment) size() uint32    { return binary.LittleEndian.Uint32(s[offSize:]) }
func (s segment) next() Ref       { return Ref(binary.LittleEndian.Uint32(s[offNext:])) }
func (s segment) setNext(r Ref)   { binary.LittleEndian.PutUint32(s[offNext:], uint32(r)) }

// newRoot allocates the first segment of a ring, of at least n bytes.
func (a *Arena) newRoot(n int) Ref {
	n = SizeClass(n)
	ref := a.Alloc(n)
	s := a.segment(ref)
	binary.LittleEndian.PutUint32(s[offSize:], uint32(n))
	s.setNext(0)
	return ref
}

// newSegment allocates a segment of at least n bytes, to be chained to prev.
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

// An extent is the part of one segment that a ring holds.
type extent struct {
	ref          Ref
	start, end   uint32 // offsets of its entries
	first, limit uint64 // first <= seq < limit
}

// extent reads the header of a segment and of the next one, but nothing that may still
// change: the end of the last segment is known from r.
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

// find returns the extent that holds seq. The ring must hold it.
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

// bytes returns the segment's memory up to the end of its entries.
func (x extent) bytes(a *Arena) []byte { return a.Bytes(x.ref, int(x.end)) }

// offset returns where entry seq starts; mem is x.bytes. For x.limit it returns x.end.
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
