package shard

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// slotVersion is the version of the bytes that AppendSlot makes for a move: version,
// the old shard's time and limits, records for webhooks, then the frames of each user,
// in order of name.
const slotVersion = 4

// A slot is a set of users and groups, by the hash of their names, that a shard owns
// and that moves to another shard as a whole.
type slot struct {
	frozen      bool
	frozenAfter uint64 // State.snapshots when the slot was frozen
	users       table  // numbers of the slot's users and groups, see userAt
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

// removeIdleUser removes a user for whom idle is true.
func (s *State) removeIdleUser(sl *slot, number uint32) {
	u := s.userAt(number)
	s.copyForSnapshot(u)
	if w := s.snapshot; w != nil && w.image(u) != nil && int(command.SlotOf(string(u.name))) >= w.nextSlot {
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
			if s.slots[id] == nil {
				s.slots[id] = &slot{}
				s.served++
			}
		}
	}
}

func (s *State) applyFreezeSlot(c *command.FreezeSlot, r *command.Result) {
	sl := s.slots[c.Slot]
	if sl == nil {
		*r = command.Result{Code: command.CodeMoved, Detail: "slot: not here"}
		return
	}
	if sl.frozen {
		return
	}
	// The slot's new shard has another cutoff, so what is below this one goes now.
	for number := range sl.users.all {
		if u := s.userAt(number); s.cutoffReaches(u) {
			s.prepare(u)
			s.evictToCutoff(u)
		}
		if u := s.userAt(number); u.removedDedup.head != 0 {
			s.copyForSnapshot(u)
			s.forgetTooOldDedup(u)
		}
	}
	if hooks := s.hooks.split(c.Slot); hooks.last > 0 {
		s.setFrozenHooks(sl, &hooks)
	}
	sl.frozen, sl.frozenAfter = true, s.snapshots
	s.served--
}

func (s *State) applyImportSlot(c *command.ImportSlot, r *command.Result) {
	if s.slots[c.Slot] != nil {
		*r = command.Result{Code: command.CodeConflict, Detail: "slot: here already"}
		return
	}
	x := codec.NewReader(c.Data)
	if v := x.Decoder.Byte(); v != slotVersion {
		panicInvariant("slot %d: version %d, want %d", c.Slot, v, slotVersion)
	}
	var now int64
	var limits command.Limits
	codec.Int(&x, &now)
	limits.Fields(&x)
	limits = limits.WithDefaults()
	sl := &slot{}
	l := loader{s: s, slot: sl}
	for len(x.B) > 0 {
		if err := l.frame(x.Decoder.Bytes()); err != nil {
			panicInvariant("slot %d: %v", c.Slot, err)
		}
	}
	if l.finish(); l.err != nil {
		panicInvariant("slot %d: %v", c.Slot, l.err)
	}
	if x.Err != nil {
		panicInvariant("slot %d: %v", c.Slot, x.Err)
	}
	s.advanceTime(now)
	s.slots[c.Slot] = sl
	s.served++
	s.mapEpoch = max(s.mapEpoch, c.Epoch)
	if hooks := s.frozenHooks[sl]; hooks != nil {
		delete(s.frozenHooks, sl)
		for r := range hooks.recordsAfter(0) {
			s.queueForHooks(r.key, r.peer, r.seq)
		}
	}
	if !sameExpiry(&limits, &s.limits) {
		for number := range sl.users.all {
			s.userAt(number).expiryRules = s.expiryRules - 1
		}
	}
}

func (s *State) applyRemoveSlot(c *command.RemoveSlot, r *command.Result) {
	sl := s.slots[c.Slot]
	if sl != nil && !sl.frozen {
		*r = command.Result{Code: command.CodeConflict, Detail: "slot: must be frozen before it is dropped"}
		return
	}
	s.mapEpoch = max(s.mapEpoch, c.Epoch)
	if sl == nil {
		return
	}
	for number := range sl.users.all {
		s.freeUser(number)
	}
	s.tableBytes -= sl.users.bytes()
	s.slots[c.Slot] = nil
	delete(s.frozenHooks, sl)
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

// AppendSlot appends the bytes of a slot for ImportSlot. The slot should be frozen.
func (s *State) AppendSlot(dst []byte, number uint16) ([]byte, error) {
	sl := s.slots[number]
	if sl == nil {
		return dst, fmt.Errorf("shard %d: slot %d is not here", s.id, number)
	}
	x := codec.NewWriter(append(dst, slotVersion))
	codec.Int(&x, &s.now)
	s.limits.Fields(&x)
	dst = x.B
	var frame []byte
	var enc userEncoder
	if hooks := s.frozenHooks[sl]; hooks != nil {
		for _, piece := range hooks.pieces() {
			frame = append(append(frame[:0], frameHookRecords), piece...)
			dst = appendFrame(dst, frame)
		}
	}
	for _, u := range s.usersByName(sl) {
		for enc = (userEncoder{u: u, limit: frameBytes, expiryRules: s.expiryRules}); ; {
			if frame = enc.appendNext(s, frame[:0], true); len(frame) == 0 {
				break
			}
			dst = appendFrame(dst, frame)
		}
	}
	return dst, nil
}
