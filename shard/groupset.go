package shard

import (
	"hash/maphash"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A groupSet is a set of groups, to find out which users are members of any of them. It
// is asked about a hundred users at a time, each in up to a thousand groups; for most
// groups a look at one bit tells that they are not in the set.
type groupSet struct {
	bits   [1 << 16 / 64]uint64 // one bit for each groupHash; set if a group in the set has it
	groups []command.GroupID    // the set, ascending
}

// groupSeed is the seed of groupHash, the same for all shards of the process. As with
// State.seed, no result depends on it.
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

// sharing answers a Sharing query.
func (s *State) sharing(q *query.Sharing) {
	q.Sharing = make([]bool, len(q.Users))
	set := newGroupSet(q.Groups)
	for i, user := range q.Users {
		if u := s.lookup(user); u != nil && s.inOneOf(u, set) {
			q.Sharing[i] = !s.Blocks(user, q.Asker)
		}
	}
}

// inOneOf reports whether a user is a member of one of the groups by their own will:
// they have joined it themselves, or have written there.
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
