package command

import "github.com/belfry-im/belfry/shard/codec"

// MaxJoinMessage bounds the bytes of JoinGroup.Message.
const MaxJoinMessage = 256

// JoinGroup makes the user a member of a group that is open to all. In a group where
// joins need approval it files a request, which the admins answer by AnswerJoin.
type JoinGroup struct {
	Group   GroupID
	User    UserID
	Message string // text of the request, for the admins
}

func (*JoinGroup) onGroup()       {}
func (*JoinGroup) kind() Kind     { return 20 }
func (c *JoinGroup) Key() string  { return string(c.Group.Key()) }
func (c *JoinGroup) Needs() Needs { return Needs{Room: true, Members: []UserID{c.User}} }

func (c *JoinGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Text(x, &c.Message, MaxJoinMessage)
}

// AnswerJoin accepts or refuses a request to join.
type AnswerJoin struct {
	Group  GroupID
	By     UserID
	User   UserID
	Accept bool
}

func (*AnswerJoin) onGroup()       {}
func (*AnswerJoin) kind() Kind     { return 23 }
func (c *AnswerJoin) Key() string  { return string(c.Group.Key()) }
func (c *AnswerJoin) Needs() Needs { return Needs{Room: true, Members: []UserID{c.User}} }

func (c *AnswerJoin) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	c.User.Fields(x)
	codec.Bool(x, &c.Accept)
}

// LeaveGroup ends the user's membership.
type LeaveGroup struct {
	Group GroupID
	User  UserID
}

func (*LeaveGroup) onGroup()       {}
func (*LeaveGroup) kind() Kind     { return 21 }
func (c *LeaveGroup) Key() string  { return string(c.Group.Key()) }
func (c *LeaveGroup) Needs() Needs { return Needs{Members: []UserID{c.User}} }

func (c *LeaveGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
}

// AddMembers makes users members. Result.Failed lists those who could not be added.
type AddMembers struct {
	Group GroupID
	By    UserID
	Users []UserID
}

func (*AddMembers) onGroup()       {}
func (*AddMembers) kind() Kind     { return 24 }
func (c *AddMembers) Key() string  { return string(c.Group.Key()) }
func (c *AddMembers) Needs() Needs { return Needs{Room: true, Members: c.Users} }

func (c *AddMembers) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	Users(x, &c.Users)
}

// MaxBan bounds the length of a ban, in seconds: ten years.
const MaxBan = 10 * 365 * 24 * 3600

// RemoveMembers ends memberships, and bans the users if Ban is not 0. Result.Failed
// lists users whom By may not remove, and, without a ban, those who are not members.
type RemoveMembers struct {
	Group GroupID
	By    UserID
	Users []UserID
	Ban   uint32 // seconds for which the users cannot become members again, at most MaxBan; 0 = no ban
}

func (*RemoveMembers) onGroup()       {}
func (*RemoveMembers) kind() Kind     { return 25 }
func (c *RemoveMembers) Key() string  { return string(c.Group.Key()) }
func (c *RemoveMembers) Needs() Needs { return Needs{Members: c.Users} }

func (c *RemoveMembers) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	Users(x, &c.Users)
	codec.UintMax(x, &c.Ban, MaxBan)
}

// Unban ends the ban of a user.
type Unban struct {
	Group GroupID
	By    UserID
	User  UserID
}

func (*Unban) onGroup()      {}
func (*Unban) kind() Kind    { return 36 }
func (c *Unban) Key() string { return string(c.Group.Key()) }
func (*Unban) Needs() Needs  { return Needs{} }

func (c *Unban) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	c.User.Fields(x)
}

// SetMember changes a member's role, or mutes or unmutes a user in the group. A mute
// lasts until MutedUntil even if the user's membership ends before.
type SetMember struct {
	Group      GroupID
	By         UserID
	User       UserID
	Role       Role   // RoleAdmin or RoleMember; RoleNone leaves the role as it is
	MutedUntil *int64 // ms, 0 = not muted; nil leaves the mute as it is
}

func (*SetMember) onGroup()      {}
func (*SetMember) kind() Kind    { return 26 }
func (c *SetMember) Key() string { return string(c.Group.Key()) }
func (*SetMember) Needs() Needs  { return Needs{} }

func (c *SetMember) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	c.User.Fields(x)
	codec.Enum(x, &c.Role, RoleNone, RoleAdmin)
	codec.Optional(x, &c.MutedUntil, codec.Int)
}
