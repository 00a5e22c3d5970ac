package shard

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A slot is a set of users and groups, by the hash of their names, that a shard owns
// and that moves to another shard as a whole.
type slot struct {
	frozen   bool
	snapshot uint64 // number of the newest snapshot that has begun to write the slot
	users    table  // numbers of the slot's users and groups, see userAt
}

// usersPerBlock is how many users are in one heap object.
const usersPerBlock = 32

// userAt returns the user with a number.
func (s *State) userAt(number uint32) *user {
	return &s.blocks[number/usersPerBlock][number%usersPerBlock]
}

// userHash returns the hash of a name for the table of its slot. It is seeded, because
// users choose their names, as with dedupHash.
func (s *State) userHash(name command.UserID) uint64 { return maphash.String(s.seed, string(name)) }

// inSlot returns the user with a name in a slot, or nil if there is none.
func (s *State) inSlot(sl *slot, name command.UserID) *user {
	number, ok := sl.users.find(s.userHash(name), func(n uint32) bool { return s.userAt(n).name == name })
	if !ok {
		return nil
	}
	return s.userAt(number)
}

// newUser adds a user to a slot, which must not have one of that name.
func (s *State) newUser(sl *slot, name command.UserID) *user {
	number := uint32(s.users)
	switch n := len(s.freeNumbers); {
	case n > 0 && s.snapshot == nil && s.staleImages == nil: // otherwise a free number's former user may still have an image
		number = s.freeNumbers[n-1]
		s.freeNumbers = s.freeNumbers[:n-1]
	default:
		number += uint32(n)
		if int(number) == len(s.blocks)*usersPerBlock {
			s.blocks = append(s.blocks, new([usersPerBlock]user))
		}
	}
	s.users++
	u := s.userAt(number)
	*u = user{name: name, snapshot: s.snapshots, expiryRules: s.expiryRules, arrival: firstArrival, oldest: math.MaxInt64}
	before := sl.users.bytes()
	sl.users.add(number, func(n uint32) uint64 { return s.userHash(s.userAt(n).name) })
	s.tableBytes += sl.users.bytes() - before
	return u
}

// idle reports whether nothing is kept of a user that will be needed: they have never
// logged in, there is no conversation with anybody, and they were in no group lately.
// Such users come to be when others add them to groups.
func (u *user) idle() bool {
	return u.group == nil && u.lastSession == 0 && u.account == nil &&
		len(u.convs.items)+len(u.memberships.items)+len(u.imports.items) == 0
}

// removeUser removes a user from a slot.
func (s *State) removeUser(sl *slot, number uint32) {
	u := s.userAt(number)
	s.copyForSnapshot(u)
	if w := s.snapshot; w != nil && w.image(u) != nil && sl.snapshot < w.number {
		w.removed[sl] = append(w.removed[sl], u)
	}
	sl.users.remove(number, func(n uint32) uint64 { return s.userHash(s.userAt(n).name) })
	s.freeUser(number)
}

// freeUser frees all that a user holds, and their number for another user.
func (s *State) freeUser(number uint32) {
	u := s.userAt(number)
	s.copyForSnapshot(u) // a snapshot may not have written the user yet
	s.holdFor(u)
	var e ring.Entry
	for i := range u.convs.items {
		c := &u.convs.items[i]
		cur := c.log.Ascend(s.arena, c.log.First())
		for size := cur.NextHeader(&e); size > 0; size = cur.NextHeader(&e) {
			s.byAge.add(e.Time, -size)
		}
		c.log.Truncate(s.arena, c.log.Next())
		s.arena.Free(c.peer, int(c.peerLen))
	}
	u.convs.free(s.arena)
	u.cold.free(s.arena)
	for i := range u.extra.items {
		x := &u.extra.items[i]
		x.tombstones.free(s.arena)
		x.lost.free(s.arena)
		x.gone.free(s.arena)
	}
	u.extra.free(s.arena)
	u.imports.free(s.arena)
	s.setAccount(u, account{})
	for i := range u.memberships.items {
		s.arena.Free(u.memberships.items[i].name, int(u.memberships.items[i].nameLen))
	}
	u.memberships.free(s.arena)
	if u.group != nil {
		s.freeGroup(u)
	}
	s.freeDedup(u, &u.dedup)
	s.freeDedup(u, &u.removedDedup)
	for i := range u.outbox {
		for _, b := range u.outbox[i].bytes {
			s.letterBytes -= len(b)
		}
	}
	s.tableBytes -= u.byPeer.bytes()
	*u = user{name: u.name, snapshot: u.snapshot, image: u.image}
	s.users--
	s.freeNumbers = append(s.freeNumbers, number)
}

func (s *State) applyOpenSlots(c *command.OpenSlots, r *command.Result) {
	for _, span := range c.Slots {
		if span.First > span.Last {
			*r = command.Result{Code: command.CodeBadRequest, Detail: "slots: first must not be above last"}
			return
		}
	}
	if c.Epoch <= s.mapEpoch {
		return
	}
	s.mapEpoch = c.Epoch
	for _, span := range c.Slots {
		for id := int(span.First); id <= int(span.Last); id++ {
			if s.slots[id] == nil && s.arriving[uint16(id)] == nil {
				s.slots[id] = &slot{}
				s.served++
			}
		}
	}
}

// usersByName returns the users of a slot in order of name.
func (s *State) usersByName(sl *slot) []*user {
	users := make([]*user, 0, sl.users.n)
	for number := range sl.users.all {
		users = append(users, s.userAt(number))
	}
	slices.SortFunc(users, byName)
	return users
}

func byName(u, v *user) int { return cmp.Compare(u.name, v.name) }
