package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A snapshot is the headers of rings as they were, and what was freed since.
type snapshot struct {
	arena *Arena
	rings []Ring
	held  Held
}

// contentOf makes up the entry of a ring and seq, so that a reader knows what
// to expect without asking the owner.
func contentOf(ring int, seq uint64) Entry {
	rnd := rand.New(rand.NewPCG(uint64(ring), seq))
	e := Entry{Time: int64(seq) * 10, Arrival: seq * 2, Session: rnd.Uint64N(100), CID: make([]byte, 12), Body: make([]byte, rnd.IntN(300))}
	if rnd.IntN(100) == 0 {
		e.Body = make([]byte, rnd.IntN(20<<10))
	}
	for i := range e.Body {
		e.Body[i] = byte(seq)
	}
	return e
}

// read checks everything a snapshot reaches, in every way there is to reach it.
func (s *snapshot) read() error {
	var e Entry
	for i := range s.rings {
		r := &s.rings[i]
		seq, size := r.First(), 0
		for c := r.Ascend(s.arena, 0); c.Next(&e); seq++ {
			want := contentOf(i, seq)
			want.Seq = seq
			if !equal(&e, &want) {
				return fmt.Errorf("ring %d, ascending: entry %d = %v", i, seq, e)
			}
			size += EntrySize(&e)
		}
		if seq != r.Next() || size != r.Bytes() {
			return fmt.Errorf("ring %d: read %d bytes up to %d, want %d up to %d", i, size, seq, r.Bytes(), r.Next())
		}
		for c := r.Descend(s.arena, r.Next()); c.Next(&e); {
			seq--
			if e.Seq != seq || e.Arrival != 2*seq {
				return fmt.Errorf("ring %d, descending: entry %d = %v", i, seq, e)
			}
		}
		if seq != r.First() {
			return fmt.Errorf("ring %d, descending: ended at %d, want %d", i, seq, r.First())
		}
		if r.Len() == 0 {
			continue
		}
		middle := (r.First() + r.Next()) / 2
		if !r.At(s.arena, middle, &e) || r.Size(s.arena, middle) != EntrySize(&e) {
			return fmt.Errorf("ring %d: At(%d) failed", i, middle)
		}
		if got := r.FirstAfterArrival(s.arena, 2*middle-1); got != middle {
			return fmt.Errorf("ring %d: AfterArrival(%d) = %d, want %d", i, 2*middle-1, got, middle)
		}
		if got := r.LastThroughTime(s.arena, int64(middle)*10); got != middle {
			return fmt.Errorf("ring %d: ExpireThrough(%d) = %d, want %d", i, middle*10, got, middle)
		}
	}
	return nil
}

// Snapshots are read while appends and evictions go on.
func TestHeldIsASnapshot(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			a := NewArena()
			rings := make([]Ring, 40)
			mutate := func() {
				i := rnd.IntN(len(rings))
				r := &rings[i]
				if r.Bytes() > 500<<(i%8) && rnd.IntN(3) > 0 {
					r.Truncate(a, r.First()+uint64(rnd.IntN(4)))
					return
				}
				e := contentOf(i, r.Next())
				r.Append(a, &e)
				if rnd.IntN(500) == 0 {
					r.Truncate(a, r.Next())
				}
			}
			for range 5000 {
				mutate()
			}
			for range 8 {
				s := snapshot{arena: a, rings: append([]Ring(nil), rings...)}
				a.HoldIn(&s.held)
				for range 10 {
					for range rnd.IntN(1000) {
						mutate()
					}
					if err := s.read(); err != nil {
						t.Fatal(err)
					}
				}
				a.HoldIn(nil)
				a.Release(&s.held)
			}
			for i := range rings {
				rings[i].Reset(a, 1)
			}
			settle(a, &Held{})
			if got := a.Stats(); got.Used != 0 || got.Deferred != 0 {
				t.Errorf("all rings empty: Stats() = %+v", got)
			}
		})
	}
}
