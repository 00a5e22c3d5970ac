package command

import "github.com/cespare/xxhash/v2"

// Slots is the number of slots that keys hash to. A slot is what moves between shards.
const Slots = 16384

// SlotOf returns the slot of a user's name or of a group's key.
func SlotOf(key string) uint16 { return uint16(xxhash.Sum64String(key) % Slots) }
