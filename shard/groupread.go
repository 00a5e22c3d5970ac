package shard

import (
	"cmp"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// group finds a group that exists, for reading.
func (s *State) group(id command.GroupID) *user {
	if u := s.lookupGroup(id); u != nil && u.team.dismissed == 0 {
		return u
	}
	return nil
}

// Group tells what is known of a group, and of who asks as a member of it;
// false: there is none.
func (s *State) Group(id command.GroupID, asker command.UserID) (query.GroupInfo, bool) {
	u := s.group(id)
	if u == nil {
		return query.GroupInfo{}, false
	}
	t, log := u.team, &u.convs.items[0].log
	info := query.GroupInfo{
		ID: t.id, Kind: t.kind, Settings: t.settings, Name: t.title, Owner: t.owner, Properties: t.properties,
		Created: t.created, Members: len(t.members.items), Requests: len(t.requests),
		LastSeq: log.Next() - 1, Bytes: log.Bytes(), Arrival: u.arrival, Offered: s.offered(t),
	}
	info.MutedUntil, info.BannedUntil = s.sanctionsOf(t, asker)
	if m := s.member(t, asker); m != nil {
		info.Role = m.role
	}
	if !t.settings.Stored {
		for i := range t.events {
			if e := &t.events[i]; e.Ends(asker) {
				info.Ended = e.Arrival
			}
		}
	}
	return info, true
}

// Members lists members in order of name, from the first one above after. Of a
// group that stores nothing it lists those with a role or who are muted.
func (s *State) Members(id command.GroupID, after command.UserID, limit int) (members []query.Member, more bool) {
	u := s.group(id)
	if u == nil {
		return nil, false
	}
	t := u.team
	i, found := s.memberIndex(t, after)
	if found {
		i++
	}
	j, found := s.sanctionIndex(t, after)
	if found {
		j++
	}
	list, others := t.members.items[i:], t.sanctions.items[j:]
	for len(list) > 0 || !t.settings.Stored && len(others) > 0 {
		var m query.Member
		switch {
		case len(others) == 0 || len(list) > 0 && string(s.memberName(&list[0])) <= string(s.sanctionName(&others[0])):
			m = s.memberInfo(t, &list[0])
			if len(others) > 0 && string(s.sanctionName(&others[0])) == string(m.User) {
				others = others[1:]
			}
			list = list[1:]
		case t.settings.Stored || others[0].muted <= s.now:
			others = others[1:]
			continue
		default:
			m = query.Member{User: command.UserID(s.sanctionName(&others[0])), Role: command.RoleMember, From: 1, MutedUntil: others[0].muted}
			others = others[1:]
		}
		if len(members) == limit {
			return members, true
		}
		members = append(members, m)
	}
	return members, false
}

// Member tells what is known of one member; false: he is none.
func (s *State) Member(id command.GroupID, user command.UserID) (query.Member, bool) {
	u := s.group(id)
	if u == nil {
		return query.Member{}, false
	}
	m := s.member(u.team, user)
	if m == nil {
		return query.Member{}, false
	}
	return s.memberInfo(u.team, m), true
}

func (s *State) memberInfo(t *team, m *member) query.Member {
	name := command.UserID(s.memberName(m))
	return query.Member{
		User: name, Role: m.role, Joined: m.joined, From: m.from, Read: m.read, MutedUntil: s.mutedUntil(t, name),
	}
}

// JoinRequests lists those that wait for an answer, oldest first.
func (s *State) JoinRequests(id command.GroupID) []query.JoinRequest {
	if u := s.group(id); u != nil {
		return slices.Clone(u.team.requests)
	}
	return nil
}

// JoinedAt gives the point in a group's order at which a member joined: what
// comes after it, his joining included, is his to be told. False: he is none.
func (s *State) JoinedAt(id command.GroupID, user command.UserID) (arrival uint64, ok bool) {
	u := s.group(id)
	if u == nil {
		return 0, false
	}
	m := s.member(u.team, user)
	if m == nil {
		return 0, false
	}
	return m.joinedAt - 1, true
}

// LastStay tells of the newest membership of a user who is no member any more.
// False: he is one, or events no longer tell of it.
func (s *State) LastStay(id command.GroupID, user command.UserID) (query.Stay, bool) {
	u := s.lookupGroup(id)
	if u == nil || s.member(u.team, user) != nil {
		return query.Stay{}, false
	}
	var stay query.Stay
	events := u.team.events
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		switch {
		case e.Ends(user):
			if stay.To != 0 {
				return query.Stay{}, false
			}
			stay.To, stay.Ended = e.Arrival, e.Time
		case stay.To != 0 && (e.Kind == query.EventJoined || e.Kind == query.EventCreated) && slices.Contains(e.Users, user):
			stay.From, stay.Low = e.Arrival-1, 1
			if u.team.settings.History != command.HistoryAll {
				stay.Low = u.convs.items[0].log.AfterArrival(s.arena, e.Arrival)
			}
			return stay, true
		}
	}
	return query.Stay{}, false
}

// GroupArrival is the present point in a group's order, 0 if there never was
// such a group.
func (s *State) GroupArrival(id command.GroupID) uint64 {
	if u := s.lookupGroup(id); u != nil {
		return u.arrival
	}
	return 0
}

// Groups yields the ids of the groups of this shard, in no order.
func (s *State) Groups(yield func(command.GroupID) bool) {
	for _, sl := range s.slots {
		if sl == nil || sl.frozen {
			continue
		}
		for number := range sl.users.all {
			if t := s.user(number).team; t != nil && t.dismissed == 0 && !yield(t.id) {
				return
			}
		}
	}
}

// GroupSince reads what came after a point in a group's order: messages that can
// be shown, recalls, and events. It is the same for all members; of a group that
// was dismissed it still tells that. Limits are as for Since.
func (s *State) GroupSince(id command.GroupID, after uint64, b *query.Batch, maxMessages, maxBytes int, now int64) {
	b.Reset()
	b.Next = after
	u := s.lookupGroup(id)
	if u == nil || u.arrival <= after {
		return
	}
	t, c := u.team, &u.convs.items[0]
	b.Next = u.arrival
	if t.forgotten > after {
		b.Missed, b.MissedTo = true, t.forgotten
	}
	if from := max(after, u.imported(0).arrival); c.lastArrival > from { // nobody is pushed what was imported
		var e ring.Entry
		for walk := s.ascendShown(u, c, c.log.AfterArrival(s.arena, from), now); walk.next(&e); {
			if s.hiddenBy(u, c, &e, now) != gapNone {
				continue
			}
			if n := len(b.Messages); n == maxMessages || n > 0 && b.Size >= maxBytes {
				b.More = true
				b.Next = b.Messages[n-1].Arrival
				break
			}
			s.copyEntry(u, c, &e, b)
		}
	}
	s.groupChanges(u, after, b.Next, b)
	for i := range t.events {
		if e := &t.events[i]; e.Arrival > after && e.Arrival <= b.Next {
			b.Events = append(b.Events, *e)
		}
	}
	b.Interleave()
}

// groupChanges appends the recalls with after < arrival <= upTo.
func (s *State) groupChanges(u *user, after, upTo uint64, b *query.Batch) {
	t := u.team
	for i := range t.recalls {
		rc := &t.recalls[i]
		if rc.arrival > after && rc.arrival <= upTo {
			b.Changes = append(b.Changes, query.Change{
				Kind: query.ChangeRecall, Group: t.id, Arrival: rc.arrival, By: rc.by, Sender: rc.sender,
				Ranges: []query.Range{{From: rc.from, To: rc.to}},
			})
		}
	}
	if t.recallsGone <= after {
		return
	}
	// Who did it is no longer known, nor need it be told one by one.
	old := query.Change{Kind: query.ChangeRecall, Group: t.id}
	for _, m := range s.marksOf(u, &u.convs.items[0]) {
		if m.arrival <= after || m.arrival > min(upTo, t.recallsGone) {
			continue
		}
		if old.Arrival == 0 || m.arrival < old.Arrival {
			old.Arrival = m.arrival
		}
		if n := len(old.Ranges); n > 0 && old.Ranges[n-1].To+1 == m.seq {
			old.Ranges[n-1].To = m.seq
		} else {
			old.Ranges = append(old.Ranges, query.Range{From: m.seq, To: m.seq})
		}
	}
	if old.Arrival != 0 {
		b.Changes = append(b.Changes, old)
		slices.SortFunc(b.Changes, func(x, y query.Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
	}
}

// clipRecalls leaves in recalls what lies at or above a seq.
func clipRecalls(changes []query.Change, low uint64) []query.Change {
	kept := changes[:0]
	for _, c := range changes {
		if c.Ranges = query.ClipRanges(c.Ranges, low); len(c.Ranges) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// MemberChanges reads what a member's other sessions have changed in his own
// view of a group after a point in its order: reads, deletions.
func (s *State) MemberChanges(id command.GroupID, user command.UserID, session command.SessionID, after uint64) []query.Change {
	u := s.group(id)
	if u == nil {
		return nil
	}
	m := s.member(u.team, user)
	if m == nil {
		return nil
	}
	var changes []query.Change
	add := func(at uint64, by command.SessionID, c query.Change) {
		if at > after && (by != session || session == 0) {
			c.Group, c.Arrival = id, at
			changes = append(changes, c)
		}
	}
	add(m.readAt, m.readBy, query.Change{Kind: query.ChangeRead, Seq: m.read})
	add(m.wipedAt, m.wipedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: m.wiped, Messages: true})
	add(m.deletedAt, m.deletedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: m.floor})
	add(m.setAt, 0, query.Change{Kind: query.ChangeSettings, Settings: m.settings()})
	deleted := query.Change{Kind: query.ChangeMessagesDeleted}
	first := uint64(0)
	for _, h := range u.team.hides[user] {
		if h.arrival <= after || h.by == session && session != 0 {
			continue
		}
		if first == 0 || h.arrival < first {
			first = h.arrival
		}
		if n := len(deleted.Ranges); n > 0 && deleted.Ranges[n-1].To+1 == h.seq {
			deleted.Ranges[n-1].To = h.seq
		} else {
			deleted.Ranges = append(deleted.Ranges, query.Range{From: h.seq, To: h.seq})
		}
	}
	if first != 0 {
		add(first, 0, deleted)
	}
	slices.SortFunc(changes, func(x, y query.Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
	return changes
}

func (m *member) settings() query.ConversationSettings {
	return query.ConversationSettings{Muted: m.flags&memberMuted != 0, Pinned: m.flags&memberPinned != 0, Unread: m.flags&memberMarked != 0}
}

// GroupMessages reads messages of a group by seq, for a member; those that
// cannot be shown to him are left out.
func (s *State) GroupMessages(user command.UserID, id command.GroupID, seqs []uint64, b *query.Batch, now int64) {
	b.Reset()
	u := s.group(id)
	if u == nil {
		return
	}
	m := s.member(u.team, user)
	if m == nil {
		return
	}
	v := s.memberView(u, m)
	var e ring.Entry
	for _, seq := range seqs {
		if v.log().At(s.arena, seq, &e) && v.hiddenBy(s, &e, now) == gapNone {
			s.copyEntry(u, v.c, &e, b)
			b.Items = append(b.Items, query.Item{Message: len(b.Messages) - 1, Change: -1, Event: -1})
		}
	}
	b.Next = u.arrival
}

// unreadFrom is the lowest seq that can be unread for a member.
func (s *State) unreadFrom(u *user, m *member, now int64) uint64 {
	log := &u.convs.items[0].log
	low := max(m.read+1, m.floor+1, m.wiped+1, m.from, log.First())
	var e ring.Entry
	if log.Header(s.arena, low, &e) == 0 || !s.expired(u, &e, now) && e.Time > s.cutoff {
		return low
	}
	// Times never fall along a log: what is gone by time is all at its head.
	return max(low, log.ExpireThrough(s.arena, max(now-s.historyTTL(u), s.cutoff))+1)
}

// groupUnread counts the messages of others that a member has not read: all from
// some seq on but those in gaps. His own ones lie below his cursor.
func (s *State) groupUnread(u *user, m *member, now int64) int {
	t, c := u.team, &u.convs.items[0]
	if !t.counts() {
		return 0
	}
	low := s.unreadFrom(u, m, now)
	if low >= c.log.Next() {
		return 0
	}
	if m.flags&memberRewound != 0 {
		return len(s.unreadSeqs(u, m, now))
	}
	gone := s.gapsOf(u, c, now)
	gone.from(low)
	n := int(c.log.Next()-low) - len(gone.marks)
	rest := gone
	for _, e := range gone.endings {
		if e.at <= now && rest.up(e.seq) == gapExpired {
			n--
		}
	}
	if hides := s.hidesOf(u, m); len(hides) > 0 {
		from, _ := findMark(hides, low)
		for _, h := range hides[from:] {
			if gone.up(h.seq) == gapNone {
				n--
			}
		}
	}
	return n
}

// unreadSeqs lists what groupUnread counts.
func (s *State) unreadSeqs(u *user, m *member, now int64) []uint64 {
	if !u.team.counts() {
		return nil
	}
	v := s.memberView(u, m)
	name := s.memberName(m)
	var seqs []uint64
	var e ring.Entry
	for cur := v.log().Ascend(s.arena, s.unreadFrom(u, m, now)); cur.Next(&e); {
		if string(e.From) != string(name) && v.hiddenBy(s, &e, now) == gapNone {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// GroupUnread lists the seqs that make up a member's unread, ascending.
func (s *State) GroupUnread(id command.GroupID, user command.UserID, now int64) []uint64 {
	u := s.group(id)
	if u == nil {
		return nil
	}
	if m := s.member(u.team, user); m != nil {
		return s.unreadSeqs(u, m, now)
	}
	return nil
}

// hidesOf lists what a member has hidden from himself. Few have anything.
func (s *State) hidesOf(u *user, m *member) []mark {
	if len(u.team.hides) == 0 {
		return nil
	}
	return u.team.hides[command.UserID(s.memberName(m))]
}

// compareGroups orders views by their newest message, newest first.
func compareGroups(a, b *query.GroupView) int {
	if c := cmp.Compare(b.Time, a.Time); c != 0 {
		return c
	}
	return strings.Compare(string(a.Group), string(b.Group))
}
