package query

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// GroupInfo is what is known of a group.
type GroupInfo struct {
	ID          command.GroupID
	Kind        command.GroupKind
	Settings    command.GroupSettings
	Name        string
	Owner       command.UserID // "" = nobody
	Properties  []byte         // a map as canonical msgpack; nil = none
	Created     int64          // ms
	Members     int
	Requests    int // to join, waiting for an answer
	LastSeq     uint64
	Bytes       int            // of the log
	Arrival     uint64         // newest arrival number in the group's order
	Role        command.Role   // of the asker
	Offered     command.UserID // to whom the ownership is offered; "" = nobody
	MutedUntil  int64          // of the asker, ms; 0 = not muted
	BannedUntil int64          // of the asker, ms; 0 = not banned
	// EndArrival is the arrival number of the newest event that ended a membership of
	// the asker, 0 if none is known. It is set only for a group that stores nothing.
	EndArrival uint64
}

// A Member is one member of a group.
type Member struct {
	User        command.UserID
	Role        command.Role
	Joined      int64  // ms
	VisibleFrom uint64 // lowest seq that the member may read
	Read        uint64 // read cursor
	MutedUntil  int64  // ms; 0 = not muted
}

// A PastMembership is a membership that has ended. The member was to be told what came
// in the group's order after From, up to the event at To that ended the membership.
type PastMembership struct {
	From, To    uint64
	EndedMS     int64  // ms
	VisibleFrom uint64 // lowest seq that the member might read
}

// A JoinRequest is a request to join that waits for an admin.
type JoinRequest struct {
	User    command.UserID
	Message string
	Time    int64 // ms
}

// A GroupRef is a group in the list of one of its members.
type GroupRef struct {
	Group command.GroupID
	Owner bool // the user owns it
	// Invited says that others added the user, who has not spoken there.
	Invited bool
}

// A GroupEventKind says what changed in a group.
type GroupEventKind uint8

const (
	EventCreated GroupEventKind = iota + 1
	EventJoined
	EventLeft
	EventRemoved
	EventRoleChanged
	EventMuted
	EventChanged
	EventDismissed
	EventJoinRequested // told to the owner and admins
	EventOwnerOffered  // told to the users it names; without any, the offer has ended
	EventBanned        // or unbanned; told to the owner and admins
)

// EndsMembership reports whether events of this kind end memberships.
func (k GroupEventKind) EndsMembership() bool {
	return k == EventLeft || k == EventRemoved || k == EventDismissed
}

// A GroupEvent tells members of a change in their group.
type GroupEvent struct {
	Kind    GroupEventKind
	Group   command.GroupID
	By      command.UserID // "" = an administrator
	Users   []command.UserID
	Time    int64 // ms
	Arrival uint64
}

// EndsMembershipOf reports whether the event ends the membership of a user.
func (e *GroupEvent) EndsMembershipOf(user command.UserID) bool {
	switch e.Kind {
	case EventDismissed:
		return true
	case EventLeft, EventRemoved:
		for _, u := range e.Users {
			if u == user {
				return true
			}
		}
	}
	return false
}

// A GroupSyncQuery is a group that a login asks about.
type GroupSyncQuery struct {
	Group     command.GroupID
	HasCursor bool
	Cursor    string // as the client gave it; one that is malformed counts as none
}

// A GroupSyncItem is what a login finds in one group of the user, as of one moment.
type GroupSyncItem struct {
	Group         command.GroupID
	Arrival       uint64 // newest arrival number in the group's order; what comes after it is live
	Cursor        string // Arrival as a cursor
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it had none
	Reset         bool   // the device's cursor was not accepted
	JoinArrival   uint64 // of the user's joining; a device with an older cursor does not know of it

	LastSeq      uint64 // of the newest visible message; 0 = there is none
	Time         int64  // ms, of that message, or else of the joining
	LastArrival  uint64 // arrival number of that message
	VisibleFrom  uint64 // lowest seq that the user may read
	Read         uint64
	Unread       int
	CountsUnread bool // the group has a number of unread messages
	Unlisted     bool // the user took it off their recents, and nothing came since
	Muted        bool
	Pinned       bool
	MarkedUnread bool // by the user

	// Push lists the seqs to push, ascending: what came after the cursor, if that is
	// no more than the backlog, else the newest unread.
	Push      []uint64
	PushBytes int
	// Lost lists the unread seqs above the cursor that limits evicted.
	Lost []Lost
	// Changes lists what the device missed after its cursor.
	Changes []Change
	// LastChange is the last change of the group itself after the cursor, if there was
	// one.
	LastChange GroupEvent
}

// A GroupCounts is how many groups a user has.
type GroupCounts struct {
	Joined      int // whose member the user is, except those in ByStrangers
	Owned       int // of Joined
	ByStrangers int // to which strangers added the user, who has not spoken there
}

// ClipRanges returns the part of ascending ranges at or above low.
func ClipRanges(ranges []Range, low uint64) []Range {
	i := 0
	for i < len(ranges) && ranges[i].To < low {
		i++
	}
	ranges = ranges[i:]
	if len(ranges) > 0 && ranges[0].From < low {
		ranges = slices.Clone(ranges)
		ranges[0].From = low
	}
	return ranges
}

// A GroupSync is what a login finds in groups of the user.
type GroupSync struct {
	Items     []GroupSyncItem
	Moved     []GroupSyncQuery // groups whose slots are not in this shard
	Remaining []GroupSyncQuery // groups to ask for next, because one query does no more
}

// A Ban keeps a user out of a group.
type Ban struct {
	User  command.UserID
	Until int64 // ms
}
