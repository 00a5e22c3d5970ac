package shard

import (
	"encoding/binary"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

func (s *State) applySendGroup(c *command.SendGroup, r *command.Result) {
	if c.User == "" || c.CID == "" || len(c.Body) == 0 {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "conv: must not be empty, nor may cid and body"}
		return
	}
	u := s.namedGroup(c.Group, "conv", r)
	if u == nil {
		return
	}
	t := u.team
	key := t.sentKey(c.User, c.CID)
	m := s.member(t, c.User)
	switch {
	case s.repeatedGroup(u, c, key, r):
		return
	case !t.settings.Stored && c.Admin:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "conv: a live group stores no messages"}
		return
	case !t.settings.Stored: // who is in it sends another way: see raftstore.SendLive
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are no member of this group"}
		return
	case m == nil && !c.Admin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are no member of this group"}
		return
	case !c.Admin && t.settings.MutedAll && m.role < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: all but the owner and admins are muted in this group (mutedAll)"}
		return
	case !c.Admin && s.mutedUntil(t, c.User) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are muted in this group"}
		return
	case !c.Admin && !s.withinRate(t, r):
		return
	}
	e := ring.Entry{
		Flags: ring.Own, Time: s.now, Session: uint64(c.Session), TTL: c.TTL, ID: c.ID, From: []byte(c.User),
		CID: []byte(c.CID), Mentions: appendMentionList(nil, c.Mentions), Body: c.Body,
	}
	s.store(u, 0, &e)
	if t.counts() {
		s.noteStored(u.name, "", e.Seq)
	}
	s.addSent(&u.sent, &sentRecord{key: key, body: xxhash.Sum64(c.Body), id: c.ID, seq: e.Seq, time: e.Time, at: s.now})
	r.ID, r.Seq, r.Time = c.ID, e.Seq, e.Time
	if m != nil && m.flags&memberInvited != 0 && !c.Admin {
		s.spoke(u, c.User, m)
	}
	if m != nil && m.read < e.Seq {
		if m.read+1 < e.Seq {
			s.out.Members = append(s.out.Members, MemberRef{Group: t.id, User: c.User})
			m.readAt, m.readBy = u.arrival, c.Session
			s.tellMember(u, c.User, query.Change{Kind: query.ChangeRead, Seq: e.Seq})
		}
		m.read = e.Seq
		m.flags &^= memberRewound
	}
	if m != nil {
		s.unmarkGroup(u, m, c.User)
	}
	s.enforce(u)
}

// sentKey names a send within its group. Members know each other's cids: without
// the salt one could make another's send look like a repeat.
func (t *team) sentKey(sender command.UserID, cid string) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+2*command.MaxName+1), t.salt)
	b = append(append(append(b, sender...), 0), cid...)
	return xxhash.Sum64(b)
}

// repeatedGroup is repeated for a group.
func (s *State) repeatedGroup(u *user, c *command.SendGroup, key uint64, r *command.Result) bool {
	s.forgetSent(u, &u.sent, s.now-s.limits.DedupWindow.Milliseconds())
	var first sentRecord
	if s.findSent(&u.sent, key, &first) {
		if first.body != xxhash.Sum64(c.Body) {
			*r = command.Result{Code: command.CodeConflict, Detail: "cid: used before with another body"}
			return true
		}
		*r = command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
		return true
	}
	if !c.Retry {
		return false
	}
	return s.inHistory(u, 0, c.User, c.CID, c.Body, r) || s.wasInHistory(u, key, c.Body, r)
}

// withinRate counts a message against the group's rate.
func (s *State) withinRate(t *team, r *command.Result) bool {
	cost, now := int64(1e6/s.limits.GroupRate), s.now*1000
	full := max(t.rateFull, now)
	if over := full - now + cost - cost*int64(s.limits.GroupBurst); cost > 0 && over > 0 {
		*r = command.Result{
			Code: command.CodeRateLimited, Detail: "conv: too many messages in this group", RetryAfterMS: (over + 999) / 1000,
		}
		return false
	}
	t.rateFull = full + cost
	return true
}

func (s *State) applyReadGroup(c *command.ReadGroup, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	if !c.Back {
		s.unmarkGroup(u, m, c.User)
	}
	newest := u.convs.items[0].log.Next() - 1
	seq := min(c.Seq, newest)
	switch {
	case seq > m.read:
		if seq == newest {
			m.flags &^= memberRewound
		}
	case c.Back && seq < m.read:
		m.flags |= memberRewound
	default:
		r.Unread = s.groupUnread(u, m, s.now)
		return
	}
	m.read, m.readBy, m.readAt = seq, c.Session, s.ownChange(u, c.User)
	s.tellMember(u, c.User, query.Change{Kind: query.ChangeRead, Seq: seq})
	r.Unread = s.groupUnread(u, m, s.now)
}

// memberFor finds what a member's command on his view of a group needs. A nil
// member comes with an answer in r.
func (s *State) memberFor(id command.GroupID, name command.UserID, r *command.Result) (*user, *member) {
	u := s.namedGroup(id, "conv", r)
	if u == nil {
		return nil, nil
	}
	m := s.member(u.team, name)
	if m == nil || !u.team.settings.Stored {
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are no member of this group"}
		return nil, nil
	}
	return u, m
}

// ownChange gives a change of a member's own view its place in the group's order.
func (s *State) ownChange(u *user, name command.UserID) uint64 {
	u.arrival++
	s.out.Members = append(s.out.Members, MemberRef{Group: u.team.id, User: name})
	return u.arrival
}

func (s *State) applyRecallGroup(c *command.RecallGroup, r *command.Result) {
	field := "conv"
	if c.By == "" {
		field = "group"
	}
	u := s.namedGroup(c.Group, field, r)
	if u == nil {
		return
	}
	t, cv := u.team, &u.convs.items[0]
	role := s.role(t, c.By)
	if role == command.RoleNone {
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are no member of this group"}
		return
	}
	reason := gapRecalled
	if c.By == "" {
		reason = gapDeleted
	}
	var e ring.Entry
	held := cv.log.At(s.arena, c.Seq, &e)
	if held && s.markOf(u, cv, c.Seq) != gapNone && (role >= command.RoleAdmin || string(e.From) == string(c.By)) {
		return // it is so already
	}
	switch {
	case !held || s.hiddenBy(u, cv, &e, s.now) != gapNone:
		*r = command.Result{Code: command.CodeNotFound, Detail: "seq: no such message"}
		return
	case role >= command.RoleAdmin:
	case string(e.From) != string(c.By):
		*r = command.Result{Code: command.CodeForbidden, Detail: "seq: only the sender and admins can recall a message"}
		return
	case e.Time+s.limits.RecallWindow.Milliseconds() < s.now:
		*r = command.Result{Code: command.CodeTooLate, Detail: "seq: the recall window is over"}
		return
	}
	at, rc := uint64(0), teamRecall{from: c.Seq, to: c.Seq, by: c.By}
	if !c.Silent {
		at = s.recalled(u, rc)
	}
	s.tellGroup(u, rc)
	s.takeAway(u, []mark{{seq: c.Seq, arrival: at, reason: reason}})
}

// recalled gives a recall its place in the group's order.
func (s *State) recalled(u *user, rc teamRecall) uint64 {
	t := u.team
	u.arrival++
	rc.arrival = u.arrival
	if len(t.recalls) == keptRecalls {
		t.recallsGone = t.recalls[0].arrival
		t.recalls = slices.Delete(t.recalls, 0, 1)
	}
	t.recalls = append(t.recalls, rc)
	s.weigh(t)
	s.touch(u)
	return rc.arrival
}

// takeAway adds marks, by seq, of messages that have none.
func (s *State) takeAway(u *user, marks []mark) {
	list := &s.rare(u, &u.convs.items[0]).marks
	old := list.items(s.arena)
	if len(marks) == 1 {
		pos, _ := findMark(old, marks[0].seq)
		list.insert(s.arena, pos, marks[0])
		return
	}
	merged := make([]mark, 0, len(old)+len(marks))
	for len(old) > 0 && len(marks) > 0 {
		if old[0].seq < marks[0].seq {
			merged, old = append(merged, old[0]), old[1:]
		} else {
			merged, marks = append(merged, marks[0]), marks[1:]
		}
	}
	list.replace(s.arena, append(append(merged, old...), marks...))
}

func (s *State) applyDeleteSender(c *command.DeleteSender, r *command.Result) {
	if c.Sender == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "sender: must not be empty"}
		return
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	cv := &u.convs.items[0]
	known := s.marksOf(u, cv)
	var marks []mark
	var e ring.Entry
	for cur := cv.log.Ascend(s.arena, cv.log.First()); cur.Next(&e); {
		for len(known) > 0 && known[0].seq < e.Seq {
			known = known[1:]
		}
		if string(e.From) != string(c.Sender) || len(known) > 0 && known[0].seq == e.Seq {
			continue
		}
		if !s.expired(u, &e, s.now) && e.Time > s.cutoff {
			r.Deleted++
		}
		marks = append(marks, mark{seq: e.Seq, reason: gapDeleted})
	}
	if len(marks) == 0 {
		return
	}
	rc := teamRecall{from: marks[0].seq, to: marks[len(marks)-1].seq, sender: c.Sender}
	if r.Deleted > 0 {
		s.tellGroup(u, rc)
	}
	if !c.Silent && r.Deleted > 0 {
		at := s.recalled(u, rc)
		for i := range marks {
			marks[i].arrival = at
		}
	}
	s.takeAway(u, marks)
}

func (s *State) applyHideMessages(c *command.HideMessages, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	t, cv := u.team, &u.convs.items[0]
	for _, seq := range c.Seqs {
		if seq == 0 || seq >= cv.log.Next() || seq < m.from {
			*r = command.Result{Code: command.CodeNotFound, Detail: "seqs: no such message"}
			return
		}
	}
	hides := t.hides[c.User]
	gone, _ := findMark(hides, cv.log.First())
	hides = slices.Clone(hides[gone:])
	before := len(hides)
	var deleted []query.Range // that hooks are told of
	var e ring.Entry
	for _, seq := range c.Seqs {
		pos, hidden := findMark(hides, seq)
		if !hidden && seq > m.wiped && cv.log.At(s.arena, seq, &e) && s.hiddenBy(u, cv, &e, s.now) == gapNone {
			hides = slices.Insert(hides, pos, mark{seq: seq, by: c.Session, reason: gapDeleted})
			if s.wants(query.ChangeMessagesDeleted) {
				deleted = addSeq(deleted, seq)
			}
		}
	}
	switch {
	case len(hides) == before:
		return
	case len(hides) > maxHides:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "seqs: at most 256 messages of a group can be deleted", RetryAfterMS: quotaRetryMS}
		return
	}
	at := s.ownChange(u, c.User)
	for i := range hides {
		if hides[i].arrival == 0 {
			hides[i].arrival = at
		}
	}
	t.setHides(c.User, hides)
	s.weigh(t)
	s.tellMember(u, c.User, query.Change{Kind: query.ChangeMessagesDeleted, Ranges: deleted})
}

func (s *State) applyHideGroup(c *command.HideGroup, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	newest := u.convs.items[0].log.Next() - 1
	if m.floor == newest && (!c.Messages || m.wiped == newest) {
		return
	}
	at := s.ownChange(u, c.User)
	m.floor = newest
	if c.Messages {
		m.wiped, m.wipedAt, m.wipedBy = newest, at, c.Session
	} else {
		m.deletedAt, m.deletedBy = at, c.Session
	}
	s.tellMember(u, c.User, query.Change{Kind: query.ChangeConversationDeleted, Seq: newest, Messages: c.Messages})
}

func (s *State) applySetGroupView(c *command.SetGroupView, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	before := m.flags
	setFlag(&m.flags, memberMuted, c.Muted)
	setFlag(&m.flags, memberPinned, c.Pinned)
	setFlag(&m.flags, memberMarked, c.Unread)
	if m.flags != before {
		m.setAt = s.ownChange(u, c.User)
	}
}

// unmarkGroup takes back that a member has marked the group as unread.
func (s *State) unmarkGroup(u *user, m *member, name command.UserID) {
	if m.flags&memberMarked != 0 {
		m.flags &^= memberMarked
		m.setAt = s.ownChange(u, name)
	}
}
