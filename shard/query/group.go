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
	Owner       command.UserID // "" = none
	Properties  []byte         // a map as canonical msgpack; nil = none were set
	Created     int64          // ms
	Members     int
	Requests    int // to join, that wait for an answer
	LastSeq     uint64
	Bytes       int            // of the log
	Arrival     uint64         // the present point in the group's order
	Role        command.Role   // of who asked
	Offered     command.UserID // who may become the owner by AnswerOwner; "" = nobody
	MutedUntil  int64          // of who asked, ms; 0 = they are not muted
	BannedUntil int64          // of who asked, ms; 0 = they are not banned
	// Ended is the arrival number of the newest event that ended a membership of
	// who asked, 0 when none is known; only of a group that stores nothing.
	EndArrival uint64
}

// A Member is one of a group.
type Member struct {
	User        command.UserID
	Role        command.Role
	Joined      int64  // ms
	VisibleFrom uint64 // the lowest seq that he may read
	Read        uint64 // seq
	MutedUntil  int64  // ms; 0 = not muted
}

// A PastMembership is a membership that is over: what came after From in the group's order,
// up to the event at To that ended it, was the member's to be told.
type PastMembership struct {
	From, To    uint64
	EndedMS     int64  // ms
	VisibleFrom uint64 // the lowest seq that he might read
}

// A JoinRequest waits for an admin.
type JoinRequest struct {
	User    command.UserID
	Message string
	Time    int64 // ms
}

// A GroupRef is a group in the list of one of its members.
type GroupRef struct {
	Group command.GroupID
	Owner bool // he owns it
	// Invited says that others put him there, and that he has not spoken there.
	Invited bool
}

// GroupEventKind says what changed in a group.
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
	EventJoinRequested // for owner and admins
	EventOwnerOffered  // to whom it names; to nobody: the offer is over
	EventBanned        // or no more; for owner and admins
)

// EndsMembership tells whether events of this kind end memberships.
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

// EndsMembershipOf tells whether the event ends the membership of a user.
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
	Cursor    string // as the client gave it; malformed counts as absent
}

// A GroupSyncItem is one of his groups as a user who logs in finds it. All is as of
// one moment.
type GroupSyncItem struct {
	Group         command.GroupID
	Arrival       uint64 // the present point in the group's order: what comes after it is live
	Cursor        string // Arrival as a cursor
	CursorArrival uint64 // the device's point in that order; 0 without cursor
	Reset         bool   // the cursor that was given counted as absent
	JoinArrival   uint64 // where in that order he joined; a device whose Since is below does not know

	LastSeq      uint64 // of the newest message that he can be shown; 0 = there is none
	Time         int64  // of that message, or else of his joining; ms
	LastArrival  uint64 // arrival number of that message
	VisibleFrom  uint64 // the lowest seq that he may read
	Read         uint64
	Unread       int
	CountsUnread bool // the group has a number of unread messages
	Unlisted     bool // he took it off his recents, and nothing came since
	Muted        bool
	Pinned       bool
	MarkedUnread bool // as unread, by himself

	// Push lists the seqs to push, ascending: what came after the cursor, if that
	// is no more than the backlog, else the newest unread.
	Push      []uint64
	PushBytes int
	// Lost are the unread seqs that limits took away after the cursor.
	Lost []Lost
	// Changes are what the device missed after its cursor.
	Changes []Change
	// Changed is the last change of the group itself after its cursor, if there was one.
	LastChange GroupEvent
}

// GroupCounts are the groups of a user.
type GroupCounts struct {
	Joined      int // whose member he is, but for those in Unasked
	Owned       int // of Joined
	ByStrangers int // into which strangers have put him, and where he has not spoken
}

// ClipRanges gives the part of ascending ranges that lies at or above a seq.
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

// A GroupSync is how a user who logs in finds groups of his.
type GroupSync struct {
	Items     []GroupSyncItem
	Moved     []GroupSyncQuery // their slots are not here
	Remaining []GroupSyncQuery // to be asked for next: these were as many as a shard looks at in one go
}

// A Ban keeps a user out of a group.
type Ban struct {
	User  command.UserID
	Until int64 // ms
}
