package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An Outcome is what applying one batch gave: a result per command, and the
// effects that the edge acts on where it leads the shard. It may be reused.
type Outcome struct {
	// Wanted says which changes Changes has. It is the caller's; nothing else depends
	// on it.
	WantedChanges ChangeKinds

	Results []command.Result
	// Touched names users whose arrival order or sessions moved on. A user may
	// be named twice.
	Users []command.UserID
	// Groups names groups whose order of messages, changes and events moved on. A
	// group may be named twice.
	Groups []command.GroupID
	// Members names members whose own view of a group changed.
	Members []MemberRef
	// Posted are letters that now wait in the outbox of this shard.
	Posted []Posted
	// Kicked are the sessions that logins of this batch ended.
	Kicked []command.Kick
	// Events are those that groups have given a place in their order.
	Events []query.GroupEvent
	// Changes are those that users, members and administrators have made, of kinds
	// that are wanted: of read cursors, recalls and deletions.
	Changes []HookChange
	// Stored says that there are messages that hooks are to be told of.
	HooksQueued bool
}

// A MemberRef names a member of a group.
type MemberRef struct {
	Group command.GroupID
	User  command.UserID
}

// A Posted letter waits in the outbox until a Trim confirms it.
type Posted struct {
	From, To command.UserID
	Number   uint64
	Bytes    []byte // encoded letter, see DecodeLetter; immutable
}
