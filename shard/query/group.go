package query

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// A GroupInfo is what is known of a group. Role, MutedUntil, BannedUntil and EndArrival
// are about the user who asks.
type GroupInfo struct {
	ID          command.GroupID
	Kind        command.GroupKind
	Settings    command.GroupSettings
	Name        string
	Owner       command.UserID // "" = nobody
	Properties  []byte         // a map as canonical msgpack; nil = none
	Created     int64          // ms
	Members     int
	Requests    int // to join, not yet answered
	LastSeq     uint64
	Bytes       int            // of the log
	Arrival     uint64         // newest arrival number in the group's order
	Role        command.Role   // of the asker
	Offered     command.UserID // user to whom the ownership is offered; "" = nobody
	MutedUntil  int64          // of the asker, ms; 0 = not muted
	BannedUntil int64          // of the asker, ms; 0 = not banned
	// EndArrival is the arrival number of the newest event known that ended a
	// membership of the asker, 0 if there is none. It is set only for a group that
	// stores nothing.
	EndArrival uint64
}

// A Member is a member of a group.
type Member struct {
	User        command.UserID
	Role        command.Role
	Joined      int64  // ms
	VisibleFrom uint64 // lowest seq that the member may read
	Read        uint64 // read cursor
	MutedUntil  int64  // ms; 0 = not muted
}

// A PastMembership is a membership that has ended. Its user is still to be told what
// happened in the group's order after From and up to To, the event that ended it.
type PastMembership struct {
	From, To    uint64
	EndedMS     int64  // ms
	VisibleFrom uint64 // lowest seq that the user could read as a member
}

// A JoinRequest is a request to join that waits for an admin.
type JoinRequest struct {
	User    command.UserID
	Message string
	Time    int64 // ms
}

// A GroupRef names a group in the list of groups that a user is a member of.
type GroupRef struct {
	Group command.GroupID
	Owner bool // the user owns the group
	// Invited says that others added the user to the group, and the user has not
	// written there since.
	Invited bool
}

// A GroupEventKind says what happened in a group.
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
	EventOwnerOffered  // told to the users it names; an event without users ends the offer
	EventBanned        // users were banned or unbanned; told to the owner and admins
)

// EndsMembership reports whether events of this kind end memberships.
func (k GroupEventKind) EndsMembership() bool {
	return k == EventLeft || k == EventRemoved || k == EventDismissed
}

// A GroupEvent tells the members of a group what happened to it or to its members.
type GroupEvent struct {
	Kind    GroupEventKind
	Group   command.GroupID
	By      command.UserID // who did it; "" = an administrator
	Users   []command.UserID
	Time    int64 // ms
	Arrival uint64
}

// EndsMembershipOf reports whether the event ended the membership of a user.
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

// A GroupSyncAsk names a group that a login wants to sync.
type GroupSyncAsk struct {
	Group     command.GroupID
	HasCursor bool
	Cursor    string // as the client sent it; a malformed one counts as none and sets GroupSyncItem.Reset
}

// A GroupSyncItem is what a login is told of one group of its user, all as of one
// moment.
type GroupSyncItem struct {
	Group         command.GroupID
	Arrival       uint64 // newest arrival number in the group's order; later messages are pushed live
	Cursor        string // Arrival as a cursor
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it gave none, or it was not accepted
	Reset         bool   // the device's cursor was not accepted
	JoinArrival   uint64 // arrival number of the user's join; a device with an older cursor does not know of it

	LastSeq      uint64 // seq of the newest visible message; 0 = there is none
	Time         int64  // ms, of that message; without one, of the join
	LastArrival  uint64 // arrival number of that message
	VisibleFrom  uint64 // lowest seq that the user may read
	Read         uint64
	Unread       int
	CountsUnread bool // the group counts unread messages
	Unlisted     bool // the user took the group off their recents, and nothing came since
	Muted        bool
	Pinned       bool
	MarkedUnread bool // the user has marked the group as unread

	// Push lists the seqs of the messages to push, ascending: all that came after the
	// cursor if they are no more than the backlog allows, otherwise the newest unread
	// ones.
	Push      []uint64
	PushBytes int
	// Lost lists the unread seqs above the cursor that limits evicted.
	Lost []Lost
	// Changes lists the changes after the device's cursor.
	Changes []Change
	// LastChange tells of the newest change of the group's name, properties or settings,
	// if it came after the cursor.
	LastChange GroupEvent
}

// A GroupCounts says how many groups a user is in.
type GroupCounts struct {
	Joined      int // all groups except those in ByStrangers
	Owned       int // those of Joined that the user owns
	ByStrangers int // groups to which strangers added the user, who has not written there
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

// A GroupSync is what a login is told of several groups of its user.
type GroupSync struct {
	Items     []GroupSyncItem
	Moved     []GroupSyncAsk // groups whose slots are not in this shard: ask elsewhere
	Remaining []GroupSyncAsk // groups that were too many for one query: ask again
}

// A Ban keeps a user out of a group.
type Ban struct {
	User  command.UserID
	Until int64 // ms
}
