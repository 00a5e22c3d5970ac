package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An Outcome is the result of applying one batch: an answer to each command, and the
// effects that a leader acts on. Apply may be given the same Outcome again.
type Outcome struct {
	// WantedChanges are the kinds of changes to list in Changes. The caller sets it
	// before Apply; it affects nothing else.
	WantedChanges ChangeKinds

	Results []command.Result
	// Users lists users for whose sessions there is something new. A user may be listed
	// twice.
	Users []command.UserID
	// Groups lists groups for whose members there is something new. A group may be
	// listed twice.
	Groups  []command.GroupID
	Members []MemberRef        // members whose own view of a group changed
	Posted  []Posted           // letters that began to wait in this shard
	Kicked  []command.Kick     // sessions that were ended by a login or an administrator
	Events  []query.GroupEvent // new events of groups
	// Changes lists the changes of wanted kinds that users, members and administrators
	// made: to read cursors, recalls and deletions.
	Changes     []HookChange
	HooksQueued bool // messages were added to the queue for webhooks
	// Checksums has an element for each Checksum command of the batch, in order.
	Checksums []Checksum
}

// A Checksum is what a Checksum command found. Replicas of a shard have equal ones after
// the same batch.
type Checksum struct {
	From, To command.Place // what it covers: users and groups behind From, up to To
	Done     bool          // nothing comes after To
	Sum      uint64        // of these users and groups, and of what the shard keeps beside them
}

// A MemberRef names a member of a group.
type MemberRef struct {
	Group command.GroupID
	User  command.UserID
}

// A Posted is a letter that waits in this shard until a TrimOutbox confirms it.
type Posted struct {
	From, To command.UserID
	Number   uint64
	Bytes    []byte // encoded letter, see DecodeLetter; immutable
}
