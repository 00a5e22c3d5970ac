package ring

// A Cursor walks over the entries that a ring held when it was made:
//
//	for c := r.Ascend(a, from); c.Next(&e); {
//
// It is good as long as none of them is evicted; entries appended meanwhile are
// not seen. Appending may also move the entries of a small ring, so that
// changing a ring under a cursor needs its frees to be held.
type Cursor struct {
	arena *Arena
	ring  Ring
	at    extent
	mem   []byte // of at
	off   uint32 // where the next entry starts; descending, where it ends
	seq   uint64 // of the next entry; descending, the one above it
	down  bool
}

// Ascend returns a cursor from seq from upwards, or from the oldest held.
func (r *Ring) Ascend(a *Arena, from uint64) Cursor {
	from = max(from, r.First())
	if from > r.last {
		return Cursor{}
	}
	return r.cursor(a, from, from, false)
}

// Descend returns a cursor from seq from downwards, or from the newest held.
func (r *Ring) Descend(a *Arena, from uint64) Cursor {
	from = min(from, r.last)
	if from < r.First() {
		return Cursor{}
	}
	return r.cursor(a, from, from+1, true)
}

// cursor returns a cursor at boundary seq of the segment that holds entry in.
func (r *Ring) cursor(a *Arena, in, seq uint64, down bool) Cursor {
	if !down && in == r.First() {
		x := r.extent(a, r.head)
		return Cursor{arena: a, ring: *r, at: x, mem: x.bytes(a), off: r.start, seq: seq}
	}
	x := r.find(a, in)
	mem := x.bytes(a)
	return Cursor{arena: a, ring: *r, at: x, mem: mem, off: x.offset(mem, seq), seq: seq, down: down}
}

// Next reads the entry under the cursor into e and moves on. It returns false
// when there is none.
func (c *Cursor) Next(e *Entry) bool {
	if c.down {
		return c.nextDown(e)
	}
	if c.seq == c.at.limit {
		if c.at.ref == c.ring.tail {
			return false
		}
		c.moveTo(c.arena.segment(c.at.ref).next())
		c.off = c.at.start
	}
	decode(c.mem[c.off:], c.seq, e)
	c.off += sizeAt(c.mem[c.off:])
	c.seq++
	return true
}

// NextHeader is Next of an ascending cursor for a caller who needs no byte
// fields, as Ring.Header. It returns the entry's size, 0 when there is none.
func (c *Cursor) NextHeader(e *Entry) int {
	if c.seq == c.at.limit {
		if c.at.ref == c.ring.tail {
			return 0
		}
		c.moveTo(c.arena.segment(c.at.ref).next())
		c.off = c.at.start
	}
	size := decodeHeader(c.mem[c.off:], c.seq, e)
	c.off += uint32(size)
	c.seq++
	return size
}

// PrevHeader is NextHeader of a descending cursor. It returns false when there is
// no entry.
func (c *Cursor) PrevHeader(e *Entry) bool {
	if !c.step() {
		return false
	}
	decodeHeader(c.mem[c.off:], c.seq, e)
	return true
}

// PrevOf is Next of a descending cursor, but passes over entries with another cid.
func (c *Cursor) PrevOf(cid string, e *Entry) bool {
	for c.step() {
		if b := c.mem[c.off:]; string(cidAt(b)) == cid {
			decode(b, c.seq, e)
			return true
		}
	}
	return false
}

// NextEncoded is Next of an ascending cursor for a caller who wants the entry
// as it lies in the ring. nil: there is none.
func (c *Cursor) NextEncoded() []byte {
	if c.seq == c.at.limit {
		if c.at.ref == c.ring.tail {
			return nil
		}
		c.moveTo(c.arena.segment(c.at.ref).next())
		c.off = c.at.start
	}
	start := c.off
	c.off += sizeAt(c.mem[start:])
	c.seq++
	return c.mem[start:c.off:c.off]
}

// nextDown is Next of a descending cursor.
func (c *Cursor) nextDown(e *Entry) bool {
	if !c.step() {
		return false
	}
	decode(c.mem[c.off:], c.seq, e)
	return true
}

// step moves a descending cursor to the entry below. It returns false when there
// is none.
func (c *Cursor) step() bool {
	if c.seq == c.at.first { // also of a cursor over nothing
		if c.at.ref == c.ring.head {
			return false
		}
		c.moveTo(c.arena.segment(c.at.ref).prev())
		c.off = c.at.end
	}
	c.off -= sizeBefore(c.mem[:c.off])
	c.seq--
	return true
}

func (c *Cursor) moveTo(ref Ref) {
	c.at = c.ring.extent(c.arena, ref)
	c.mem = c.at.bytes(c.arena)
}
