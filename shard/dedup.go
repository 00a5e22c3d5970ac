package shard

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// A dedupWindow remembers the messages sent within a period, so that a repeated send
// gets the answer of the first even if the message is gone. At the highest rates such
// records are a large part of a shard's memory, so they are packed into chunks of the
// arena, in order of time:
//
//	chunk   4 next, 2 end (units; written when the next is chained),
//	        2 size (units), 8 unused
//	record  1 size (units); varint time sent, ms; uvarint seq;
//	        varint time answered, above time sent; 8 key; 8 body; 16 id
//
// Chunks and records are a whole number of units of 16 bytes; a record takes three
// units, or four if times or seqs are extraordinary. A record is found by its place, a
// ring.Ref, and the only index is a table of such places.
type dedupWindow struct {
	head, tail ring.Ref // chunks; 0 = the window is empty
	start, end uint16   // units: offset of the oldest record in head, and after the newest record in tail
	count      uint32
	index      table // place of the newest record of each key; only used once there are many records
}

const (
	dedupUnit           = 16
	dedupChunkUnits     = 256 // of the largest chunk, 4 KiB
	dedupRecordUnits    = 3   // units of an ordinary record, and of the smallest
	dedupRecordMaxUnits = 4

	indexedDedup = 16 // records from which the index is used, because a scan would be slower
)

// A dedupRecord is one message that was sent. Its key need be unique only within its
// user: users who make two of their own cids collide harm nobody else.
type dedupRecord struct {
	key    uint64
	body   uint64 // hash of the body as the client sent it or, if the message was removed, as the log had it
	id     command.MsgID
	seq    uint64
	time   int64 // ms, the message's time in the answer
	sentMS int64 // when the message was sent or, if it was removed, left the log; the window keeps the record from then on
}

// newDedupKey returns the key of a cid in a conversation, given by its index.
func newDedupKey(conv int, cid string) uint64 {
	h := xxhash.Sum64String(cid) + uint64(conv)
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// dedupHash returns the hash of a key for the index. Users choose cids, and so keys;
// without the seed they could choose keys whose hashes collide.
func (s *State) dedupHash(key uint64) uint64 { return maphash.Comparable(s.seed, key) }

// A dedupCursor reads the records of a window, oldest first.
type dedupCursor struct {
	w     dedupWindow
	chunk ring.Ref
	off   uint16   // offset of the next record, in units
	place ring.Ref // place of the record that next has read last
}

// cursor returns a cursor at the oldest record. It does not see records added later.
func (w *dedupWindow) cursor() dedupCursor {
	return dedupCursor{w: *w, chunk: w.head, off: w.start}
}

// next reads the next record into r, and reports whether there is one.
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

// chunkNext returns the chunk after a chunk.
func chunkNext(a *ring.Arena, chunk ring.Ref) ring.Ref {
	return ring.Ref(binary.LittleEndian.Uint32(a.Bytes(chunk, dedupUnit)))
}

// chunkEnd returns the offset after a chunk's last record, in units. For the last chunk
// it is in the window, so that a copy of the window does not see records added later.
func chunkEnd(a *ring.Arena, w *dedupWindow, chunk ring.Ref) uint16 {
	if chunk == w.tail {
		return w.end
	}
	return binary.LittleEndian.Uint16(a.Bytes(chunk, dedupUnit)[4:])
}

// chunkUnits returns the size of a chunk in units.
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

// findDedup reads the newest record of a key into r, and reports whether there is one.
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

// addDedup adds a record, which becomes the newest, to a window.
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

// chainDedupChunk adds an empty chunk to a window. It has room for a record of that
// many units, and for an eighth of the records that the window has.
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

// indexDedup adds a record to the index, in place of the older one of its key, if any.
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

// forgetOldestDedup removes the oldest record of w, which must not be empty.
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

// freeDedupChunk frees a chunk of one of the user's windows.
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

// oldestDedup returns sentMS of the oldest record of a window. There must be one.
func (s *State) oldestDedup(w *dedupWindow) int64 {
	var r dedupRecord
	readDedup(s.arena, w.head+ring.Ref(w.start), &r)
	return r.sentMS
}
