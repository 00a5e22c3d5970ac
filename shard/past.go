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
// group. Records are those of a sentWindow, at being when the message left.

// maxPast bounds the records of a user, and of a group, of some 60 bytes each.
// Past it the oldest are forgotten.
const maxPast = 10_000

// tooOld tells whether a message of a time cannot be in history any more, whatever
// became of it.
func (s *State) tooOld(u *user, time int64) bool {
	return time+s.historyTTL(u) <= s.now || time <= s.cutoff
}

// addPast keeps a record of a message that leaves its log. What was in a group
// goes with the group when that is dismissed.
func (s *State) addPast(u *user, c *conv, seq uint64, why gapCode) {
	var e ring.Entry
	if u.team != nil && why == gapDeleted || !c.log.At(s.arena, seq, &e) || len(e.CID) == 0 {
		return
	}
	r := sentRecord{body: xxhash.Sum64(e.Body), id: e.ID, seq: seq, time: e.Time, at: s.now}
	if u.team != nil {
		r.key = u.team.sentKey(command.UserID(e.From), string(e.CID))
	} else {
		r.key = newSentKey(s.find(u, command.UserID(s.peer(c))), string(e.CID))
	}
	if u.past.count == maxPast {
		s.forgetOldest(u, &u.past)
	}
	s.addSent(&u.past, &r)
	u.oldest = min(u.oldest, s.oldestSent(&u.past))
}

// wasInHistory answers a send that has left the log before its time as repeated does.
func (s *State) wasInHistory(u *user, key uint64, body []byte, r *command.Result) bool {
	var first sentRecord
	if !s.findSent(&u.past, key, &first) || s.tooOld(u, first.time) {
		return false
	}
	if first.body != xxhash.Sum64(body) {
		*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
		return true
	}
	*r = command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	return true
}

// pastDue tells whether forgetPast would find anything. A record may stay longer
// than it answers: until as much time has passed since its message left.
func (s *State) pastDue(u *user) bool { return s.sentDue(&u.past, s.now-s.historyTTL(u)) }

func (s *State) forgetPast(u *user) { s.forgetSent(u, &u.past, s.now-s.historyTTL(u)) }

// trimPast forgets all that answers no more, before that could change.
func (s *State) trimPast(u *user) {
	var left []sentRecord
	var r sentRecord
	for c := u.past.cursor(); c.next(s.arena, &r); {
		if !s.tooOld(u, r.time) {
			left = append(left, r)
		}
	}
	if len(left) == int(u.past.count) {
		return
	}
	s.eraseSent(u, &u.past)
	for i := range left {
		s.addSent(&u.past, &left[i])
	}
}
