package protocol

import "strings"

// An Enum is the words that a field may have.
type Enum struct {
	Words []string
	rule  string
}

// enum returns an Enum of two words or more.
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

// How users become members.
const (
	JoinInvite  = "invite"  // members add them
	JoinApprove = "approve" // an admin approves their request
	JoinOpen    = "open"
)

// What members may read of a group's log.
const (
	HistorySinceJoin = "sinceJoin"
	HistoryAll       = "all"
	HistoryNone      = "none"
)

// Recents modes of a login.
const (
	RecentsOn    = "on"    // list, and push the last message of each
	RecentsQuiet = "quiet" // list only
	RecentsOff   = "off"   // neither
)

// Status of a Presence.
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

// All that requests, replies and pushes say in words.
var (
	GroupKinds    = enum(KindPrivate, KindPublic, KindChatroom, KindLive)
	Roles         = enum(RoleMember, RoleAdmin, RoleOwner)
	SettableRoles = enum(RoleAdmin, RoleMember) // the owner is set by setGroup
	JoinModes     = enum(JoinInvite, JoinApprove, JoinOpen)
	Histories     = enum(HistorySinceJoin, HistoryAll, HistoryNone)
	RecentsModes  = enum(RecentsOn, RecentsQuiet, RecentsOff)
	Statuses      = enum(StatusOnline, StatusOffline)
	KickReasons   = enum(KickSameDevice, KickPolicy, KickAdmin)
	GapReasons    = enum(GapExpired, GapEvicted, GapDeleted, GapRecalled, GapNotMember)
	GroupEvents   = enum(EventCreated, EventJoined, EventLeft, EventRemoved, EventRoleChanged, EventMuted,
		EventChanged, EventDismissed, EventJoinRequested, EventOwnerOffered, EventBanned)
)

// Enums are all of these.
var Enums = []*Enum{
	GroupKinds, Roles, SettableRoles, JoinModes, Histories, RecentsModes, Statuses, KickReasons, GapReasons, GroupEvents,
}
