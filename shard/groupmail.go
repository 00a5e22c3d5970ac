package shard

import (
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A teamRef is a group in the list of one user. It has no pointers. One that he
// has left stays for a while, so that an older letter does not bring it back.
type teamRef struct {
	name    ring.Ref
	nameLen uint8
	flags   uint8
	hash    uint16 // of the name, see GroupSet
	version uint64 // of the letter that said so
	arrival uint64 // in the user's order
}

const (
	refJoined = 1 << iota
	refOwner
	refInvited // others put him there, and he has not spoken there
	refUnasked // so did strangers: whom he has never sent anything
	refRemoved // of one that he has left: he was removed
	refDismissed
)

// Of a LetterJoined, in Seq.
const (
	joinedAsOwner   = 1 << iota
	joinedByOthers  // see memberInvited
	joinedAndSpoken // he has spoken since the letter before: there is nothing to tell his sessions
)

// Of a LetterLeft, in Seq; 0 = he has left himself.
const (
	leftRemoved = 1 + iota
	leftDismissed
)

// leftMS is how long a group that was left stays in the list. A version is at
// least the time at which it was given; no letter is on its way for so long.
const leftMS = 7 * 24 * hourMS

// notify tells a user's shard what he is in a group now, and by whom.
func (s *State) notify(u *user, name command.UserID, role command.Role, by command.UserID) {
	t := u.team
	l := command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: t.nextVersion(s.now), Time: s.now, By: by}
	if role == command.RoleOwner {
		l.Seq = joinedAsOwner
	}
	if m := s.member(t, name); m != nil && m.flags&memberInvited != 0 {
		l.Seq |= joinedByOthers
	}
	s.sendNotice(u, &l)
}

// notifyEnd tells a user's shard that he is no member any more: how is 0 or one of
// those of a LetterLeft.
func (s *State) notifyEnd(u *user, name command.UserID, how uint64) {
	s.sendNotice(u, &command.Letter{
		Kind: command.LetterLeft, From: u.name, To: name, Number: u.team.nextVersion(s.now), Time: s.now, Seq: how,
	})
}

func (t *team) nextVersion(now int64) uint64 {
	t.version = max(t.version+1, uint64(max(now, 0)))
	return t.version
}

// spoke has a member whom others put into a group count as one who is there of
// his own will, once he speaks.
func (s *State) spoke(u *user, name command.UserID, m *member) {
	m.flags &^= memberInvited
	t := u.team
	l := command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: t.nextVersion(s.now), Time: s.now, By: name}
	if m.role == command.RoleOwner {
		l.Seq = joinedAsOwner
	}
	if _, waits := t.notices[name]; !waits { // else this takes the place of what is news
		l.Seq |= joinedAndSpoken
	}
	s.sendNotice(u, &l)
}

func (s *State) sendNotice(u *user, l *command.Letter) {
	t, name := u.team, l.To
	older, waits := t.notices[name]
	if sl := s.slotFor(name); sl != nil && !waits {
		s.enlist(sl, l)
		return
	}
	b := command.AppendLetter(nil, l)
	if t.notices == nil {
		t.notices = make(map[command.UserID]notice)
	}
	// An older notice is void now. Were it sent once more after a long time, the
	// user's shard might not know any more that a newer one has come before.
	t.notices[name] = notice{version: l.Number, bytes: b}
	s.letterBytes += len(b) - len(older.bytes)
	s.out.Posted = append(s.out.Posted, Posted{From: u.name, To: name, Number: l.Number, Bytes: b})
}

// trimNotices forgets what the user's shard has confirmed.
func (s *State) trimNotices(u *user, name command.UserID, upTo uint64) {
	t := u.team
	if n, waits := t.notices[name]; waits && n.version <= upTo {
		s.letterBytes -= len(n.bytes)
		delete(t.notices, name)
	}
}

// noticeNames lists who has notices waiting, in order of name.
func (t *team) noticeNames() []command.UserID { return slices.Sorted(maps.Keys(t.notices)) }

// enlist applies a letter of a group to the list of a user. The newest version
// counts, in whatever order they come.
func (s *State) enlist(sl *slot, l *command.Letter) {
	u := s.mutate(sl, l.To, true)
	name := string(l.From[len(command.GroupPrefix):])
	i, known := s.teamIndex(u, name)
	if !known {
		ref := teamRef{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name)), hash: teamHash(name)}
		copy(s.arena.Bytes(ref.name, len(name)), name)
		s.frees(u)
		u.teams.add(s.arena, ref)
		copy(u.teams.items[i+1:], u.teams.items[i:])
		u.teams.items[i] = ref
	}
	ref := &u.teams.items[i]
	if l.Number <= ref.version {
		return
	}
	was := ref.flags
	ref.version, ref.flags = l.Number, 0
	switch {
	case l.Kind == command.LetterLeft && l.Seq == leftRemoved:
		ref.flags = refRemoved
	case l.Kind == command.LetterLeft && l.Seq == leftDismissed:
		ref.flags = refDismissed
	case l.Kind == command.LetterJoined:
		ref.flags = refJoined
		switch {
		case l.Seq&joinedAsOwner != 0:
			ref.flags |= refOwner
		case l.By != "" && l.By != l.To && !s.wroteTo(u, l.By):
			ref.flags |= refUnasked
		}
		if l.Seq&joinedByOthers != 0 {
			ref.flags |= refInvited
		}
		if l.Seq&joinedAndSpoken != 0 && was&refJoined != 0 {
			return
		}
	}
	// A join after a join is news too, and a leaving after a leaving: what lay in
	// between never came, and the sessions that hear of it in the group's own order
	// wait for this.
	u.arrival++
	ref.arrival, u.teamsAt = u.arrival, u.arrival
	s.touch(u)
}

// teamName aliases the arena.
func (s *State) teamName(ref *teamRef) []byte { return s.arena.Bytes(ref.name, int(ref.nameLen)) }

// teamIndex gives the place of a group in a user's list, or where it would be.
func (s *State) teamIndex(u *user, name string) (int, bool) {
	return slices.BinarySearchFunc(u.teams.items, name, func(ref teamRef, name string) int {
		switch have := s.teamName(&ref); {
		case string(have) < name:
			return -1
		case string(have) > name:
			return 1
		}
		return 0
	})
}

// stale tells whether the user left the group long ago.
func (ref *teamRef) stale(now int64) bool {
	return ref.flags&refJoined == 0 && int64(ref.version)+leftMS <= now
}

// hasStaleTeam tells whether there is such a group in a user's list.
func (u *user) hasStaleTeam(now int64) bool {
	return slices.ContainsFunc(u.teams.items, func(ref teamRef) bool { return ref.stale(now) })
}

// forgetTeams removes the groups that a user left long ago.
func (s *State) forgetTeams(u *user) {
	s.frees(u)
	u.teams.items = slices.DeleteFunc(u.teams.items, func(ref teamRef) bool {
		stale := ref.stale(s.now)
		if stale {
			s.arena.Free(ref.name, int(ref.nameLen))
		}
		return stale
	})
	if len(u.teams.items) == 0 {
		u.teams.free(s.arena)
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

// wroteTo tells whether a user has ever sent anything to another.
func (s *State) wroteTo(u *user, peer command.UserID) bool {
	i := s.find(u, peer)
	return i >= 0 && u.convs.items[i].flags&convWrote != 0
}

// WroteTo tells whether a user has ever sent anything to another.
func (s *State) WroteTo(name, peer command.UserID) bool { return s.convFlag(name, peer, convWrote) }

// GroupCounts counts the groups of a user.
func (s *State) GroupCounts(name command.UserID) (n query.GroupCounts) {
	u := s.lookup(name)
	if u == nil {
		return n
	}
	for i := range u.teams.items {
		switch flags := u.teams.items[i].flags; {
		case flags&refJoined == 0:
		case flags&refUnasked != 0:
			n.Unasked++
		default:
			n.Joined++
			if flags&refOwner != 0 {
				n.Owned++
			}
		}
	}
	return n
}

func (s *State) groupsOf(u *user) []query.GroupRef {
	var refs []query.GroupRef
	for i := range u.teams.items {
		if ref := &u.teams.items[i]; ref.flags&refJoined != 0 {
			refs = append(refs, query.GroupRef{Group: command.GroupID(s.teamName(ref)), Owner: ref.flags&refOwner != 0, Invited: ref.flags&refInvited != 0})
		}
	}
	return refs
}

// teamChanges appends the groups that a user came to or left with
// after < arrival <= upTo.
func (s *State) teamChanges(u *user, after, upTo uint64, b *query.Batch) {
	if u.teamsAt <= after {
		return
	}
	for i := range u.teams.items {
		ref := &u.teams.items[i]
		if ref.arrival <= after || ref.arrival > upTo {
			continue
		}
		c := query.Change{
			Kind: query.ChangeGroupLeft, Group: command.GroupID(s.teamName(ref)), Arrival: ref.arrival, Time: int64(ref.version), Event: query.EventLeft,
		}
		switch {
		case ref.flags&refJoined != 0:
			c.Kind, c.Event = query.ChangeGroupJoined, query.EventJoined
		case ref.flags&refRemoved != 0:
			c.Event = query.EventRemoved
		case ref.flags&refDismissed != 0:
			c.Event = query.EventDismissed
		}
		b.Changes = append(b.Changes, c)
	}
}
