package command

import (
	"math"

	"github.com/belfry-im/belfry/shard/codec"
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

// FreezeSlot stops a slot: from then on commands for its users and groups get
// CodeMoved. After that the slot's bytes can be copied to another shard.
type FreezeSlot struct{ Slot uint16 }

func (*FreezeSlot) kind() Kind              { return 14 }
func (*FreezeSlot) Key() string             { return "" }
func (*FreezeSlot) Needs() Needs            { return Needs{} }
func (c *FreezeSlot) fields(x *codec.Coder) { Slot(x, &c.Slot) }

// ImportSlot adds a slot with the bytes that State.AppendSlot returned in its
// old shard.
type ImportSlot struct {
	Slot  uint16
	Epoch uint64 // of the map in which the slot is this shard's; raises the map epoch of the state
	Data  []byte
}

func (*ImportSlot) kind() Kind   { return 15 }
func (*ImportSlot) Key() string  { return "" }
func (*ImportSlot) Needs() Needs { return Needs{} }

func (c *ImportSlot) fields(x *codec.Coder) {
	Slot(x, &c.Slot)
	codec.Uint(x, &c.Epoch)
	codec.Bytes(x, &c.Data, math.MaxInt)
}

// RemoveSlot removes a frozen slot that has moved to another shard.
type RemoveSlot struct {
	Slot  uint16
	Epoch uint64 // of the map in which the slot is the other shard's; raises the map epoch of the state
}

func (*RemoveSlot) kind() Kind   { return 16 }
func (*RemoveSlot) Key() string  { return "" }
func (*RemoveSlot) Needs() Needs { return Needs{} }

func (c *RemoveSlot) fields(x *codec.Coder) {
	Slot(x, &c.Slot)
	codec.Uint(x, &c.Epoch)
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
