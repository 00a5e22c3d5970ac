package shard

import (
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A membership is a group in the list of one user. It has no pointers. That of a
// former member is kept for a while, so that a late letter does not bring it back.
type membership struct {
	name    ring.Ref
	nameLen uint8
	flags   uint8
	hash    uint16 // of the group's name, see groupHash
	version uint64 // of the letter that brought the present state
	arrival uint64 // in the user's order
}

const (
	membershipActive = 1 << iota // the user is a member
	membershipOwner
	membershipInvited    // others added the user, who has not spoken there
	membershipByStranger // the same, and the one who added them is a stranger: the user has never written to them
	membershipRemoved    // former member who was removed
	membershipDismissed  // former member of a group that was dismissed
)

// Flags in Seq of a LetterJoined.
const (
	joinedAsOwner  = 1 << iota
	joinedByOthers // see memberInvited
	joinedAccepted // the member has spoken since the letter before; sessions need not be told
)

// Reasons in Seq of a LetterLeft; 0 = the member left.
const (
	leftRemoved = 1 + iota
	leftDismissed
)

// keptLeftMS is how long an ended membership is kept. A version is at least as high as
// the time it was given at, and no letter is on its way for that long.
const keptLeftMS = 7 * 24 * hourMS

// postJoined tells a user's shard what they are in a group now. by is who wanted it,
// "" = an administrator.
func (s *State) postJoined(u *user, name command.UserID, role command.Role, by command.UserID) {
	g := u.group
	l := command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: g.nextLetterVersion(s.now), Time: s.now, By: by}
	if role == command.RoleOwner {
		l.Seq = joinedAsOwner
	}
	if m := s.member(g, name); m != nil && m.flags&memberInvited != 0 {
		l.Seq |= joinedByOthers
	}
	s.postGroupLetter(u, &l)
}

// postLeft tells a user's shard that they are no longer a member; how is the reason in
// the letter.
func (s *State) postLeft(u *user, name command.UserID, how uint64) {
	s.postGroupLetter(u, &command.Letter{
		Kind: command.LetterLeft, From: u.name, To: name, Number: u.group.nextLetterVersion(s.now), Time: s.now, Seq: how,
	})
}

// -
func (g *groupRecord) nextLetterVersion(now int64) uint64 {
	g.letterVersion = max(g.letterVersion+1, uint64(max(now, 0)))
	return g.letterVersion
}

// acceptInvitation makes a member whom others added one who is there by their own
// will, because they have spoken or asked to join.
func (s *State) acceptInvitation(u *user, name command.UserID, m *member) {
	m.flags &^= memberInvited
	g := u.group
	l := command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: g.nextLetterVersion(s.now), Time: s.now, By: name}
	if m.role == command.RoleOwner {
		l.Seq = joinedAsOwner
	}
	if _, waits := g.letters[name]; !waits { // a waiting letter, which sessions must be told of, is replaced
		l.Seq |= joinedAccepted
	}
	s.postGroupLetter(u, &l)
}

// postGroupLetter applies a letter to a user at once if the user is in this shard and
// none waits before it, else it lets the letter wait in place of an older one.
func (s *State) postGroupLetter(u *user, l *command.Letter) {
	g, name := u.group, l.To
	older, waits := g.letters[name]
	if sl := s.slotFor(name); sl != nil && !waits {
		s.applyMembershipLetter(sl, l)
		return
	}
	b := command.AppendLetter(nil, l)
	if g.letters == nil {
		g.letters = make(map[command.UserID]groupLetter)
	}
	// An older letter is void now. If it were sent again after a long time, the
	// user's shard might no longer know that a newer one has arrived.
	g.letters[name] = groupLetter{version: l.Number, bytes: b}
	s.letterBytes += len(b) - len(older.bytes)
	s.out.Posted = append(s.out.Posted, Posted{From: u.name, To: name, Number: l.Number, Bytes: b})
}

// trimGroupLetter removes the letter to a user if it is not newer than upTo.
func (s *State) trimGroupLetter(u *user, name command.UserID, upTo uint64) {
	g := u.group
	if n, waits := g.letters[name]; waits && n.version <= upTo {
		s.letterBytes -= len(n.bytes)
		delete(g.letters, name)
	}
}

// letterNames lists the users for whom a letter waits, in order of name.
func (g *groupRecord) letterNames() []command.UserID { return slices.Sorted(maps.Keys(g.letters)) }

// applyMembershipLetter applies a letter of a group to the memberships of a user. The
// newest version counts, in whatever order letters arrive.
func (s *State) applyMembershipLetter(sl *slot, l *command.Letter) {
	u := s.userMut(sl, l.To, true)
	name := string(l.From[len(command.GroupPrefix):])
	i, known := s.membershipIndex(u, name)
	if !known {
		ms := membership{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name)), hash: groupHash(name)}
		copy(s.arena.Bytes(ms.name, len(name)), name)
		s.holdFor(u)
		u.memberships.add(s.arena, ms)
		copy(u.memberships.items[i+1:], u.memberships.items[i:])
		u.memberships.items[i] = ms
	}
	ms := &u.memberships.items[i]
	if l.Number <= ms.version {
		return
	}
	was := ms.flags
	ms.version, ms.flags = l.Number, 0
	switch {
	case l.Kind == command.LetterLeft && l.Seq == leftRemoved:
		ms.flags = membershipRemoved
	case l.Kind == command.LetterLeft && l.Seq == leftDismissed:
		ms.flags = membershipDismissed
	case l.Kind == command.LetterJoined:
		ms.flags = membershipActive
		switch {
		case l.Seq&joinedAsOwner != 0:
			ms.flags |= membershipOwner
		case l.By != "" && l.By != l.To && !s.hasSentTo(u, l.By):
			ms.flags |= membershipByStranger
		}
		if l.Seq&joinedByOthers != 0 {
			ms.flags |= membershipInvited
		}
		if l.Seq&joinedAccepted != 0 && was&membershipActive != 0 {
			return
		}
	}
	// Two joins in a row are a change too, as are two leavings: the letter in between
	// was replaced, and sessions that learn of it in the group's order wait for this.
	u.arrival++
	ms.arrival, u.membershipsArrival = u.arrival, u.arrival
	s.signal(u)
}

// membershipName returns the name of a membership's group. It aliases the arena.
func (s *State) membershipName(ms *membership) []byte { return s.arena.Bytes(ms.name, int(ms.nameLen)) }

// membershipIndex returns the index of a user's membership, or where it would be.
func (s *State) membershipIndex(u *user, name string) (int, bool) {
	return slices.BinarySearchFunc(u.memberships.items, name, func(ms membership, name string) int {
		switch have := s.membershipName(&ms); {
		case string(have) < name:
			return -1
		case string(have) > name:
			return 1
		}
		return 0
	})
}

// isOld reports whether the membership ended long ago.
func (ms *membership) isOld(now int64) bool {
	return ms.flags&membershipActive == 0 && int64(ms.version)+keptLeftMS <= now
}

// hasOldMembership reports whether any membership of the user ended long ago.
func (u *user) hasOldMembership(now int64) bool {
	return slices.ContainsFunc(u.memberships.items, func(ms membership) bool { return ms.isOld(now) })
}

// forgetMemberships removes memberships that ended long ago.
func (s *State) forgetMemberships(u *user) {
	s.holdFor(u)
	u.memberships.items = slices.DeleteFunc(u.memberships.items, func(ms membership) bool {
		stale := ms.isOld(s.now)
		if stale {
			s.arena.Free(ms.name, int(ms.nameLen))
		}
		return stale
	})
	if len(u.memberships.items) == 0 {
		u.memberships.free(s.arena)
	}
}

// GroupsOf lists the groups whose member a user is, by id.
func (s *State) GroupsOf(name command.UserID) []query.GroupRef {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	return s.groupsOf(u)
}

// hasSentTo reports whether a user has ever written to peer.
func (s *State) hasSentTo(u *user, peer command.UserID) bool {
	i := s.findConv(u, peer)
	return i >= 0 && u.convs.items[i].flags&convSent != 0
}

// HasSentTo reports whether a user has ever written to peer.
func (s *State) HasSentTo(name, peer command.UserID) bool { return s.convFlag(name, peer, convSent) }

// GroupCounts counts the groups of a user.
func (s *State) GroupCounts(name command.UserID) (n query.GroupCounts) {
	u := s.lookup(name)
	if u == nil {
		return n
	}
	for i := range u.memberships.items {
		switch flags := u.memberships.items[i].flags; {
		case flags&membershipActive == 0:
		case flags&membershipByStranger != 0:
			n.ByStrangers++
		default:
			n.Joined++
			if flags&membershipOwner != 0 {
				n.Owned++
			}
		}
	}
	return n
}

func (s *State) groupsOf(u *user) []query.GroupRef {
	var refs []query.GroupRef
	for i := range u.memberships.items {
		if ms := &u.memberships.items[i]; ms.flags&membershipActive != 0 {
			refs = append(refs, query.GroupRef{Group: command.GroupID(s.membershipName(ms)), Owner: ms.flags&membershipOwner != 0, Invited: ms.flags&membershipInvited != 0})
		}
	}
	return refs
}

// appendMembershipChanges appends the user's memberships that changed with after <
// arrival <= upTo.
func (s *State) appendMembershipChanges(u *user, after, upTo uint64, up *query.Updates) {
	if u.membershipsArrival <= after {
		return
	}
	for i := range u.memberships.items {
		ms := &u.memberships.items[i]
		if ms.arrival <= after || ms.arrival > upTo {
			continue
		}
		c := query.Change{
			Kind: query.ChangeGroupLeft, Group: command.GroupID(s.membershipName(ms)), Arrival: ms.arrival, Time: int64(ms.version), Event: query.EventLeft,
		}
		switch {
		case ms.flags&membershipActive != 0:
			c.Kind, c.Event = query.ChangeGroupJoined, query.EventJoined
		case ms.flags&membershipRemoved != 0:
			c.Event = query.EventRemoved
		case ms.flags&membershipDismissed != 0:
			c.Event = query.EventDismissed
		}
		up.Changes = append(up.Changes, c)
	}
}
