package shard

import (
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// Checksum returns a hash of all that a slot holds, or 0 if the slot is not in this
// shard. It is the same on replicas that have applied the same commands, and in both
// shards after a move. It leaves out the queue totals: they also depend on the limits,
// which may differ between shards for a moment.
func (s *State) Checksum(number uint16) uint64 {
	sl := s.slots[number]
	if sl == nil {
		return 0
	}
	h := summer{s: s, hash: xxhash.New()}
	for _, u := range s.usersByName(sl) {
		h.add(u)
	}
	return h.hash.Sum64()
}

// A summer hashes users and groups.
type summer struct {
	s     *State
	hash  *xxhash.Digest
	enc   userEncoder
	frame []byte
}

// add hashes a user and returns the number of bytes that this was.
func (h *summer) add(u *user) (size int) {
	for h.enc = (userEncoder{u: u, limit: frameBytes}); ; {
		if h.frame = h.enc.appendNext(h.s, h.frame[:0], false); len(h.frame) == 0 {
			return size
		}
		h.hash.Write(h.frame)
		size += len(h.frame)
	}
}

func (s *State) applyChecksum(c *command.Checksum, _ *command.Result) {
	h := summer{s: s, hash: xxhash.New()}
	x := codec.NewWriter(nil)
	s.headerFields(&x)
	x.B = codec.AppendUint(x.B, uint64(s.hooks.limit))
	x.B = codec.AppendUint(codec.AppendUint(x.B, s.hooks.removedUpTo), s.hooks.last)
	for _, number := range slices.Sorted(maps.Keys(s.arriving)) {
		command.Slot(&x, &number)
		s.arriving[number].fields(&x) // which has the sum of its users
	}
	h.hash.Write(x.B)
	to, done := s.sum(&h, c.From, int(c.MaxBytes))
	s.out.Checksums = append(s.out.Checksums, Checksum{From: c.From, To: to, Done: done, Sum: h.hash.Sum64()})
}

// sum hashes users and groups behind a place until they were most bytes. It returns the
// place up to which it came, and whether it has found out that nothing comes after that.
func (s *State) sum(h *summer, from command.Place, most int) (to command.Place, done bool) {
	to = from
	for id := int(from.Slot); id < command.Slots; id++ {
		sl := s.slots[id]
		if sl == nil {
			continue
		}
		h.frame = codec.AppendBool(codec.AppendUint(h.frame[:0], uint64(id)), sl.frozen)
		h.hash.Write(h.frame)
		for _, u := range s.usersByName(sl) {
			if id == int(from.Slot) && u.name <= from.After {
				continue
			}
			to = command.Place{Slot: uint16(id), After: u.name}
			if most -= h.add(u); most <= 0 {
				return to, false
			}
		}
	}
	return to, true
}
