package loadtest

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestSeqSetModel compares a seqSet with a map.
func TestSeqSetModel(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			spread := 1 + rnd.Uint64N(300)
			var s seqSet
			model := map[uint64]bool{}
			floor, top := uint64(0), uint64(0)
			for range 3000 {
				seq := max(1, floor+rnd.Uint64N(spread+2))
				if rnd.IntN(3) == 0 {
					seq = floor + 1
				}
				fresh, err := s.add(seq)
				if fresh == model[seq] || err != nil {
					t.Fatalf("add(%d) = %v, %v; the model says %v", seq, fresh, err, !model[seq])
				}
				model[seq] = true
				top = max(top, seq)
				for model[floor+1] {
					floor++
				}
				if s.floor != floor || s.highest() != top {
					t.Fatalf("after %d: floor %d, highest %d; want %d, %d", seq, s.floor, s.highest(), floor, top)
				}
				at, missing := floor+rnd.Uint64N(spread+70), uint64(0)
				for below := floor + 1; below < at; below++ {
					if !model[below] {
						missing++
					}
				}
				if got := s.missingBelow(at); got != missing {
					t.Fatalf("missingBelow(%d) = %d, want %d", at, got, missing)
				}
				for i, got := range s.missing(3) {
					if model[got] || i == 0 && got != floor+1 {
						t.Fatalf("missing = %v with floor %d", s.missing(3), floor)
					}
				}
			}
			if most := int(spread)/64 + 4; len(s.words) > most {
				t.Errorf("%d words are kept, want at most %d", len(s.words), most)
			}
		})
	}
}

func TestSeqSetBounds(t *testing.T) {
	var s seqSet
	if _, err := s.add(0); err == nil {
		t.Error("add(0): no error")
	}
	if _, err := s.add(maxAhead); err != nil {
		t.Errorf("add(%d): %v", maxAhead, err)
	}
	if _, err := s.add(maxAhead + 1); err == nil {
		t.Errorf("add(%d) with nothing below: no error", maxAhead+1)
	}
}
