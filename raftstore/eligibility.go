package raftstore

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An eligibilityRead holds the queries of one call of Eligibility, which are used again.
type eligibilityRead struct {
	asked   []query.Eligibility // one for each user
	owners  *owners
	byShard [][]query.Query // of asked, by the index of their shard in owners
}

var eligibilityReads = sync.Pool{New: func() any { return new(eligibilityRead) }}

// begin fills in a query for each user, and sorts the queries by the shards that hold
// these users.
func (r *eligibilityRead) begin(s *Store, asker command.UserID, users []command.UserID) {
	r.asked = slices.Grow(r.asked[:0], len(users))[:len(users)]
	r.owners = s.owners.Load()
	shards := len(r.owners.shards)
	r.byShard = slices.Grow(r.byShard[:0], shards)[:shards]
	for i, user := range users {
		r.asked[i] = query.Eligibility{User: user, Asker: asker}
		id := r.owners.index(user)
		r.byShard[id] = append(r.byShard[id], &r.asked[i])
	}
}

func (r *eligibilityRead) end() {
	clear(r.asked)
	r.owners = nil
	for i, queries := range r.byShard {
		clear(queries)
		r.byShard[i] = queries[:0]
	}
	eligibilityReads.Put(r)
}

// Eligibility returns, for each of users in their order, what decides whether they may
// be added to a group. It costs one read for each shard that holds some of them. Blocks
// and Wrote of the results are about asker, who may be "".
func (s *Store) Eligibility(asker command.UserID, users []command.UserID) []store.Eligibility {
	r := eligibilityReads.Get().(*eligibilityRead)
	defer r.end()
	r.begin(s, asker, users)
	answers := make([]store.Eligibility, len(users))
	for id, queries := range r.byShard {
		if len(queries) == 0 || r.owners.shards[id].read(queries...) == nil {
			continue
		}
		for i, user := range users { // one by one: a single slot that moves has failed the read of all
			if r.owners.index(user) == id {
				answers[i].Err = s.read(&r.asked[i])
			}
		}
	}
	for i := range answers {
		if q := &r.asked[i]; answers[i].Err == nil {
			answers[i] = store.Eligibility{Known: q.Known, Exists: q.Exists, Blocks: q.Blocks, Wrote: q.SentToAsker, GroupCounts: q.Counts}
		}
	}
	return answers
}
