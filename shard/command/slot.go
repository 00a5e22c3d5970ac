package command

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/cespare/xxhash/v2"
)

// OpenSlots gives a shard slots that no shard owned so far. They are empty. It does
// nothing unless Epoch, that of the map which says so, is above the map epoch of the
// state: a late one must not open a slot that has moved away since.
type OpenSlots struct {
	Epoch uint64
	Slots []SlotRange
}

func (*OpenSlots) kind() Kind   { return 17 }
func (*OpenSlots) Key() string  { return "" }
func (*OpenSlots) Needs() Needs { return Needs{} }

func (c *OpenSlots) fields(x *codec.Coder) {
	codec.Uint(x, &c.Epoch)
	codec.List(x, &c.Slots, 2, Slots, (*SlotRange).fields)
}

// A SlotRange is the slots from First to Last, inclusive.
type SlotRange struct{ First, Last uint16 }

func (r *SlotRange) fields(x *codec.Coder) {
	Slot(x, &r.First)
	Slot(x, &r.Last)
}

// A Move numbers a move of a slot to another shard. Of two moves of a slot the later one
// has the higher number, and none is 0. Both shards remember the highest one that is over
// for each slot, and refuse what comes late of it or of an older one (CodeConflict).
type Move uint64

// BeginMove has a slot's shard note which users and groups of the slot change, from now
// on, until ThawSlot or DropSlot. It is refused with CodeConflict while another move of
// the slot is open.
type BeginMove struct {
	Slot uint16
	Move Move
}

func (*BeginMove) kind() Kind              { return 38 }
func (*BeginMove) Key() string             { return "" }
func (*BeginMove) Needs() Needs            { return Needs{} }
func (c *BeginMove) fields(x *codec.Coder) { moveFields(x, &c.Slot, &c.Move) }
func moveFields(x *codec.Coder, slot *uint16, move *Move) {
	Slot(x, slot)
	codec.Uint(x, move)
}

// MaxCopy bounds the bytes of one CopySlot.
const MaxCopy = 1 << 20

// MaxCopyGone bounds the names of one CopySlot.
const MaxCopyGone = 4096

// CopySlot brings part of a slot to its new shard, where nothing of it is visible until
// FlipSlot. The first one of a move begins it there. Each says which ones it follows
// (Number and Chain): a repeat of the last one changes nothing, and one that does not
// follow is refused with CodeGap, with the number expected in Result.Seq. So two who copy
// at a time cannot complete each other's copies. shard.Copier makes them.
type CopySlot struct {
	Slot   uint16
	Move   Move
	Number uint64   // from 1
	Chain  uint64   // NextChain of the one before; 0 = it is the first
	Round  uint64   // tick of the old shard at which this round of the copy began
	After  UserID   // the last user or group, in order of name, that the round has brought with this
	Ended  bool     // the round ends with this one
	Final  bool     // the slot was frozen, and with this one all of it is here
	Reopen bool     // takes back Final, before a ThawSlot with GoOn; brings nothing
	Joins  bool     // Data goes on with the user of the one before
	Cut    bool     // Data ends within a user, with whom the next one goes on
	Gone   []UserID // users that are no more
	Data   []byte   // at most MaxCopy
}

func (*CopySlot) kind() Kind   { return 39 }
func (*CopySlot) Key() string  { return "" }
func (*CopySlot) Needs() Needs { return Needs{Room: true} }

func (c *CopySlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Uint(x, &c.Number)
	codec.Uint(x, &c.Chain)
	codec.Uint(x, &c.Round)
	Key(x, &c.After)
	for _, flag := range []*bool{&c.Ended, &c.Final, &c.Reopen, &c.Joins, &c.Cut} {
		codec.Bool(x, flag)
	}
	codec.List(x, &c.Gone, 2, MaxCopyGone, func(name *UserID, x *codec.Coder) { Key(x, name) })
	codec.Bytes(x, &c.Data, MaxCopy)
}

// NextChain returns the Chain of the CopySlot that follows: a hash of all up to this one.
func (c *CopySlot) NextChain() uint64 {
	x := codec.NewWriter(nil)
	head := *c
	head.Data = nil
	head.fields(&x)
	h := xxhash.New()
	h.Write(x.B)
	h.Write(c.Data)
	return h.Sum64()
}

// FreezeSlot stops a slot that is on the move: from then on commands for its users and
// groups get CodeMoved. It does nothing unless Attempt is higher than all before.
type FreezeSlot struct {
	Slot    uint16
	Move    Move
	Attempt uint32 // of this move to freeze the slot, from 1
}

func (*FreezeSlot) kind() Kind   { return 40 }
func (*FreezeSlot) Key() string  { return "" }
func (*FreezeSlot) Needs() Needs { return Needs{} }

func (c *FreezeSlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Uint(x, &c.Attempt)
}

// FlipSlot makes a slot the new shard's, which serves it from then on. Last is the number
// of the last CopySlot, whose Final is set; any other is refused with CodeConflict.
type FlipSlot struct {
	Slot  uint16
	Move  Move
	Last  uint64
	Epoch uint64 // of the map in which the slot is this shard's; raises the map epoch of the state
}

func (*FlipSlot) kind() Kind   { return 41 }
func (*FlipSlot) Key() string  { return "" }
func (*FlipSlot) Needs() Needs { return Needs{} }

func (c *FlipSlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Uint(x, &c.Last)
	codec.Uint(x, &c.Epoch)
}

// DropSlot removes users and groups of a frozen slot that has moved away, in order of
// name, until MaxWork is done: a user, a conversation and a message count 1 each, and the
// last user may exceed it. Result.Seq is the number of users that are left; with 0 the
// slot is gone. There is no way back from the first one.
type DropSlot struct {
	Slot    uint16
	Move    Move
	Epoch   uint64 // of the map in which the slot is the other shard's; raises the map epoch of the state
	MaxWork uint32
}

func (*DropSlot) kind() Kind   { return 42 }
func (*DropSlot) Key() string  { return "" }
func (*DropSlot) Needs() Needs { return Needs{} }

func (c *DropSlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Uint(x, &c.Epoch)
	codec.Uint(x, &c.MaxWork)
}

// ThawSlot ends a move at the old shard, which serves the slot again. Nothing but the new
// shard decides whether a move is aborted: this one must not be sent before DiscardSlot
// was answered there or, with GoOn, CopySlot with Reopen.
type ThawSlot struct {
	Slot    uint16
	Move    Move
	GoOn    bool   // the move stays open, because the freeze took too long
	Attempt uint32 // with GoOn: the FreezeSlot that is taken back, whether it has come or comes late
}

func (*ThawSlot) kind() Kind   { return 43 }
func (*ThawSlot) Key() string  { return "" }
func (*ThawSlot) Needs() Needs { return Needs{} }

func (c *ThawSlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Bool(x, &c.GoOn)
	codec.Uint(x, &c.Attempt)
}

// DiscardSlot aborts a move at the new shard, and removes what has come of the slot in
// steps, as DropSlot does. After FlipSlot it is refused with CodeConflict.
type DiscardSlot struct {
	Slot    uint16
	Move    Move
	MaxWork uint32
}

func (*DiscardSlot) kind() Kind   { return 44 }
func (*DiscardSlot) Key() string  { return "" }
func (*DiscardSlot) Needs() Needs { return Needs{} }

func (c *DiscardSlot) fields(x *codec.Coder) {
	moveFields(x, &c.Slot, &c.Move)
	codec.Uint(x, &c.MaxWork)
}

// Checksum has each replica compute a checksum of users and groups from the state as of
// this command, for Outcome.Checksums: replicas whose checksums differ have diverged. It
// begins behind a place, and ends after the user at which it has read MaxBytes. A group
// is read as a whole, so that it may be more by the size of one.
type Checksum struct {
	From     Place
	MaxBytes uint32
}

func (*Checksum) kind() Kind   { return 37 }
func (*Checksum) Key() string  { return "" }
func (*Checksum) Needs() Needs { return Needs{} }

func (c *Checksum) fields(x *codec.Coder) {
	Slot(x, &c.From.Slot)
	Key(x, &c.From.After)
	codec.Uint(x, &c.MaxBytes)
}

// A Place is a point in the order of all users and groups of a shard: by slot, and by key
// in a slot. The zero Place is before all of them.
type Place struct {
	Slot  uint16
	After UserID // key of the user or group before; "" = before all of the slot
}
