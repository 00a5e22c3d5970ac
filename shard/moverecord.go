package shard

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// These frames of a snapshot hold moves of slots; see snapshot.go:
//
//	moves     tick; then by slot, of the newest move that is over: slot, move, how it ended, checksum
//	leaving   move, attempts to freeze the slot, tick of the freeze, whether the slot is being dropped, whether there were too many changes
//	changes   names and ticks of leaving.changes, by name
//	arriving  slot, move, place, whether it is being discarded, time and checksum of arriving
//	partial   bytes of arriving.partial
const (
	frameMoves byte = frameHooks + iota + 1
	frameLeaving
	frameChanges
	frameArriving
	framePartial
)

// A piece is a frame of a snapshot whose bytes do not change any more.
type piece struct {
	kind byte
	b    []byte
}

// hookPieces appends the records of a queue for webhooks.
func hookPieces(to []piece, q *hookQueue) []piece {
	for _, b := range q.pieces() {
		to = append(to, piece{frameHookRecords, b})
	}
	return to
}

// addMoves adds the moves of the state to a snapshot, and reports whether there were any.
func (w *SnapshotWriter) addMoves() bool {
	s := w.s
	if len(s.leaving)+len(s.arriving)+len(s.ended) == 0 {
		return false
	}
	x := codec.NewWriter(nil)
	s.movesFields(&x)
	w.pieces = []piece{{frameMoves, x.B}}
	w.moves = make(map[*slot][]piece)
	w.frozen = make(map[uint16]bool)
	for number, lv := range s.leaving {
		w.frozen[number] = s.slots[number].frozen
		w.moves[s.slots[number]] = lv.pieces()
	}
	for _, number := range slices.Sorted(maps.Keys(s.arriving)) {
		arr := s.arriving[number]
		w.arriving = append(w.arriving, arr.slot)
		w.moves[arr.slot] = arr.pieces(number)
	}
	return true
}

func (lv *leaving) pieces() []piece {
	x := codec.NewWriter(nil)
	lv.fields(&x)
	pieces := hookPieces([]piece{{frameLeaving, x.B}}, &lv.hooks)
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(lv.changes)) {
		b = codec.AppendUint(codec.AppendBytes(b, name), lv.changes[name])
		if len(b) >= frameBytes {
			pieces, b = append(pieces, piece{frameChanges, b}), nil
		}
	}
	if len(b) > 0 {
		pieces = append(pieces, piece{frameChanges, b})
	}
	return pieces
}

func (arr *arriving) pieces(number uint16) []piece {
	x := codec.NewWriter(nil)
	command.Slot(&x, &number)
	arr.fields(&x)
	pieces := hookPieces([]piece{{frameArriving, x.B}}, &arr.hooks)
	for rest := range slices.Chunk(arr.partial, frameBytes) {
		pieces = append(pieces, piece{framePartial, rest})
	}
	return pieces
}

func (lv *leaving) fields(x *codec.Coder) {
	codec.Uint(x, &lv.move)
	codec.Uint(x, &lv.attempt)
	codec.Uint(x, &lv.frozenAt)
	codec.Bool(x, &lv.dropping)
	codec.Bool(x, &lv.spoiled)
}

func (arr *arriving) fields(x *codec.Coder) {
	codec.Uint(x, &arr.move)
	codec.Uint(x, &arr.place.Number)
	codec.Uint(x, &arr.place.Chain)
	codec.Uint(x, &arr.place.Round)
	codec.Uint(x, &arr.place.Through)
	command.Key(x, &arr.place.After)
	codec.Uint(x, &arr.place.Hooks)
	codec.Bool(x, &arr.place.Final)
	codec.Bool(x, &arr.discarding)
	codec.Int(x, &arr.now)
	codec.Uint(x, &arr.sum)
}

// movesFields writes or reads the moves frame.
func (s *State) movesFields(x *codec.Coder) {
	type row struct {
		slot uint16
		endedMove
	}
	codec.Uint(x, &s.tick)
	var rows []row
	for slot, e := range s.ended {
		rows = append(rows, row{slot, e})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.slot, b.slot) })
	codec.List(x, &rows, 4, command.Slots, func(r *row, x *codec.Coder) {
		command.Slot(x, &r.slot)
		codec.Uint(x, &r.move)
		codec.Enum(x, &r.end, moveAborted, moveTaken)
		codec.Uint(x, &r.sum)
	})
	if !x.Writing() && x.Err == nil {
		for _, r := range rows {
			s.endMove(r.slot, r.endedMove)
		}
	}
}

// leaving restores the move of a slot to another shard.
func (l *loader) leaving(number uint16, x *codec.Coder) *leaving {
	lv := &leaving{hooks: hookQueue{limit: math.MaxInt32}}
	lv.fields(x)
	if l.s.leaving[number] != nil || l.slot.users.n > 0 || l.u != nil {
		x.Fail(codec.ErrMalformed)
	}
	if !lv.dropping && !lv.spoiled {
		lv.changes = make(map[command.UserID]uint64)
	}
	if l.s.leaving == nil {
		l.s.leaving = make(map[uint16]*leaving)
	}
	l.s.leaving[number] = lv
	l.hooks = &lv.hooks
	return lv
}

// changes restores changes of a slot that is on the move.
func (l *loader) changes(lv *leaving, x *codec.Coder) {
	for len(x.B) > 0 && x.Err == nil {
		var name command.UserID
		var tick uint64
		command.Key(x, &name)
		codec.Uint(x, &tick)
		if x.Err != nil || lv.changes == nil || len(lv.changes) == maxChanges {
			x.Fail(codec.ErrMalformed)
			return
		}
		lv.changes[name] = tick
	}
}

// arrival restores the move of a slot to this shard, up to its users.
func (l *loader) arrival(x *codec.Coder) *arriving {
	var number uint16
	arr := newArriving(0)
	command.Slot(x, &number)
	arr.fields(x)
	if l.s.arriving[number] != nil || l.s.slots[number] != nil {
		x.Fail(codec.ErrMalformed)
	}
	if l.s.arriving == nil {
		l.s.arriving = make(map[uint16]*arriving)
	}
	l.s.arriving[number] = arr
	l.slot, l.hooks = arr.slot, &arr.hooks
	return arr
}
