package shard

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// A hookQueue names stored messages that a hook may have to be told of, numbered
// 1, 2, 3 … Past its limit the oldest leave. Records are packed into chunks,
// which only grow at their end, within their capacity: a copy of the queue does
// not see what is added later.
//
//	record  key, peer (length-prefixed), seq (uvarint); without key it was taken out
type hookQueue struct {
	limit  int // bytes of records; 0 = none are kept
	chunks []hookChunk
	start  int    // of the oldest record in chunks[0]
	bytes  int    // of records held
	done   uint64 // records up to this number are gone
	last   uint64 // number of the newest record ever
}

type hookChunk struct {
	after uint64 // number of the record before its first
	b     []byte
}

// hookChunkBytes is the size of a chunk.
const hookChunkBytes = 16 << 10

// maxHookRecord bounds a record: two names and three varints.
const maxHookRecord = 2*(command.MaxName+len(command.GroupPrefix)) + 3*10

// A hookRecord is a message in the view of a user, or in a group.
type hookRecord struct {
	number uint64
	key    command.UserID // the user, or the group's key
	peer   command.UserID // the other user; "" in a group
	seq    uint64
}

// size is what the queue takes in memory.
func (q *hookQueue) size() int { return len(q.chunks) * hookChunkBytes }

func (q *hookQueue) add(key, peer command.UserID, seq uint64) {
	var room [maxHookRecord]byte
	record := command.AppendUint(command.AppendBytes(command.AppendBytes(room[:0], key), peer), seq)
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

// read decodes the record at b, and gives its size.
func (r *hookRecord) read(b []byte) (size int) {
	d := command.Decoder{B: b}
	r.key, r.peer, r.seq = command.UserID(d.Bytes()), command.UserID(d.Bytes()), d.Uint()
	return len(b) - len(d.B)
}

func (q *hookQueue) removeOldest() {
	d := command.Decoder{B: q.chunks[0].b[q.start:]}
	before := len(d.B)
	d.Bytes()
	d.Bytes()
	d.Uint()
	q.start += before - len(d.B)
	q.bytes -= before - len(d.B)
	q.done++
	q.freeFirstChunk()
}

// freeFirstChunk gives the first chunk up once nothing of it is left. The last one
// stays for what comes.
func (q *hookQueue) freeFirstChunk() {
	if len(q.chunks) > 1 && q.start == len(q.chunks[0].b) {
		q.chunks[0] = hookChunk{}
		q.chunks, q.start = q.chunks[1:], 0
	}
}

// trim forgets the records up to a number.
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

// after yields the records above a number, those that were taken out too.
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

// clone is a copy that stays as it is.
func (q *hookQueue) clone() hookQueue {
	c := *q
	c.chunks = slices.Clone(q.chunks)
	return c
}

// pieces are the bytes of all records, in pieces of whole ones.
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
func (q *hookQueue) decode(d *command.Decoder) {
	for len(d.B) > 0 && d.Err == nil {
		key, peer, seq := d.Bytes(), d.Bytes(), d.Uint()
		if len(key) > command.MaxName+len(command.GroupPrefix) || len(peer) > command.MaxName {
			d.Fail(command.ErrMalformed)
		}
		if d.Err == nil {
			q.add(command.UserID(key), command.UserID(peer), seq)
		}
	}
}

// split takes the records of a slot out. The others keep their numbers.
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
