package ring

import "math"

// maxBytes bounds what one ring holds. Limits per user and group are a
// thousandth of it.
const maxBytes = math.MaxInt32

// A Ring holds the entries First() <= seq < Next() of one conversation view in pieces
// of an arena. The zero Ring is empty, and its first seq is 1.
//
// A Ring has no pointers and may be moved. Of its copies only one may be changed; on
// reading the others see the package comment.
type Ring struct {
	last  uint64 // seq of the newest entry ever appended; 0 = none yet
	count uint32 // entries held, up to last
	bytes uint32 // of them
	head  Ref    // oldest segment; 0 when the ring is empty
	tail  Ref    // newest segment
	start uint32 // offset of the oldest entry in head
	end   uint32 // offset after the newest entry in tail
}

// First returns the oldest seq held, Next() if there is none.
func (r *Ring) First() uint64 { return r.last - uint64(r.count) + 1 }

// Next returns the seq that Append will give.
func (r *Ring) Next() uint64 { return r.last + 1 }

// Len returns the number of entries held.
func (r *Ring) Len() int { return int(r.count) }

// Bytes returns the sum of the sizes of the entries held, see EntrySize.
func (r *Ring) Bytes() int { return int(r.bytes) }

// Reset removes all entries and continues at seq next, which is at least 1.
func (r *Ring) Reset(a *Arena, next uint64) {
	r.freeSegments(a)
	r.last = max(next, 1) - 1
}

// freeSegments frees all segments and leaves the ring empty.
func (r *Ring) freeSegments(a *Arena) {
	for r.head != 0 {
		next := a.segment(r.head).next()
		a.freeSegment(r.head)
		r.head = next
	}
	*r = Ring{last: r.last}
}

// Append appends a copy of e, sets e.Seq and returns its size. Its Arrival must be
// higher than that of every entry before it. Append panics if the ring would be larger
// than 2 GiB.
func (r *Ring) Append(a *Arena, e *Entry) int {
	size := EntrySize(e)
	replaced := r.makeRoom(a, size, 0, e.Arrival)
	AppendEntry(a.Bytes(r.tail, int(r.end)+size)[:r.end], e)
	r.appended(a, size, replaced)
	e.Seq = r.last
	return size
}

// AppendEncoded is Append for an encoded entry, to restore a ring from a snapshot.
// About follow bytes of entries are still to come; it makes room for those as well.
func (r *Ring) AppendEncoded(a *Arena, entry []byte, arrival uint64, follow int) {
	replaced := r.makeRoom(a, len(entry), follow, arrival)
	copy(a.Bytes(r.tail, int(r.end)+len(entry))[r.end:], entry)
	r.appended(a, len(entry), replaced)
}

// appended counts an entry of size bytes that was written at the end, and frees the
// replaced segment.
func (r *Ring) appended(a *Arena, size int, replaced Ref) {
	if replaced != 0 {
		a.freeSegment(replaced) // only now, because the entry may alias it
	}
	r.end += uint32(size)
	r.bytes += uint32(size)
	r.count++
	r.last++
}

// makeRoom makes room for size bytes at the end of the tail; follow is as in
// AppendEncoded. It returns the segment that it replaced, if any, which the caller has
// to free.
func (r *Ring) makeRoom(a *Arena, size, follow int, arrival uint64) (replaced Ref) {
	if size > maxBytes-int(r.bytes) {
		panic("ring: more than 2 GiB in one ring")
	}
	if r.tail == 0 {
		r.head = a.newRoot(rootSize + size + min(follow, chainedMax))
		r.tail, r.start, r.end = r.head, rootSize, rootSize
		return 0
	}
	tail := a.segment(r.tail)
	if size <= int(tail.size()-r.end) {
		return 0
	}
	if need := rootSize + int(r.bytes) + size; r.head == r.tail && need <= singleMax {
		replaced = r.tail
		r.tail = a.newRoot(need + need/singleSlack)
		copy(a.Bytes(r.tail, need)[rootSize:], a.Bytes(replaced, int(r.end))[r.start:])
		r.head, r.start, r.end = r.tail, rootSize, rootSize+r.bytes
		return replaced
	}
	ref := a.newSegment(r.chainedSize(size), r.Next(), arrival, r.tail, r.end)
	tail.setNext(ref)
	r.tail, r.end = ref, headerSize
	return 0
}

// chainedSize returns the size of a segment to chain for an entry of size bytes: a
// share of the ring, rounded to whole entries of the average size so that similar ones
// leave nothing unused at its end.
func (r *Ring) chainedSize(size int) int {
	room := min(max(int(r.bytes)/chainedShare, chainedMin), chainedMax) - headerSize
	average := int(r.bytes / r.count)
	return headerSize + max(room/average*average, size)
}

// At reads entry seq into e. It returns false if the ring does not hold it.
func (r *Ring) At(a *Arena, seq uint64, e *Entry) bool {
	if seq < r.First() || seq > r.last {
		return false
	}
	x := r.find(a, seq)
	mem := x.bytes(a)
	decode(mem[x.offset(mem, seq):], seq, e)
	return true
}

// Header is At without the byte fields: it reads the numbers of the entry and leaves
// the other fields of e as they are. It returns the size of the entry, or 0 if the
// ring does not hold it.
func (r *Ring) Header(a *Arena, seq uint64, e *Entry) int {
	switch {
	case seq < r.First() || seq > r.last:
		return 0
	case seq == r.First():
		return decodeHeader(a.from(r.head, r.start), seq, e)
	}
	x := r.find(a, seq)
	mem := x.bytes(a)
	return decodeHeader(mem[x.offset(mem, seq):], seq, e)
}

// FirstArrival returns the arrival number of the oldest entry. The ring must not be
// empty.
func (r *Ring) FirstArrival(a *Arena) uint64 { return arrivalAt(a.from(r.head, r.start)) }

// Size returns the size of entry seq, 0 if the ring does not hold it.
func (r *Ring) Size(a *Arena, seq uint64) int {
	if seq < r.First() || seq > r.last {
		return 0
	}
	x := r.find(a, seq)
	mem := x.bytes(a)
	return int(sizeAt(mem[x.offset(mem, seq):]))
}

// Truncate removes the entries up to and including upTo and returns their bytes.
func (r *Ring) Truncate(a *Arena, upTo uint64) int {
	before := r.bytes
	if upTo >= r.last {
		r.freeSegments(a)
		return int(before)
	}
	for r.head != r.tail {
		x := r.extent(a, r.head)
		if upTo+1 < x.limit {
			break
		}
		next := a.segment(r.head).next()
		a.freeSegment(r.head)
		r.head, r.start = next, headerSize
		r.bytes -= x.end - x.start
		r.count -= uint32(x.limit - x.first)
	}
	if upTo < r.First() {
		return int(before - r.bytes)
	}
	x := r.extent(a, r.head)
	start := x.offset(x.bytes(a), upTo+1)
	r.bytes -= start - r.start
	r.count -= uint32(upTo + 1 - x.first)
	r.start = start
	return int(before - r.bytes)
}

// LastThroughTime returns the highest seq of the entries at the head whose time is at
// most cutoff (ms), or 0 if there is none.
func (r *Ring) LastThroughTime(a *Arena, cutoff int64) uint64 {
	if r.count == 0 {
		return 0
	}
	for ref := r.head; ; ref = a.segment(ref).next() {
		x := r.extent(a, ref)
		mem := x.bytes(a)
		off := x.start
		for seq := x.first; seq < x.limit; seq++ {
			if timeAt(mem[off:]) > cutoff {
				if seq == r.First() {
					return 0
				}
				return seq - 1
			}
			off += sizeAt(mem[off:])
		}
		if ref == r.tail {
			return r.last
		}
	}
}

// FirstAfterArrival returns the lowest seq held whose arrival number is higher than
// arrival, or Next() if there is none. It searches from the newest backwards.
func (r *Ring) FirstAfterArrival(a *Arena, arrival uint64) uint64 {
	if r.count == 0 {
		return r.Next()
	}
	ref := r.tail
	for ref != r.head && a.segment(ref).arrival() > arrival {
		ref = a.segment(ref).prev()
	}
	x := r.extent(a, ref)
	mem := x.bytes(a)
	if arrivalAt(mem[x.start:]) > arrival {
		return x.first
	}
	seq, off := x.limit, x.end
	for seq > x.first {
		off -= sizeBefore(mem[:off])
		if arrivalAt(mem[off:]) <= arrival {
			break
		}
		seq--
	}
	return seq
}

// FirstSinceTime returns the lowest seq held whose time is at least ms, or Next() if
// there is none. Times must not fall along the ring. It searches from the newest
// backwards.
func (r *Ring) FirstSinceTime(a *Arena, ms int64) uint64 {
	if r.count == 0 {
		return r.Next()
	}
	x := r.extent(a, r.tail)
	for x.ref != r.head && timeAt(x.bytes(a)[x.start:]) >= ms {
		x = r.extent(a, a.segment(x.ref).prev())
	}
	mem := x.bytes(a)
	seq, off := x.first, x.start
	for seq < x.limit && timeAt(mem[off:]) < ms {
		off += sizeAt(mem[off:])
		seq++
	}
	return seq
}

// decode decodes an entry that this package wrote.
func decode(b []byte, seq uint64, e *Entry) {
	if _, err := DecodeEntry(b, e); err != nil {
		panic(err)
	}
	e.Seq = seq
}
