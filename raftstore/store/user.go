package store

import "github.com/belfry-im/belfry/shard/query"

const (
	// MaxSubscriptions bounds the users to whose presence one session subscribes.
	MaxSubscriptions = 1000
	// MaxTyping is the most members of a group in which typing is passed on.
	MaxTyping = 200
)

// Presence is what one user may know of another one's presence.
type Presence struct {
	Online   bool
	LastSeen int64 // ms; 0 = never
}

// Eligibility is what a user's shard knows of them that decides whether they may
// be added to a group.
type Eligibility struct {
	Known  bool // something is kept of them already
	Exists bool // the account has logged in before
	Blocks bool // they have blocked the asker
	Wrote  bool // they have written to the asker
	query.GroupCounts
	Err error // why the shard does not answer; the rest means nothing then
}
