package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A hookQueue lists messages that webhooks may have to be told of, as records numbered
// 1, 2, 3 … Beyond its limit the oldest are removed. Records are packed into chunks
// that only grow at their end and within their capacity, so that a copy of the queue
// does not see later ones.
//
//	record  key, peer (length-prefixed), seq (uvarint); a record without key was moved away
type hookQueue struct {
	limit  int // bytes of records; 0 = none are kept
	chunks []hookChunk
	start  int    // offset of the oldest record in chunks[0]
	bytes  int    // of the records held
	done   uint64 // number of the newest record that was removed
	last   uint64 // number of the newest record ever added
}

type hookChunk struct {
	after uint64 // number of the record before the chunk's first
	b     []byte
}

// -
const hookChunkBytes = 16 << 10

// maxHookRecord bounds the bytes of a record: two names and three varints.
const maxHookRecord = 2*(command.MaxName+len(command.GroupPrefix)) + 3*10

// A hookRecord names a message in the view of a user, or in a group.
type hookRecord struct {
	number uint64
	key    command.UserID // name of the user, or key of the group
	peer   command.UserID // name of the other user; "" in a group
	seq    uint64
}

// size returns the bytes the queue takes in memory.
func (q *hookQueue) size() int { return len(q.chunks) * hookChunkBytes }

// add adds a record at the end, and removes the oldest while the queue is over its
// limit.
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

// -
func (q *hookQueue) removeOldest() {
	d := codec.Decoder{B: q.chunks[0].b[q.start:]}
	before := len(d.B)
	d.Bytes()
	d.Bytes()
	d.Uint()
	q.start += before - len(d.B)
	q.bytes -= before - len(d.B)
	q.done++
	q.freeFirstChunk()
}

// freeFirstChunk frees the first chunk if it has no records left and is not the last
// one.
func (q *hookQueue) freeFirstChunk() {
	if len(q.chunks) > 1 && q.start == len(q.chunks[0].b) {
		q.chunks[0] = hookChunk{}
		q.chunks, q.start = q.chunks[1:], 0
	}
}

// trim removes the records up to a number.
func (q *hookQueue) trim(upTo uint64) {
	upTo = min(upTo, q.last)
	for len(q.chunks) > 1 && q.chunks[1].after <= upTo {
		q.bytes -= len(q.chunks[0].b) - q.start
		q.start = len(q.chunks[0].b)
		q.done = q.chunks[1].after
		q.freeFirstChunk()
	}
	for q.done < upTo {
		q.removeOldest()
	}
}

// after yields the records above a number, also those that were moved away.
func (q *hookQueue) after(number uint64) func(yield func(hookRecord) bool) {
	return func(yield func(hookRecord) bool) {
		number = max(number, q.done)
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
				r.number, b = q.done, b[q.start:]
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

// clone returns a copy that later changes do not affect.
func (q *hookQueue) clone() hookQueue {
	c := *q
	c.chunks = slices.Clone(q.chunks)
	return c
}

// pieces returns the bytes of all records, in pieces that hold whole records.
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

// decode adds the records of a piece.
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

// split moves the records of a slot to a queue of their own. The others keep their
// numbers.
func (q *hookQueue) split(slot uint16) hookQueue {
	taken := hookQueue{limit: q.limit}
	rest := hookQueue{limit: q.limit, done: q.done, last: q.done}
	for r := range q.after(q.done) {
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
