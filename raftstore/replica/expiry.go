package replica

import "github.com/belfry-im/belfry/shard/command"

// expirySteps is the number of commands that one round over all slots is cut into,
// so that none holds the shard for long.
const expirySteps = 64

// An Expiry makes the commands that purge what has expired from the slots of a
// shard, round after round.
type Expiry struct {
	first uint16
	width int
	step  int
}

// NewExpiry returns an Expiry for the slots from first to last.
func NewExpiry(first, last uint16) Expiry { return Expiry{first: first, width: int(last-first) + 1} }

// Steps returns the number of commands that make up a round.
func (e *Expiry) Steps() int { return min(expirySteps, e.width) }

// Next returns the command for the next part of the slots.
func (e *Expiry) Next() *command.PurgeExpired {
	steps := e.Steps()
	cmd := &command.PurgeExpired{
		FirstSlot: e.first + uint16(e.step*e.width/steps),
		LastSlot:  e.first + uint16((e.step+1)*e.width/steps) - 1,
	}
	e.step = (e.step + 1) % steps
	return cmd
}
