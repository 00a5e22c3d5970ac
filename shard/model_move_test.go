package shard_test

import (
	"encoding/binary"

	"github.com/belfry-im/belfry/shard/command"
)

// A modelLeaving is a slot's move to another shard. Since all users are in one map, there
// is nothing to copy.
type modelLeaving struct {
	move     command.Move
	attempt  uint32
	dropping bool
}

// A modelArriving is a slot's move to this shard.
type modelArriving struct {
	move          command.Move
	number, chain uint64
	cut           bool
	final         bool
	discarding    bool
	now           int64 // of the old shard
	partialNow    int64
}

type modelEnded struct {
	move command.Move
	end  moveEnd
}

type moveEnd string

const (
	aborted moveEnd = "aborted"
	dropped moveEnd = "dropped"
	taken   moveEnd = "taken"
)

func (sh *modelShard) end(slot uint16, move command.Move, how moveEnd) {
	if sh.ended == nil {
		sh.ended = map[uint16]modelEnded{}
	}
	if move > sh.ended[slot].move {
		sh.ended[slot] = modelEnded{move, how}
	}
}

// applyMove follows the commands that move slots. ok is false for others.
func (m *model) applyMove(sh *modelShard, cmd command.Command) (r command.Result, ok bool) {
	switch c := cmd.(type) {
	case *command.BeginMove:
		lv := sh.leaving[c.Slot]
		switch {
		case c.Move <= sh.ended[c.Slot].move:
			return refused(command.CodeConflict), true
		case sh.slots[c.Slot] == slotAbsent:
			return refused(command.CodeMoved), true
		case lv != nil && lv.move != c.Move:
			return refused(command.CodeConflict), true
		case lv == nil:
			if sh.leaving == nil {
				sh.leaving = map[uint16]*modelLeaving{}
			}
			sh.leaving[c.Slot] = &modelLeaving{move: c.Move}
		}
		return r, true
	case *command.FreezeSlot:
		lv := sh.leaving[c.Slot]
		if lv == nil || lv.move != c.Move {
			return refused(command.CodeConflict), true
		}
		if c.Attempt <= lv.attempt {
			return r, true
		}
		lv.attempt = c.Attempt
		if sh.slots[c.Slot] == slotFrozen {
			return r, true
		}
		for _, u := range m.inSlot(c.Slot) {
			u.evictToCutoff(sh)
		}
		for _, g := range m.groupsIn(c.Slot) {
			g.evictToCutoff(sh)
		}
		sh.hooks.freeze(c.Slot)
		sh.slots[c.Slot] = slotFrozen
		return r, true
	case *command.ThawSlot:
		return m.thawSlot(sh, c), true
	case *command.DropSlot:
		if sh.ended[c.Slot] == (modelEnded{c.Move, dropped}) {
			return r, true
		}
		lv := sh.leaving[c.Slot]
		if lv == nil || lv.move != c.Move || sh.slots[c.Slot] != slotFrozen {
			return refused(command.CodeConflict), true
		}
		sh.mapEpoch = max(sh.mapEpoch, c.Epoch)
		lv.dropping = true
		if r.Seq = m.left; r.Seq == 0 {
			sh.slots[c.Slot] = slotAbsent
			delete(sh.leaving, c.Slot)
			sh.end(c.Slot, c.Move, dropped)
		}
		return r, true
	case *command.CopySlot:
		return m.copySlot(sh, c), true
	case *command.FlipSlot:
		if sh.ended[c.Slot] == (modelEnded{c.Move, taken}) {
			return r, true
		}
		arr, refusal := sh.arrivingMove(c.Slot, c.Move)
		switch {
		case arr == nil:
			return refusal, true
		case !arr.final || arr.number != c.Last:
			return refused(command.CodeConflict), true
		}
		sh.mapEpoch = max(sh.mapEpoch, c.Epoch)
		sh.now = max(sh.now, arr.now)
		m.serveSlot(sh, c.Slot)
		delete(sh.arriving, c.Slot)
		sh.end(c.Slot, c.Move, taken)
		return r, true
	case *command.DiscardSlot:
		arr, ended := sh.arriving[c.Slot], sh.ended[c.Slot]
		switch {
		case ended == modelEnded{c.Move, aborted}:
			return r, true
		case c.Move <= ended.move, arr != nil && arr.move != c.Move:
			return refused(command.CodeConflict), true
		case arr != nil:
			arr.discarding = true
			if r.Seq = m.left; r.Seq > 0 {
				return r, true
			}
			delete(sh.arriving, c.Slot)
		}
		sh.end(c.Slot, c.Move, aborted)
		return r, true
	}
	return r, false
}

func (m *model) thawSlot(sh *modelShard, c *command.ThawSlot) (r command.Result) {
	lv, ended := sh.leaving[c.Slot], sh.ended[c.Slot]
	switch {
	case !c.GoOn && ended == modelEnded{c.Move, aborted}:
		return r
	case c.Move <= ended.move, lv == nil && c.GoOn, lv != nil && (lv.move != c.Move || lv.dropping):
		return refused(command.CodeConflict)
	case c.GoOn && c.Attempt < lv.attempt:
		return r
	case c.GoOn:
		lv.attempt = c.Attempt
	}
	if sh.slots[c.Slot] == slotFrozen {
		m.serveSlot(sh, c.Slot)
	}
	if !c.GoOn {
		delete(sh.leaving, c.Slot)
		sh.end(c.Slot, c.Move, aborted)
	}
	return r
}

// serveSlot has a shard serve a slot that was frozen, under a cutoff that it did not have
// then.
func (m *model) serveSlot(sh *modelShard, slot uint16) {
	sh.slots[slot] = slotOwned
	for _, u := range m.inSlot(slot) {
		u.cut(sh)
	}
	for _, g := range m.groupsIn(slot) {
		g.cut(sh)
	}
	m.bringHooks(sh, slot)
}

// arrivingMove is an open move to a shard, or the refusal if there is none.
func (sh *modelShard) arrivingMove(slot uint16, move command.Move) (*modelArriving, command.Result) {
	arr := sh.arriving[slot]
	switch {
	case move <= sh.ended[slot].move, arr != nil && (arr.move != move || arr.discarding), sh.slots[slot] != slotAbsent:
		return nil, refused(command.CodeConflict)
	case arr == nil:
		return nil, command.Result{Code: command.CodeGap, Seq: 1}
	}
	return arr, command.Result{}
}

func (m *model) copySlot(sh *modelShard, c *command.CopySlot) (r command.Result) {
	arr, refusal := sh.arrivingMove(c.Slot, c.Move)
	if arr == nil && refusal.Code == command.CodeGap && c.Number == 1 && c.Chain == 0 {
		arr = &modelArriving{move: c.Move}
		if sh.arriving == nil {
			sh.arriving = map[uint16]*modelArriving{}
		}
		sh.arriving[c.Slot] = arr
	}
	switch {
	case arr == nil:
		return refusal
	case c.Number == arr.number && c.NextChain() == arr.chain:
		return r
	case c.Number != arr.number+1 || c.Chain != arr.chain:
		return command.Result{Code: command.CodeGap, Seq: arr.number + 1}
	case !c.Reopen && arr.final:
		return refused(command.CodeConflict)
	case !c.Reopen && c.Joins && !arr.cut:
		return refused(command.CodeBadRequest)
	}
	arr.number, arr.chain, arr.final = c.Number, c.NextChain(), c.Final
	if c.Reopen {
		return r
	}
	if arr.cut = c.Cut; !c.Joins {
		arr.partialNow, _ = binary.Varint(c.Data[1:])
	}
	if !c.Cut {
		arr.now = max(arr.now, arr.partialNow)
	}
	return r
}
