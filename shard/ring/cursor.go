package ring

// A Cursor reads the entries of a ring one after another, upwards or downwards. It
// holds a copy of the Ring, and does not see entries that are appended later. The zero
// Cursor is at the end.
type Cursor struct {
	arena *Arena
	ring  Ring
	at    extent // the current segment
	mem   []byte // bytes of that segment
	off   uint32 // offset of the next entry; for a descending cursor, the offset after it
	seq   uint64 // seq of the next entry; for a descending cursor, that seq + 1
	down  bool
}

// Ascend returns a cursor that reads upwards, beginning at seq from or, if that was
// removed, at the oldest entry.
func (r *Ring) Ascend(a *Arena, from uint64) Cursor {
	from = max(from, r.First())
	if from > r.last {
		return Cursor{}
	}
	return r.cursor(a, from, from, false)
}

// Descend returns a cursor that reads downwards, beginning at seq from or, if that is
// not appended yet, at the newest entry.
func (r *Ring) Descend(a *Arena, from uint64) Cursor {
	from = min(from, r.last)
	if from < r.First() {
		return Cursor{}
	}
	return r.cursor(a, from, from+1, true)
}

// cursor returns a cursor before the entry seq, in the segment that holds the entry in.
// For a descending cursor, seq is in + 1.
func (r *Ring) cursor(a *Arena, in, seq uint64, down bool) Cursor {
	if !down && in == r.First() {
		x := r.extent(a, r.head)
		return Cursor{arena: a, ring: *r, at: x, mem: x.bytes(a), off: r.start, seq: seq}
	}
	x := r.find(a, in)
	mem := x.bytes(a)
	return Cursor{arena: a, ring: *r, at: x, mem: mem, off: x.offset(mem, seq), seq: seq, down: down}
}

// Next reads the next entry into e. It returns false if there is none.
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

// NextHeader reads of the next entry what Ring.Header reads, and returns the entry's
// size, or 0 if there is none. It is for ascending cursors.
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

// PrevHeader reads of the next entry downwards what Ring.Header reads. It returns false
// if there is none. It is for descending cursors.
func (c *Cursor) PrevHeader(e *Entry) bool {
	if !c.step() {
		return false
	}
	decodeHeader(c.mem[c.off:], c.seq, e)
	return true
}

// PrevOf reads the next entry downwards that has the given cid. It returns false if
// there is none. It is for descending cursors.
func (c *Cursor) PrevOf(cid string, e *Entry) bool {
	for c.step() {
		if b := c.mem[c.off:]; string(cidAt(b)) == cid {
			decode(b, c.seq, e)
			return true
		}
	}
	return false
}

// NextEncoded returns the encoding of the next entry, or nil if there is none. The
// slice aliases the ring. It is for ascending cursors.
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

// step moves a descending cursor one entry down. It returns false if there is none.
func (c *Cursor) step() bool {
	if c.seq == c.at.first { // also true of an empty cursor
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

// moveTo makes the segment at ref the current one.
func (c *Cursor) moveTo(ref Ref) {
	c.at = c.ring.extent(c.arena, ref)
	c.mem = c.at.bytes(c.arena)
}
