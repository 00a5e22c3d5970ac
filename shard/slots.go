package shard

import (
	"fmt"
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// The bytes of a slot, as they move between shards: version, the old owner's
// time and limits, then each user's record with its length, in order of name.
const slotVersion = 1

func (s *State) applyOpenSlots(c *OpenSlots, r *Result) {
	if c.FirstSlot > c.LastSlot {
		*r = Result{Code: CodeBadRequest, Detail: "slots: first must not be above last"}
		return
	}
	for id := int(c.FirstSlot); id <= int(c.LastSlot); id++ {
		if s.slots[id] == nil {
			s.slots[id] = &slot{users: map[UserID]*user{}}
		}
	}
}

func (s *State) applyFreezeSlot(c *FreezeSlot, r *Result) {
	sl := s.slots[c.Slot]
	if sl == nil {
		*r = Result{Code: CodeMoved, Detail: "slot: not here"}
		return
	}
	if sl.frozen {
		return
	}
	// What the cutoff has taken stays behind: the new owner has another one.
	for _, u := range sl.users {
		if s.isCut(u) {
			s.save(u)
			s.evictCut(u)
		}
	}
	sl.frozen = true
}

func (s *State) applyImportSlot(c *ImportSlot, r *Result) {
	if s.slots[c.Slot] != nil {
		*r = Result{Code: CodeConflict, Detail: "slot: here already"}
		return
	}
	d := decoder{b: c.Data}
	if v := d.byte(); v != slotVersion {
		broken("slot %d: version %d, want %d", c.Slot, v, slotVersion)
	}
	now, limits := d.int(), d.limits()
	sl := &slot{users: map[UserID]*user{}}
	for d.err == nil && len(d.b) > 0 {
		if err := s.addUser(sl, d.bytes()); err != nil {
			broken("slot %d: %v", c.Slot, err)
		}
	}
	if d.err != nil {
		broken("slot %d: %v", c.Slot, d.err)
	}
	s.now = max(s.now, now)
	s.slots[c.Slot] = sl
	if limits != s.limits {
		for _, u := range sl.users {
			s.recountAll(u)
		}
	}
}

func (s *State) applyDropSlot(c *DropSlot, r *Result) {
	sl := s.slots[c.Slot]
	if sl == nil {
		return
	}
	if !sl.frozen {
		*r = Result{Code: CodeConflict, Detail: "slot: must be frozen before it is dropped"}
		return
	}
	var e ring.Entry
	for _, u := range sl.users {
		// A view may still be reading him.
		s.save(u)
		for i := range u.convs {
			v := &u.convs[i]
			for cur := v.log.Ascend(s.arena, v.log.First()); cur.Next(&e); {
				s.ages.add(e.Time, -ring.EntrySize(&e))
			}
			v.log.Evict(s.arena, v.log.Next())
			s.arena.Free(v.peer, int(v.peerLen))
		}
		for i := range u.outbox {
			for _, b := range u.outbox[i].bytes {
				s.letterBytes -= len(b)
			}
		}
		s.sentRecords -= len(u.sent.records)
		s.users--
		s.conversations -= len(u.convs)
	}
	s.slots[c.Slot] = nil
}

func (sl *slot) sorted() []*user {
	users := make([]*user, 0, len(sl.users))
	for _, name := range slices.Sorted(maps.Keys(sl.users)) {
		users = append(users, sl.users[name])
	}
	return users
}

// AppendSlot encodes a slot for ImportSlot. It should be frozen by then.
func (s *State) AppendSlot(dst []byte, number uint16) ([]byte, error) {
	sl := s.slots[number]
	if sl == nil {
		return dst, fmt.Errorf("shard %d: slot %d is not here", s.id, number)
	}
	dst = appendLimits(appendInt(append(dst, slotVersion), s.now), s.limits)
	for _, u := range sl.sorted() {
		dst = appendBytes(dst, s.appendUser(nil, u))
	}
	return dst, nil
}

// Checksum is a hash over all that a slot holds, equal on replicas that have
// applied the same commands, and on both sides of a move; 0 when the slot is not
// here. The queue's totals follow from the rest and from the limits, which may
// differ between shards for a moment, so they are left out.
func (s *State) Checksum(number uint16) uint64 {
	sl := s.slots[number]
	if sl == nil {
		return 0
	}
	h := xxhash.New()
	var record []byte
	for _, u := range sl.sorted() {
		record = s.appendUserWith(record[:0], u, false)
		h.Write(record)
	}
	return h.Sum64()
}
