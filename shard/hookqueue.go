package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A hookQueue lists messages that webhooks may have to be told of, as records numbered
// 1, 2, 3 … When it exceeds its limit, it removes the oldest. Records are packed into
// chunks whose bytes are only ever appended to, within their capacity: so a copy of the
// queue can share them, and does not see later records.
//
//	record  key, peer (length-prefixed), seq (uvarint); a record whose slot has moved away
//	        has an empty key
type hookQueue struct {
	limit       int // most bytes of records; 0 = nothing is queued
	chunks      []hookChunk
	start       int    // offset of the oldest record in chunks[0]
	bytes       int    // size of the records held
	removedUpTo uint64 // number of the newest record that was removed
	last        uint64 // number of the newest record ever added
}

// A hookChunk is a run of records.
type hookChunk struct {
	after uint64 // number of the record before the chunk's first
	b     []byte
}

// hookChunkBytes is the capacity of a chunk.
const hookChunkBytes = 16 << 10

// maxHookRecord is the most bytes that a record takes: two names and three varints.
const maxHookRecord = 2*(command.MaxName+len(command.GroupPrefix)) + 3*10

// A hookRecord names a message in a user's view or in a group's log.
type hookRecord struct {
	number uint64
	key    command.UserID // name of the user, or key of the group
	peer   command.UserID // name of the other user; "" in a group
	seq    uint64
}

// size returns the bytes that the queue takes in memory.
func (q *hookQueue) size() int { return len(q.chunks) * hookChunkBytes }

// setLimit sets the limit and removes the oldest records that exceed it.
func (q *hookQueue) setLimit(bytes int) {
	if q.limit = bytes; bytes == 0 {
		*q = hookQueue{removedUpTo: q.last, last: q.last}
		return
	}
	for q.bytes > bytes {
		q.removeOldest()
	}
}

// add adds a record, and removes the oldest records while the queue exceeds its limit.
func (q *hookQueue) add(key, peer command.UserID, seq uint64) {
	var room [maxHookRecord]byte
	record := codec.AppendUint(codec.AppendBytes(codec.AppendBytes(room[:0], key), peer), seq)
	n := len(q.chunks)
	if n == 0 || len(q.chunks[n-1].b)+len(record) > cap(q.chunks[n-1].b) {
		q.chunks = append(q.chunks, hookChunk{after: q.last, b: make([]byte, 0, hookChunkBytes)})
		n++
	}
	c := &q.chunks[n-1]
	c.b = append(c.b, record...)
	q.bytes += len(record)
	q.last++
	q.freeFirstChunk()
	for q.bytes > q.limit {
		q.removeOldest()
	}
}

// read decodes the record at the start of b and returns its size.
func (r *hookRecord) read(b []byte) (size int) {
	d := codec.Decoder{B: b}
	r.key, r.peer, r.seq = command.UserID(d.Bytes()), command.UserID(d.Bytes()), d.Uint()
	return len(b) - len(d.B)
}

// removeOldest removes the oldest record. The queue must not be empty.
func (q *hookQueue) removeOldest() {
	d := codec.Decoder{B: q.chunks[0].b[q.start:]}
	before := len(d.B)
	d.Bytes()
	d.Bytes()
	d.Uint()
	q.start += before - len(d.B)
	q.bytes -= before - len(d.B)
	q.removedUpTo++
	q.freeFirstChunk()
}

// freeFirstChunk frees the first chunk if all its records are removed and another
// follows.
func (q *hookQueue) freeFirstChunk() {
	if len(q.chunks) > 1 && q.start == len(q.chunks[0].b) {
		q.chunks[0] = hookChunk{}
		q.chunks, q.start = q.chunks[1:], 0
	}
}

// trim removes the records with numbers up to upTo.
func (q *hookQueue) trim(upTo uint64) {
	upTo = min(upTo, q.last)
	for len(q.chunks) > 1 && q.chunks[1].after <= upTo {
		q.bytes -= len(q.chunks[0].b) - q.start
		q.start = len(q.chunks[0].b)
		q.removedUpTo = q.chunks[1].after
		q.freeFirstChunk()
	}
	for q.removedUpTo < upTo {
		q.removeOldest()
	}
}

// recordsAfter yields the records with higher numbers than number. Those of slots that
// have moved away have an empty key.
func (q *hookQueue) recordsAfter(number uint64) func(yield func(hookRecord) bool) {
	return func(yield func(hookRecord) bool) {
		number = max(number, q.removedUpTo)
		first, _ := slices.BinarySearchFunc(q.chunks, number, func(c hookChunk, number uint64) int {
			if c.after <= number {
				return -1
			}
			return 1
		})
		for i := max(first-1, 0); i < len(q.chunks); i++ {
			r := hookRecord{number: q.chunks[i].after}
			b := q.chunks[i].b
			if i == 0 {
				r.number, b = q.removedUpTo, b[q.start:]
			}
			for len(b) > 0 {
				r.number++
				b = b[r.read(b):]
				if r.number > number && !yield(r) {
					return
				}
			}
		}
	}
}

// clone returns a copy that does not see later changes.
func (q *hookQueue) clone() hookQueue {
	c := *q
	c.chunks = slices.Clone(q.chunks)
	return c
}

// pieces returns the bytes of all records as a list of slices. No record is split.
func (q *hookQueue) pieces() (pieces [][]byte) {
	for i, c := range q.chunks {
		if i == 0 {
			c.b = c.b[q.start:]
		}
		if len(c.b) > 0 {
			pieces = append(pieces, c.b)
		}
	}
	return pieces
}

// decode adds the records of one of the slices that pieces returned.
func (q *hookQueue) decode(d *codec.Decoder) {
	for len(d.B) > 0 && d.Err == nil {
		key, peer, seq := d.Bytes(), d.Bytes(), d.Uint()
		if len(key) > command.MaxName+len(command.GroupPrefix) || len(peer) > command.MaxName {
			d.Fail(codec.ErrMalformed)
		}
		if d.Err == nil {
			q.add(command.UserID(key), command.UserID(peer), seq)
		}
	}
}

// split removes the records of a slot and returns them as a queue. The other records
// keep their numbers.
func (q *hookQueue) split(slot uint16) hookQueue {
	taken := hookQueue{limit: q.limit}
	rest := hookQueue{limit: q.limit, removedUpTo: q.removedUpTo, last: q.removedUpTo}
	for r := range q.recordsAfter(q.removedUpTo) {
		if r.key != "" && command.SlotOf(string(r.key)) == slot {
			taken.add(r.key, r.peer, r.seq)
			r = hookRecord{}
		}
		rest.add(r.key, r.peer, r.seq)
	}
	if taken.last > 0 {
		*q = rest
	}
	return taken
}
