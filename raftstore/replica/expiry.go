package replica

import (
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// expirySteps is the number of commands that one round over all slots is cut into,
// so that none holds the shard for long.
const expirySteps = 64

// An Expiry makes the commands that purge what has expired from the slots of a shard,
// round after round. The zero Expiry begins at the first slot.
type Expiry struct{ next int } // slot

// Next returns the command for the next slots of those that s serves now, or nil if s is
// empty.
func (e *Expiry) Next(s *shard.State) *command.PurgeExpired {
	some := (s.Served() + expirySteps - 1) / expirySteps
	if s.Size() == 0 || some == 0 {
		return nil
	}
	r, ok := s.NextSlots(e.next, some)
	if !ok {
		r, _ = s.NextSlots(0, some)
	}
	e.next = int(r.Last) + 1
	return &command.PurgeExpired{FirstSlot: r.First, LastSlot: r.Last}
}
