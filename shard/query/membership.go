package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A Group query reads what is known of a group, and of the asker in it.
type Group struct {
	Group command.GroupID
	Asker command.UserID // may be empty

	Exists bool
	Info   GroupInfo
}

func (q *Group) Slot() int { return slotOfGroup(q.Group) }

func (q *Group) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.Asker)
}

func (q *Group) result(x *codec.Coder) {
	bools(x, &q.Exists)
	q.Info.fields(x)
}

// A Membership query reads the membership of a user in a group or, if the user is not a
// member, the last one that ended.
type Membership struct {
	Group command.GroupID
	User  command.UserID

	IsMember bool // the user is a member; Member and JoinedAt are set
	Member   Member
	// JoinedAt is the arrival number in the group's order after which the member is
	// told what happens, which includes their own join.
	JoinedAt uint64

	WasMember bool // the user was a member, and Past is set; false for a member, and if the events that tell of it are forgotten
	Past      PastMembership
}

func (q *Membership) Slot() int { return slotOfGroup(q.Group) }

func (q *Membership) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.User)
}

func (q *Membership) result(x *codec.Coder) {
	bools(x, &q.IsMember, &q.WasMember)
	q.Member.fields(x)
	uints(x, &q.JoinedAt)
	q.Past.fields(x)
}

// Members reads the members of a group in order of name, from the first above After. Of
// a group that stores nothing it reads the users who have a role or are muted.
type Members struct {
	Group command.GroupID
	After command.UserID
	Limit int

	Members []Member
	More    bool
}

func (q *Members) Slot() int { return slotOfGroup(q.Group) }

func (q *Members) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.After)
	sizes(x, &q.Limit)
}

func (q *Members) result(x *codec.Coder) {
	list(x, &q.Members, (*Member).fields)
	bools(x, &q.More)
}

// Bans reads the users who are banned from a group, in order of name from the first
// above After.
type Bans struct {
	Group command.GroupID
	After command.UserID
	Limit int

	Bans []Ban
	More bool
}

func (q *Bans) Slot() int { return slotOfGroup(q.Group) }

func (q *Bans) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.After)
	sizes(x, &q.Limit)
}

func (q *Bans) result(x *codec.Coder) {
	list(x, &q.Bans, (*Ban).fields)
	bools(x, &q.More)
}

// JoinRequests reads the requests to join a group that wait for an answer, oldest
// first.
type JoinRequests struct {
	Group command.GroupID

	Requests []JoinRequest
}

func (q *JoinRequests) Slot() int             { return slotOfGroup(q.Group) }
func (q *JoinRequests) args(x *codec.Coder)   { texts(x, &q.Group) }
func (q *JoinRequests) result(x *codec.Coder) { list(x, &q.Requests, (*JoinRequest).fields) }

// SyncGroups reads what a login is told of several groups of its user, with at most
// Backlog messages of each group to push. It leaves out groups that the user is not a
// member of. Groups with the newest message come first and get messages to push until
// there are Most in all. If Most is 0 there are none to push, and groups come in the
// order of Asks.
type SyncGroups struct {
	User    command.UserID
	Asks    []GroupSyncAsk // their slots must be in one shard
	Backlog int
	Most    int

	Sync GroupSync
}

func (q *SyncGroups) Slot() int { return noSingleSlot }

func (q *SyncGroups) args(x *codec.Coder) {
	texts(x, &q.User)
	list(x, &q.Asks, (*GroupSyncAsk).fields)
	sizes(x, &q.Backlog, &q.Most)
}

func (q *SyncGroups) result(x *codec.Coder) { q.Sync.fields(x) }

// A MaySpeak query asks whether a user may send to a group what is not stored: messages
// of a live group, or signals such as typing in any group. The error is CodeNotFound if
// there is no such group, and CodeForbidden if the user may not send.
type MaySpeak struct {
	Group command.GroupID
	User  command.UserID
	Admin bool // an administrator sends in the user's name, which is always allowed
	// If the group stores messages and has at most Listeners members, Members lists
	// them.
	Listeners int

	Now     int64  // ms, the time of the answer
	Arrival uint64 // newest arrival number in the group's order
	Members []command.UserID
}

func (q *MaySpeak) Slot() int { return slotOfGroup(q.Group) }

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
