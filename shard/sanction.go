package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A sanction keeps a user from speaking in a group, or out of it, for a time. It
// belongs to the group and not to a membership, so that nothing that its user
// does ends it. It has no pointers.
type sanction struct {
	name    ring.Ref
	nameLen uint8
	muted   int64 // ms, until then they may not send; 0 = not muted
	banned  int64 // ms, until then they may be no member; 0 = not banned

	// What they had set of the group themselves when they ceased to be a member, to
	// be so again should they come back.
	wish   uint8 // memberMuted, memberPinned
	wished int64 // ms, until then it is kept; 0 = there is none
}

const (
	// maxWishes bounds the former members of a group whose wishes are kept. Past it
	// those of who leaves are not.
	maxWishes = 10_000
	// wishMS is how long they are kept.
	wishMS = 30 * 24 * hourMS
)

// maxSanctions bounds the users of a group who are muted or banned. Past it
// further ones are refused until some of them end.
const maxSanctions = 10_000

// sanctionName aliases the arena.
func (s *State) sanctionName(x *sanction) []byte { return s.arena.Bytes(x.name, int(x.nameLen)) }

// sanctionIndex gives the place of a user's sanction, or where it would be.
func (s *State) sanctionIndex(t *team, name command.UserID) (int, bool) {
	return slices.BinarySearchFunc(t.sanctions.items, name, func(x sanction, name command.UserID) int {
		switch have := s.sanctionName(&x); {
		case string(have) < string(name):
			return -1
		case string(have) > string(name):
			return 1
		}
		return 0
	})
}

// sanctionsOf tells until when a user is muted and banned, ms; 0 = they are not.
func (s *State) sanctionsOf(t *team, name command.UserID) (muted, banned int64) {
	if len(t.sanctions.items) == 0 {
		return 0, 0
	}
	i, ok := s.sanctionIndex(t, name)
	if !ok {
		return 0, 0
	}
	x := &t.sanctions.items[i]
	return s.ahead(x.muted), s.ahead(x.banned)
}

// ahead is 0 for a time that has passed.
func (s *State) ahead(until int64) int64 {
	if until <= s.now {
		return 0
	}
	return until
}

func (s *State) mutedUntil(t *team, name command.UserID) int64 {
	muted, _ := s.sanctionsOf(t, name)
	return muted
}

func (s *State) bannedUntil(t *team, name command.UserID) int64 {
	_, banned := s.sanctionsOf(t, name)
	return banned
}

// mayPunish tells whether there is room for a sanction of one more user, when
// others are to get some at the same time.
func (s *State) mayPunish(t *team, name command.UserID, others int) bool {
	items := t.sanctions.items
	if len(items)+others < maxSanctions {
		return true
	}
	lasting := others
	for i := range items {
		if x := &items[i]; max(x.muted, x.banned) > s.now {
			lasting++
		}
	}
	muted, banned := s.sanctionsOf(t, name)
	return muted != 0 || banned != 0 || lasting < maxSanctions
}

func (x *sanction) end() int64 { return max(x.muted, x.banned, x.wished) }

// punish sets until when a user is muted and banned. What has passed is forgotten.
func (s *State) punish(u *user, name command.UserID, muted, banned int64) {
	t := u.team
	muted, banned = s.ahead(muted), s.ahead(banned)
	i, known := s.sanctionIndex(t, name)
	switch {
	case known:
	case muted == 0 && banned == 0:
		return
	default:
		i = s.addSanction(u, name)
	}
	x := &t.sanctions.items[i]
	x.muted, x.banned = muted, banned
	if x.end() <= s.now {
		s.forgetSanctions(u)
		return
	}
	t.sanctionsEnd = min(t.sanctionsEnd, x.end())
}

// addSanction makes one for a user who has none and gives its place.
func (s *State) addSanction(u *user, name command.UserID) int {
	t := u.team
	if len(t.sanctions.items) >= maxSanctions {
		s.forgetSanctions(u)
	}
	i, _ := s.sanctionIndex(t, name)
	x := sanction{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name))}
	copy(s.arena.Bytes(x.name, len(name)), name)
	s.frees(u)
	t.sanctions.add(s.arena, x)
	copy(t.sanctions.items[i+1:], t.sanctions.items[i:])
	t.sanctions.items[i] = x
	return i
}

// keepWish keeps what a member who goes has set of the group.
func (s *State) keepWish(u *user, name command.UserID, flags uint8) {
	t := u.team
	if flags &= memberMuted | memberPinned; flags == 0 {
		return
	}
	if t.wishes >= maxWishes {
		s.forgetSanctions(u)
	}
	i, known := s.sanctionIndex(t, name)
	switch {
	case t.wishes >= maxWishes:
		return
	case !known:
		i = s.addSanction(u, name)
	}
	x := &t.sanctions.items[i]
	if x.wished == 0 {
		t.wishes++
	}
	x.wish, x.wished = flags, s.now+wishMS
	t.sanctionsEnd = min(t.sanctionsEnd, x.end())
}

// takeWish gives what was kept of a user who is a member again.
func (s *State) takeWish(u *user, name command.UserID) (flags uint8) {
	t := u.team
	i, known := s.sanctionIndex(t, name)
	if !known || t.sanctions.items[i].wished == 0 {
		return 0
	}
	x := &t.sanctions.items[i]
	if x.wished > s.now {
		flags = x.wish
	}
	x.wish, x.wished = 0, 0
	if t.wishes--; x.end() <= s.now {
		s.forgetSanctions(u)
	}
	return flags
}

// forgetSanctions removes those that have ended.
func (s *State) forgetSanctions(u *user) {
	t := u.team
	s.frees(u)
	t.sanctionsEnd = math.MaxInt64
	t.sanctions.items = slices.DeleteFunc(t.sanctions.items, func(x sanction) bool {
		if x.end() > s.now {
			t.sanctionsEnd = min(t.sanctionsEnd, x.end())
			return false
		}
		if x.wished != 0 {
			t.wishes--
		}
		s.arena.Free(x.name, int(x.nameLen))
		return true
	})
	if len(t.sanctions.items) == 0 {
		t.sanctions.free(s.arena)
	}
}

// freeSanctions gives back all of them.
func (s *State) freeSanctions(t *team) {
	for i := range t.sanctions.items {
		x := &t.sanctions.items[i]
		s.arena.Free(x.name, int(x.nameLen))
	}
	t.sanctions.free(s.arena)
	t.sanctionsEnd, t.wishes = math.MaxInt64, 0
}

func (s *State) applyUnban(c *command.Unban, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	if s.role(t, c.By) < command.RoleAdmin {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins lift bans"}
		return
	}
	muted, banned := s.sanctionsOf(t, c.User)
	if banned == 0 {
		return // it is so already
	}
	s.punish(u, c.User, muted, 0)
	s.happened(u, query.EventBanned, c.By, c.User)
}

// Bans lists the users who are banned from a group in order of name, from the
// first one above after.
func (s *State) Bans(id command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool) {
	u := s.group(id)
	if u == nil {
		return nil, false
	}
	i, found := s.sanctionIndex(u.team, after)
	if found {
		i++
	}
	rest := u.team.sanctions.items[i:]
	for j := range rest {
		if x := &rest[j]; x.banned > s.now {
			if len(bans) == limit {
				return bans, true
			}
			bans = append(bans, query.Ban{User: command.UserID(s.sanctionName(x)), Until: x.banned})
		}
	}
	return bans, false
}
