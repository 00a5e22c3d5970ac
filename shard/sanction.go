package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A sanction is a user's mute or ban in a group for some time. It belongs to the group
// and not to a membership, so that its user cannot end it by leaving. It also keeps a
// former member's settings. It has no pointers.
type sanction struct {
	name    ring.Ref
	nameLen uint8
	muted   int64 // ms, until when the user may not send; 0 = not muted
	banned  int64 // ms, until when the user may not be a member; 0 = not banned

	// settings are the user's settings of the group (memberMuted, memberPinned) when
	// their membership ended. They apply again if the user returns before
	// settingsUntil.
	settings      uint8
	settingsUntil int64 // ms; 0 = no settings are kept
}

const (
	// maxSavedSettings bounds the former members of a group whose settings are kept. If
	// there are as many, settings of further ones are not kept.
	maxSavedSettings = 10_000
	savedSettingsMS  = 30 * 24 * hourMS // how long settings are kept
)

// maxSanctions bounds the users of a group who are muted or banned. If there are as
// many, further mutes and bans are refused until some have ended.
const maxSanctions = 10_000

// sanctionName returns the name of a sanction's user. The bytes alias the arena.
func (s *State) sanctionName(x *sanction) []byte { return s.arena.Bytes(x.name, int(x.nameLen)) }

// sanctionIndex returns the index of a user's sanction, or the index at which it would
// be, and whether there is one.
func (s *State) sanctionIndex(g *groupRecord, name command.UserID) (int, bool) {
	return slices.BinarySearchFunc(g.sanctions.items, name, func(x sanction, name command.UserID) int {
		switch have := s.sanctionName(&x); {
		case string(have) < string(name):
			return -1
		case string(have) > string(name):
			return 1
		}
		return 0
	})
}

// sanctionsOf returns until when, in ms, a user is muted and until when banned; 0 = the
// user is not.
func (s *State) sanctionsOf(g *groupRecord, name command.UserID) (muted, banned int64) {
	if len(g.sanctions.items) == 0 {
		return 0, 0
	}
	i, ok := s.sanctionIndex(g, name)
	if !ok {
		return 0, 0
	}
	x := &g.sanctions.items[i]
	return s.ifFuture(x.muted), s.ifFuture(x.banned)
}

// ifFuture returns a time (ms) if it is in the future, and otherwise 0.
func (s *State) ifFuture(until int64) int64 {
	if until <= s.now {
		return 0
	}
	return until
}

func (s *State) mutedUntil(g *groupRecord, name command.UserID) int64 {
	muted, _ := s.sanctionsOf(g, name)
	return muted
}

func (s *State) bannedUntil(g *groupRecord, name command.UserID) int64 {
	_, banned := s.sanctionsOf(g, name)
	return banned
}

// roomForSanction reports whether a user of a group can be muted or banned, if others
// more users are to be as well.
func (s *State) roomForSanction(g *groupRecord, name command.UserID, others int) bool {
	items := g.sanctions.items
	if len(items)+others < maxSanctions {
		return true
	}
	lasting := others
	for i := range items {
		if x := &items[i]; max(x.muted, x.banned) > s.now {
			lasting++
		}
	}
	muted, banned := s.sanctionsOf(g, name)
	return muted != 0 || banned != 0 || lasting < maxSanctions
}

// end returns the time, in ms, from which the sanction is no longer needed.
func (x *sanction) end() int64 { return max(x.muted, x.banned, x.settingsUntil) }

// setSanction sets until when, in ms, a user is muted and until when banned. Times in
// the past count as 0.
func (s *State) setSanction(u *user, name command.UserID, muted, banned int64) {
	g := u.group
	muted, banned = s.ifFuture(muted), s.ifFuture(banned)
	i, known := s.sanctionIndex(g, name)
	switch {
	case known:
	case muted == 0 && banned == 0:
		return
	default:
		i = s.addSanction(u, name)
	}
	x := &g.sanctions.items[i]
	x.muted, x.banned = muted, banned
	if x.end() <= s.now {
		s.forgetSanctions(u)
		return
	}
	g.sanctionsEnd = min(g.sanctionsEnd, x.end())
}

// addSanction adds an empty sanction for a user without one, and returns its index.
func (s *State) addSanction(u *user, name command.UserID) int {
	g := u.group
	if len(g.sanctions.items) >= maxSanctions {
		s.forgetSanctions(u)
	}
	i, _ := s.sanctionIndex(g, name)
	x := sanction{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name))}
	copy(s.arena.Bytes(x.name, len(name)), name)
	s.holdFor(u)
	g.sanctions.add(s.arena, x)
	copy(g.sanctions.items[i+1:], g.sanctions.items[i:])
	g.sanctions.items[i] = x
	return i
}

// saveSettings remembers the mute and pin settings found in flags, of a member who has
// left, in case they join again.
func (s *State) saveSettings(u *user, name command.UserID, flags uint8) {
	g := u.group
	if flags &= memberMuted | memberPinned; flags == 0 {
		return
	}
	if g.savedSettings >= maxSavedSettings {
		s.forgetSanctions(u)
	}
	i, known := s.sanctionIndex(g, name)
	switch {
	case g.savedSettings >= maxSavedSettings:
		return
	case !known:
		i = s.addSanction(u, name)
	}
	x := &g.sanctions.items[i]
	if x.settingsUntil == 0 {
		g.savedSettings++
	}
	x.settings, x.settingsUntil = flags, s.now+savedSettingsMS
	g.sanctionsEnd = min(g.sanctionsEnd, x.end())
}

// restoreSettings returns the settings that are kept for a user, as flags of a member,
// and no longer keeps them.
func (s *State) restoreSettings(u *user, name command.UserID) (flags uint8) {
	g := u.group
	i, known := s.sanctionIndex(g, name)
	if !known || g.sanctions.items[i].settingsUntil == 0 {
		return 0
	}
	x := &g.sanctions.items[i]
	if x.settingsUntil > s.now {
		flags = x.settings
	}
	x.settings, x.settingsUntil = 0, 0
	if g.savedSettings--; x.end() <= s.now {
		s.forgetSanctions(u)
	}
	return flags
}

// forgetSanctions removes sanctions that have ended.
func (s *State) forgetSanctions(u *user) {
	g := u.group
	s.holdFor(u)
	g.sanctionsEnd = math.MaxInt64
	g.sanctions.items = slices.DeleteFunc(g.sanctions.items, func(x sanction) bool {
		if x.end() > s.now {
			g.sanctionsEnd = min(g.sanctionsEnd, x.end())
			return false
		}
		if x.settingsUntil != 0 {
			g.savedSettings--
		}
		s.arena.Free(x.name, int(x.nameLen))
		return true
	})
	if len(g.sanctions.items) == 0 {
		g.sanctions.free(s.arena)
	}
}

// freeSanctions frees all sanctions of a group.
func (s *State) freeSanctions(g *groupRecord) {
	for i := range g.sanctions.items {
		x := &g.sanctions.items[i]
		s.arena.Free(x.name, int(x.nameLen))
	}
	g.sanctions.free(s.arena)
	g.sanctionsEnd, g.savedSettings = math.MaxInt64, 0
}

func (s *State) applyUnban(c *command.Unban, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	if s.role(g, c.By) < command.RoleAdmin {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins lift bans"}
		return
	}
	muted, banned := s.sanctionsOf(g, c.User)
	if banned == 0 {
		return // nothing to change
	}
	s.setSanction(u, c.User, muted, 0)
	s.addEvent(u, query.EventBanned, c.By, c.User)
}

// Bans lists at most limit users who are banned from a group, in order of name from the
// first above after, and reports whether there are more.
func (s *State) Bans(id command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool) {
	u := s.group(id)
	if u == nil {
		return nil, false
	}
	i, found := s.sanctionIndex(u.group, after)
	if found {
		i++
	}
	rest := u.group.sanctions.items[i:]
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
