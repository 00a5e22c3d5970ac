package shard

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A GroupSet has the groups of one user, to be asked whether others are in one of
// them. Most answers take one look at a bit for each group of the other: a user
// can be in a thousand, and the question is put about a hundred users at a time.
type GroupSet struct {
	bits [1 << 16 / 64]uint64 // by hash of the name
	refs []query.GroupRef     // by id
}

// teamSeed is one for all shards: what one has hashed is compared in another. As
// for State.seed, no result depends on it.
var teamSeed = maphash.MakeSeed()

func teamHash(name string) uint16 { return uint16(maphash.String(teamSeed, name)) }

// GroupSet gives that of a user, nil if he is in no group.
func (s *State) GroupSet(name command.UserID) *GroupSet {
	refs := s.GroupsOf(name)
	if len(refs) == 0 {
		return nil
	}
	set := &GroupSet{refs: refs}
	for i := range refs {
		h := teamHash(string(refs[i].Group))
		set.bits[h/64] |= 1 << (h % 64)
	}
	return set
}

// InOneOf tells whether a user is in a group of a set by his own will: he has
// joined it himself, or spoken there.
func (s *State) InOneOf(name command.UserID, set *GroupSet) bool {
	u := s.lookup(name)
	if u == nil {
		return false
	}
	for i := range u.teams.items {
		ref := &u.teams.items[i]
		if set.bits[ref.hash/64]&(1<<(ref.hash%64)) == 0 || ref.flags&(refJoined|refInvited) != refJoined {
			continue
		}
		_, found := slices.BinarySearchFunc(set.refs, s.teamName(ref), func(of query.GroupRef, name []byte) int {
			return cmp.Compare(string(of.Group), string(name))
		})
		if found {
			return true
		}
	}
	return false
}
