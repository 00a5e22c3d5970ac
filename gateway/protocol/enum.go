package protocol

import "strings"

// An Enum is the words that a field of requests may have.
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

// What requests may say.
var (
	GroupKinds    = enum(KindPrivate, KindPublic, KindChatroom, KindLive)
	JoinModes     = enum(JoinInvite, JoinApprove, JoinOpen)
	Histories     = enum(HistorySinceJoin, HistoryAll, HistoryNone)
	RecentsModes  = enum(RecentsOn, RecentsQuiet, RecentsOff)
	SettableRoles = enum(RoleAdmin, RoleMember) // the owner is set by setGroup
)
