package raftstore

import (
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// Eligibility returns what matters of users before they come to a group; result i is for
// users[i]. It costs one read for each shard that holds some of them. asker may be "".
func (s *Store) Eligibility(asker command.UserID, users []command.UserID) []store.Eligibility {
	byShard := make([][]int, len(s.shards))
	for i, user := range users {
		id := s.shardOf(user).id
		byShard[id] = append(byShard[id], i)
	}
	answers := make([]store.Eligibility, len(users))
	for id, places := range byShard {
		if len(places) == 0 {
			continue
		}
		err := s.shards[id].replica.Read(func(st *shard.State, _ int64) {
			for _, i := range places {
				answers[i] = eligibilityOf(st, asker, users[i])
			}
		})
		if err == nil {
			continue
		}
		for _, i := range places {
			answers[i] = store.Eligibility{Err: err}
		}
	}
	return answers
}

func eligibilityOf(st *shard.State, asker, user command.UserID) store.Eligibility {
	if !st.Owns(command.SlotOf(string(user))) {
		return store.Eligibility{Err: errMoving}
	}
	return store.Eligibility{
		Known: st.HasUser(user), Exists: st.Exists(user), Blocks: st.Blocks(user, asker), Wrote: st.HasSentTo(user, asker),
		GroupCounts: st.GroupCounts(user),
	}
}
