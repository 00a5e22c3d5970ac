package command

import "github.com/belfry-im/belfry/shard/codec"

// A GroupKind decides which settings a new group has, and which of them can be changed.
type GroupKind uint8

const (
	GroupPrivate GroupKind = iota + 1
	GroupPublic
	GroupChatroom
	GroupLive
)

// A JoinMode says how users become members.
type JoinMode uint8

const (
	JoinByInvitation JoinMode = iota + 1 // any member may add users
	JoinByApproval                       // users ask to join, and an admin approves
	JoinOpen
)

// A GroupHistory says which part of a group's log a member may read.
type GroupHistory uint8

const (
	HistorySinceJoin GroupHistory = iota + 1
	HistoryAll
	HistoryNone
)

// GroupSettings are the settings of a group. A new group has those of its kind; its
// owner and admins may change them.
type GroupSettings struct {
	MaxMembers     int // 0 = no limit
	Join           JoinMode
	History        GroupHistory
	Unread         bool // unread messages are counted for each member
	StoresMessages bool // messages are stored; if not, sessions join the group, not users
	MutedAll       bool // only the owner and admins may send
}

// Fields writes or reads the settings.
func (v *GroupSettings) Fields(x *codec.Coder) {
	codec.UintMax(x, &v.MaxMembers, maxMembers)
	codec.Enum(x, &v.Join, JoinByInvitation, JoinOpen)
	codec.Enum(x, &v.History, HistorySinceJoin, HistoryNone)
	codec.Bool(x, &v.Unread)
	codec.Bool(x, &v.StoresMessages)
	codec.Bool(x, &v.MutedAll)
}

const maxMembers = 1 << 31

// A SettingsChange changes some settings of a group: fields that are nil or 0 leave
// theirs as they are. GroupSettings.StoresMessages follows from the group's kind and
// cannot be changed.
type SettingsChange struct {
	MaxMembers *int
	Join       JoinMode     // 0 leaves it
	History    GroupHistory // 0 leaves it
	Unread     *bool
	MutedAll   *bool
}

func (c *SettingsChange) fields(x *codec.Coder) {
	codec.Optional(x, &c.MaxMembers, func(x *codec.Coder, n *int) { codec.UintMax(x, n, maxMembers) })
	codec.Enum(x, &c.Join, 0, JoinOpen)
	codec.Enum(x, &c.History, 0, HistoryNone)
	codec.OptionalBool(x, &c.Unread)
	codec.OptionalBool(x, &c.MutedAll)
}

// ApplyTo returns v with the change applied.
func (c *SettingsChange) ApplyTo(v GroupSettings) GroupSettings {
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

// Fields writes or reads the kind.
func (k *GroupKind) Fields(x *codec.Coder) { codec.Enum(x, k, GroupPrivate, GroupLive) }

// Settings returns the settings that a new group of the kind has.
func (k GroupKind) Settings() GroupSettings {
	switch k {
	case GroupPrivate:
		return GroupSettings{MaxMembers: 200, Join: JoinByInvitation, History: HistorySinceJoin, Unread: true, StoresMessages: true}
	case GroupPublic:
		return GroupSettings{MaxMembers: 2000, Join: JoinByApproval, History: HistorySinceJoin, Unread: true, StoresMessages: true}
	case GroupChatroom:
		return GroupSettings{MaxMembers: 10000, Join: JoinOpen, History: HistoryAll, StoresMessages: true}
	case GroupLive:
		return GroupSettings{Join: JoinOpen, History: HistoryNone}
	}
	return GroupSettings{}
}

// FixedSetting returns the name of a setting in v that groups of the kind cannot have,
// or "" if they can have all. A live group stores nothing, and sessions join it instead
// of users.
func (k GroupKind) FixedSetting(v GroupSettings) string {
	own := k.Settings()
	switch {
	case v.StoresMessages != own.StoresMessages:
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

// A Role is what a user is in a group.
type Role uint8

const (
	RoleNone Role = iota // not a member
	RoleMember
	RoleAdmin
	RoleOwner
)
