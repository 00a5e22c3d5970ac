package shard

import (
	"hash/maphash"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A groupSet answers which users are in one of some groups. Most answers take one look
// at a bit for each group of the user, because a user can be in a thousand groups and
// the question is asked for a hundred users at a time.
type groupSet struct {
	bits   [1 << 16 / 64]uint64 // by hash of the name
	groups []command.GroupID    // ascending
}

// groupSeed is one for all shards. As with State.seed, no result depends on it.
var groupSeed = maphash.MakeSeed()

func groupHash(name string) uint16 { return uint16(maphash.String(groupSeed, name)) }

func newGroupSet(groups []command.GroupID) *groupSet {
	set := &groupSet{groups: groups}
	for _, group := range groups {
		h := groupHash(string(group))
		set.bits[h/64] |= 1 << (h % 64)
	}
	return set
}

// sharing reports which users are in one of some groups.
func (s *State) sharing(q *query.Sharing) {
	q.Sharing = make([]bool, len(q.Users))
	set := newGroupSet(q.Groups)
	for i, user := range q.Users {
		if u := s.lookup(user); u != nil && s.inOneOf(u, set) {
			q.Sharing[i] = !s.Blocks(user, q.Asker)
		}
	}
}

// inOneOf reports whether users are in one of the groups by their own will: they have
// joined it themselves, or spoken there.
func (s *State) inOneOf(u *user, set *groupSet) bool {
	for i := range u.memberships.items {
		ms := &u.memberships.items[i]
		if set.bits[ms.hash/64]&(1<<(ms.hash%64)) == 0 || ms.flags&(membershipActive|membershipInvited) != membershipActive {
			continue
		}
		if _, found := slices.BinarySearch(set.groups, command.GroupID(s.membershipName(ms))); found {
			return true
		}
	}
	return false
}
