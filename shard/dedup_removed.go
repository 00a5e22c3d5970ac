package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// A message can leave its sender's log earlier than history would end, by its own ttl
// or because the sender deletes the conversation. user.removedDedup keeps a record of
// it until the message would have been too old for history: a late retry is recognised
// by that record, and not stored and delivered as a new message. The same holds for
// messages of a group. In these records sentMS is the time at which the message left
// the log.

// maxRemovedDedup bounds the records of removed messages of a user or group. Each takes
// about 60 bytes. If there are more, the oldest are forgotten.
const maxRemovedDedup = 10_000

// tooOld reports whether a message with that time (ms) is too old to be in history.
func (s *State) tooOld(u *user, time int64) bool {
	return time+s.historyTTL(u) <= s.now || time <= s.cutoff
}

// addRemovedDedup adds a dedup record of a message that leaves its log for the reason
// why. It adds none when a group's log is deleted, because only a dismissal does that.
func (s *State) addRemovedDedup(u *user, c *conv, seq uint64, why gapCode) {
	var e ring.Entry
	if u.group != nil && why == gapDeleted || !c.log.At(s.arena, seq, &e) || len(e.CID) == 0 {
		return
	}
	r := dedupRecord{body: xxhash.Sum64(e.Body), id: e.ID, seq: seq, time: e.Time, sentMS: s.now}
	if u.group != nil {
		r.key = u.group.dedupKey(command.UserID(e.From), string(e.CID))
	} else {
		r.key = newDedupKey(s.findConv(u, command.UserID(s.peer(c))), string(e.CID))
	}
	if u.removedDedup.count == maxRemovedDedup {
		s.forgetOldestDedup(u, &u.removedDedup)
	}
	s.addDedup(&u.removedDedup, &r)
	u.oldest = min(u.oldest, s.oldestDedup(&u.removedDedup))
}

// isRepeatOfRemoved is isRepeat for messages that left the log early. A body that is nil
// is equal to any.
func (s *State) isRepeatOfRemoved(u *user, key uint64, body []byte, r *command.Result) bool {
	var first dedupRecord
	if !s.findDedup(&u.removedDedup, key, &first) || s.tooOld(u, first.time) {
		return false
	}
	if body != nil && first.body != command.HashBody(body) {
		*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
		return true
	}
	*r = command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	return true
}

// removedDedupDue reports whether forgetRemovedDedup would forget anything. A record
// may stay longer than it is needed: until the history time has passed since its
// message left the log.
func (s *State) removedDedupDue(u *user) bool {
	return s.dedupDue(&u.removedDedup, s.now-s.historyTTL(u))
}

// forgetRemovedDedup forgets records of messages that left the log longer ago than the
// history time.
func (s *State) forgetRemovedDedup(u *user) { s.forgetDedup(u, &u.removedDedup, s.now-s.historyTTL(u)) }

// forgetTooOldDedup forgets records of messages that are too old for history by now. It
// is called before the history time may change, so that such a record does not count
// again.
func (s *State) forgetTooOldDedup(u *user) {
	var left []dedupRecord
	var r dedupRecord
	for c := u.removedDedup.cursor(); c.next(s.arena, &r); {
		if !s.tooOld(u, r.time) {
			left = append(left, r)
		}
	}
	if len(left) == int(u.removedDedup.count) {
		return
	}
	s.freeDedup(u, &u.removedDedup)
	for i := range left {
		s.addDedup(&u.removedDedup, &left[i])
	}
}

// hasTooOldDedup reports whether forgetTooOldDedup would forget anything.
func (s *State) hasTooOldDedup(u *user) bool {
	var r dedupRecord
	for c := u.removedDedup.cursor(); c.next(s.arena, &r); {
		if s.tooOld(u, r.time) {
			return true
		}
	}
	return false
}
