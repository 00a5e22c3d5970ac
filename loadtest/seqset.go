package loadtest

import (
	"fmt"
	"math/bits"
	"slices"
)

// maxAhead bounds how far above the lowest missing seq others may be held, and so
// the memory of a seqSet, at 128 KiB.
const maxAhead = 1 << 20

// A seqSet holds the seqs of one view that are accounted for. They come nearly in
// order, so it keeps only the lowest one that is missing, and a bit for each
// above.
type seqSet struct {
	floor uint64   // every seq from 1 to floor is held
	base  uint64   // a multiple of 64 up to floor+1; seq base+i is bit i of words
	words []uint64 // bits of floor and below may be stale
}

// add adds seq and reports whether it is new.
func (s *seqSet) add(seq uint64) (fresh bool, err error) {
	switch {
	case seq == 0:
		return false, fmt.Errorf("seq 0, want at least 1")
	case seq <= s.floor:
		return false, nil
	case seq > s.floor+maxAhead:
		return false, fmt.Errorf("seq %d while %d is missing", seq, s.floor+1)
	case seq == s.floor+1 && len(s.words) == 0:
		s.floor = seq
		s.base = (seq + 1) &^ 63
		return true, nil
	}
	word, bit := (seq-s.base)/64, uint64(1)<<(seq%64)
	for uint64(len(s.words)) <= word {
		s.words = append(s.words, 0)
	}
	if s.words[word]&bit != 0 {
		return false, nil
	}
	s.words[word] |= bit
	if seq == s.floor+1 {
		s.advance()
	}
	return true, nil
}

// extend adds the n seqs above the floor. The set must not hold any there.
func (s *seqSet) extend(n int) {
	s.floor += uint64(n)
	s.base = (s.floor + 1) &^ 63
}

// hole returns the first run of seqs up to top that are not held; 0, 0 if all
// are.
func (s *seqSet) hole(top uint64) (from, to uint64) {
	if s.floor >= top {
		return 0, 0
	}
	from = s.floor + 1
	for to = from; to < top; to++ {
		next := to + 1 - s.base
		if word := next / 64; word < uint64(len(s.words)) && s.words[word]&(1<<(next%64)) != 0 {
			break
		}
	}
	return from, to
}

// advance moves the floor up to the lowest missing seq.
func (s *seqSet) advance() {
	next := s.floor + 1 - s.base // offset of the first bit that may be unset
	word := next / 64
	for ; word < uint64(len(s.words)); word++ {
		unset := ^s.words[word]
		if word == next/64 {
			unset &= ^uint64(0) << (next % 64)
		}
		if unset != 0 {
			s.floor = s.base + word*64 + uint64(bits.TrailingZeros64(unset)) - 1
			break
		}
		s.floor = s.base + word*64 + 63
	}
	s.words = slices.Delete(s.words, 0, int(min(word, uint64(len(s.words)))))
	s.base = (s.floor + 1) &^ 63
	if s.highest() == s.floor {
		s.words = s.words[:0]
	}
}

// highest returns the highest seq held.
func (s *seqSet) highest() uint64 {
	for i := len(s.words) - 1; i >= 0; i-- {
		if w := s.words[i]; w != 0 {
			return max(s.floor, s.base+uint64(i)*64+uint64(bits.Len64(w))-1)
		}
	}
	return s.floor
}

// missingBelow counts the seqs below seq that are not held.
func (s *seqSet) missingBelow(seq uint64) uint64 {
	if seq <= s.floor+1 {
		return 0
	}
	held := uint64(0) // from floor+1 to seq-1
	for i, w := range s.words {
		low := s.base + uint64(i)*64
		if low >= seq {
			break
		}
		if s.floor >= low { // only the first word: the floor is in it
			w &= ^uint64(0) << (s.floor + 1 - low)
		}
		if seq-low < 64 {
			w &= 1<<(seq-low) - 1
		}
		held += uint64(bits.OnesCount64(w))
	}
	return seq - 1 - s.floor - held
}

// missing returns the first seqs below highest that are not held, up to most of
// them.
func (s *seqSet) missing(most int) []uint64 {
	var list []uint64
	for seq, top := s.floor+1, s.highest(); seq < top && len(list) < most; seq++ {
		if i := (seq - s.base) / 64; s.words[i]&(1<<(seq%64)) == 0 {
			list = append(list, seq)
		}
	}
	return list
}
