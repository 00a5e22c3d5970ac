package shard

import (
	"encoding/binary"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// A fence keeps out what a device sent before its last login and what comes only after
// something that it sent since (see command.Origin). It is a record in the dedup window of
// the user or group: what is older than that window may be stored twice anyway. Its seq is
// the number of the login, and it has no message id.

// overtakenRetryMS is the RetryAfterMS of refusals by a fence.
const overtakenRetryMS = 1000

// fenceKey returns the key of a device's fence in the dedup window of a user or group.
// A restore from a backup may number a user's logins anew, so that the epoch is part of it.
func (s *State) fenceKey(u *user, sender command.UserID, o *command.Origin) uint64 {
	if o.Login == 0 {
		return 0
	}
	b := make([]byte, 0, 3*8+command.MaxName+1)
	if u.group != nil {
		b = binary.LittleEndian.AppendUint64(b, u.group.salt)
		b = append(append(b, sender...), 1) // where keys of messages have 0
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Device))
	return xxhash.Sum64(binary.LittleEndian.AppendUint64(b, s.epoch))
}

// isFenced reports whether a later login of the device has sent something that is stored.
// If so, r has the refusal.
func (s *State) isFenced(u *user, key uint64, o *command.Origin, r *command.Result) bool {
	var fence dedupRecord
	if o.Login == 0 || !s.findFence(u, key, &fence) || fence.seq <= uint64(o.Login) {
		return false
	}
	*r = command.Result{
		Code: command.CodeOvertaken, Detail: "op: a later session of this device has sent already", RetryAfterMS: overtakenRetryMS,
	}
	return true
}

// raiseFence notes that a message was stored.
func (s *State) raiseFence(u *user, key uint64, o *command.Origin) {
	var fence dedupRecord
	if o.Login == 0 || !o.Fence || s.findFence(u, key, &fence) && fence.seq >= uint64(o.Login) {
		return
	}
	s.addDedup(&u.dedup, &dedupRecord{key: key, seq: uint64(o.Login), time: s.now, sentMS: s.now})
}

// findFence reads the fence of a key that has not run out, and reports whether there is one.
func (s *State) findFence(u *user, key uint64, fence *dedupRecord) bool {
	return s.findDedup(&u.dedup, key, fence) && fence.sentMS > s.now-s.limits.DedupWindow.Milliseconds()
}
