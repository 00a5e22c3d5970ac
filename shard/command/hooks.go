package command

import "math"

// ConfigureHooks says how much is kept of what hooks are still to be told: names
// of stored messages, in bytes. 0 keeps none and forgets those that wait.
type ConfigureHooks struct{ Bytes int }

// TrimHookQueue forgets what hooks were told, or what nobody can be told any more.
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
