package shard

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// A dedupWindow remembers what was sent within some time, so that a repeat gets the
// answer of the first even when the message is gone. At the highest rates this is much
// of a shard's memory, so records are packed into chunks of the arena, in order of
// time:
//
//	chunk   4 next, 2 end (units; written when the next is chained),
//	        2 size (units), 8 unused
//	record  1 size (units); varint time sent, ms; uvarint seq;
//	        varint time answered, above time sent; 8 key; 8 body; 16 id
//
// Chunks and records are a whole number of units of 16 bytes; a record has three,
// unless times or seqs are extraordinary. The place of a record is a ring.Ref, and a
// table of those is the only index.
type dedupWindow struct {
	head, tail ring.Ref // chunks; 0 = the window is empty
	start, end uint16   // units: offset of the oldest record in head, and behind the newest in tail
	count      uint32
	index      table // of the newest record of each key; kept once there are many
}

const (
	dedupUnit           = 16
	dedupChunkUnits     = 256 // of the largest chunk, 4 KiB
	dedupRecordUnits    = 3   // units of an ordinary record, and the least there are
	dedupRecordMaxUnits = 4

	indexedDedup = 16 // indexedDedup is the number of records from which an index beats a scan.
)

// A dedupRecord is one send. Its key names it within its user: a user who makes two of
// their own cids collide harms nobody else.
type dedupRecord struct {
	key    uint64
	body   uint64 // xxhash64 of the body
	id     command.MsgID
	seq    uint64
	time   int64 // ms, as answered
	sentMS int64 // when it was sent, or removed: the start of its time in the window
}

// newDedupKey mixes the index of the conversation into a hash of the cid.
func newDedupKey(conv int, cid string) uint64 {
	h := xxhash.Sum64String(cid) + uint64(conv)
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// dedupHash places a key in the index. Keys are chosen by users: without the seed they
// could choose them to fall on one place.
func (s *State) dedupHash(key uint64) uint64 { return maphash.Comparable(s.seed, key) }

// A dedupCursor reads the records of a window, oldest first.
type dedupCursor struct {
	w     dedupWindow
	chunk ring.Ref
	off   uint16   // units, of the next record
	place ring.Ref // of the last record read
}

// -
func (w *dedupWindow) cursor() dedupCursor {
	return dedupCursor{w: *w, chunk: w.head, off: w.start}
}

// next reads the next record, and reports whether there is one.
func (c *dedupCursor) next(a *ring.Arena, r *dedupRecord) bool {
	if c.chunk == 0 {
		return false
	}
	if c.off == chunkEnd(a, &c.w, c.chunk) {
		if c.chunk == c.w.tail {
			return false
		}
		c.chunk, c.off = chunkNext(a, c.chunk), 1
	}
	c.place = c.chunk + ring.Ref(c.off)
	c.off += readDedup(a, c.place, r)
	return true
}

func chunkNext(a *ring.Arena, chunk ring.Ref) ring.Ref {
	return ring.Ref(binary.LittleEndian.Uint32(a.Bytes(chunk, dedupUnit)))
}

// chunkEnd returns where a chunk's records end, in units. The window knows that of its
// last chunk, so that a copy of the window does not see records added later.
func chunkEnd(a *ring.Arena, w *dedupWindow, chunk ring.Ref) uint16 {
	if chunk == w.tail {
		return w.end
	}
	return binary.LittleEndian.Uint16(a.Bytes(chunk, dedupUnit)[4:])
}

func chunkUnits(a *ring.Arena, chunk ring.Ref) uint16 {
	return binary.LittleEndian.Uint16(a.Bytes(chunk, dedupUnit)[6:])
}

// readDedup reads the record at a place and returns its size in units.
func readDedup(a *ring.Arena, place ring.Ref, r *dedupRecord) uint16 {
	units := a.Bytes(place, 1)[0]
	d := codec.Decoder{B: a.Bytes(place, int(units)*dedupUnit)[1:]}
	r.sentMS = d.Int()
	r.seq = d.Uint()
	r.time = r.sentMS + d.Int()
	r.key, r.body = binary.LittleEndian.Uint64(d.B), binary.LittleEndian.Uint64(d.B[8:])
	copy(r.id[:], d.B[16:])
	return uint16(units)
}

// dedupKeyAt returns the key of the record at a place.
func dedupKeyAt(a *ring.Arena, place ring.Ref) uint64 {
	b := a.Bytes(place, dedupUnit*dedupRecordUnits)
	off := 1
	for range 3 {
		for b[off] >= 0x80 {
			off++
		}
		off++
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// findDedup reads the newest record of a key, and reports whether there is one.
func (s *State) findDedup(w *dedupWindow, key uint64, r *dedupRecord) bool {
	if w.index.n > 0 {
		place, ok := w.index.find(s.dedupHash(key), func(v uint32) bool {
			return dedupKeyAt(s.arena, ring.Ref(v)) == key
		})
		if ok {
			readDedup(s.arena, ring.Ref(place), r)
		}
		return ok
	}
	found := false
	var each dedupRecord
	for c := w.cursor(); c.next(s.arena, &each); {
		if each.key == key {
			*r, found = each, true
		}
	}
	return found
}

// addDedup adds a record at the end of a window.
func (s *State) addDedup(w *dedupWindow, r *dedupRecord) {
	var buf [dedupUnit * dedupRecordMaxUnits]byte
	units := (len(appendDedupRecord(buf[:1], r)) + dedupUnit - 1) / dedupUnit
	if w.head == 0 || int(w.end)+units > int(chunkUnits(s.arena, w.tail)) {
		s.chainDedupChunk(w, units)
	}
	buf[0] = byte(units)
	place := w.tail + ring.Ref(w.end)
	copy(s.arena.Bytes(place, units*dedupUnit), buf[:units*dedupUnit])
	w.end += uint16(units)
	w.count++
	s.dedupRecords++

	before := w.index.bytes()
	switch {
	case w.index.n > 0:
		s.indexDedup(w, place, r.key)
	case w.count == indexedDedup:
		var each dedupRecord
		for c := w.cursor(); c.next(s.arena, &each); {
			s.indexDedup(w, c.place, each.key)
		}
	}
	s.tableBytes += w.index.bytes() - before
}

func appendDedupRecord(b []byte, r *dedupRecord) []byte {
	b = codec.AppendInt(b, r.sentMS)
	b = codec.AppendUint(b, r.seq)
	b = codec.AppendInt(b, r.time-r.sentMS)
	b = binary.LittleEndian.AppendUint64(b, r.key)
	b = binary.LittleEndian.AppendUint64(b, r.body)
	return append(b, r.id[:]...)
}

// chainDedupChunk adds a chunk of an eighth of the window, and room for a record of
// units.
func (s *State) chainDedupChunk(w *dedupWindow, units int) {
	units = min(1+units+dedupRecordUnits*(int(w.count)/8), dedupChunkUnits)
	size := ring.SizeClass(units * dedupUnit)
	chunk := s.arena.Alloc(size)
	head := s.arena.Bytes(chunk, dedupUnit)
	binary.LittleEndian.PutUint32(head, 0)
	binary.LittleEndian.PutUint16(head[6:], uint16(size/dedupUnit))
	if w.head == 0 {
		w.head, w.start = chunk, 1
	} else {
		last := s.arena.Bytes(w.tail, dedupUnit)
		binary.LittleEndian.PutUint32(last, uint32(chunk))
		binary.LittleEndian.PutUint16(last[4:], w.end)
	}
	w.tail, w.end = chunk, 1
}

// indexDedup puts a record into the index, in place of an older one of its key.
func (s *State) indexDedup(w *dedupWindow, place ring.Ref, key uint64) {
	hash := func(v uint32) uint64 { return s.dedupHash(dedupKeyAt(s.arena, ring.Ref(v))) }
	old, ok := w.index.find(s.dedupHash(key), func(v uint32) bool {
		return dedupKeyAt(s.arena, ring.Ref(v)) == key
	})
	if ok {
		w.index.remove(old, hash)
	}
	w.index.add(uint32(place), hash)
}

// forgetDedup removes the records of a window sent at or before cutoff (ms).
func (s *State) forgetDedup(u *user, w *dedupWindow, cutoff int64) {
	for s.dedupDue(w, cutoff) {
		s.forgetOldestDedup(u, w)
	}
}

// forgetOldestDedup removes the oldest record of a window that has any.
func (s *State) forgetOldestDedup(u *user, w *dedupWindow) {
	place := w.head + ring.Ref(w.start)
	units := uint16(s.arena.Bytes(place, 1)[0])
	w.index.remove(uint32(place), func(v uint32) uint64 { return s.dedupHash(dedupKeyAt(s.arena, ring.Ref(v))) })
	w.start += units
	w.count--
	s.dedupRecords--
	if w.start < chunkEnd(s.arena, w, w.head) {
		return
	}
	next := chunkNext(s.arena, w.head)
	if w.head == w.tail {
		next = 0
	}
	s.freeDedupChunk(u, w.head)
	if w.head, w.start = next, 1; next == 0 {
		s.freeDedupIndex(w)
		*w = dedupWindow{}
	}
}

func (s *State) freeDedupChunk(u *user, chunk ring.Ref) {
	s.holdFor(u)
	s.arena.Free(chunk, int(chunkUnits(s.arena, chunk))*dedupUnit)
}

func (s *State) freeDedupIndex(w *dedupWindow) {
	s.tableBytes -= w.index.bytes()
	w.index = table{}
}

// dedupDue reports whether the oldest record of a window was sent at or before cutoff
// (ms).
func (s *State) dedupDue(w *dedupWindow, cutoff int64) bool {
	return w.head != 0 && s.oldestDedup(w) <= cutoff
}

// oldestDedup returns when, in ms, the oldest record of a window that has any was
// sent.
func (s *State) oldestDedup(w *dedupWindow) int64 {
	var r dedupRecord
	readDedup(s.arena, w.head+ring.Ref(w.start), &r)
	return r.sentMS
}
