package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An Outcome is what applying one batch gave: a result for each command, and effects
// on which the edge acts if it leads the shard. It may be reused.
type Outcome struct {
	// WantedChanges says which changes are listed in Changes. The caller sets it;
	// nothing else depends on it.
	WantedChanges ChangeKinds

	Results []command.Result
	// Users lists users whose order or sessions moved on. A user may be listed twice.
	Users []command.UserID
	// Groups lists groups whose order moved on. A group may be listed twice.
	Groups  []command.GroupID
	Members []MemberRef        // members whose own view of a group changed
	Posted  []Posted           // letters that now wait in this shard
	Kicked  []command.Kick     // sessions that were ended by a login or an administrator
	Events  []query.GroupEvent // new events of groups
	// Changes lists changes of wanted kinds that users, members and administrators
	// made: read cursors, recalls and deletions.
	Changes     []HookChange
	HooksQueued bool // messages were added to the queue for webhooks
}

// A MemberRef names a member of a group.
type MemberRef struct {
	Group command.GroupID
	User  command.UserID
}

// A Posted letter waits in this shard until a TrimOutbox confirms it.
type Posted struct {
	From, To command.UserID
	Number   uint64
	Bytes    []byte // encoded letter, see DecodeLetter; immutable
}
