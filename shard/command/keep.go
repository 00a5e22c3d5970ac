package command

import (
	"math"

	"github.com/belfry-im/belfry/shard/codec"
)

// Configure replaces the configuration of a shard. It does nothing unless Version is
// above that of the configuration in force, so that a leader which knows an older one
// changes nothing.
type Configure struct {
	Version uint64
	Limits  Limits
	// Epoch of the store: the state's only rises, to make cursors of an earlier one void.
	Epoch uint64
	// HookBytes limits the size, in bytes, of the queue of messages that wait for
	// webhooks. With 0 nothing is queued, and the messages that wait are forgotten.
	HookBytes int
}

func (*Configure) kind() Kind   { return 13 }
func (*Configure) Key() string  { return "" }
func (*Configure) Needs() Needs { return Needs{} }

func (c *Configure) fields(x *codec.Coder) {
	codec.Uint(x, &c.Version)
	c.Limits.Fields(x)
	codec.Uint(x, &c.Epoch)
	codec.UintMax(x, &c.HookBytes, math.MaxInt32)
}

// PurgeExpired removes what has expired in a range of slots and so frees its memory.
// Reads skip expired data in any case.
type PurgeExpired struct {
	FirstSlot, LastSlot uint16 // inclusive
}

func (*PurgeExpired) kind() Kind   { return 12 }
func (*PurgeExpired) Key() string  { return "" }
func (*PurgeExpired) Needs() Needs { return Needs{} }

func (c *PurgeExpired) fields(x *codec.Coder) {
	Slot(x, &c.FirstSlot)
	Slot(x, &c.LastSlot)
}

// RaiseCutoff raises the cutoff: from then on reads skip messages of that time or
// older. It also evicts such messages, beginning at FirstSlot, until it has done
// MaxWork. If Result.NextSlot is not Slots, another RaiseCutoff has to go on from
// there.
type RaiseCutoff struct {
	Cutoff    int64  // ms; below the time of the batch. A lower cutoff than the present one has no effect
	FirstSlot uint16 // slot at which to begin to evict
	MaxWork   uint32 // bound of the work: looking at an entry or a user counts 1, removing an entry 4
}

func (*RaiseCutoff) kind() Kind   { return 18 }
func (*RaiseCutoff) Key() string  { return "" }
func (*RaiseCutoff) Needs() Needs { return Needs{} }

func (c *RaiseCutoff) fields(x *codec.Coder) {
	codec.Int(x, &c.Cutoff)
	Slot(x, &c.FirstSlot)
	codec.Uint(x, &c.MaxWork)
}

// TrimHookQueue removes messages from the queue for webhooks, because webhooks were
// told of them or can no longer be told.
type TrimHookQueue struct{ UpTo uint64 } // number, inclusive

func (*TrimHookQueue) kind() Kind              { return 97 }
func (*TrimHookQueue) Key() string             { return "" }
func (*TrimHookQueue) Needs() Needs            { return Needs{} }
func (c *TrimHookQueue) fields(x *codec.Coder) { codec.Uint(x, &c.UpTo) }
