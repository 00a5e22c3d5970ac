package shard_test

import (
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// A slotMove is the driver of a move: what leads placement does. It may forget all but
// what the fields of its first group say, and goes on by what the shards have.
type slotMove struct {
	slot     uint16
	move     command.Move
	from, to int
	epoch    uint64 // of the map in which the slot has moved

	phase   movePhase
	busy    bool // a command of it is pending
	copier  *shard.Copier
	rounds  int // that are to come before the freeze
	abortIn int // steps until it is aborted; below 0 = it is not
}

type movePhase int

const (
	moveBegins movePhase = iota
	moveCopies
	moveFlips
	moveCompares
	moveDrops
	moveDiscards
	moveThaws
	moveDiscardsRest
	moveIsOver
)

// A moveStep is a command of a move, which may come once more.
type moveStep struct {
	shard int
	cmd   command.Command
}

// openAgain repeats what opened the slots of a shard, as a leader does that knows nothing
// of any move.
func (w *world) openAgain() {
	sh := pick(w, w.shards)
	open := w.firstSlots(sh.index)
	open.Epoch += w.rng.Uint64N(w.model.shards[sh.index].mapEpoch)
	w.order(sh.index, open, nil)
}

// startMove begins to move a user's or a group's slot elsewhere.
func (w *world) startMove() {
	slot := command.SlotOf(string(pick(w, w.keys())))
	if slices.ContainsFunc(w.moves, func(m *slotMove) bool { return m.slot == slot }) {
		return
	}
	w.lastMove++
	m := &slotMove{slot: slot, move: w.lastMove, from: w.owner[slot], abortIn: -1, rounds: 1 + w.rng.IntN(3)}
	m.to = (m.from + 1 + w.rng.IntN(simShards-1)) % simShards
	if w.chance(33) {
		m.abortIn = w.rng.IntN(12)
	}
	w.moves = append(w.moves, m)
}

// stepMove orders a step of a move. It may come twice, and later once more.
func (w *world) stepMove(m *slotMove, index int, cmd command.Command, then func(*command.Result)) {
	if w.chance(20) {
		w.order(index, cmd, nil)
	}
	m.busy = true
	w.order(index, cmd, func(r *command.Result) {
		m.busy = false
		then(r)
	})
	if w.steps = append(w.steps, moveStep{index, cmd}); len(w.steps) > 40 {
		w.steps = slices.Delete(w.steps, 0, 20)
	}
}

// repeatMoveStep has a step of some move come late.
func (w *world) repeatMoveStep() {
	if len(w.steps) > 0 {
		step := pick(w, w.steps)
		w.order(step.shard, step.cmd, nil)
	}
}

// wantOK returns what goes on after a step that must not be refused.
func (w *world) wantOK(m *slotMove, next movePhase) func(*command.Result) {
	return func(r *command.Result) {
		if r.Code != command.OK {
			w.failf("move %d in phase %d: code %d, %s", m.move, m.phase, r.Code, r.Detail)
		}
		m.phase = next
	}
}

// goOnMoving takes the next step of a move.
func (w *world) goOnMoving(m *slotMove) {
	if m.busy {
		return
	}
	if w.chance(10) {
		m.copier = nil // another driver takes over
	}
	if m.phase < moveCompares && m.abortIn >= 0 {
		if m.abortIn--; m.abortIn < 0 {
			m.phase = moveDiscards
		}
	}
	work := uint32(w.rng.IntN(30))
	switch m.phase {
	case moveBegins:
		w.stepMove(m, m.from, &command.BeginMove{Slot: m.slot, Move: m.move}, w.wantOK(m, moveCopies))
	case moveCopies:
		w.copySome(m)
	case moveFlips:
		w.flip(m)
	case moveCompares:
		w.compareMoved(m)
		m.phase = moveDrops
	case moveDrops:
		w.stepMove(m, m.from, &command.DropSlot{Slot: m.slot, Move: m.move, Epoch: m.epoch, MaxWork: work}, func(r *command.Result) {
			w.wantOK(m, moveDrops)(r)
			if l, ok := w.shards[m.from].leader.Leaving(m.slot); r.Seq == 0 && ok || r.Seq > 0 && l.Users > int(r.Seq) {
				w.failf("move %d: %d users are left of %+v, %v", m.move, r.Seq, l, ok)
			}
			if r.Seq == 0 {
				m.phase = moveIsOver
			}
		})
	case moveDiscards:
		if w.chance(30) && m.copier != nil && m.copier.Place().Final { // who flips, and who aborts, do not know of each other
			w.mapEpoch++
			m.epoch = w.mapEpoch
			w.order(m.to, &command.FlipSlot{Slot: m.slot, Move: m.move, Last: m.copier.Place().Number, Epoch: m.epoch}, w.owns(m))
		}
		w.stepMove(m, m.to, &command.DiscardSlot{Slot: m.slot, Move: m.move, MaxWork: work}, func(r *command.Result) {
			if m.phase = moveThaws; r.Code == command.CodeConflict {
				m.phase = moveCompares
			}
		})
		w.flush(w.shards[m.to])
	case moveThaws:
		w.stepMove(m, m.from, &command.ThawSlot{Slot: m.slot, Move: m.move}, w.wantOK(m, moveDiscardsRest))
	case moveDiscardsRest:
		w.stepMove(m, m.to, &command.DiscardSlot{Slot: m.slot, Move: m.move, MaxWork: work}, func(r *command.Result) {
			w.wantOK(m, moveDiscardsRest)(r)
			if r.Seq == 0 {
				m.phase = moveIsOver
				w.moved[aborted]++
			}
		})
	case moveIsOver:
		w.moves = slices.DeleteFunc(w.moves, func(o *slotMove) bool { return o == m })
	}
}

// owns notes that a slot has a new owner, once it flipped.
func (w *world) owns(m *slotMove) func(*command.Result) {
	return func(r *command.Result) {
		if r.Code == command.OK {
			w.owner[m.slot] = m.to
			w.moved[taken]++
		}
	}
}

// copySome brings the next part of a slot to its new shard, freezes the slot after some
// rounds, and now and then gives up a freeze.
func (w *world) copySome(m *slotMove) {
	state := w.either(w.shards[m.from])
	if m.copier == nil {
		a, ok := w.shards[m.to].leader.Arriving(m.slot)
		if ok && (a.Move != m.move || a.Discarding) {
			w.failf("move %d finds %+v", m.move, a)
		}
		if m.copier = shard.NewCopier(m.slot, m.move, a.Place); a.Place.Final {
			m.phase = moveFlips
			return
		}
	}
	leaving, ok := state.Leaving(m.slot)
	if !ok || leaving.Move != m.move {
		w.failf("move %d finds %+v", m.move, leaving)
	}
	switch {
	case leaving.Frozen && w.chance(5):
		w.reopen(m, leaving.Attempt)
		return
	case !leaving.Frozen && m.rounds <= 0:
		m.rounds = 1 << 20 // not again
		w.stepMove(m, m.from, &command.FreezeSlot{Slot: m.slot, Move: m.move, Attempt: leaving.Attempt + 1}, w.wantOK(m, moveCopies))
		return
	}
	cmd, err := m.copier.Next(state, []int{1, 100, 1000, 10_000, command.MaxCopy}[w.rng.IntN(5)])
	if err != nil {
		w.failf("move %d: %v", m.move, err)
	}
	w.stepMove(m, m.to, cmd, func(r *command.Result) {
		switch {
		case r.Code == command.CodeGap:
			m.copier = nil
		case r.Code != command.OK:
			w.failf("move %d: %s: code %d, %s", m.move, describe(cmd), r.Code, r.Detail)
		case cmd.Final:
			m.phase = moveFlips
		case cmd.Ended:
			m.rounds--
		}
	})
}

// reopen gives up a freeze that has taken too long. First the new shard has to know.
func (w *world) reopen(m *slotMove, attempt uint32) {
	w.stepMove(m, m.to, m.copier.Reopen(), func(r *command.Result) {
		if m.phase = moveCopies; r.Code != command.OK {
			m.copier = nil
			return
		}
		m.rounds = 1 + w.rng.IntN(2)
		w.stepMove(m, m.from, &command.ThawSlot{Slot: m.slot, Move: m.move, GoOn: true, Attempt: attempt}, w.wantOK(m, moveCopies))
	})
}

func (w *world) flip(m *slotMove) {
	if m.copier == nil {
		a, _ := w.shards[m.to].leader.Arriving(m.slot)
		m.copier = shard.NewCopier(m.slot, m.move, a.Place)
	}
	if leaving, _ := w.shards[m.from].leader.Leaving(m.slot); w.chance(10) {
		w.reopen(m, leaving.Attempt)
		return
	}
	w.mapEpoch++
	m.epoch = w.mapEpoch
	cmd := &command.FlipSlot{Slot: m.slot, Move: m.move, Last: m.copier.Place().Number, Epoch: m.epoch}
	w.stepMove(m, m.to, cmd, func(r *command.Result) {
		w.wantOK(m, moveCompares)(r)
		w.owns(m)(r)
	})
	w.flush(w.shards[m.to])
}

// compareMoved compares what left the old shard with what came to the new one, also by
// reading both.
func (w *world) compareMoved(m *slotMove) {
	var sum uint64
	after, done := command.UserID(""), false
	for !done {
		var n uint64
		n, after, done = w.either(w.shards[m.from]).SlotSum(m.slot, after, w.rng.IntN(5000))
		sum += n
	}
	for _, state := range []*shard.State{w.shards[m.to].leader, w.shards[m.to].follower} {
		if got, ok := state.Taken(m.slot, m.move); !ok || got != sum {
			w.failf("Taken(%d, %d) = %x, %v, want %x", m.slot, m.move, got, ok, sum)
		}
	}
}

// checkOwners wants each slot to be served by the shard that the moves say, and by no
// other, and by none only while its move is under way.
func (w *world) checkOwners() {
	for slot, owner := range w.owner {
		for _, sh := range w.shards {
			for _, state := range []*shard.State{sh.leader, sh.follower} {
				leaving, _ := state.Leaving(slot)
				if want := sh.index == owner && !leaving.Frozen; state.Owns(slot) != want {
					w.failf("Owns(%d) = %v in shard %d, want %v", slot, !want, sh.index, want)
				}
			}
		}
	}
}
