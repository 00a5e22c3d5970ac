package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A Group query reads what is known of a group, and of the asker as a member of it.
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

// A Membership reads what a group knows of one user: the membership, or if there is
// none the newest one that has ended.
type Membership struct {
	Group command.GroupID
	User  command.UserID

	Is     bool // a member
	Member Member
	// JoinedAt is the arrival number in the group's order after which a member is told
	// what happens, their joining included.
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

// A MaySpeak reads whether a user may send to a group that does not store messages. It
// is refused with CodeNotFound or CodeForbidden.
type MaySpeak struct {
	Group command.GroupID
	User  command.UserID
	Admin bool // an administrator sends in the user's name
	// Listeners asks for the members too, if there are no more than that many and the
	// group stores messages.
	Listeners int

	Now     int64  // ms, the time of the answer
	Arrival uint64 // newest arrival number in the group's order
	Members []command.UserID
}

func (q *MaySpeak) Slot() int { return ofGroup(q.Group) }

func (q *MaySpeak) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.User)
	bools(x, &q.Admin)
	sizes(x, &q.Listeners)
}

func (q *MaySpeak) result(x *codec.Coder) {
	ints(x, &q.Now)
	uints(x, &q.Arrival)
	names(x, &q.Members)
}
