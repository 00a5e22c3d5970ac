package shard_test

import (
	"bytes"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// A slotMove brings a slot from one shard to another: freeze, copy, drop.
type slotMove struct {
	slot     uint16
	from, to int
	phase    int
	busy     bool // a command of it is pending
	data     []byte
	epoch    uint64 // of the map in which the slot has moved
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
	from := w.owner[slot]
	to := (from + 1 + w.rng.IntN(simShards-1)) % simShards
	w.moves = append(w.moves, &slotMove{slot: slot, from: from, to: to})
}

// goOnMoving takes the next step of a move. Each may be repeated: whoever
// leads placement resumes without knowing whether it happened.
func (w *world) goOnMoving(m *slotMove) {
	if m.busy {
		return
	}
	m.busy = true
	again := 1
	if w.chance(20) {
		again = 2
	}
	next := func(*command.Result) { m.busy, m.phase = false, m.phase+1 }
	source := w.shards[m.from]
	switch m.phase {
	case 0:
		for range again - 1 {
			w.order(m.from, &command.FreezeSlot{Slot: m.slot}, nil)
		}
		w.order(m.from, &command.FreezeSlot{Slot: m.slot}, next)
	case 1:
		data, err := source.leader.AppendSlot(nil, m.slot)
		if err != nil {
			w.failf("AppendSlot(%d): %v", m.slot, err)
		}
		other, err := source.follower.AppendSlot(nil, m.slot)
		if err != nil || !bytes.Equal(data, other) {
			w.failf("AppendSlot(%d) differs between replicas: %v", m.slot, err)
		}
		m.data = data
		w.mapEpoch++
		m.epoch = w.mapEpoch
		next(nil)
	case 2:
		w.order(m.to, &command.ImportSlot{Slot: m.slot, Epoch: m.epoch, Data: m.data}, func(r *command.Result) {
			got, want := w.shards[m.to].leader.Checksum(m.slot), source.leader.Checksum(m.slot)
			if got != want && again == 1 {
				w.failf("Checksum(%d) after the move = %x, want %x", m.slot, got, want)
			}
			w.owner[m.slot] = m.to
			next(r)
		})
		if again > 1 {
			w.order(m.to, &command.ImportSlot{Slot: m.slot, Epoch: m.epoch, Data: m.data}, nil)
		}
		w.flush(w.shards[m.to]) // so that the checksums are of one moment
	case 3:
		for range again - 1 {
			w.order(m.from, &command.RemoveSlot{Slot: m.slot, Epoch: m.epoch}, nil)
		}
		w.order(m.from, &command.RemoveSlot{Slot: m.slot, Epoch: m.epoch}, next)
	default:
		w.moves = slices.DeleteFunc(w.moves, func(o *slotMove) bool { return o == m })
	}
}
