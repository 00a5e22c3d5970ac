package command

import "github.com/cespare/xxhash/v2"

// Slots is the number of slots that keys hash to; slots are what moves
// between shards.
const Slots = 16384

// SlotOf gives the slot of a user (later also of a group).
func SlotOf(key string) uint16 { return uint16(xxhash.Sum64String(key) % Slots) }
