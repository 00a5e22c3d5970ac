package command

import "math"

// ConfigureHooks sets the limit, in bytes, of the queue of messages that webhooks may
// have to be told of. 0 keeps none and forgets those that wait.
type ConfigureHooks struct{ Bytes int }

// TrimHookQueue removes messages from the queue for webhooks that were told, or that
// nobody can be told of any more.
type TrimHookQueue struct{ UpTo uint64 } // number, inclusive

// The numbers are in the log: never reuse one.
const (
	kindConfigureHooks kind = 96 + iota
	kindTrimHookQueue
)

type hookCommandSet struct {
	configure ConfigureHooks
	done      TrimHookQueue
}

func (cs *hookCommandSet) get(k kind) Command {
	switch k {
	case kindConfigureHooks:
		return &cs.configure
	case kindTrimHookQueue:
		return &cs.done
	}
	return nil
}

func (*ConfigureHooks) Key() string { return "" }

func (*TrimHookQueue) Key() string { return "" }

func (*ConfigureHooks) kind() kind { return kindConfigureHooks }

func (*TrimHookQueue) kind() kind { return kindTrimHookQueue }

func (c *ConfigureHooks) append(b []byte) []byte { return AppendUint(b, uint64(c.Bytes)) }

func (c *ConfigureHooks) decode(d *Decoder) { c.Bytes = int(d.UintMax(math.MaxInt32)) }

func (c *TrimHookQueue) append(b []byte) []byte { return AppendUint(b, c.UpTo) }

func (c *TrimHookQueue) decode(d *Decoder) { c.UpTo = d.Uint() }
