package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// TestHookQueue compares a queue of several chunks with a plain list, and copies
// of it with what they were.
func TestHookQueue(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			q := hookQueue{limit: 3*hookChunkBytes + rng.IntN(3*hookChunkBytes)}
			var list, copied []hookRecord
			var c hookQueue
			check := func(q *hookQueue, list []hookRecord, from uint64) {
				t.Helper()
				list = slices.DeleteFunc(slices.Clone(list), func(r hookRecord) bool { return r.number <= from })
				if got := slices.Collect(q.recordsAfter(from)); !slices.Equal(got, list) {
					t.Fatalf("after(%d) yields %d records, want %d, or others", from, len(got), len(list))
				}
			}
			for step := range 300 {
				for range rng.IntN(100) {
					r := hookRecord{number: q.last + 1, key: command.UserID(fmt.Sprint("user", rng.IntN(50))), peer: "peer", seq: rng.Uint64() >> rng.IntN(60)}
					q.add(r.key, r.peer, r.seq)
					list = append(list, r)
				}
				if q.bytes > q.limit || q.size() > q.limit+2*hookChunkBytes+len(list) {
					t.Fatalf("%d bytes in %d, limit %d", q.bytes, q.size(), q.limit)
				}
				list = slices.DeleteFunc(list, func(r hookRecord) bool { return r.number <= q.removedUpTo })
				switch rng.IntN(10) {
				case 0, 1:
					upTo := q.removedUpTo + uint64(rng.IntN(len(list)+10))
					q.trim(upTo)
					list = slices.DeleteFunc(list, func(r hookRecord) bool { return r.number <= upTo })
				case 2:
					slot := command.SlotOf(fmt.Sprint("user", rng.IntN(50)))
					n := 0
					for i := range list {
						if r := &list[i]; r.key != "" && command.SlotOf(string(r.key)) == slot {
							*r = hookRecord{number: r.number}
							n++
						}
					}
					if taken := q.split(slot); int(taken.last) != n {
						t.Fatalf("take(%d) gave %d records, want %d", slot, taken.last, n)
					}
				case 3:
					c, copied = q.clone(), slices.Clone(list)
				}
				check(&q, list, q.removedUpTo+uint64(rng.IntN(len(list)+1)))
				if step%10 == 0 {
					check(&c, copied, 0)
					again := hookQueue{limit: q.limit, removedUpTo: q.removedUpTo, last: q.removedUpTo}
					for _, piece := range q.pieces() {
						d := codec.Decoder{B: piece}
						again.decode(&d)
						if err := d.End(); err != nil {
							t.Fatal(err)
						}
					}
					check(&again, list, 0)
					if again.bytes != q.bytes {
						t.Fatalf("%d bytes counted, want %d", q.bytes, again.bytes)
					}
				}
			}
		})
	}
}
