package shard

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// A sentWindow remembers what a user sent within the dedupe window, so that a
// repeat gets the first answer even when the message itself is gone. At the
// highest rates this is much of a shard's memory, so records are packed into
// chunks of the arena, in the order of their times:
//
//	chunk   4 next, 2 end (units; written when the next is chained),
//	        2 size (units), 8 unused
//	record  1 size (units); varint time sent, ms; uvarint seq;
//	        varint time answered, above time sent; 8 key; 8 body; 16 id
//
// Chunks and records are a whole number of units of 16 bytes; a record has
// three of them, unless times or seqs are extraordinary. So the place of a
// record is a ring.Ref, and a table of those is all the index there is.
type sentWindow struct {
	head, tail ring.Ref // chunks; 0 = the window is empty
	start, end uint16   // units: of the oldest record in head, behind the newest in tail
	count      uint32
	index      table // of the newest record of each key; kept once there are many
}

const (
	sentUnit   = 16
	sentUnits  = 256 // of the largest chunk, 4 KiB
	sentRecLen = 3   // units of an ordinary record, and of the least
	sentRecMax = 4

	// indexedSent is the number of records from which an index beats a walk.
	indexedSent = 16
)

// A sentRecord is one send. Its key names it within its user: a user who makes
// two of his cids collide harms nobody else.
type sentRecord struct {
	key  uint64
	body uint64 // xxhash64
	id   command.MsgID
	seq  uint64
	time int64 // as answered
	at   int64 // when it was sent: what the window is measured from
}

// newSentKey mixes the index of the conversation into a hash of the cid.
func newSentKey(conv int, cid string) uint64 {
	h := xxhash.Sum64String(cid) + uint64(conv)
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// sentHash places a record in the index. Keys are what users choose: without
// the seed they could choose them so that all fall on one place.
func (s *State) sentHash(key uint64) uint64 { return maphash.Comparable(s.seed, key) }

// A sentCursor walks over the records of a window, oldest first.
type sentCursor struct {
	w     sentWindow
	chunk ring.Ref
	off   uint16   // units
	place ring.Ref // of the record read last
}

func (w *sentWindow) cursor() sentCursor {
	return sentCursor{w: *w, chunk: w.head, off: w.start}
}

func (c *sentCursor) next(a *ring.Arena, r *sentRecord) bool {
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
	c.off += readSent(a, c.place, r)
	return true
}

func chunkNext(a *ring.Arena, chunk ring.Ref) ring.Ref {
	return ring.Ref(binary.LittleEndian.Uint32(a.Bytes(chunk, sentUnit)))
}

// chunkEnd tells how far a chunk's records reach. Of the last one the window
// knows it, so that a copy of the window does not see what is added later.
func chunkEnd(a *ring.Arena, w *sentWindow, chunk ring.Ref) uint16 {
	if chunk == w.tail {
		return w.end
	}
	return binary.LittleEndian.Uint16(a.Bytes(chunk, sentUnit)[4:])
}

func chunkUnits(a *ring.Arena, chunk ring.Ref) uint16 {
	return binary.LittleEndian.Uint16(a.Bytes(chunk, sentUnit)[6:])
}

// readSent reads the record at a place and returns its size in units.
func readSent(a *ring.Arena, place ring.Ref, r *sentRecord) uint16 {
	units := a.Bytes(place, 1)[0]
	d := command.Decoder{B: a.Bytes(place, int(units)*sentUnit)[1:]}
	r.at = d.Int()
	r.seq = d.Uint()
	r.time = r.at + d.Int()
	r.key, r.body = binary.LittleEndian.Uint64(d.B), binary.LittleEndian.Uint64(d.B[8:])
	copy(r.id[:], d.B[16:])
	return uint16(units)
}

// sentKeyAt reads the key of the record at a place.
func sentKeyAt(a *ring.Arena, place ring.Ref) uint64 {
	b := a.Bytes(place, sentUnit*sentRecLen)
	off := 1
	for range 3 {
		for b[off] >= 0x80 {
			off++
		}
		off++
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// findSent reads the newest record of a key.
func (s *State) findSent(w *sentWindow, key uint64, r *sentRecord) bool {
	if w.index.n > 0 {
		place, ok := w.index.find(s.sentHash(key), func(v uint32) bool {
			return sentKeyAt(s.arena, ring.Ref(v)) == key
		})
		if ok {
			readSent(s.arena, ring.Ref(place), r)
		}
		return ok
	}
	found := false
	var each sentRecord
	for c := w.cursor(); c.next(s.arena, &each); {
		if each.key == key {
			*r, found = each, true
		}
	}
	return found
}

func (s *State) addSent(w *sentWindow, r *sentRecord) {
	var buf [sentUnit * sentRecMax]byte
	units := (len(appendSentRecord(buf[:1], r)) + sentUnit - 1) / sentUnit
	if w.head == 0 || int(w.end)+units > int(chunkUnits(s.arena, w.tail)) {
		s.chainSent(w, units)
	}
	buf[0] = byte(units)
	place := w.tail + ring.Ref(w.end)
	copy(s.arena.Bytes(place, units*sentUnit), buf[:units*sentUnit])
	w.end += uint16(units)
	w.count++
	s.sentRecords++

	before := w.index.bytes()
	switch {
	case w.index.n > 0:
		s.indexSent(w, place, r.key)
	case w.count == indexedSent:
		var each sentRecord
		for c := w.cursor(); c.next(s.arena, &each); {
			s.indexSent(w, c.place, each.key)
		}
	}
	s.tableBytes += w.index.bytes() - before
}

func appendSentRecord(b []byte, r *sentRecord) []byte {
	b = command.AppendInt(b, r.at)
	b = command.AppendUint(b, r.seq)
	b = command.AppendInt(b, r.time-r.at)
	b = binary.LittleEndian.AppendUint64(b, r.key)
	b = binary.LittleEndian.AppendUint64(b, r.body)
	return append(b, r.id[:]...)
}

// chainSent adds a chunk: an eighth of the window, and a record of units.
func (s *State) chainSent(w *sentWindow, units int) {
	units = min(1+units+sentRecLen*(int(w.count)/8), sentUnits)
	size := ring.SizeClass(units * sentUnit)
	chunk := s.arena.Alloc(size)
	head := s.arena.Bytes(chunk, sentUnit)
	binary.LittleEndian.PutUint32(head, 0)
	binary.LittleEndian.PutUint16(head[6:], uint16(size/sentUnit))
	if w.head == 0 {
		w.head, w.start = chunk, 1
	} else {
		last := s.arena.Bytes(w.tail, sentUnit)
		binary.LittleEndian.PutUint32(last, uint32(chunk))
		binary.LittleEndian.PutUint16(last[4:], w.end)
	}
	w.tail, w.end = chunk, 1
}

// indexSent enters a record in place of an older one of its key.
func (s *State) indexSent(w *sentWindow, place ring.Ref, key uint64) {
	hash := func(v uint32) uint64 { return s.sentHash(sentKeyAt(s.arena, ring.Ref(v))) }
	old, ok := w.index.find(s.sentHash(key), func(v uint32) bool {
		return sentKeyAt(s.arena, ring.Ref(v)) == key
	})
	if ok {
		w.index.remove(old, hash)
	}
	w.index.add(uint32(place), hash)
}

// forgetSent drops the records of one of a user's windows sent at or before a time.
func (s *State) forgetSent(u *user, w *sentWindow, cutoff int64) {
	for s.sentDue(w, cutoff) {
		s.forgetOldest(u, w)
	}
}

// forgetOldest drops the oldest record of a window that has any.
func (s *State) forgetOldest(u *user, w *sentWindow) {
	place := w.head + ring.Ref(w.start)
	units := uint16(s.arena.Bytes(place, 1)[0])
	w.index.remove(uint32(place), func(v uint32) uint64 { return s.sentHash(sentKeyAt(s.arena, ring.Ref(v))) })
	w.start += units
	w.count--
	s.sentRecords--
	if w.start < chunkEnd(s.arena, w, w.head) {
		return
	}
	next := chunkNext(s.arena, w.head)
	if w.head == w.tail {
		next = 0
	}
	s.freeChunk(u, w.head)
	if w.head, w.start = next, 1; next == 0 {
		s.dropIndex(w)
		*w = sentWindow{}
	}
}

func (s *State) freeChunk(u *user, chunk ring.Ref) {
	s.frees(u)
	s.arena.Free(chunk, int(chunkUnits(s.arena, chunk))*sentUnit)
}

func (s *State) dropIndex(w *sentWindow) {
	s.tableBytes -= w.index.bytes()
	w.index = table{}
}

// sentDue tells whether the oldest record is from the time or before.
func (s *State) sentDue(w *sentWindow, cutoff int64) bool {
	return w.head != 0 && s.oldestSent(w) <= cutoff
}

// oldestSent is when the oldest record of a window that has any was sent.
func (s *State) oldestSent(w *sentWindow) int64 {
	var r sentRecord
	readSent(s.arena, w.head+ring.Ref(w.start), &r)
	return r.at
}
