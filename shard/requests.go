package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyReadReport(c *command.ReadReport, r *command.Result) {
	u, i, known := s.conversationFor(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	u.noteLastSeen(c.Session, s.now)
	cv := &u.convs.items[i]
	seq := min(c.Seq, cv.log.Next()-1)
	s.moveRead(u, i, seq, c.Session)
	if !c.Auto {
		s.clearMarkedUnread(u, i)
		if c.Peer != c.User {
			s.sendReceipt(u, i, seq)
		}
	}
	r.Unread = s.unread(u, cv, s.now)
	s.rememberAnswer(u, c.Session, c.Request, r)
}

// moveRead moves a read cursor forward to seq; by is the session that has read. A lower
// seq has no effect.
func (s *State) moveRead(u *user, i int, seq uint64, by command.SessionID) {
	c := &u.convs.items[i]
	if seq <= c.read {
		return
	}
	c.read = seq
	c.readBy = by
	c.readArrival = s.stamp(u, i)
	if seq+1 == c.log.Next() {
		s.addQueued(u, c, -int(c.queued), -int(c.queuedBytes))
	} else if c.queued > 0 {
		s.recountQueue(u, c)
	}
	s.forgetLost(u, c, seq)
	s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeRead, Seq: seq})
}

// forgetLost forgets, up to a seq that is now read, which messages limits took out of a
// queue.
func (s *State) forgetLost(u *user, c *conv, seq uint64) {
	if lost := u.extraOf(c).lost.items(s.arena); len(lost) == 0 || lost[0].from > seq {
		return
	}
	list := &s.extraMut(u, c).lost
	read := 0
	for _, run := range list.items(s.arena) {
		if run.to <= seq {
			read++
		}
	}
	list.removeFirst(s.arena, read)
	if lost := list.items(s.arena); len(lost) > 0 && lost[0].from <= seq {
		run := &lost[0]
		run.from = seq + 1
		run.count = min(run.count, run.to-seq)
	}
}

// cheapScan is how many entries sendReceipt may look at without storing how far it got,
// which can cost a coldConv.
const cheapScan = 64

// sendReceipt tells the peer, by a seq in the peer's view, up to which message the user
// has read, unless the peer knows or is blocked.
func (s *State) sendReceipt(u *user, i int, seq uint64) {
	c := &u.convs.items[i]
	known, blocked := u.coldOf(c).receiptsThrough, c.flags&convBlocked != 0
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
	if walked > cheapScan {
		s.coldMut(u, c).receiptsThrough = seq // so that the next read report looks at fewer entries
	}
	if peerSeq == 0 && seq >= u.coldOf(c).goneIncomingFrom {
		// The message has left the log. Its seq in the peer's view follows from the run
		// of incoming messages that left it last.
		cold := u.coldOf(c)
		peerSeq = cold.goneIncomingPeerSeq - (cold.goneIncomingSeq - min(seq, cold.goneIncomingSeq))
	}
	if peerSeq <= u.coldOf(c).receiptSent {
		return
	}
	s.coldMut(u, c).receiptSent = peerSeq
	s.postLetter(u, i, &command.Letter{Kind: command.LetterReceipt, From: u.name, To: command.UserID(s.peer(c)), Seq: peerSeq, Time: s.now})
}

func (s *State) applyRecall(c *command.Recall, r *command.Result) {
	u, i, known := s.conversationFor(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	if pos, ok := findTombstone(s.tombstonesOf(u, cv), c.Seq); ok {
		if t := s.tombstonesOf(u, cv)[pos]; t.reason == gapRecalled && t.own {
			s.rememberAnswer(u, c.Session, c.Request, r)
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
	if s.addTombstone(u, i, &e, gapRecalled, c.Session) {
		s.recountQueue(u, cv)
	}
	s.addRecallHookChange(u, i, c.Seq, c.User)
	if c.Peer != c.User {
		s.postLetter(u, i, &command.Letter{Kind: command.LetterRecall, From: c.User, To: c.Peer, Seq: c.Seq, Time: e.Time})
	}
	s.rememberAnswer(u, c.Session, c.Request, r)
}

// addTombstone marks an entry of the log as recalled or deleted, which is a change with
// an arrival number. If it returns true, the entry was in the queue and the caller has
// to call recountQueue.
func (s *State) addTombstone(u *user, i int, e *ring.Entry, reason gapCode, by command.SessionID) (queued bool) {
	c := &u.convs.items[i]
	queued = c.queued > 0 && e.Seq >= s.queueFrom(u, c) && s.inQueue(u, c, e, s.now)
	t := tombstone{seq: e.Seq, by: by, reason: reason, own: e.Flags&ring.Own != 0}
	t.arrival = s.stampChange(u, i)
	list := &s.extraMut(u, c).tombstones
	tombstones := list.items(s.arena)
	if pos, found := findTombstone(tombstones, e.Seq); found {
		tombstones[pos] = t
	} else {
		list.insert(s.arena, pos, t)
	}
	return queued
}

func (s *State) applyDeleteMessages(c *command.DeleteMessages, r *command.Result) {
	u, i, known := s.conversationFor(c.User, c.Session, c.Request, c.Peer, r)
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
	var deleted []query.Range // for webhooks
	for _, seq := range c.Seqs {
		if !cv.log.At(s.arena, seq, &e) || s.gapOf(u, cv, &e, s.now) != gapNone {
			continue
		}
		if s.addTombstone(u, i, &e, gapDeleted, c.Session) {
			queued = true
		}
		if s.hooksWant(query.ChangeMessagesDeleted) {
			deleted = addSeq(deleted, seq)
		}
	}
	if len(deleted) > 0 {
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeMessagesDeleted, Ranges: deleted})
	}
	if queued {
		s.recountQueue(u, cv)
	}
	s.rememberAnswer(u, c.Session, c.Request, r)
}

func (s *State) applyDeleteConversation(c *command.DeleteConversation, r *command.Result) {
	u, i, known := s.conversationFor(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	newest := cv.log.Next() - 1
	cold := u.coldOf(cv)
	again := cold.unlistedTo == newest && cold.queueFloor == newest && (!c.Messages || cold.clearedTo == newest)
	if !again {
		cold = s.coldMut(u, cv)
		cold.unlistedTo, cold.queueFloor = newest, newest
		s.addQueued(u, cv, -int(cv.queued), -int(cv.queuedBytes))
		at := s.stampChange(u, i)
		if c.Messages {
			s.truncateLog(u, cv, newest, gapDeleted)
			cold.clearedTo, cold.clearedArrival, cold.clearedBy = newest, at, c.Session
		} else {
			cold.unlistedArrival, cold.unlistedBy = at, c.Session
		}
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeConversationDeleted, Seq: newest, Messages: c.Messages})
	}
	s.rememberAnswer(u, c.Session, c.Request, r)
}

func (s *State) applySetConversation(c *command.SetConversation, r *command.Result) {
	u, i, known := s.conversationFor(c.User, c.Session, c.Request, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	before := cv.flags
	setFlag(&cv.flags, convMuted, c.Muted)
	setFlag(&cv.flags, convPinned, c.Pinned)
	setFlag(&cv.flags, convMarkedUnread, c.Unread)
	if cv.flags != before {
		s.stampSettings(u, i)
	}
	s.rememberAnswer(u, c.Session, c.Request, r)
}

// setFlag sets a flag if *v is true and clears it if *v is false. If v is nil, the flag
// stays as it is.
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
	u := s.userMut(sl, c.User, true)
	if u.repeatAnswer(c.Session, c.Request, r) {
		return
	}
	i := s.findConv(u, c.Target)
	blocked := i >= 0 && u.convs.items[i].flags&convBlocked != 0
	if blocked == !c.Undo {
		s.rememberAnswer(u, c.Session, c.Request, r)
		return
	}
	kind := command.LetterUnblock
	if c.Undo {
		u.blockedUsers--
		u.convs.items[i].flags &^= convBlocked
	} else {
		if limit := s.limits.MaxBlocked; limit > 0 && int(u.blockedUsers) >= limit {
			*r = command.Result{Code: command.CodeRateLimited, Detail: "user: too many blocked users", RetryAfterMS: quotaRetryMS}
			return
		}
		if i < 0 {
			// Both shards keep the conversation forever, so it counts as a new one.
			if !s.mayOpenConversation(u, "user", r) {
				return
			}
			u.countOpened()
			i = s.openConv(u, c.Target)
		}
		kind = command.LetterBlock
		u.blockedUsers++
		u.convs.items[i].flags |= convBlocked
	}
	at := s.stampChange(u, i)
	s.coldMut(u, &u.convs.items[i]).blockArrival = at
	s.postLetter(u, i, &command.Letter{Kind: kind, From: c.User, To: c.Target, Time: s.now})
	s.rememberAnswer(u, c.Session, c.Request, r)
}

// conversationFor returns the user and the index of the conversation that a request is
// about. It returns false if the request needs nothing more: it is a repeat and r has
// the first answer, or it is refused and r has the refusal.
func (s *State) conversationFor(name command.UserID, id command.SessionID, req command.Request, peer command.UserID, r *command.Result) (u *user, i int, ok bool) {
	sl := s.slotFor(name)
	if sl == nil {
		r.Code = command.CodeMoved
		return nil, 0, false
	}
	if u = s.userMut(sl, name, false); u != nil {
		if u.repeatAnswer(id, req, r) {
			return nil, 0, false
		}
		if i = s.findConv(u, peer); i >= 0 && u.convs.items[i].log.Next() > 1 {
			return u, i, true
		}
	}
	*r = command.Result{Code: command.CodeNotFound, Detail: "conv: no such conversation"}
	return nil, 0, false
}
