package shard

import (
	"bytes"
	"math"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// An arriving is a slot's move to this shard, before it flips. Its users are in no slot of
// State.slots, so that nothing finds them: no read, sweep, letter or cutoff. What they
// take counts in Size, and messages at or below the cutoff go when the slot is served.
type arriving struct {
	move       command.Move
	place      CopyPlace
	discarding bool // some users may be gone already
	slot       *slot
	now        int64     // ms, the highest time of the old shard
	sum        uint64    // of the users' checksums, see userSum
	partial    []byte    // the beginning of a user who was cut; only appended to
	hooks      hookQueue // the slot's part of the queue for webhooks
	order      []uint32  // when discarding, as leaving.order
}

func newArriving(move command.Move) *arriving {
	return &arriving{move: move, slot: &slot{}, hooks: hookQueue{limit: math.MaxInt32}}
}

// arrivingMove returns an open move to this shard, or nil with the refusal in r.
func (s *State) arrivingMove(slot uint16, move command.Move, r *command.Result) *arriving {
	arr := s.arriving[slot]
	switch {
	case move <= s.ended[slot].move, arr != nil && arr.move == move && arr.discarding:
		refuseOver(r)
	case arr != nil && arr.move != move:
		refuseOther(r)
	case s.slots[slot] != nil:
		*r = command.Result{Code: command.CodeConflict, Detail: "slot: here already"}
	case arr == nil:
		*r = command.Result{Code: command.CodeGap, Seq: 1, Detail: "move: has not begun here"}
	default:
		return arr
	}
	return nil
}

func (s *State) applyCopySlot(c *command.CopySlot, r *command.Result) {
	arr := s.arrivingMove(c.Slot, c.Move, r)
	if arr == nil && r.Code == command.CodeGap && c.Number == 1 && c.Chain == 0 {
		*r = command.Result{}
		arr = newArriving(c.Move)
		if s.arriving == nil {
			s.arriving = make(map[uint16]*arriving)
		}
		s.arriving[c.Slot] = arr
	}
	if arr == nil {
		return
	}
	next := c.NextChain()
	switch {
	case c.Number == arr.place.Number && next == arr.place.Chain:
		return
	case c.Number != arr.place.Number+1 || c.Chain != arr.place.Chain:
		*r = command.Result{Code: command.CodeGap, Seq: arr.place.Number + 1, Detail: "copy: does not follow what is here"}
		return
	case c.Reopen:
		arr.place.Number, arr.place.Chain, arr.place.Hooks, arr.place.Final = c.Number, next, 0, false
		arr.hooks = hookQueue{limit: math.MaxInt32}
		return
	case arr.place.Final:
		*r = command.Result{Code: command.CodeConflict, Detail: "move: all of the slot is here"}
		return
	case c.Joins && arr.partial == nil:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "copy: there is no user to go on with"}
		return
	}
	for _, name := range c.Gone {
		s.removeArrived(arr, name)
	}
	s.takeCopy(c, arr)
	arr.place.Number, arr.place.Chain, arr.place.Round, arr.place.After = c.Number, next, c.Round, c.After
	arr.place.Hooks, arr.place.Final = arr.hooks.last, c.Final
	if c.Ended {
		arr.place.Through, arr.place.After = c.Round, ""
	}
}

// takeCopy loads the users of a CopySlot, unless the last one goes on in the next.
func (s *State) takeCopy(c *command.CopySlot, arr *arriving) {
	data := c.Data
	switch {
	case c.Joins:
		data = append(arr.partial, c.Data...)
	case c.Cut:
		data = bytes.Clone(c.Data)
	}
	if arr.partial = nil; c.Cut {
		arr.partial = data
		return
	}
	x := codec.NewReader(data)
	if v := x.Decoder.Byte(); v != slotVersion {
		panicInvariant("slot %d: version %d, want %d", c.Slot, v, slotVersion)
	}
	var now int64
	var limits command.Limits
	codec.Int(&x, &now)
	limits.Fields(&x)
	limits = limits.WithDefaults()
	l := loader{s: s, slot: arr.slot, hooks: &arr.hooks, arriving: arr, outdated: !sameExpiry(&limits, &s.limits)}
	for len(x.B) > 0 && l.err == nil {
		l.err = l.frame(x.Decoder.Bytes())
	}
	if l.err == nil {
		l.finish()
	}
	if l.err == nil {
		l.err = x.Err
	}
	if l.err != nil {
		panicInvariant("slot %d: %v", c.Slot, l.err)
	}
	arr.now = max(arr.now, now)
}

// removeArrived removes a user of a slot that is arriving, if there is one of that name.
func (s *State) removeArrived(arr *arriving, name command.UserID) {
	u := s.inSlot(arr.slot, name)
	if u == nil {
		return
	}
	arr.sum -= s.userSum(u)
	number, _ := arr.slot.users.find(s.userHash(name), func(n uint32) bool { return s.userAt(n) == u })
	s.removeUser(arr.slot, number)
}

func (s *State) applyFlipSlot(c *command.FlipSlot, r *command.Result) {
	if ended := s.ended[c.Slot]; c.Move == ended.move && ended.end == moveTaken {
		return
	}
	arr := s.arrivingMove(c.Slot, c.Move, r)
	switch {
	case arr == nil:
		return
	case !arr.place.Final || arr.place.Number != c.Last:
		*r = command.Result{Code: command.CodeConflict, Detail: "move: this is not all of the slot"}
		return
	}
	s.advanceTime(arr.now)
	s.slots[c.Slot] = arr.slot
	s.served++
	s.mapEpoch = max(s.mapEpoch, c.Epoch)
	s.queueHooksAgain(&arr.hooks)
	delete(s.arriving, c.Slot)
	s.endMove(c.Slot, endedMove{move: c.Move, end: moveTaken, sum: arr.sum})
}

func (s *State) applyDiscardSlot(c *command.DiscardSlot, r *command.Result) {
	arr, ended := s.arriving[c.Slot], s.ended[c.Slot]
	switch {
	case c.Move == ended.move && ended.end == moveAborted:
		return
	case c.Move == ended.move && ended.end == moveTaken:
		*r = command.Result{Code: command.CodeConflict, Detail: "move: the slot is here for good"}
		return
	case c.Move <= ended.move:
		refuseOver(r)
		return
	case arr != nil && arr.move != c.Move:
		refuseOther(r)
		return
	case arr != nil:
		arr.discarding, arr.partial, arr.hooks = true, nil, hookQueue{}
		if left := s.removeUsers(arr.slot, &arr.order, int(c.MaxWork)); left > 0 {
			r.Seq = uint64(left)
			return
		}
		delete(s.arriving, c.Slot)
	}
	s.endMove(c.Slot, endedMove{move: c.Move, end: moveAborted})
}

// An Arriving says how far a slot's move to this shard has come.
type Arriving struct {
	Move       command.Move
	Place      CopyPlace
	Discarding bool // DiscardSlot has begun
	Users      int  // users and groups that are here
}

// Arriving returns the open move of a slot to this shard. ok is false if there is none.
func (s *State) Arriving(number uint16) (a Arriving, ok bool) {
	arr := s.arriving[number]
	if arr == nil {
		return a, false
	}
	return Arriving{Move: arr.move, Place: arr.place, Discarding: arr.discarding, Users: arr.slot.users.n}, true
}

// Taken returns the checksum that a slot had when a move brought it to this shard: what
// SlotSum adds up to in the old shard, if nothing was lost. ok is false unless that move
// is the newest of the slot that is over.
func (s *State) Taken(number uint16, move command.Move) (sum uint64, ok bool) {
	ended := s.ended[number]
	return ended.sum, ended.move == move && ended.end == moveTaken
}

// SlotSum adds up the checksums of users of a slot, in order of name behind after, until
// it has read maxBytes, or the user who exceeds them. done is false if more come behind
// next. The slot should be frozen.
func (s *State) SlotSum(number uint16, after command.UserID, maxBytes int) (sum uint64, next command.UserID, done bool) {
	sl := s.slots[number]
	if sl == nil {
		return 0, after, true
	}
	next = after
	for _, u := range s.usersByName(sl) {
		if u.name <= after {
			continue
		}
		if maxBytes <= 0 {
			return sum, next, false
		}
		h := summer{s: s, hash: xxhash.New()}
		maxBytes -= h.add(u)
		sum += h.hash.Sum64()
		next = u.name
	}
	return sum, next, true
}

// userSum returns the checksum of a user, as it is on all replicas and in both shards of
// a move.
func (s *State) userSum(u *user) uint64 {
	h := summer{s: s, hash: xxhash.New()}
	h.add(u)
	return h.hash.Sum64()
}
