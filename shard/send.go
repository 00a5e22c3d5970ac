package shard

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

const hourMS = 3600 * 1000

// quotaRetryMS is the RetryAfterMS of refusals by limits that time alone does not lift.
// It keeps a client that retries blindly from doing so soon.
const quotaRetryMS = hourMS

func (s *State) applySend(c *command.Send, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if c.User == "" || c.To == "" || c.CID == "" || len(c.Body) == 0 {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "conv, cid and body must not be empty"}
		return
	}
	u := s.userMut(sl, c.User, true)
	i := s.findConv(u, c.To)
	// Administrators may write in a user's name without these limits.
	fresh := c.Session != 0 && (i < 0 || u.convs.items[i].log.Next() == 1)
	if i >= 0 {
		if s.isRepeat(u, i, c, r) {
			return
		}
	}
	fence := s.fenceKey(u, c.User, &c.Origin)
	if s.isFenced(u, fence, &c.Origin, r) {
		return
	}
	if i >= 0 {
		if u.convs.items[i].flags&convBlockedBy != 0 {
			*r = command.Result{Code: command.CodeForbidden, Detail: "conv: this user does not take your messages"}
			return
		}
	}
	if fresh && !s.mayOpenConversation(u, "conv", r) {
		return
	}
	if i < 0 {
		i = s.openConv(u, c.To)
	}
	if fresh {
		u.countOpened()
	}

	e := ring.Entry{
		Flags: ring.Own, Time: s.now, Session: uint64(c.Session), TTL: c.TTL, ID: c.ID,
		CID: []byte(c.CID), Mentions: appendMentionList(nil, c.Mentions), Body: c.Body,
	}
	s.storeEntry(u, i, &e)
	u.noteLastSeen(c.Session, s.now)
	s.addDedup(&u.dedup, &dedupRecord{
		key: newDedupKey(i, c.CID), body: hashSent(c.Body, c.Original),
		id: c.ID, seq: e.Seq, time: e.Time, sentMS: s.now,
	})
	s.raiseFence(u, fence, &c.Origin)
	r.ID, r.Seq, r.Time = c.ID, e.Seq, e.Time
	s.clearMarkedUnread(u, i)
	if c.To == c.User {
		u.convs.items[i].read = e.Seq
	} else {
		s.postLetter(u, i, &command.Letter{
			Kind: command.LetterMessage, From: c.User, To: c.To, Seq: e.Seq, Time: e.Time,
			ID: c.ID, CID: c.CID, TTL: c.TTL, Mentions: c.Mentions, Body: c.Body,
		})
	}
	s.enforceLimits(u)
}

// isRepeat reports whether a send repeats an earlier one with its cid. If so, r has the
// answer: that of the first send if the bodies are equal, and CodeConflict otherwise.
func (s *State) isRepeat(u *user, i int, c *command.Send, r *command.Result) bool {
	s.forgetDedup(u, &u.dedup, s.now-s.limits.DedupWindow.Milliseconds())
	var first dedupRecord
	if s.findDedup(&u.dedup, newDedupKey(i, c.CID), &first) {
		if first.body != hashSent(c.Body, c.Original) {
			*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
			return true
		}
		*r = command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
		return true
	}
	if !c.Retry {
		return false
	}
	return s.isRepeatInLog(u, i, c.User, c.CID, comparable(c.Body, c.Original), r) || s.isRepeatOfRemoved(u, newDedupKey(i, c.CID), comparable(c.Body, c.Original), r)
}

// sent answers q as isRepeat would as of now, and changes nothing. What only the body of a
// log tells apart it does not find if that body differs: it may have been replaced.
func (s *State) sent(q *query.Sent, now int64) {
	u, i := s.lookup(q.User), 0
	var key uint64
	if q.Group != "" {
		if u = s.group(q.Group); u == nil {
			return
		}
		key = u.group.dedupKey(q.User, q.CID)
	} else {
		if u == nil {
			return
		}
		if i = s.findConv(u, q.Peer); i < 0 {
			return
		}
		key = newDedupKey(i, q.CID)
	}
	found := func(id command.MsgID, seq uint64, time int64) { q.Found, q.ID, q.Seq, q.Time = true, id, seq, time }
	var first dedupRecord
	if s.findDedup(&u.dedup, key, &first) && first.sentMS > now-s.limits.DedupWindow.Milliseconds() {
		found(first.id, first.seq, first.time)
		q.Conflict = first.body != q.Body
		return
	}
	oldest := max(now-s.historyTTL(u), s.cutoff) // what is as old is no repeat
	if !q.Retry || len(u.convs.items) == 0 {
		return
	}
	var e ring.Entry
	log := &u.convs.items[i].log
	for cur := log.Descend(s.arena, log.Next()); cur.PrevOf(q.CID, &e); {
		if e.Flags&ring.Own == 0 || e.Time <= oldest || u.group != nil && string(e.From) != string(q.User) {
			continue
		}
		if command.HashBody(e.Body) == q.Body {
			found(e.ID, e.Seq, e.Time)
		}
		return
	}
	if s.findDedup(&u.removedDedup, key, &first) && first.time > oldest && first.body == q.Body {
		found(first.id, first.seq, first.time)
	}
}

// hashSent returns the hash of a body as its client sent it: original, if the body was
// replaced.
func hashSent(body []byte, original uint64) uint64 {
	if original != 0 {
		return original
	}
	return command.HashBody(body)
}

// comparable returns the body with which logs are to be compared: nil if it was replaced.
// Logs do not have what the client sent, so that such a repeat is known by its cid alone.
func comparable(body []byte, original uint64) []byte {
	if original != 0 {
		return nil
	}
	return body
}

// isRepeatInLog is isRepeat for messages that the log still holds, visible or not. In a
// group's log it compares only with messages of sender. A body that is nil is equal to
// any.
func (s *State) isRepeatInLog(u *user, i int, sender command.UserID, cid string, body []byte, r *command.Result) bool {
	var e ring.Entry
	log := &u.convs.items[i].log
	for cur := log.Descend(s.arena, log.Next()); cur.PrevOf(cid, &e); {
		if e.Flags&ring.Own == 0 || s.tooOld(u, e.Time) {
			continue
		}
		if u.group != nil && string(e.From) != string(sender) {
			continue
		}
		if body != nil && string(e.Body) != string(body) {
			*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
			return true
		}
		*r = command.Result{ID: e.ID, Seq: e.Seq, Time: e.Time, Duplicate: true}
		return true
	}
	return false
}

// mayOpenConversation reports whether the limits allow the user a new conversation. If
// not, r has the refusal, which names field, the request's field with the other user.
func (s *State) mayOpenConversation(u *user, field string, r *command.Result) bool {
	if s.now-u.hourStart >= hourMS {
		u.hourStart, u.hourOpened = s.now, 0
	}
	if limit := s.limits.NewConversations; limit > 0 && int(u.hourOpened) >= limit {
		*r = command.Result{
			Code: command.CodeRateLimited, Detail: field + ": too many new conversations this hour",
			RetryAfterMS: u.hourStart + hourMS - s.now,
		}
		return false
	}
	if limit := s.limits.MaxConversations; limit > 0 && int(u.opened) >= limit {
		*r = command.Result{Code: command.CodeRateLimited, Detail: field + ": too many conversations", RetryAfterMS: quotaRetryMS}
		return false
	}
	return true
}

// countOpened counts a new conversation against the user's limits.
func (u *user) countOpened() {
	u.opened++
	u.hourOpened++
}

// appendMentionList appends the names of mentioned users, each after its length. That
// is the encoding of ring.Entry.Mentions.
func appendMentionList(b []byte, mentions []string) []byte {
	for _, m := range mentions {
		b = codec.AppendBytes(b, m)
	}
	return b
}

// mentionList decodes what appendMentionList has encoded.
func mentionList(b []byte) []string {
	var mentions []string
	for d := (codec.Decoder{B: b}); len(d.B) > 0; {
		mentions = append(mentions, string(d.Text(command.MaxName)))
	}
	return mentions
}
