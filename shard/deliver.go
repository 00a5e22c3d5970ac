package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

func (s *State) applyDeliver(c *command.Deliver, r *command.Result) {
	sl := s.slotFor(c.Letter.To)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	s.deliver(sl, &c.Letter, r)
}

// deliver applies a letter to its receiver, as command.Deliver describes.
func (s *State) deliver(sl *slot, l *command.Letter, r *command.Result) {
	if l.From == "" || l.To == "" || l.From == l.To {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "letter: from and to must differ and not be empty"}
		return
	}
	if l.Kind == command.LetterJoined || l.Kind == command.LetterLeft {
		s.applyMembershipLetter(sl, l)
		return
	}
	last := uint64(0)
	if u := s.inSlot(sl, l.To); u != nil {
		if i := s.findConv(u, l.From); i >= 0 {
			last = u.convs.items[i].lettersIn
		}
	}
	switch {
	case l.Number <= last:
		return
	case l.Number > last+1:
		*r = command.Result{Code: command.CodeGap, Seq: last + 1, Detail: "letter: an earlier one is missing"}
		return
	}
	u := s.userMut(sl, l.To, true)
	i := s.openConv(u, l.From)
	c := &u.convs.items[i]
	c.lettersIn = l.Number
	switch l.Kind {
	case command.LetterMessage:
		if c.flags&convBlocked == 0 {
			s.receive(u, i, l)
		}
	case command.LetterRecall:
		s.recallIncoming(u, i, l.Seq, l.Time)
	case command.LetterReceipt:
		if seq := min(l.Seq, c.log.Next()-1); seq > u.coldOf(c).peerRead {
			at := s.stampChange(u, i)
			cold := s.coldMut(u, c)
			cold.peerRead, cold.peerReadMS, cold.peerReadArrival = seq, l.Time, at
		}
	case command.LetterBlock:
		c.flags |= convBlockedBy
	case command.LetterUnblock:
		c.flags &^= convBlockedBy
	}
}

// receive stores an incoming message. If it expired on the way it takes a seq all the
// same, without its body, so that both users' views have equally many seqs.
func (s *State) receive(u *user, i int, l *command.Letter) {
	e := ring.Entry{
		Time: l.Time, Peer: l.Seq, TTL: l.TTL, ID: l.ID,
		CID: []byte(l.CID), Mentions: appendMentionList(nil, l.Mentions), Body: l.Body,
	}
	if e.Time = max(e.Time, u.convs.items[i].lastTime); s.expired(u, &e, s.now) || len(l.Body) == 0 {
		e.Flags |= ring.Expired
		e.Mentions, e.Body = nil, nil
	}
	oldest := u.oldest
	s.storeEntry(u, i, &e)
	if e.Flags&ring.Expired == 0 {
		s.queueForHooks(u.name, l.From, e.Seq)
	}
	if e.Time <= s.cutoff {
		s.evictConvToCutoff(u, &u.convs.items[i])
		u.oldest = oldest // the message is evicted again, so it does not count
	}
	s.enforceLimits(u)
}

// recallIncoming marks a message as recalled that has the seq peerSeq in the peer's
// view. at is its time in that view, which is not after its time in this one.
func (s *State) recallIncoming(u *user, i int, peerSeq uint64, at int64) {
	c := &u.convs.items[i]
	from := c.log.FirstSinceTime(s.arena, at)
	if from == c.log.Next() {
		from = 0 // letters written by earlier versions hold the time of the recall
	}
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, from); cur.NextHeader(&e) > 0; {
		if e.Flags&ring.Own != 0 || e.Peer < peerSeq { // Peer is 0 if it was imported in this view alone
			continue
		}
		if e.Peer == peerSeq && s.gapOf(u, c, &e, s.now) == gapNone {
			if s.addTombstone(u, i, &e, gapRecalled, 0) {
				s.recountQueue(u, c)
			}
			s.addRecallHookChange(u, i, e.Seq, command.UserID(s.peer(c)))
		}
		return
	}
}
