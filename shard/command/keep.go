package command

import (
	"math"

	"github.com/belfry-im/belfry/shard/codec"
)

// Configure replaces the limits that decide what a shard keeps, and also the epoch of
// the store unless Epoch is 0.
type Configure struct {
	Limits Limits
	Epoch  uint64
}

func (*Configure) kind() Kind   { return 13 }
func (*Configure) Key() string  { return "" }
func (*Configure) Needs() Needs { return Needs{} }

func (c *Configure) fields(x *codec.Coder) {
	c.Limits.Fields(x)
	codec.Uint(x, &c.Epoch)
}

// PurgeExpired removes what has expired in a range of slots. Reads do not show it
// anyway; this frees the memory.
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

// RaiseCutoff raises the cutoff: reads do not show messages of that time or older any
// more. It also begins to evict them, from FirstSlot on; NextSlot of the result is
// where another RaiseCutoff has to go on.
type RaiseCutoff struct {
	Cutoff    int64 // ms; it never falls, and stays below the time of the batch
	FirstSlot uint16
	MaxWork   uint32 // after which it stops: a look counts 1, the removal of an entry 4
}

func (*RaiseCutoff) kind() Kind   { return 18 }
func (*RaiseCutoff) Key() string  { return "" }
func (*RaiseCutoff) Needs() Needs { return Needs{} }

func (c *RaiseCutoff) fields(x *codec.Coder) {
	codec.Int(x, &c.Cutoff)
	Slot(x, &c.FirstSlot)
	codec.Uint(x, &c.MaxWork)
}

// ConfigureHooks sets the limit, in bytes, of the queue of messages that webhooks may
// have to be told of. 0 keeps none and forgets those that wait.
type ConfigureHooks struct{ Bytes int }

func (*ConfigureHooks) kind() Kind              { return 96 }
func (*ConfigureHooks) Key() string             { return "" }
func (*ConfigureHooks) Needs() Needs            { return Needs{} }
func (c *ConfigureHooks) fields(x *codec.Coder) { codec.UintMax(x, &c.Bytes, math.MaxInt32) }

// TrimHookQueue removes messages from the queue for webhooks that were told, or that
// nobody can be told of any more.
type TrimHookQueue struct{ UpTo uint64 } // number, inclusive

func (*TrimHookQueue) kind() Kind              { return 97 }
func (*TrimHookQueue) Key() string             { return "" }
func (*TrimHookQueue) Needs() Needs            { return Needs{} }
func (c *TrimHookQueue) fields(x *codec.Coder) { codec.Uint(x, &c.UpTo) }
