package shard

import (
	"cmp"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// group returns the record of a group, or nil if there is no such group or it is
// dismissed. The caller must not change it.
func (s *State) group(id command.GroupID) *user {
	if u := s.lookupGroup(id); u != nil && u.group.dismissedMS == 0 {
		return u
	}
	return nil
}

// Group returns what is known of a group, and of asker in it. It returns false if there
// is no such group.
func (s *State) Group(id command.GroupID, asker command.UserID) (query.GroupInfo, bool) {
	u := s.group(id)
	if u == nil {
		return query.GroupInfo{}, false
	}
	g, log := u.group, &u.convs.items[0].log
	info := query.GroupInfo{
		ID: g.id, Kind: g.kind, Settings: g.settings, Name: g.title, Owner: g.owner, Properties: g.properties,
		Created: g.createdMS, Members: len(g.members.items), Requests: len(g.requests),
		LastSeq: log.Next() - 1, Bytes: log.Bytes(), Arrival: u.arrival, Offered: s.offered(g),
	}
	info.MutedUntil, info.BannedUntil = s.sanctionsOf(g, asker)
	if m := s.member(g, asker); m != nil {
		info.Role = m.role
	}
	if !g.settings.StoresMessages {
		for i := range g.events {
			if e := &g.events[i]; e.EndsMembershipOf(asker) {
				info.EndArrival = e.Arrival
			}
		}
	}
	return info, true
}

// Members lists the members of a group in order of name, from the first above after. Of
// a group that stores nothing it lists the users who have a role or are muted.
func (s *State) Members(id command.GroupID, after command.UserID, limit int) (members []query.Member, more bool) {
	u := s.group(id)
	if u == nil {
		return nil, false
	}
	g := u.group
	i, found := s.memberIndex(g, after)
	if found {
		i++
	}
	j, found := s.sanctionIndex(g, after)
	if found {
		j++
	}
	list, others := g.members.items[i:], g.sanctions.items[j:]
	for len(list) > 0 || !g.settings.StoresMessages && len(others) > 0 {
		var m query.Member
		switch {
		case len(others) == 0 || len(list) > 0 && string(s.memberName(&list[0])) <= string(s.sanctionName(&others[0])):
			m = s.memberInfo(g, &list[0])
			if len(others) > 0 && string(s.sanctionName(&others[0])) == string(m.User) {
				others = others[1:]
			}
			list = list[1:]
		case g.settings.StoresMessages || others[0].muted <= s.now:
			others = others[1:]
			continue
		default:
			m = query.Member{User: command.UserID(s.sanctionName(&others[0])), Role: command.RoleMember, VisibleFrom: 1, MutedUntil: others[0].muted}
			others = others[1:]
		}
		if len(members) == limit {
			return members, true
		}
		members = append(members, m)
	}
	return members, false
}

// Member returns a member of a group. It returns false if the user is not one.
func (s *State) Member(id command.GroupID, user command.UserID) (query.Member, bool) {
	u := s.group(id)
	if u == nil {
		return query.Member{}, false
	}
	m := s.member(u.group, user)
	if m == nil {
		return query.Member{}, false
	}
	return s.memberInfo(u.group, m), true
}

func (s *State) memberInfo(g *groupRecord, m *member) query.Member {
	name := command.UserID(s.memberName(m))
	return query.Member{
		User: name, Role: m.role, Joined: m.joinedMS, VisibleFrom: m.visibleFrom, Read: m.read, MutedUntil: s.mutedUntil(g, name),
	}
}

// JoinRequests lists the requests to join a group that wait for an answer, oldest
// first.
func (s *State) JoinRequests(id command.GroupID) []query.JoinRequest {
	if u := s.group(id); u != nil {
		return slices.Clone(u.group.requests)
	}
	return nil
}

// MemberSince returns the arrival number in the group's order after which a member is
// told what happens, which includes their own join. It returns false if the user is not
// a member.
func (s *State) MemberSince(id command.GroupID, user command.UserID) (arrival uint64, ok bool) {
	u := s.group(id)
	if u == nil {
		return 0, false
	}
	m := s.member(u.group, user)
	if m == nil {
		return 0, false
	}
	return m.joinArrival - 1, true
}

// LastMembership returns the last membership of a user that has ended. It returns false
// if the user is a member, or if the events that tell of the membership are forgotten.
func (s *State) LastMembership(id command.GroupID, user command.UserID) (query.PastMembership, bool) {
	u := s.lookupGroup(id)
	if u == nil || s.member(u.group, user) != nil {
		return query.PastMembership{}, false
	}
	var past query.PastMembership
	events := u.group.events
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		switch {
		case e.EndsMembershipOf(user):
			if past.To != 0 {
				return query.PastMembership{}, false
			}
			past.To, past.EndedMS = e.Arrival, e.Time
		case past.To != 0 && (e.Kind == query.EventJoined || e.Kind == query.EventCreated) && slices.Contains(e.Users, user):
			past.From, past.VisibleFrom = e.Arrival-1, 1
			if u.group.settings.History != command.HistoryAll {
				past.VisibleFrom = u.convs.items[0].log.FirstAfterArrival(s.arena, e.Arrival)
			}
			return past, true
		}
	}
	return query.PastMembership{}, false
}

// GroupArrival returns the newest arrival number in a group's order, or 0 if there is
// no record of the group.
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
			if g := s.userAt(number).group; g != nil && g.dismissedMS == 0 && !yield(g.id) {
				return
			}
		}
	}
}

// GroupUpdatesAfter reads what came after an arrival number in a group's order: visible
// messages, recalls and events, the same for all members. For a dismissed group it
// still reads the event of the dismissal. Bounds are as in query.UpdatesAfter.
func (s *State) GroupUpdatesAfter(id command.GroupID, after uint64, up *query.Updates, maxMessages, maxBytes int, now int64) {
	up.Reset()
	up.Through = after
	u := s.lookupGroup(id)
	if u == nil || u.arrival <= after {
		return
	}
	g, c := u.group, &u.convs.items[0]
	up.Through, up.Uncounted = u.arrival, g.settings.StoresMessages && !g.countsUnread()
	if g.eventsForgotten > after {
		up.MissedEvents, up.MissedEventsTo = true, g.eventsForgotten
	}
	if from := max(after, u.importOf(0).arrival); c.lastArrival > from { // imported messages are not pushed
		var e ring.Entry
		for walk := s.ascendVisible(u, c, c.log.FirstAfterArrival(s.arena, from), now); walk.next(&e); {
			if s.gapOf(u, c, &e, now) != gapNone {
				continue
			}
			if n := len(up.Messages); n == maxMessages || n > 0 && up.Size >= maxBytes {
				up.More = true
				up.Through = up.Messages[n-1].Arrival
				break
			}
			s.copyEntry(u, c, &e, up)
		}
	}
	s.appendGroupChanges(u, after, up.Through, up)
	for i := range g.events {
		if e := &g.events[i]; e.Arrival > after && e.Arrival <= up.Through {
			up.Events = append(up.Events, *e)
		}
	}
	up.Interleave()
}

// appendGroupChanges appends to up the recalls with after < arrival <= upTo.
func (s *State) appendGroupChanges(u *user, after, upTo uint64, up *query.Updates) {
	g := u.group
	for i := range g.recalls {
		rc := &g.recalls[i]
		if rc.arrival > after && rc.arrival <= upTo {
			up.Changes = append(up.Changes, query.Change{
				Kind: query.ChangeRecall, Group: g.id, Arrival: rc.arrival, By: rc.by, Sender: rc.sender,
				Ranges: []query.Range{{From: rc.from, To: rc.to}},
			})
		}
	}
	if g.recallsForgotten <= after {
		return
	}
	// Who made older recalls is forgotten, so they are told as one.
	old := query.Change{Kind: query.ChangeRecall, Group: g.id}
	for _, t := range s.tombstonesOf(u, &u.convs.items[0]) {
		if t.arrival <= after || t.arrival > min(upTo, g.recallsForgotten) {
			continue
		}
		if old.Arrival == 0 || t.arrival < old.Arrival {
			old.Arrival = t.arrival
		}
		if n := len(old.Ranges); n > 0 && old.Ranges[n-1].To+1 == t.seq {
			old.Ranges[n-1].To = t.seq
		} else {
			old.Ranges = append(old.Ranges, query.Range{From: t.seq, To: t.seq})
		}
	}
	if old.Arrival != 0 {
		up.Changes = append(up.Changes, old)
		slices.SortFunc(up.Changes, func(x, y query.Change) int { return cmp.Compare(x.Arrival, y.Arrival) })
	}
}

// clipRecalls returns the recalls without seqs below low, and without recalls that have
// no other seqs. It reuses the slice.
func clipRecalls(changes []query.Change, low uint64) []query.Change {
	kept := changes[:0]
	for _, c := range changes {
		if c.Ranges = query.ClipRanges(c.Ranges, low); len(c.Ranges) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// MemberChanges returns the changes after an arrival number that a member's other
// sessions made in the member's view of a group.
func (s *State) MemberChanges(id command.GroupID, user command.UserID, session command.SessionID, after uint64) []query.Change {
	u := s.group(id)
	if u == nil {
		return nil
	}
	m := s.member(u.group, user)
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
	add(m.readArrival, m.readBy, query.Change{Kind: query.ChangeRead, Seq: m.read})
	add(m.clearedArrival, m.clearedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: m.clearedTo, Messages: true})
	add(m.unlistedArrival, m.unlistedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: m.unlistedTo})
	add(m.settingsArrival, 0, query.Change{Kind: query.ChangeSettings, Settings: m.settings()})
	deleted := query.Change{Kind: query.ChangeMessagesDeleted}
	first := uint64(0)
	for _, h := range u.group.hidden[user] {
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
	return query.ConversationSettings{Muted: m.flags&memberMuted != 0, Pinned: m.flags&memberPinned != 0, Unread: m.flags&memberMarkedUnread != 0}
}

// GroupMessages reads those of a group's messages with the given seqs that are visible
// to a member.
func (s *State) GroupMessages(user command.UserID, id command.GroupID, seqs []uint64, up *query.Updates, now int64) {
	up.Reset()
	u := s.group(id)
	if u == nil {
		return
	}
	m := s.member(u.group, user)
	if m == nil {
		return
	}
	v := s.memberView(u, m)
	var e ring.Entry
	for _, seq := range seqs {
		if v.log().At(s.arena, seq, &e) && v.gapOf(s, &e, now) == gapNone {
			s.copyEntry(u, v.c, &e, up)
			up.Items = append(up.Items, query.Item{Message: len(up.Messages) - 1, Change: -1, Event: -1})
		}
	}
	up.Through = u.arrival
}

// unreadFrom returns the lowest seq that a member may have unread.
func (s *State) unreadFrom(u *user, m *member, now int64) uint64 {
	log := &u.convs.items[0].log
	low := max(m.read+1, m.unlistedTo+1, m.clearedTo+1, m.visibleFrom, log.First())
	var e ring.Entry
	if log.Header(s.arena, low, &e) == 0 || !s.expired(u, &e, now) && e.Time > s.cutoff {
		return low
	}
	// Times never fall along a log, so the entries that are too old are at its head.
	return max(low, log.LastThroughTime(s.arena, max(now-s.historyTTL(u), s.cutoff))+1)
}

// groupUnread returns how many messages of others a member has not read: all seqs from
// unreadFrom on, except gaps. The member's own messages do not count, because they are
// below the read cursor, unless memberRewound is set.
func (s *State) groupUnread(u *user, m *member, now int64) int {
	g, c := u.group, &u.convs.items[0]
	if !g.countsUnread() {
		return 0
	}
	low := s.unreadFrom(u, m, now)
	if low >= c.log.Next() {
		return 0
	}
	if m.flags&memberRewound != 0 {
		return len(s.unreadSeqs(u, m, now))
	}
	gone := s.newGapScan(u, c, now)
	gone.skipBelow(low)
	n := int(c.log.Next()-low) - len(gone.tombstones)
	rest := gone
	for _, e := range gone.ttlEnds {
		if e.at <= now && rest.codeAscending(e.seq) == gapExpired {
			n--
		}
	}
	if hidden := s.hiddenOf(u, m); len(hidden) > 0 {
		from, _ := findTombstone(hidden, low)
		for _, h := range hidden[from:] {
			if gone.codeAscending(h.seq) == gapNone {
				n--
			}
		}
	}
	return n
}

// unreadSeqs lists the seqs of the messages that groupUnread counts.
func (s *State) unreadSeqs(u *user, m *member, now int64) []uint64 {
	if !u.group.countsUnread() {
		return nil
	}
	v := s.memberView(u, m)
	name := s.memberName(m)
	var seqs []uint64
	var e ring.Entry
	for cur := v.log().Ascend(s.arena, s.unreadFrom(u, m, now)); cur.Next(&e); {
		if string(e.From) != string(name) && v.gapOf(s, &e, now) == gapNone {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// GroupUnread lists the seqs of the messages that a member has unread, ascending.
func (s *State) GroupUnread(id command.GroupID, user command.UserID, now int64) []uint64 {
	u := s.group(id)
	if u == nil {
		return nil
	}
	if m := s.member(u.group, user); m != nil {
		return s.unreadSeqs(u, m, now)
	}
	return nil
}

// hiddenOf returns the messages that a member has hidden from their own view, by seq.
func (s *State) hiddenOf(u *user, m *member) []tombstone {
	if len(u.group.hidden) == 0 {
		return nil
	}
	return u.group.hidden[command.UserID(s.memberName(m))]
}

// compareSyncItems orders items by the time of their newest message, newest first.
func compareSyncItems(a, b *query.GroupSyncItem) int {
	if c := cmp.Compare(b.Time, a.Time); c != 0 {
		return c
	}
	return strings.Compare(string(a.Group), string(b.Group))
}
