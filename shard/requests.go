package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyReadReport(c *command.ReadReport, r *command.Result) {
	u, i, known := s.request(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	u.seen(c.Session, s.now)
	cv := &u.convs.items[i]
	seq := min(c.Seq, cv.log.Next()-1)
	s.moveRead(u, i, seq, c.Session)
	if !c.Auto {
		s.unmark(u, i)
		if c.Peer != c.User {
			s.receipt(u, i, seq)
		}
	}
	r.Unread = s.unread(u, cv, s.now)
	s.remember(u, c.Session, c.Request, r)
}

// moveRead moves a read cursor forward; by is the session that said so.
func (s *State) moveRead(u *user, i int, seq uint64, by command.SessionID) {
	c := &u.convs.items[i]
	if seq <= c.read {
		return
	}
	c.read = seq
	c.readBy = by
	c.readAt = s.arrive(u, i)
	if seq+1 == c.log.Next() {
		s.count(u, c, -int(c.queued), -int(c.queuedBytes))
	} else if c.queued > 0 {
		s.recount(u, c)
	}
	s.forgetLost(u, c, seq)
	s.tellOwn(u, i, query.Change{Kind: query.ChangeRead, Seq: seq})
}

// forgetLost forgets what limits took from a queue up to a seq, once that is read.
func (s *State) forgetLost(u *user, c *conv, seq uint64) {
	if lost := u.extra(c).lost.items(s.arena); len(lost) == 0 || lost[0].from > seq {
		return
	}
	list := &s.rare(u, c).lost
	read := 0
	for _, l := range list.items(s.arena) {
		if l.to <= seq {
			read++
		}
	}
	list.cut(s.arena, read)
	if lost := list.items(s.arena); len(lost) > 0 && lost[0].from <= seq {
		l := &lost[0]
		l.from = seq + 1
		l.count = min(l.count, l.to-seq)
	}
}

// cheapWalk is how many entries a report may look at without a note of where it
// ended: that takes memory.
const cheapWalk = 64

// receipt tells the peer, in his own seq, how far the user has read.
func (s *State) receipt(u *user, i int, seq uint64) {
	c := &u.convs.items[i]
	known, blocked := u.cold(c).reported, c.flags&convBlocked != 0
	if seq <= known || blocked {
		return
	}
	peerSeq, walked := uint64(0), 0
	var e ring.Entry
	for cur := c.log.Descend(s.arena, seq); cur.PrevHeader(&e) && e.Seq > known; walked++ {
		if e.Flags&ring.Own == 0 && e.Peer != 0 {
			peerSeq = e.Peer
			break
		}
	}
	if walked > cheapWalk {
		s.warm(u, c).reported = seq // for the next report not to walk as far
	}
	if peerSeq == 0 && seq >= u.cold(c).goneFrom {
		// The message itself is gone, but not what its seq was for the peer.
		cold := u.cold(c)
		peerSeq = cold.gonePeer - (cold.gonePeerSeq - min(seq, cold.gonePeerSeq))
	}
	if peerSeq <= u.cold(c).receipted {
		return
	}
	s.warm(u, c).receipted = peerSeq
	s.post(u, i, &command.Letter{Kind: command.LetterReceipt, From: u.name, To: command.UserID(s.peer(c)), Seq: peerSeq, Time: s.now})
}

func (s *State) applyRecall(c *command.Recall, r *command.Result) {
	u, i, known := s.request(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	if pos, ok := findMark(s.marksOf(u, cv), c.Seq); ok {
		if m := s.marksOf(u, cv)[pos]; m.reason == gapRecalled && m.own {
			s.remember(u, c.Session, c.Request, r)
			return
		}
	}
	var e ring.Entry
	switch held := cv.log.At(s.arena, c.Seq, &e); {
	case !held || s.expired(u, &e, s.now):
		*r = command.Result{Code: command.CodeNotFound, Detail: "seq: no such message"}
		return
	case e.Flags&ring.Own == 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "seq: only the sender can recall a message"}
		return
	case e.Time+s.limits.RecallWindow.Milliseconds() < s.now:
		*r = command.Result{Code: command.CodeTooLate, Detail: "seq: the recall window is over"}
		return
	}
	if s.mark(u, i, &e, gapRecalled, c.Session) {
		s.recount(u, cv)
	}
	s.tellRecall(u, i, c.Seq, c.User)
	if c.Peer != c.User {
		s.post(u, i, &command.Letter{Kind: command.LetterRecall, From: c.User, To: c.Peer, Seq: c.Seq, Time: e.Time})
	}
	s.remember(u, c.Session, c.Request, r)
}

// mark hides a held message and makes that a change. queued: the queue's totals
// have to be counted anew.
func (s *State) mark(u *user, i int, e *ring.Entry, reason gapCode, by command.SessionID) (queued bool) {
	c := &u.convs.items[i]
	queued = c.queued > 0 && e.Seq >= u.queueFrom(c) && s.inQueue(u, c, e, s.now)
	m := mark{seq: e.Seq, by: by, reason: reason, own: e.Flags&ring.Own != 0}
	m.arrival = s.change(u, i)
	list := &s.rare(u, c).marks
	marks := list.items(s.arena)
	if pos, found := findMark(marks, e.Seq); found {
		marks[pos] = m
	} else {
		list.insert(s.arena, pos, m)
	}
	return queued
}

func (s *State) applyDeleteMessages(c *command.DeleteMessages, r *command.Result) {
	u, i, known := s.request(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	for _, seq := range c.Seqs {
		if seq == 0 || seq >= cv.log.Next() {
			*r = command.Result{Code: command.CodeNotFound, Detail: "seqs: no such message"}
			return
		}
	}
	var e ring.Entry
	queued := false
	var deleted []query.Range // that hooks are told of
	for _, seq := range c.Seqs {
		if !cv.log.At(s.arena, seq, &e) || s.hiddenBy(u, cv, &e, s.now) != gapNone {
			continue
		}
		if s.mark(u, i, &e, gapDeleted, c.Session) {
			queued = true
		}
		if s.wants(query.ChangeMessagesDeleted) {
			deleted = addSeq(deleted, seq)
		}
	}
	if len(deleted) > 0 {
		s.tellOwn(u, i, query.Change{Kind: query.ChangeMessagesDeleted, Ranges: deleted})
	}
	if queued {
		s.recount(u, cv)
	}
	s.remember(u, c.Session, c.Request, r)
}

func (s *State) applyDeleteConversation(c *command.DeleteConversation, r *command.Result) {
	u, i, known := s.request(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	newest := cv.log.Next() - 1
	cold := u.cold(cv)
	again := cold.hidden == newest && cold.floor == newest && (!c.Messages || cold.wiped == newest)
	if !again {
		cold = s.warm(u, cv)
		cold.hidden, cold.floor = newest, newest
		s.count(u, cv, -int(cv.queued), -int(cv.queuedBytes))
		at := s.change(u, i)
		if c.Messages {
			s.drop(u, cv, newest, gapDeleted)
			cold.wiped, cold.wipedAt, cold.wipedBy = newest, at, c.Session
		} else {
			cold.deletedAt, cold.deletedBy = at, c.Session
		}
		s.tellOwn(u, i, query.Change{Kind: query.ChangeConversationDeleted, Seq: newest, Messages: c.Messages})
	}
	s.remember(u, c.Session, c.Request, r)
}

func (s *State) applySetConversation(c *command.SetConversation, r *command.Result) {
	u, i, known := s.request(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	before := cv.flags
	setFlag(&cv.flags, convMuted, c.Muted)
	setFlag(&cv.flags, convPinned, c.Pinned)
	setFlag(&cv.flags, convMarked, c.Unread)
	if cv.flags != before {
		s.settled(u, i)
	}
	s.remember(u, c.Session, c.Request, r)
}

// setFlag sets or clears a flag; nil leaves it.
func setFlag(flags *uint8, flag uint8, v *bool) {
	switch {
	case v == nil:
	case *v:
		*flags |= flag
	default:
		*flags &^= flag
	}
}

func (s *State) applyBlock(c *command.Block, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if c.Target == c.User || c.Target == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "user: must be somebody else"}
		return
	}
	u := s.mutate(sl, c.User, true)
	if u.answered(c.Session, c.Request, r) {
		return
	}
	i := s.find(u, c.Target)
	blocked := i >= 0 && u.convs.items[i].flags&convBlocked != 0
	if blocked == !c.Undo {
		s.remember(u, c.Session, c.Request, r)
		return
	}
	kind := command.LetterUnblock
	if c.Undo {
		u.blocked--
		u.convs.items[i].flags &^= convBlocked
	} else {
		if limit := s.limits.MaxBlocked; limit > 0 && int(u.blocked) >= limit {
			*r = command.Result{Code: command.CodeRateLimited, Detail: "user: too many blocked users", RetryAfterMS: quotaRetryMS}
			return
		}
		if i < 0 {
			// Both sides keep something of it, for good: all such are bounded.
			if !s.mayOpen(u, "user", r) {
				return
			}
			u.countOpened()
			i = s.open(u, c.Target)
		}
		kind = command.LetterBlock
		u.blocked++
		u.convs.items[i].flags |= convBlocked
	}
	at := s.change(u, i)
	s.warm(u, &u.convs.items[i]).blockAt = at
	s.post(u, i, &command.Letter{Kind: kind, From: c.User, To: c.Target, Time: s.now})
	s.remember(u, c.Session, c.Request, r)
}

// request finds what a request about a conversation needs. When it returns
// false r holds the answer: the first one of a repeat, or a refusal.
func (s *State) request(name command.UserID, id command.SessionID, req command.Request, peer command.UserID, r *command.Result) (u *user, i int, ok bool) {
	sl := s.slotFor(name)
	if sl == nil {
		r.Code = command.CodeMoved
		return nil, 0, false
	}
	if u = s.mutate(sl, name, false); u != nil {
		if u.answered(id, req, r) {
			return nil, 0, false
		}
		if i = s.find(u, peer); i >= 0 && u.convs.items[i].log.Next() > 1 {
			return u, i, true
		}
	}
	*r = command.Result{Code: command.CodeNotFound, Detail: "conv: no such conversation"}
	return nil, 0, false
}
