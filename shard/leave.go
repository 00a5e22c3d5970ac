package shard

import (
	"cmp"
	"errors"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// A move brings a slot from its old shard to a new one, by commands to both:
//
//	old shard  BeginMove … FreezeSlot … DropSlot …
//	new shard       CopySlot …       FlipSlot
//
// A Copier at the old shard makes the CopySlots, in rounds: the first round brings all
// users, each later one those who have changed since the one before began. FreezeSlot
// comes when little is left to a last round. Then FlipSlot has the new shard serve the
// slot, what both hold is compared (SlotSum, Taken), and the old shard drops it.
//
// Each command may be repeated, and may come late: State.ended says which moves are over.
// Whether a move is aborted or flips is decided in the new shard's log alone: DiscardSlot
// is refused after FlipSlot, and FlipSlot after DiscardSlot. Only after DiscardSlot may
// the old shard be thawed.

// A leaving is a slot's move to another shard.
type leaving struct {
	move     command.Move
	attempt  uint32    // of the newest FreezeSlot that came or was taken back, 0 = none
	frozenAt uint64    // State.tick when the slot was frozen last, 0 = never
	dropping bool      // some users may be gone already
	hooks    hookQueue // from the freeze on: the slot's part of the queue for webhooks

	// changes has the tick of the newest change of each user who may have changed since
	// the move began. It may have more users on one replica than on another, but never
	// lacks one who has changed.
	changes map[command.UserID]uint64
	spoiled bool     // there were more than maxChanges: this replica cannot go on with the copy
	order   []uint32 // when dropping: the numbers of users that are left, by name, the last first; derived
}

// maxChanges bounds leaving.changes. Where more users change while their slot moves, the
// move can only be aborted.
const maxChanges = 1 << 16

// changeBytes is about what an element of leaving.changes takes, apart from the name.
const changeBytes = 48

// An endedMove is the newest move of a slot that is over.
type endedMove struct {
	move command.Move
	end  moveEnd
	sum  uint64 // of a slot that was taken: the sum of its users' checksums when it came
}

// A moveEnd says how a move ended in a shard.
type moveEnd uint8

const (
	moveAborted moveEnd = iota + 1
	moveDropped         // the slot has left this shard
	moveTaken           // the slot has come to this shard
)

// endMove notes that a move is over.
func (s *State) endMove(slot uint16, e endedMove) {
	if e.move <= s.ended[slot].move {
		return
	}
	if s.ended == nil {
		s.ended = make(map[uint16]endedMove)
	}
	s.ended[slot] = e
}

// moveBytes returns about how many bytes moves take, apart from users.
func (s *State) moveBytes() (n int) {
	for _, lv := range s.leaving {
		n += lv.hooks.size() + len(lv.changes)*(changeBytes+command.MaxName/2)
	}
	for _, arr := range s.arriving {
		n += arr.hooks.size() + len(arr.partial)
	}
	return n
}

// noteChange notes that a user is about to change, if their slot is on the move.
func (s *State) noteChange(u *user) {
	lv := s.leaving[command.SlotOf(string(u.name))]
	if lv == nil || lv.dropping || lv.spoiled {
		return
	}
	if _, ok := lv.changes[u.name]; !ok && len(lv.changes) >= maxChanges {
		lv.changes, lv.spoiled = nil, true
		return
	}
	lv.changes[u.name] = s.tick
}

func (s *State) applyBeginMove(c *command.BeginMove, r *command.Result) {
	lv := s.leaving[c.Slot]
	switch {
	case c.Move <= s.ended[c.Slot].move:
		refuseOver(r)
	case s.slots[c.Slot] == nil:
		*r = command.Result{Code: command.CodeMoved, Detail: "slot: not here"}
	case lv != nil && lv.move != c.Move:
		refuseOther(r)
	case lv == nil:
		if s.leaving == nil {
			s.leaving = make(map[uint16]*leaving)
		}
		s.leaving[c.Slot] = &leaving{move: c.Move, changes: make(map[command.UserID]uint64)}
	}
}

func refuseOver(r *command.Result) {
	*r = command.Result{Code: command.CodeConflict, Detail: "move: is over"}
}

func refuseOther(r *command.Result) {
	*r = command.Result{Code: command.CodeConflict, Detail: "move: another one of this slot is open"}
}

// openMove returns an open move to another shard, or nil with the refusal in r.
func (s *State) openMove(slot uint16, move command.Move, r *command.Result) *leaving {
	lv := s.leaving[slot]
	switch {
	case move <= s.ended[slot].move:
		refuseOver(r)
	case lv == nil:
		*r = command.Result{Code: command.CodeConflict, Detail: "move: has not begun here"}
	case lv.move != move:
		refuseOther(r)
	default:
		return lv
	}
	return nil
}

func (s *State) applyFreezeSlot(c *command.FreezeSlot, r *command.Result) {
	lv := s.openMove(c.Slot, c.Move, r)
	sl := s.slots[c.Slot]
	if lv == nil || c.Attempt <= lv.attempt {
		return
	}
	if lv.attempt = c.Attempt; sl.frozen {
		return
	}
	// The slot's new shard has another cutoff, so what is below this one goes now.
	for number := range sl.users.all {
		u := s.userAt(number)
		if s.cutoffReaches(u) {
			s.prepare(u)
			s.evictToCutoff(u)
		}
		if s.hasTooOldDedup(u) {
			s.copyForSnapshot(u)
			s.forgetTooOldDedup(u)
		}
	}
	lv.hooks = s.hooks.split(c.Slot)
	lv.frozenAt = s.tick
	sl.frozen = true
	s.served--
}

func (s *State) applyThawSlot(c *command.ThawSlot, r *command.Result) {
	lv, ended := s.leaving[c.Slot], s.ended[c.Slot]
	switch {
	case c.Move == ended.move && ended.end == moveAborted && !c.GoOn:
		return
	case c.Move <= ended.move:
		refuseOver(r)
		return
	case lv != nil && lv.move != c.Move:
		refuseOther(r)
		return
	case lv == nil && c.GoOn:
		*r = command.Result{Code: command.CodeConflict, Detail: "move: has not begun here"}
		return
	case lv != nil && lv.dropping:
		*r = command.Result{Code: command.CodeConflict, Detail: "slot: is being dropped"}
		return
	}
	switch {
	case c.GoOn && c.Attempt < lv.attempt:
		return
	case c.GoOn:
		lv.attempt = c.Attempt
	}
	if lv != nil {
		s.thaw(c.Slot, lv)
	}
	if !c.GoOn {
		delete(s.leaving, c.Slot)
		s.endMove(c.Slot, endedMove{move: c.Move, end: moveAborted})
	}
}

// thaw has the shard serve a slot again, if it is frozen.
func (s *State) thaw(number uint16, lv *leaving) {
	sl := s.slots[number]
	if !sl.frozen {
		return
	}
	sl.frozen = false
	s.served++
	hooks := lv.hooks
	lv.hooks = hookQueue{}
	s.queueHooksAgain(&hooks)
}

// queueHooksAgain adds the records of a slot, which was frozen or has moved here, to the
// queue for webhooks.
func (s *State) queueHooksAgain(q *hookQueue) {
	for r := range q.recordsAfter(0) {
		s.queueForHooks(r.key, r.peer, r.seq)
	}
}

func (s *State) applyDropSlot(c *command.DropSlot, r *command.Result) {
	if ended := s.ended[c.Slot]; c.Move == ended.move && ended.end == moveDropped {
		return
	}
	lv := s.openMove(c.Slot, c.Move, r)
	if lv == nil {
		return
	}
	sl := s.slots[c.Slot]
	if !sl.frozen {
		*r = command.Result{Code: command.CodeConflict, Detail: "slot: must be frozen before it is dropped"}
		return
	}
	s.mapEpoch = max(s.mapEpoch, c.Epoch)
	lv.dropping, lv.changes = true, nil
	if left := s.removeUsers(sl, &lv.order, int(c.MaxWork)); left > 0 {
		r.Seq = uint64(left)
		return
	}
	s.slots[c.Slot] = nil
	delete(s.leaving, c.Slot)
	s.endMove(c.Slot, endedMove{move: c.Move, end: moveDropped})
}

// removeUsers removes users of a slot, in order of name, until most work is done (see
// DropSlot), and returns how many are left. Once none is, the slot must not be used.
func (s *State) removeUsers(sl *slot, order *[]uint32, most int) (left int) {
	if *order == nil {
		*order = slices.AppendSeq(make([]uint32, 0, sl.users.n), sl.users.all)
		slices.SortFunc(*order, func(a, b uint32) int { return cmp.Compare(s.userAt(b).name, s.userAt(a).name) })
	}
	work := max(most, 1)
	for n := len(*order); n > 0 && work > 0; n = len(*order) {
		number := (*order)[n-1]
		*order = (*order)[:n-1]
		u := s.userAt(number)
		work -= 1 + len(u.convs.items)
		for i := range u.convs.items {
			work -= u.convs.items[i].log.Len()
		}
		s.removeUser(sl, number)
	}
	if len(*order) == 0 {
		s.tableBytes -= sl.users.bytes()
	}
	return len(*order)
}

// A Leaving says how far a slot's move to another shard has come there.
type Leaving struct {
	Move     command.Move
	Attempt  uint32 // of the newest FreezeSlot that came or was taken back, 0 = none
	Frozen   bool
	Dropping bool // DropSlot has begun
	Users    int  // users and groups of the slot that are left
}

// Leaving returns the open move of a slot to another shard. ok is false if there is none.
func (s *State) Leaving(number uint16) (l Leaving, ok bool) {
	lv := s.leaving[number]
	if lv == nil {
		return l, false
	}
	sl := s.slots[number]
	return Leaving{Move: lv.move, Attempt: lv.attempt, Frozen: sl.frozen, Dropping: lv.dropping, Users: sl.users.n}, true
}

// Changed returns how many users of a slot may have changed since a round of its copy
// began (CopyPlace.Round), and about how many bytes it takes to copy them: what has to
// wait until the slot is frozen, if that is now.
func (s *State) Changed(number uint16, move command.Move, round uint64) (users, bytes int, err error) {
	sl, lv, err := s.copied(number, move)
	if err != nil {
		return 0, 0, err
	}
	for name, tick := range lv.changes {
		if tick <= round {
			continue
		}
		users++
		if u := s.inSlot(sl, name); u != nil {
			bytes += s.copyBytes(u)
		}
	}
	return users, bytes, nil
}

// copyBytes returns about how many bytes a user is in encoded form.
func (s *State) copyBytes(u *user) int {
	const conv, record, fixed = 64, 48, 128
	n := fixed + u.bytes + len(u.convs.items)*conv + int(u.dedup.count+u.removedDedup.count)*record
	for i := range u.outbox {
		for _, b := range u.outbox[i].bytes {
			n += len(b)
		}
	}
	return n
}

var (
	// ErrNotMoving means that the move is not open in this shard.
	ErrNotMoving = errors.New("shard: the slot is not on this move")
	// ErrTooManyChanges means that too many users have changed since the move began. It
	// has to be aborted.
	ErrTooManyChanges = errors.New("shard: too many users have changed since the move of the slot began")
)

// copied returns a slot that is to be copied, with its move.
func (s *State) copied(number uint16, move command.Move) (*slot, *leaving, error) {
	lv := s.leaving[number]
	switch {
	case lv == nil || lv.move != move || lv.dropping:
		return nil, nil, ErrNotMoving
	case lv.spoiled:
		return nil, nil, ErrTooManyChanges
	}
	return s.slots[number], lv, nil
}
