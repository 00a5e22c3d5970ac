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
	u := s.groupForField(c.Group, "conv", r)
	if u == nil {
		return
	}
	g := u.group
	key := g.dedupKey(c.User, c.CID)
	fence := s.fenceKey(u, c.User, &c.Origin)
	m := s.member(g, c.User)
	switch {
	case s.isGroupRepeat(u, c, key, r), s.isFenced(u, fence, &c.Origin, r):
		return
	case !g.settings.StoresMessages && c.Admin:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "conv: a live group stores no messages"}
		return
	case !g.settings.StoresMessages: // messages of a live group go past the log
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are not a member of this group"}
		return
	case m == nil && !c.Admin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are not a member of this group"}
		return
	case !c.Admin && g.settings.MutedAll && m.role < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: all but the owner and admins are muted in this group (mutedAll)"}
		return
	case !c.Admin && s.mutedUntil(g, c.User) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are muted in this group"}
		return
	case !c.Admin && !s.withinRate(g, r):
		return
	}
	e := ring.Entry{
		Flags: ring.Own, Time: s.now, Session: uint64(c.Session), TTL: c.TTL, ID: c.ID, From: []byte(c.User),
		CID: []byte(c.CID), Mentions: appendMentionList(nil, c.Mentions), Body: c.Body,
	}
	s.storeEntry(u, 0, &e)
	if g.countsUnread() {
		s.queueForHooks(u.name, "", e.Seq)
	}
	s.addDedup(&u.dedup, &dedupRecord{key: key, body: hashSent(c.Body, c.Original), id: c.ID, seq: e.Seq, time: e.Time, sentMS: s.now})
	s.raiseFence(u, fence, &c.Origin)
	r.ID, r.Seq, r.Time = c.ID, e.Seq, e.Time
	if m != nil && m.flags&memberInvited != 0 && !c.Admin {
		s.acceptInvitation(u, c.User, m)
	}
	if m != nil && m.read < e.Seq {
		if m.read+1 < e.Seq {
			s.out.Members = append(s.out.Members, MemberRef{Group: g.id, User: c.User})
			m.readArrival, m.readBy = u.arrival, c.Session
			s.addMemberHookChange(u, c.User, query.Change{Kind: query.ChangeRead, Seq: e.Seq})
		}
		m.read = e.Seq
		m.flags &^= memberRewound
	}
	if m != nil {
		s.clearGroupMarkedUnread(u, m, c.User)
	}
	s.enforceLimits(u)
}

// dedupKey returns the key of a send in a group's dedup window. Members know each
// other's cids: without the group's random salt a member could make another member's
// send look like a repeat.
func (g *groupRecord) dedupKey(sender command.UserID, cid string) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+2*command.MaxName+1), g.salt)
	b = append(append(append(b, sender...), 0), cid...)
	return xxhash.Sum64(b)
}

// isGroupRepeat is isRepeat for a send to a group.
func (s *State) isGroupRepeat(u *user, c *command.SendGroup, key uint64, r *command.Result) bool {
	s.forgetDedup(u, &u.dedup, s.now-s.limits.DedupWindow.Milliseconds())
	var first dedupRecord
	if s.findDedup(&u.dedup, key, &first) {
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
	return s.isRepeatInLog(u, 0, c.User, c.CID, comparable(c.Body, c.Original), r) || s.isRepeatOfRemoved(u, key, comparable(c.Body, c.Original), r)
}

// withinRate counts a message against the rate limit of a group. If the limit is
// exceeded, it returns false and puts the refusal into r.
func (s *State) withinRate(g *groupRecord, r *command.Result) bool {
	cost, now := int64(1e6/s.limits.GroupRate), s.now*1000
	full := max(g.rateFullUS, now)
	if over := full - now + cost - cost*int64(s.limits.GroupBurst); cost > 0 && over > 0 {
		*r = command.Result{
			Code: command.CodeRateLimited, Detail: "conv: too many messages in this group", RetryAfterMS: (over + 999) / 1000,
		}
		return false
	}
	g.rateFullUS = full + cost
	return true
}

func (s *State) applyReadGroup(c *command.ReadGroup, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	if !c.MayMoveBack {
		s.clearGroupMarkedUnread(u, m, c.User)
	}
	newest := u.convs.items[0].log.Next() - 1
	seq := min(c.Seq, newest)
	switch {
	case seq > m.read:
		if seq == newest {
			m.flags &^= memberRewound
		}
	case c.MayMoveBack && seq < m.read:
		m.flags |= memberRewound
	default:
		r.Unread = s.groupUnread(u, m, s.now)
		return
	}
	m.read, m.readBy, m.readArrival = seq, c.Session, s.stampMemberChange(u, c.User)
	s.addMemberHookChange(u, c.User, query.Change{Kind: query.ChangeRead, Seq: seq})
	r.Unread = s.groupUnread(u, m, s.now)
}

// memberFor returns the group and the member for a command on the member's own view. If
// the member it returns is nil, r has the answer.
func (s *State) memberFor(id command.GroupID, name command.UserID, r *command.Result) (*user, *member) {
	u := s.groupForField(id, "conv", r)
	if u == nil {
		return nil, nil
	}
	m := s.member(u.group, name)
	if m == nil || !u.group.settings.StoresMessages {
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are not a member of this group"}
		return nil, nil
	}
	return u, m
}

// stampMemberChange gives a change in a member's own view the next arrival number in
// the group's order, and returns it.
func (s *State) stampMemberChange(u *user, name command.UserID) uint64 {
	u.arrival++
	s.out.Members = append(s.out.Members, MemberRef{Group: u.group.id, User: name})
	return u.arrival
}

func (s *State) applyRecallGroup(c *command.RecallGroup, r *command.Result) {
	field := "conv"
	if c.By == "" {
		field = "group"
	}
	u := s.groupForField(c.Group, field, r)
	if u == nil {
		return
	}
	g, cv := u.group, &u.convs.items[0]
	role := s.role(g, c.By)
	if role == command.RoleNone {
		*r = command.Result{Code: command.CodeForbidden, Detail: "conv: you are not a member of this group"}
		return
	}
	reason := gapRecalled
	if c.By == "" {
		reason = gapDeleted
	}
	var e ring.Entry
	held := cv.log.At(s.arena, c.Seq, &e)
	if held && s.tombstoneOf(u, cv, c.Seq) != gapNone && (role >= command.RoleAdmin || string(e.From) == string(c.By)) {
		return // nothing to change
	}
	switch {
	case !held || s.gapOf(u, cv, &e, s.now) != gapNone:
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
	at, rc := uint64(0), groupRecall{from: c.Seq, to: c.Seq, by: c.By}
	if !c.Silent {
		at = s.addRecall(u, rc)
	}
	s.addGroupHookChange(u, rc)
	s.addGroupTombstones(u, []tombstone{{seq: c.Seq, arrival: at, reason: reason}})
}

// addRecall adds a recall to the group's order and returns its arrival number.
func (s *State) addRecall(u *user, rc groupRecall) uint64 {
	g := u.group
	u.arrival++
	rc.arrival = u.arrival
	if len(g.recalls) == keptRecalls {
		g.recallsForgotten = g.recalls[0].arrival
		g.recalls = slices.Delete(g.recalls, 0, 1)
	}
	g.recalls = append(g.recalls, rc)
	s.countHeapBytes(g)
	s.signal(u)
	return rc.arrival
}

// addGroupTombstones adds tombstones, which must be in order of seq and for entries
// that have none yet.
func (s *State) addGroupTombstones(u *user, tombstones []tombstone) {
	list := &s.extraMut(u, &u.convs.items[0]).tombstones
	old := list.items(s.arena)
	if len(tombstones) == 1 {
		pos, _ := findTombstone(old, tombstones[0].seq)
		list.insert(s.arena, pos, tombstones[0])
		return
	}
	merged := make([]tombstone, 0, len(old)+len(tombstones))
	for len(old) > 0 && len(tombstones) > 0 {
		if old[0].seq < tombstones[0].seq {
			merged, old = append(merged, old[0]), old[1:]
		} else {
			merged, tombstones = append(merged, tombstones[0]), tombstones[1:]
		}
	}
	list.replace(s.arena, append(append(merged, old...), tombstones...))
}

func (s *State) applyDeleteMessagesFrom(c *command.DeleteMessagesFrom, r *command.Result) {
	if c.Sender == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "sender: must not be empty"}
		return
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	cv := &u.convs.items[0]
	known := s.tombstonesOf(u, cv)
	var tombstones []tombstone
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
		tombstones = append(tombstones, tombstone{seq: e.Seq, reason: gapDeleted})
	}
	if len(tombstones) == 0 {
		return
	}
	rc := groupRecall{from: tombstones[0].seq, to: tombstones[len(tombstones)-1].seq, sender: c.Sender}
	if r.Deleted > 0 {
		s.addGroupHookChange(u, rc)
	}
	if !c.Silent && r.Deleted > 0 {
		at := s.addRecall(u, rc)
		for i := range tombstones {
			tombstones[i].arrival = at
		}
	}
	s.addGroupTombstones(u, tombstones)
}

func (s *State) applyHideMessages(c *command.HideMessages, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	g, cv := u.group, &u.convs.items[0]
	for _, seq := range c.Seqs {
		if seq == 0 || seq >= cv.log.Next() || seq < m.visibleFrom {
			*r = command.Result{Code: command.CodeNotFound, Detail: "seqs: no such message"}
			return
		}
	}
	hidden := g.hidden[c.User]
	gone, _ := findTombstone(hidden, cv.log.First())
	hidden = slices.Clone(hidden[gone:])
	before := len(hidden)
	var deleted []query.Range // for webhooks
	var e ring.Entry
	for _, seq := range c.Seqs {
		pos, already := findTombstone(hidden, seq)
		if !already && seq > m.clearedTo && cv.log.At(s.arena, seq, &e) && s.gapOf(u, cv, &e, s.now) == gapNone {
			hidden = slices.Insert(hidden, pos, tombstone{seq: seq, by: c.Session, reason: gapDeleted})
			if s.hooksWant(query.ChangeMessagesDeleted) {
				deleted = addSeq(deleted, seq)
			}
		}
	}
	switch {
	case len(hidden) == before:
		return
	case len(hidden) > maxHidden:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "seqs: at most 256 messages of a group can be deleted", RetryAfterMS: quotaRetryMS}
		return
	}
	at := s.stampMemberChange(u, c.User)
	for i := range hidden {
		if hidden[i].arrival == 0 {
			hidden[i].arrival = at
		}
	}
	g.setHidden(c.User, hidden)
	s.countHeapBytes(g)
	s.addMemberHookChange(u, c.User, query.Change{Kind: query.ChangeMessagesDeleted, Ranges: deleted})
}

func (s *State) applyHideGroup(c *command.HideGroup, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	newest := u.convs.items[0].log.Next() - 1
	if m.unlistedTo == newest && (!c.Messages || m.clearedTo == newest) {
		return
	}
	at := s.stampMemberChange(u, c.User)
	m.unlistedTo = newest
	if c.Messages {
		m.clearedTo, m.clearedArrival, m.clearedBy = newest, at, c.Session
	} else {
		m.unlistedArrival, m.unlistedBy = at, c.Session
	}
	s.addMemberHookChange(u, c.User, query.Change{Kind: query.ChangeConversationDeleted, Seq: newest, Messages: c.Messages})
}

func (s *State) applySetGroupView(c *command.SetGroupView, r *command.Result) {
	u, m := s.memberFor(c.Group, c.User, r)
	if m == nil {
		return
	}
	before := m.flags
	setFlag(&m.flags, memberMuted, c.Muted)
	setFlag(&m.flags, memberPinned, c.Pinned)
	setFlag(&m.flags, memberMarkedUnread, c.Unread)
	if m.flags != before {
		m.settingsArrival = s.stampMemberChange(u, c.User)
	}
}

// clearGroupMarkedUnread removes a member's mark that the group is unread.
func (s *State) clearGroupMarkedUnread(u *user, m *member, name command.UserID) {
	if m.flags&memberMarkedUnread != 0 {
		m.flags &^= memberMarkedUnread
		m.settingsArrival = s.stampMemberChange(u, name)
	}
}
