package raftstore

import (
	"slices"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/shard/command"
)

// An owners says which shard owns each slot, as of one version of the map. It does not
// change once it is published.
type owners struct {
	version uint64
	conf    command.Configure     // what the shards are to be configured with
	shards  []*shardRef           // ascending by id
	ranges  []placement.SlotRange // ascending; they cover all slots
	bySlot  [command.Slots]uint16 // index in shards
}

// noShard is the shard of all slots while this node waits for its cluster: it never has a
// leader, so what is asked of it fails as of a shard without one.
const noShard = 1<<32 - 1

// setMap takes over a map, whose slots are complete. Shards that were known keep what
// is kept of them, and shards that are in m no more are forgotten.
func (s *Store) setMap(m *placement.Map) {
	before := s.owners.Load()
	o := &owners{
		version: m.Version, ranges: m.Slots,
		conf: command.Configure{Version: m.Config.Version, Limits: m.Config.Limits, Epoch: m.Epoch, HookBytes: m.Config.HookBytes},
	}
	index := make(map[uint32]uint16, len(m.Shards))
	add := func(id uint32) {
		ref := before.shard(id)
		if ref == nil {
			ref = newShardRef(s, id)
		}
		index[id] = uint16(len(o.shards))
		o.shards = append(o.shards, ref)
	}
	for _, sh := range m.Shards {
		add(sh.ID)
	}
	if len(m.Shards) == 0 {
		add(noShard)
	}
	for _, r := range m.Slots {
		for slot := int(r.First); slot <= int(r.Last); slot++ {
			o.bySlot[slot] = index[r.Shard]
		}
	}
	s.owners.Store(o)
}

// shard returns the shard with that id, nil if there is none. o may be nil.
func (o *owners) shard(id uint32) *shardRef {
	if o == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(o.shards, id, func(sh *shardRef, id uint32) int { return int(int64(sh.id) - int64(id)) })
	if !found {
		return nil
	}
	return o.shards[i]
}

// index returns the place in shards of the shard that owns the slot of a user, or of
// the key of a group.
func (o *owners) index(user command.UserID) int { return int(o.bySlot[command.SlotOf(string(user))]) }

// slots returns the slots that a shard owns, as the command that opens them in a new
// shard.
func (o *owners) slots(id uint32) (open command.OpenSlots) {
	for _, r := range o.ranges {
		if r.Shard == id {
			open.Epoch = max(open.Epoch, r.Epoch)
			open.Slots = append(open.Slots, command.SlotRange{First: r.First, Last: r.Last})
		}
	}
	return open
}

// shards returns all shards there are, ascending by id.
func (s *Store) shards() []*shardRef { return s.owners.Load().shards }

// shardOf returns the shard that owns the slot of a user, or of the key of a group.
func (s *Store) shardOf(user command.UserID) *shardRef {
	return s.shardOfSlot(command.SlotOf(string(user)))
}

func (s *Store) shardOfSlot(slot uint16) *shardRef {
	o := s.owners.Load()
	return o.shards[o.bySlot[slot]]
}
