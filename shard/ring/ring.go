package ring

import "math"

// maxBytes bounds the bytes that one ring holds. The limits of a user or group are a
// thousandth of it.
const maxBytes = math.MaxInt32

// A Ring holds the entries First() <= seq < Next() of one conversation view, in pieces
// of an arena. The zero Ring is empty, and its first seq is 1.
//
// A Ring has no pointers and may be copied. Only one of the copies may be changed; the
// package comment says when the others can be read.
type Ring struct {
	last  uint64 // seq of the newest entry ever appended; 0 = none yet
	count uint32 // number of entries held, which end at last
	bytes uint32 // sum of their sizes
	head  Ref    // oldest segment; 0 when the ring is empty
	tail  Ref    // newest segment
	start uint32 // offset of the oldest entry in head
	end   uint32 // offset after the newest entry in tail
}

// First returns the oldest seq held, or Next() if no entry is held.
func (r *Ring) First() uint64 { return r.last - uint64(r.count) + 1 }

// Next returns the seq that Append will give the next entry.
func (r *Ring) Next() uint64 { return r.last + 1 }

// Len returns the number of entries held.
func (r *Ring) Len() int { return int(r.count) }

// Bytes returns the sum of the sizes of the entries held, see EntrySize.
func (r *Ring) Bytes() int { return int(r.bytes) }

// Reset removes all entries; the next entry gets seq next, which must be at least 1.
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

// Append appends a copy of e, sets e.Seq and returns the entry's size. e.Arrival must
// be higher than that of all entries before it. Append panics if the ring would be
// larger than 2 GiB.
func (r *Ring) Append(a *Arena, e *Entry) int {
	size := EntrySize(e)
	replaced := r.makeRoom(a, size, 0, e.Arrival)
	AppendEntry(a.Bytes(r.tail, int(r.end)+size)[:r.end], e)
	r.appended(a, size, replaced)
	e.Seq = r.last
	return size
}

// AppendEncoded appends an encoded entry, to restore a ring from a snapshot. follow is
// about how many bytes of entries come next: the first segment gets room for those too.
func (r *Ring) AppendEncoded(a *Arena, entry []byte, arrival uint64, follow int) {
	replaced := r.makeRoom(a, len(entry), follow, arrival)
	copy(a.Bytes(r.tail, int(r.end)+len(entry))[r.end:], entry)
	r.appended(a, len(entry), replaced)
}

// appended counts an entry of size bytes that was written at the end of the tail. It
// frees the segment that makeRoom replaced, unless that is 0.
func (r *Ring) appended(a *Arena, size int, replaced Ref) {
	if replaced != 0 {
		a.freeSegment(replaced) // not earlier, because the entry may alias it
	}
	r.end += uint32(size)
	r.bytes += uint32(size)
	r.count++
	r.last++
}

// makeRoom makes room for size bytes at the end of the tail; follow is as in
// AppendEncoded. If it copies the ring into a larger segment, it returns the old one,
// which the caller has to free, and otherwise 0.
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

// chainedSize returns the size of a new segment for an entry of size bytes: a share of
// the ring's size, rounded to a multiple of the average entry, so that entries of that
// size fill the segment.
func (r *Ring) chainedSize(size int) int {
	room := min(max(int(r.bytes)/chainedShare, chainedMin), chainedMax) - headerSize
	average := int(r.bytes / r.count)
	return headerSize + max(room/average*average, size)
}

// At reads entry seq into e. It returns false if the ring does not hold that entry.
func (r *Ring) At(a *Arena, seq uint64, e *Entry) bool {
	if seq < r.First() || seq > r.last {
		return false
	}
	x := r.find(a, seq)
	mem := x.bytes(a)
	decode(mem[x.offset(mem, seq):], seq, e)
	return true
}

// Header reads Seq, Flags, Time, Arrival, Session, Peer and TTL of entry seq into e and
// leaves the other fields as they are. It returns the entry's size, or 0 if the ring
// does not hold it.
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

// Truncate removes the entries up to seq upTo, inclusive, and returns the sum of their
// sizes.
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

// LastThroughTime returns the seq before the first entry whose time is above cutoff
// (ms), or 0 if the oldest entry's time is above it or the ring is empty.
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
// arrival, or Next() if there is none. It is fast if that entry is among the newest.
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
// there is none. Times must not fall along the ring. It is fast if that entry is among
// the newest.
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

// decode decodes an entry that this package wrote, and panics if that is malformed.
func decode(b []byte, seq uint64, e *Entry) {
	if _, err := DecodeEntry(b, e); err != nil {
		panic(err)
	}
	e.Seq = seq
}
