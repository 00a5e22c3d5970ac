package shard

// GroupID names a group: 1-48 bytes of printable ASCII without spaces, neither
// "." nor "..".
type GroupID string

// Key is the key whose slot holds the group, and its name wherever users have
// theirs. No user has it: names have no spaces.
func (g GroupID) Key() UserID { return groupPrefix + UserID(g) }

const groupPrefix = "group "

// GroupKind gives a group its settings, unless they are set one by one.
type GroupKind uint8

const (
	GroupPrivate GroupKind = iota + 1
	GroupPublic
	GroupChatroom
	GroupLive
)

// JoinMode says how users become members.
type JoinMode uint8

const (
	JoinByInvitation JoinMode = iota + 1 // of any member
	JoinByApproval                       // of an admin, after a request
	JoinOpen
)

// GroupHistory says what of the log a member may read.
type GroupHistory uint8

const (
	HistorySinceJoin GroupHistory = iota + 1
	HistoryAll
	HistoryNone
)

// GroupSettings are the properties of a kind. They are set when a group is
// made, and later by its owner and admins.
type GroupSettings struct {
	MaxMembers int // 0 = no limit
	Join       JoinMode
	History    GroupHistory
	Unread     bool // members have a number of unread messages
	Stored     bool // messages are kept; without, membership belongs to a session
	MutedAll   bool // only the owner and admins may send
}

// A SettingsChange says what becomes of a group's settings. The zero one leaves
// them as they are. Stored is the kind's, and cannot change.
type SettingsChange struct {
	MaxMembers *int
	Join       JoinMode     // 0 leaves it
	History    GroupHistory // 0 leaves it
	Unread     *bool
	MutedAll   *bool
}

// Of gives settings as they are after the change.
func (c *SettingsChange) Of(v GroupSettings) GroupSettings {
	if c.MaxMembers != nil {
		v.MaxMembers = *c.MaxMembers
	}
	if c.Join != 0 {
		v.Join = c.Join
	}
	if c.History != 0 {
		v.History = c.History
	}
	if c.Unread != nil {
		v.Unread = *c.Unread
	}
	if c.MutedAll != nil {
		v.MutedAll = *c.MutedAll
	}
	return v
}

// fixed gives the field of settings which a group of the kind cannot have, "" if
// there is none: a live group keeps nothing, and its members are sessions.
func (k GroupKind) fixed(v GroupSettings) string {
	own := k.Settings()
	switch {
	case v.Stored != own.Stored:
		return "stored"
	case k != GroupLive:
		return ""
	case v.MaxMembers != own.MaxMembers:
		return "maxMembers"
	case v.Join != own.Join:
		return "join"
	case v.History != own.History:
		return "history"
	case v.Unread != own.Unread:
		return "unread"
	}
	return ""
}

// Settings are those of a group of this kind.
func (k GroupKind) Settings() GroupSettings {
	switch k {
	case GroupPrivate:
		return GroupSettings{MaxMembers: 200, Join: JoinByInvitation, History: HistorySinceJoin, Unread: true, Stored: true}
	case GroupPublic:
		return GroupSettings{MaxMembers: 2000, Join: JoinByApproval, History: HistorySinceJoin, Unread: true, Stored: true}
	case GroupChatroom:
		return GroupSettings{MaxMembers: 10000, Join: JoinOpen, History: HistoryAll, Stored: true}
	case GroupLive:
		return GroupSettings{Join: JoinOpen, History: HistoryNone}
	}
	return GroupSettings{}
}

// Role is a member's.
type Role uint8

const (
	RoleNone Role = iota // no member
	RoleMember
	RoleAdmin
	RoleOwner
)

// GroupInfo is what is known of a group.
type GroupInfo struct {
	ID          GroupID
	Kind        GroupKind
	Settings    GroupSettings
	Name        string
	Owner       UserID // "" = none
	Properties  []byte // a map as canonical msgpack; nil = none were set
	Created     int64  // ms
	Members     int
	Requests    int // to join, that wait for an answer
	LastSeq     uint64
	Bytes       int    // of the log
	Arrival     uint64 // the present point in the group's order
	Role        Role   // of who asked
	Offered     UserID // who may become the owner by AnswerOwner; "" = nobody
	MutedUntil  int64  // of who asked, ms; 0 = they are not muted
	BannedUntil int64  // of who asked, ms; 0 = they are not banned
	// Ended is the arrival number of the newest event that ended a membership of
	// who asked, 0 when none is known; only of a group that stores nothing.
	Ended uint64
}

// A Member is one of a group.
type Member struct {
	User       UserID
	Role       Role
	Joined     int64  // ms
	From       uint64 // the lowest seq that he may read
	Read       uint64 // seq
	MutedUntil int64  // ms; 0 = not muted
}

// A Stay is a membership that is over: what came after From in the group's order,
// up to the event at To that ended it, was the member's to be told.
type Stay struct {
	From, To uint64
	Ended    int64  // ms
	Low      uint64 // the lowest seq that he might read
}

// A JoinRequest waits for an admin.
type JoinRequest struct {
	User    UserID
	Message string
	Time    int64 // ms
}

// A GroupRef is a group in the list of one of its members.
type GroupRef struct {
	Group GroupID
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

// ends tells whether events of this kind end memberships.
func (k GroupEventKind) ends() bool {
	return k == EventLeft || k == EventRemoved || k == EventDismissed
}

// A GroupEvent tells members of a change in their group.
type GroupEvent struct {
	Kind    GroupEventKind
	Group   GroupID
	By      UserID // "" = an administrator
	Users   []UserID
	Time    int64 // ms
	Arrival uint64
}

// Ends tells whether the event ends the membership of a user.
func (e *GroupEvent) Ends(user UserID) bool {
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

// A GroupAsk is a group that a login asks about.
type GroupAsk struct {
	Group     GroupID
	HasCursor bool
	Cursor    string // as the client gave it; malformed counts as absent
}

// A GroupView is one of his groups as a user who logs in finds it. All is as of
// one moment.
type GroupView struct {
	Group   GroupID
	Arrival uint64 // the present point in the group's order: what comes after it is live
	Cursor  string // Arrival as a cursor
	Since   uint64 // the device's point in that order; 0 without cursor
	Reset   bool   // the cursor that was given counted as absent
	Joined  uint64 // where in that order he joined; a device whose Since is below does not know

	LastSeq  uint64 // of the newest message that he can be shown; 0 = there is none
	Time     int64  // of that message, or else of his joining; ms
	LastSent uint64 // arrival number of that message
	From     uint64 // the lowest seq that he may read
	Read     uint64
	Unread   int
	Counts   bool // the group has a number of unread messages
	Hidden   bool // he took it off his recents, and nothing came since
	Muted    bool
	Pinned   bool
	Marked   bool // as unread, by himself

	// Push lists the seqs to push, ascending: what came after the cursor, if that
	// is no more than the backlog, else the newest unread.
	Push      []uint64
	PushBytes int
	// Lost are the unread seqs that limits took away after the cursor.
	Lost []Lost
	// Changes are what the device missed after its cursor.
	Changes []Change
	// Changed is the last change of the group itself after its cursor, if there was one.
	Changed GroupEvent
}
