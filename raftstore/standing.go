package raftstore

import "github.com/belfry-im/belfry/shard"

// A Standing is what a user's shard knows of him that matters before he comes to
// a group, as far as it has heard.
type Standing struct {
	Known  bool // something is kept of him already
	Exists bool // the account has logged in before
	Blocks bool // he has blocked who asks
	Wrote  bool // he has written to who asks
	shard.GroupCounts
	Err error // why his shard does not tell; the rest means nothing then
}

// Standings tells of users, each in his place, in one read for each shard that
// holds some of them. asker may be "".
func (s *Store) Standings(asker shard.UserID, users []shard.UserID) []Standing {
	byShard := make([][]int, len(s.groups))
	for i, user := range users {
		id := s.group(user).id
		byShard[id] = append(byShard[id], i)
	}
	standings := make([]Standing, len(users))
	for id, places := range byShard {
		if len(places) == 0 {
			continue
		}
		err := s.groups[id].read(func(st *shard.State, _ int64) {
			for _, i := range places {
				standings[i] = standingOf(st, asker, users[i])
			}
		})
		if err == nil {
			continue
		}
		for _, i := range places {
			standings[i] = Standing{Err: err}
		}
	}
	return standings
}

func standingOf(st *shard.State, asker, user shard.UserID) Standing {
	if !st.Owns(shard.SlotOf(string(user))) {
		return Standing{Err: errMoving}
	}
	return Standing{
		Known: st.Known(user), Exists: st.Exists(user), Blocks: st.Blocks(user, asker), Wrote: st.WroteTo(user, asker),
		GroupCounts: st.GroupCounts(user),
	}
}
