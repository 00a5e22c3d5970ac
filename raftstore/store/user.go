package store

import "github.com/belfry-im/belfry/shard/query"

const (
	// MaxSubscriptions bounds the users whose presence one session is told.
	MaxSubscriptions = 1000
	// MaxTyping bounds the members of a group in which typing is told.
	MaxTyping = 200
)

// Presence is what one user may know of another.
type Presence struct {
	Online   bool
	LastSeen int64 // ms; 0 = never
}

// Eligibility is what a user's shard knows of them that matters before they come
// to a group, as far as it has heard.
type Eligibility struct {
	Known  bool // something is kept of them already
	Exists bool // the account has logged in before
	Blocks bool // they have blocked the asker
	Wrote  bool // they have written to the asker
	query.GroupCounts
	Err error // why the shard does not answer; the rest means nothing then
}
