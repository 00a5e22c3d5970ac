package shard

import "github.com/belfry-im/belfry/shard/command"

// ArrivingSum adds up the checksums of a slot's users that a move has brought so far, from
// the users themselves.
func ArrivingSum(s *State, slot uint16) (sum uint64) {
	if arr := s.arriving[slot]; arr != nil {
		for number := range arr.slot.users.all {
			sum += s.userSum(s.userAt(number))
		}
	}
	return sum
}

// The functions below do to moves what a mistake in the package would.

// ForgetChanges has moves miss what changes while they copy.
func ForgetChanges(s *State) {
	for _, lv := range s.leaving {
		clear(lv.changes)
	}
}

// LoseArrived loses a user who has come.
func LoseArrived(s *State, name command.UserID) {
	if arr := s.arriving[command.SlotOf(string(name))]; arr != nil {
		sum := arr.sum
		s.removeArrived(arr, name)
		arr.sum = sum
	}
}

// LoseMovedHooks loses records for webhooks of slots on the move.
func LoseMovedHooks(s *State) {
	for _, lv := range s.leaving {
		lv.hooks = hookQueue{}
	}
}

// ForgetReopen has a shard take a slot that is served again by its old one.
func ForgetReopen(s *State) {
	for _, arr := range s.arriving {
		arr.place.Final = arr.place.Through > 0
	}
}

// ForgetEnded has late steps of moves that are over taken for new ones.
func ForgetEnded(s *State) { clear(s.ended) }

// ShowArriving has a shard serve what has come of slots.
func ShowArriving(s *State) {
	for slot, arr := range s.arriving {
		if arr.slot.users.n > 0 && s.slots[slot] == nil {
			s.slots[slot] = arr.slot
			s.served++
		}
	}
}

// ForgetArriving loses the moves to a shard.
func ForgetArriving(s *State) { clear(s.arriving) }

// FreezeAlone freezes the slots that are on the move in a shard, or thaws them.
func FreezeAlone(s *State, frozen bool) {
	for slot := range s.leaving {
		s.slots[slot].frozen = frozen
	}
}
