package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// Group reads what is known of a group, and of who asks as a member of it.
type Group struct {
	Group command.GroupID
	Asker command.UserID // may be empty

	Exists bool
	Info   GroupInfo
}

func (q *Group) Slot() int { return ofGroup(q.Group) }

func (q *Group) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.Asker)
}

func (q *Group) result(x *codec.Coder) {
	bools(x, &q.Exists)
	q.Info.fields(x)
}

// Membership reads what a group knows of one user: the membership, or if there is none
// the newest one that is over.
type Membership struct {
	Group command.GroupID
	User  command.UserID

	Is     bool // a member
	Member Member
	// JoinedAt is the point in the group's order at which a member joined: what comes
	// after it, the joining included, is theirs to be told.
	JoinedAt uint64

	Was  bool // a member, and is none; false also if events no longer tell of it
	Past PastMembership
}

func (q *Membership) Slot() int { return ofGroup(q.Group) }

func (q *Membership) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.User)
}

func (q *Membership) result(x *codec.Coder) {
	bools(x, &q.Is, &q.Was)
	q.Member.fields(x)
	uints(x, &q.JoinedAt)
	q.Past.fields(x)
}

// Members reads members in order of name. Of a group that stores nothing these are
// those with a role or who are muted.
type Members struct {
	Group command.GroupID
	After command.UserID
	Limit int

	Members []Member
	More    bool
}

func (q *Members) Slot() int { return ofGroup(q.Group) }

func (q *Members) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.After)
	sizes(x, &q.Limit)
}

func (q *Members) result(x *codec.Coder) {
	list(x, &q.Members, (*Member).fields)
	bools(x, &q.More)
}

// Bans reads who is banned from a group, in order of name.
type Bans struct {
	Group command.GroupID
	After command.UserID
	Limit int

	Bans []Ban
	More bool
}

func (q *Bans) Slot() int { return ofGroup(q.Group) }

func (q *Bans) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.After)
	sizes(x, &q.Limit)
}

func (q *Bans) result(x *codec.Coder) {
	list(x, &q.Bans, (*Ban).fields)
	bools(x, &q.More)
}

// JoinRequests reads those who wait for an answer, oldest first.
type JoinRequests struct {
	Group command.GroupID

	Requests []JoinRequest
}

func (q *JoinRequests) Slot() int             { return ofGroup(q.Group) }
func (q *JoinRequests) args(x *codec.Coder)   { texts(x, &q.Group) }
func (q *JoinRequests) result(x *codec.Coder) { list(x, &q.Requests, (*JoinRequest).fields) }

// SyncGroups reads how a user who logs in finds groups of theirs, with at most Backlog
// messages of each to push. Groups whose member they are not are left out. Those with
// the newest message come first, and have messages to push until these are Most in all.
type SyncGroups struct {
	User    command.UserID
	Asks    []GroupSyncQuery // of one shard
	Backlog int
	Most    int

	Sync GroupSync
}

func (q *SyncGroups) Slot() int { return ofMany }

func (q *SyncGroups) args(x *codec.Coder) {
	texts(x, &q.User)
	list(x, &q.Asks, (*GroupSyncQuery).fields)
	sizes(x, &q.Backlog, &q.Most)
}

func (q *SyncGroups) result(x *codec.Coder) { q.Sync.fields(x) }

// Speech reads whether a user may say something in a group that it does not store. It
// is refused with CodeNotFound or CodeForbidden.
type Speech struct {
	Group command.GroupID
	User  command.UserID
	Admin bool // an administrator speaks in the user's name
	// Listeners asks for the members too, if there are no more than that and the group
	// stores messages.
	Listeners int

	Now     int64  // ms, as of which this is
	Arrival uint64 // the present point in the group's order
	Members []command.UserID
}

func (q *Speech) Slot() int { return ofGroup(q.Group) }

func (q *Speech) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.User)
	bools(x, &q.Admin)
	sizes(x, &q.Listeners)
}

func (q *Speech) result(x *codec.Coder) {
	ints(x, &q.Now)
	uints(x, &q.Arrival)
	names(x, &q.Members)
}
