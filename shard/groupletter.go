package shard

import (
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A membership is a group in a user's own list. It has no pointers. That of a former
// member is kept for a while, so that an older letter that arrives late does not make
// the user a member again.
type membership struct {
	name    ring.Ref
	nameLen uint8
	flags   uint8
	hash    uint16 // of the group's name, see groupHash
	version uint64 // number of the letter that brought the present state
	arrival uint64 // of the last change, in the user's order
}

const (
	membershipActive = 1 << iota // the user is a member
	membershipOwner
	membershipInvited    // others added the user, who has not written in the group
	membershipByStranger // a stranger added the user: somebody to whom the user had never written
	membershipRemoved    // the user was a member and was removed
	membershipDismissed  // the user was a member when the group was dismissed
)

// Flags in Seq of a LetterJoined.
const (
	joinedAsOwner  = 1 << iota
	joinedByOthers // see memberInvited
	joinedAccepted // a member who was added by others has now written or asked to join: sessions need not be told
)

// Reasons in Seq of a LetterLeft; 0 = the user left of their own accord.
const (
	leftRemoved = 1 + iota
	leftDismissed
)

// keptLeftMS is how long a membership is kept after its end. That is longer than a
// letter can be on its way. The age is known from the version, which is at least the
// time (ms) at which it was given.
const keptLeftMS = 7 * 24 * hourMS

// postJoined tells a user's shard that the user is a member, and in which role. by is
// the user who wanted that, "" = an administrator.
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

// postLeft tells a user's shard that the user is no longer a member. how is the reason:
// leftRemoved, leftDismissed or 0.
func (s *State) postLeft(u *user, name command.UserID, how uint64) {
	s.postGroupLetter(u, &command.Letter{
		Kind: command.LetterLeft, From: u.name, To: name, Number: u.group.nextLetterVersion(s.now), Time: s.now, Seq: how,
	})
}

// nextLetterVersion returns the number of the group's next letter: higher than all
// before it, and at least now (ms).
func (g *groupRecord) nextLetterVersion(now int64) uint64 {
	g.letterVersion = max(g.letterVersion+1, uint64(max(now, 0)))
	return g.letterVersion
}

// acceptInvitation records that a member whom others added is in the group by their own
// will, because they have written there or asked to join.
func (s *State) acceptInvitation(u *user, name command.UserID, m *member) {
	m.flags &^= memberInvited
	g := u.group
	l := command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: g.nextLetterVersion(s.now), Time: s.now, By: name}
	if m.role == command.RoleOwner {
		l.Seq = joinedAsOwner
	}
	if _, waits := g.letters[name]; !waits { // otherwise this letter replaces one that sessions must be told of
		l.Seq |= joinedAccepted
	}
	s.postGroupLetter(u, &l)
}

// postGroupLetter applies a letter at once if its receiver is in this shard and no
// other letter to them waits. Otherwise the letter waits, in place of an older one.
func (s *State) postGroupLetter(u *user, l *command.Letter) {
	g, name := u.group, l.To
	older, waits := g.letters[name]
	if sl := s.slotFor(name); sl != nil && !waits {
		s.applyMembershipLetter(sl, l)
		return
	}
	b := s.encodeLetter(l)
	if g.letters == nil {
		g.letters = make(map[command.UserID]groupLetter)
	}
	// The older letter must not be sent any more: after a long time the user's shard
	// might have forgotten that a newer one has arrived.
	g.letters[name] = groupLetter{version: l.Number, bytes: b}
	s.letterBytes += len(b) - len(older.bytes)
	s.out.Posted = append(s.out.Posted, Posted{From: u.name, To: name, Number: l.Number, Bytes: b})
}

// trimGroupLetter removes the letter that waits for a user, if its number is at most
// upTo.
func (s *State) trimGroupLetter(u *user, name command.UserID, upTo uint64) {
	g := u.group
	if n, waits := g.letters[name]; waits && n.version <= upTo {
		s.letterBytes -= len(n.bytes)
		delete(g.letters, name)
	}
}

// letterNames lists the receivers of the group's waiting letters, in order of name.
func (g *groupRecord) letterNames() []command.UserID { return slices.Sorted(maps.Keys(g.letters)) }

// applyMembershipLetter applies a letter of a group to the memberships of its receiver,
// unless a newer letter was applied before.
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
	// A second join in a row is a change too, and so is a second leaving: a newer letter
	// has replaced the one in between, and sessions that learned of both events in the
	// group's order wait for the change in the user's order.
	u.arrival++
	ms.arrival, u.membershipsArrival = u.arrival, u.arrival
	s.signal(u)
}

// membershipName returns the name of a membership's group. The bytes alias the arena.
func (s *State) membershipName(ms *membership) []byte { return s.arena.Bytes(ms.name, int(ms.nameLen)) }

// membershipIndex returns the index of a user's membership of a group, or the index at
// which it would be, and whether there is one.
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

// isOld reports whether the membership ended longer ago than it is kept.
func (ms *membership) isOld(now int64) bool {
	return ms.flags&membershipActive == 0 && int64(ms.version)+keptLeftMS <= now
}

// hasOldMembership reports whether the user has a membership that forgetMemberships
// would remove.
func (u *user) hasOldMembership(now int64) bool {
	return slices.ContainsFunc(u.memberships.items, func(ms membership) bool { return ms.isOld(now) })
}

// forgetMemberships removes memberships that ended longer ago than they are kept.
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

// GroupsOf lists the groups that a user is a member of, by id.
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

// GroupCounts counts the groups that a user is a member of.
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

// appendMembershipChanges appends to up the changes of the user's memberships with
// after < arrival <= upTo.
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
