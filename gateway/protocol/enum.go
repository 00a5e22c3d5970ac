package protocol

import "strings"

// An Enum is the set of words that a field may have.
type Enum struct {
	Words []string
	rule  string
}

// enum returns an Enum of two or more words.
func enum(words ...string) *Enum {
	last := len(words) - 1
	return &Enum{words, "must be " + strings.Join(words[:last], ", ") + " or " + words[last]}
}

// Kinds of groups.
const (
	KindPrivate  = "private"
	KindPublic   = "public"
	KindChatroom = "chatroom"
	KindLive     = "live"
)

// Roles of members.
const (
	RoleOwner  = "owner"
	RoleAdmin  = "admin"
	RoleMember = "member"
)

// Ways to become a member.
const (
	JoinInvite  = "invite"  // members add users
	JoinApprove = "approve" // users ask, and an admin approves
	JoinOpen    = "open"
)

// Parts of a group's log that members may read.
const (
	HistorySinceJoin = "sinceJoin"
	HistoryAll       = "all"
	HistoryNone      = "none"
)

// Modes of the recents in a login.
const (
	RecentsOn    = "on"    // list them, and push the last message of each
	RecentsQuiet = "quiet" // only list them
	RecentsOff   = "off"   // neither list nor push
)

// Values of status in a Presence.
const (
	StatusOnline  = "online"
	StatusOffline = "offline"
)

// Reasons of a Kicked.
const (
	KickSameDevice = "sameDevice"
	KickPolicy     = "policy"
	KickAdmin      = "admin"
)

// Events of a GroupEvent.
const (
	EventCreated       = "created"
	EventJoined        = "joined"
	EventLeft          = "left"
	EventRemoved       = "removed"
	EventRoleChanged   = "roleChanged"
	EventMuted         = "muted"
	EventChanged       = "changed"
	EventDismissed     = "dismissed"
	EventJoinRequested = "joinRequested"
	EventOwnerOffered  = "ownerOffered"
	EventBanned        = "banned"
)

// Reasons of a Gap.
const (
	GapExpired   = "expired"
	GapEvicted   = "evicted"
	GapDeleted   = "deleted"
	GapRecalled  = "recalled"
	GapNotMember = "notMember"
)

// Sets of words in requests, replies and pushes.
var (
	GroupKinds    = enum(KindPrivate, KindPublic, KindChatroom, KindLive)
	Roles         = enum(RoleMember, RoleAdmin, RoleOwner)
	SettableRoles = enum(RoleAdmin, RoleMember) // not the owner: setGroup sets that
	JoinModes     = enum(JoinInvite, JoinApprove, JoinOpen)
	Histories     = enum(HistorySinceJoin, HistoryAll, HistoryNone)
	RecentsModes  = enum(RecentsOn, RecentsQuiet, RecentsOff)
	Statuses      = enum(StatusOnline, StatusOffline)
	KickReasons   = enum(KickSameDevice, KickPolicy, KickAdmin)
	GapReasons    = enum(GapExpired, GapEvicted, GapDeleted, GapRecalled, GapNotMember)
	GroupEvents   = enum(EventCreated, EventJoined, EventLeft, EventRemoved, EventRoleChanged, EventMuted,
		EventChanged, EventDismissed, EventJoinRequested, EventOwnerOffered, EventBanned)
)

// Enums has all of these sets.
var Enums = []*Enum{
	GroupKinds, Roles, SettableRoles, JoinModes, Histories, RecentsModes, Statuses, KickReasons, GapReasons, GroupEvents,
}
