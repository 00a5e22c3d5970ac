package shard

// In all commands on groups By, or User, is who acts. An administrator of the
// server acts as nobody, "", and may do all that an owner may.

// CreateGroup makes a group. The owner is its first member.
type CreateGroup struct {
	Group      GroupID
	By         UserID
	Owner      UserID // "" = nobody; By unless an administrator acts
	Kind       GroupKind
	Settings   GroupSettings // see GroupKind.Settings
	Name       string        // at most 256 bytes
	Properties []byte        // a map as canonical msgpack, at most 8 KiB; nil = none
	Members    []UserID      // further ones
	Salt       uint64        // random, made by the proposer
}

// JoinGroup makes the user a member of an open group, or leaves a request for
// the admins of one that wants their approval.
type JoinGroup struct {
	Group   GroupID
	User    UserID
	Message string // for those who decide
}

// LeaveGroup ends the user's membership.
type LeaveGroup struct {
	Group GroupID
	User  UserID
}

// DismissGroup ends a group. Its id stays taken for 30 days, and goes on with
// its seq when it is made again.
type DismissGroup struct {
	Group GroupID
	By    UserID
}

// AnswerJoin accepts or refuses a request to join.
type AnswerJoin struct {
	Group  GroupID
	By     UserID
	User   UserID
	Accept bool
}

// AddMembers makes users members. Those who cannot be are in Result.Failed.
type AddMembers struct {
	Group GroupID
	By    UserID
	Users []UserID
}

// RemoveMembers ends memberships. Those who are no members, or may not be
// removed by who asks, are in Result.Failed. Who is banned need be no member.
type RemoveMembers struct {
	Group GroupID
	By    UserID
	Users []UserID
	Ban   uint32 // seconds for which they cannot come back, at most MaxBan; 0 = they can
}

// Unban ends the ban of a user.
type Unban struct {
	Group GroupID
	By    UserID
	User  UserID
}

// SetMember changes a member's role or mutes him. A mute lasts until its time,
// whatever becomes of the membership.
type SetMember struct {
	Group      GroupID
	By         UserID
	User       UserID
	Role       Role   // RoleNone leaves it; RoleAdmin or RoleMember
	MutedUntil *int64 // ms, 0 = not muted; nil leaves it
}

// SetGroup changes what a group is.
type SetGroup struct {
	Group      GroupID
	By         UserID
	Name       *string // nil leaves it
	Properties []byte  // nil leaves them
	Settings   SettingsChange
	// Owner becomes the owner at once if an administrator says so. The owner offers
	// it to another member, who becomes it by AnswerOwner; himself ends an offer. ""
	// leaves it.
	Owner UserID
}

// AnswerOwner accepts or refuses to become the owner of a group.
type AnswerOwner struct {
	Group  GroupID
	User   UserID
	Accept bool
}

// SendGroup stores a message in a group's log.
type SendGroup struct {
	Group    GroupID
	User     UserID // sender
	Session  SessionID
	Admin    bool // an administrator sends in the user's name, who need be no member
	ID       MsgID
	CID      string
	Body     []byte
	TTL      uint32 // seconds, 0 = none
	Retry    bool
	Mentions []string
}

// ReadGroup moves a member's read cursor forward, or where it says with Back.
type ReadGroup struct {
	Group   GroupID
	User    UserID
	Session SessionID
	Seq     uint64 // beyond the newest means the newest
	Back    bool   // by an administrator: the cursor may also go back
}

// RecallGroup takes one message of a group away from everybody. An
// administrator deletes it.
type RecallGroup struct {
	Group  GroupID
	By     UserID
	Seq    uint64
	Silent bool // nobody is told
}

// DeleteSender deletes all that a member sent to a group: Result.Deleted.
type DeleteSender struct {
	Group  GroupID
	Sender UserID
	Silent bool // nobody is told
}

// HideMessages hides messages of a group from one member.
type HideMessages struct {
	Group   GroupID
	User    UserID
	Session SessionID
	Seqs    []uint64 // 1-100
}

// HideGroup takes a group off a member's recents, with Messages also all its
// messages so far out of his view.
type HideGroup struct {
	Group    GroupID
	User     UserID
	Session  SessionID
	Messages bool
}

// SetGroupView changes a member's own settings of a group.
type SetGroupView struct {
	Group  GroupID
	User   UserID
	Muted  *bool // nil leaves it
	Pinned *bool
	Unread *bool // marks it as unread, see ConversationSettings
}

// GroupCommand is a Command on a group.
type GroupCommand interface {
	Command
	group() GroupID
}

func (c *CreateGroup) group() GroupID   { return c.Group }
func (c *JoinGroup) group() GroupID     { return c.Group }
func (c *LeaveGroup) group() GroupID    { return c.Group }
func (c *DismissGroup) group() GroupID  { return c.Group }
func (c *AnswerJoin) group() GroupID    { return c.Group }
func (c *AddMembers) group() GroupID    { return c.Group }
func (c *RemoveMembers) group() GroupID { return c.Group }
func (c *SetMember) group() GroupID     { return c.Group }
func (c *SetGroup) group() GroupID      { return c.Group }
func (c *SendGroup) group() GroupID     { return c.Group }
func (c *ReadGroup) group() GroupID     { return c.Group }
func (c *RecallGroup) group() GroupID   { return c.Group }
func (c *DeleteSender) group() GroupID  { return c.Group }
func (c *HideMessages) group() GroupID  { return c.Group }
func (c *HideGroup) group() GroupID     { return c.Group }
func (c *SetGroupView) group() GroupID  { return c.Group }
func (c *AnswerOwner) group() GroupID   { return c.Group }
func (c *Unban) group() GroupID         { return c.Group }

func (c *CreateGroup) Key() string   { return string(c.Group.Key()) }
func (c *JoinGroup) Key() string     { return string(c.Group.Key()) }
func (c *LeaveGroup) Key() string    { return string(c.Group.Key()) }
func (c *DismissGroup) Key() string  { return string(c.Group.Key()) }
func (c *AnswerJoin) Key() string    { return string(c.Group.Key()) }
func (c *AddMembers) Key() string    { return string(c.Group.Key()) }
func (c *RemoveMembers) Key() string { return string(c.Group.Key()) }
func (c *SetMember) Key() string     { return string(c.Group.Key()) }
func (c *SetGroup) Key() string      { return string(c.Group.Key()) }
func (c *SendGroup) Key() string     { return string(c.Group.Key()) }
func (c *ReadGroup) Key() string     { return string(c.Group.Key()) }
func (c *RecallGroup) Key() string   { return string(c.Group.Key()) }
func (c *DeleteSender) Key() string  { return string(c.Group.Key()) }
func (c *HideMessages) Key() string  { return string(c.Group.Key()) }
func (c *HideGroup) Key() string     { return string(c.Group.Key()) }
func (c *SetGroupView) Key() string  { return string(c.Group.Key()) }
func (c *AnswerOwner) Key() string   { return string(c.Group.Key()) }
func (c *Unban) Key() string         { return string(c.Group.Key()) }

func (*CreateGroup) kind() kind   { return kindCreateGroup }
func (*JoinGroup) kind() kind     { return kindJoinGroup }
func (*LeaveGroup) kind() kind    { return kindLeaveGroup }
func (*DismissGroup) kind() kind  { return kindDismissGroup }
func (*AnswerJoin) kind() kind    { return kindAnswerJoin }
func (*AddMembers) kind() kind    { return kindAddMembers }
func (*RemoveMembers) kind() kind { return kindRemoveMembers }
func (*SetMember) kind() kind     { return kindSetMember }
func (*SetGroup) kind() kind      { return kindSetGroup }
func (*SendGroup) kind() kind     { return kindSendGroup }
func (*ReadGroup) kind() kind     { return kindReadGroup }
func (*RecallGroup) kind() kind   { return kindRecallGroup }
func (*DeleteSender) kind() kind  { return kindDeleteSender }
func (*HideMessages) kind() kind  { return kindHideMessages }
func (*HideGroup) kind() kind     { return kindHideGroup }
func (*SetGroupView) kind() kind  { return kindSetGroupView }
func (*AnswerOwner) kind() kind   { return kindAnswerOwner }
func (*Unban) kind() kind         { return kindUnban }
