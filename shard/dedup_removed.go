package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// What a user has sent can leave his log before its time, by a ttl of its own or
// because he deletes the conversation. A record of it, without the body, is kept
// until it would have been too old for history: a repeat must find it, or what
// was taken back would be stored and delivered once more. The same goes for a
// group. Records are those of a dedupWindow, at being when the message left.

// maxRemovedDedup bounds the records of a user, and of a group, of some 60 bytes each.
// Past it the oldest are forgotten.
const maxRemovedDedup = 10_000

// tooOld tells whether a message of a time cannot be in history any more, whatever
// became of it.
func (s *State) tooOld(u *user, time int64) bool {
	return time+s.historyTTL(u) <= s.now || time <= s.cutoff
}

// addRemovedDedup keeps a record of a message that leaves its log. What was in a group
// goes with the group when that is dismissed.
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

// isRepeatOfRemoved answers a send that has left the log before its time as repeated does.
func (s *State) isRepeatOfRemoved(u *user, key uint64, body []byte, r *command.Result) bool {
	var first dedupRecord
	if !s.findDedup(&u.removedDedup, key, &first) || s.tooOld(u, first.time) {
		return false
	}
	if first.body != xxhash.Sum64(body) {
		*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
		return true
	}
	*r = command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	return true
}

// removedDedupDue tells whether forgetRemovedDedup would find anything. A record may stay longer
// than it answers: until as much time has passed since its message left.
func (s *State) removedDedupDue(u *user) bool {
	return s.dedupDue(&u.removedDedup, s.now-s.historyTTL(u))
}

func (s *State) forgetRemovedDedup(u *user) { s.forgetDedup(u, &u.removedDedup, s.now-s.historyTTL(u)) }

// forgetUselessDedup forgets all that answers no more, before that could change.
func (s *State) forgetUselessDedup(u *user) {
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
