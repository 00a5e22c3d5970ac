package command

// A GroupID names a group: 1-48 bytes of printable ASCII without spaces, neither "."
// nor "..".
type GroupID string

// Key returns the key whose slot holds the group, which also serves as the name of its
// record. No user has that name, because theirs have no spaces.
func (g GroupID) Key() UserID { return GroupPrefix + UserID(g) }

const GroupPrefix = "group "

// A GroupKind gives a new group its settings.
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
	JoinByInvitation JoinMode = iota + 1 // any member adds them
	JoinByApproval                       // they ask, and an admin approves
	JoinOpen
)

// A GroupHistory says what of a group's log a member may read.
type GroupHistory uint8

const (
	HistorySinceJoin GroupHistory = iota + 1
	HistoryAll
	HistoryNone
)

// GroupSettings are the settings of a group. Its kind gives them when it is made; its
// owner and admins change them later.
type GroupSettings struct {
	MaxMembers int // 0 = no limit
	Join       JoinMode
	History    GroupHistory
	Unread     bool // members have a number of unread messages
	Stored     bool // messages are kept; without, membership belongs to a session
	MutedAll   bool // only the owner and admins may send
}

// A SettingsChange changes some of a group's settings. The zero one changes none.
// Stored follows from the kind and cannot be changed.
type SettingsChange struct {
	MaxMembers *int
	Join       JoinMode     // 0 leaves it
	History    GroupHistory // 0 leaves it
	Unread     *bool
	MutedAll   *bool
}

// Of returns settings as they are after the change.
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

// Fixed returns the name of a setting that a group of the kind cannot have, or "" if
// there is none. A live group keeps nothing, and its members are sessions.
func (k GroupKind) Fixed(v GroupSettings) string {
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

// Settings returns the settings of a new group of the kind.
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

// A Role is what a user is in a group.
type Role uint8

const (
	RoleNone Role = iota // not a member
	RoleMember
	RoleAdmin
	RoleOwner
)

func (c *SettingsChange) append(b []byte) []byte {
	if b = AppendBool(b, c.MaxMembers != nil); c.MaxMembers != nil {
		b = AppendUint(b, uint64(*c.MaxMembers))
	}
	b = append(b, byte(c.Join), byte(c.History))
	return appendOptional(appendOptional(b, c.Unread), c.MutedAll)
}

func (c *CreateGroup) append(b []byte) []byte {
	b = AppendBytes(b, c.Group)
	b = AppendBytes(b, c.By)
	b = AppendBytes(b, c.Owner)
	b = append(b, byte(c.Kind))
	b = AppendSettings(b, c.Settings)
	b = AppendBytes(b, c.Name)
	b = AppendBlob(b, c.Properties)
	b = AppendUsers(b, c.Members)
	return AppendUint(b, c.Salt)
}

func (c *CreateGroup) decode(d *Decoder) {
	*c = CreateGroup{
		Group: d.Group(), By: d.User(), Owner: d.User(), Kind: d.GroupKind(), Settings: d.Settings(),
		Name: d.Text(MaxGroupName), Properties: d.Blob(MaxGroupProperties), Members: d.Users(), Salt: d.Uint(),
	}
}

func (c *JoinGroup) append(b []byte) []byte {
	return AppendBytes(AppendBytes(AppendBytes(b, c.Group), c.User), c.Message)
}

func (c *JoinGroup) decode(d *Decoder) {
	*c = JoinGroup{Group: d.Group(), User: d.User(), Message: d.Text(MaxJoinMessage)}
}

func (c *LeaveGroup) append(b []byte) []byte { return AppendBytes(AppendBytes(b, c.Group), c.User) }

func (c *LeaveGroup) decode(d *Decoder) { *c = LeaveGroup{Group: d.Group(), User: d.User()} }

func (c *DismissGroup) append(b []byte) []byte { return AppendBytes(AppendBytes(b, c.Group), c.By) }

func (c *DismissGroup) decode(d *Decoder) { *c = DismissGroup{Group: d.Group(), By: d.User()} }

func (c *AnswerJoin) append(b []byte) []byte {
	return AppendBool(AppendBytes(AppendBytes(AppendBytes(b, c.Group), c.By), c.User), c.Accept)
}

func (c *AnswerJoin) decode(d *Decoder) {
	*c = AnswerJoin{Group: d.Group(), By: d.User(), User: d.User(), Accept: d.Bool()}
}

func (c *AddMembers) append(b []byte) []byte {
	return AppendUsers(AppendBytes(AppendBytes(b, c.Group), c.By), c.Users)
}

func (c *AddMembers) decode(d *Decoder) {
	*c = AddMembers{Group: d.Group(), By: d.User(), Users: d.Users()}
}

func (c *RemoveMembers) append(b []byte) []byte {
	return AppendUint(AppendUsers(AppendBytes(AppendBytes(b, c.Group), c.By), c.Users), uint64(c.Ban))
}

func (c *RemoveMembers) decode(d *Decoder) {
	*c = RemoveMembers{Group: d.Group(), By: d.User(), Users: d.Users(), Ban: uint32(d.UintMax(MaxBan))}
}

func (c *Unban) append(b []byte) []byte {
	return AppendBytes(AppendBytes(AppendBytes(b, c.Group), c.By), c.User)
}

func (c *Unban) decode(d *Decoder) { *c = Unban{Group: d.Group(), By: d.User(), User: d.User()} }

func (c *AnswerOwner) append(b []byte) []byte {
	return AppendBool(AppendBytes(AppendBytes(b, c.Group), c.User), c.Accept)
}

func (c *AnswerOwner) decode(d *Decoder) {
	*c = AnswerOwner{Group: d.Group(), User: d.User(), Accept: d.Bool()}
}

func (c *SetMember) append(b []byte) []byte {
	b = AppendBytes(AppendBytes(AppendBytes(b, c.Group), c.By), c.User)
	b = append(b, byte(c.Role))
	if b = AppendBool(b, c.MutedUntil != nil); c.MutedUntil != nil {
		b = AppendInt(b, *c.MutedUntil)
	}
	return b
}

func (c *SetMember) decode(d *Decoder) {
	*c = SetMember{Group: d.Group(), By: d.User(), User: d.User(), Role: Role(d.Byte())}
	if c.Role > RoleAdmin {
		d.Fail(ErrMalformed)
	}
	if d.Bool() {
		v := d.Int()
		if !d.checkOnly {
			c.MutedUntil = &v
		}
	}
}

func (c *SetGroup) append(b []byte) []byte {
	b = AppendBytes(AppendBytes(b, c.Group), c.By)
	if b = AppendBool(b, c.Name != nil); c.Name != nil {
		b = AppendBytes(b, *c.Name)
	}
	b = AppendBlob(b, c.Properties)
	return c.Settings.append(AppendBytes(b, c.Owner))
}

func (c *SetGroup) decode(d *Decoder) {
	*c = SetGroup{Group: d.Group(), By: d.User()}
	if d.Bool() {
		name := d.Text(MaxGroupName)
		if !d.checkOnly {
			c.Name = &name
		}
	}
	c.Properties = d.Blob(MaxGroupProperties)
	c.Owner, c.Settings = d.User(), d.settingsChange()
}

func (c *SendGroup) append(b []byte) []byte {
	b = AppendBytes(b, c.Group)
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendBool(b, c.Admin)
	b = append(b, c.ID[:]...)
	b = AppendBytes(b, c.CID)
	b = AppendUint(b, uint64(c.TTL))
	b = AppendBool(b, c.Retry)
	b = appendMentions(b, c.Mentions)
	return AppendBytes(b, c.Body)
}

func (c *SendGroup) decode(d *Decoder) {
	*c = SendGroup{
		Group: d.Group(), User: d.User(), Session: SessionID(d.Uint()), Admin: d.Bool(), ID: d.ID(),
		CID: d.Text(MaxName), TTL: uint32(d.UintMax(1<<32 - 1)), Retry: d.Bool(), Mentions: d.mentions(), Body: d.body(),
	}
}

func (c *ReadGroup) append(b []byte) []byte {
	b = AppendUint(AppendBytes(AppendBytes(b, c.Group), c.User), uint64(c.Session))
	return AppendBool(AppendUint(b, c.Seq), c.MayMoveBack)
}

func (c *ReadGroup) decode(d *Decoder) {
	*c = ReadGroup{Group: d.Group(), User: d.User(), Session: SessionID(d.Uint()), Seq: d.Uint(), MayMoveBack: d.Bool()}
}

func (c *RecallGroup) append(b []byte) []byte {
	return AppendBool(AppendUint(AppendBytes(AppendBytes(b, c.Group), c.By), c.Seq), c.Silent)
}

func (c *RecallGroup) decode(d *Decoder) {
	*c = RecallGroup{Group: d.Group(), By: d.User(), Seq: d.Uint(), Silent: d.Bool()}
}

func (c *DeleteMessagesFrom) append(b []byte) []byte {
	return AppendBool(AppendBytes(AppendBytes(b, c.Group), c.Sender), c.Silent)
}

func (c *DeleteMessagesFrom) decode(d *Decoder) {
	*c = DeleteMessagesFrom{Group: d.Group(), Sender: d.User(), Silent: d.Bool()}
}

func (c *HideMessages) append(b []byte) []byte {
	b = AppendUint(AppendBytes(AppendBytes(b, c.Group), c.User), uint64(c.Session))
	return appendSeqs(b, c.Seqs)
}

func (c *HideMessages) decode(d *Decoder) {
	*c = HideMessages{Group: d.Group(), User: d.User(), Session: SessionID(d.Uint()), Seqs: d.seqs(c.Seqs[:0])}
}

func (c *HideGroup) append(b []byte) []byte {
	b = AppendUint(AppendBytes(AppendBytes(b, c.Group), c.User), uint64(c.Session))
	return AppendBool(b, c.Messages)
}

func (c *HideGroup) decode(d *Decoder) {
	*c = HideGroup{Group: d.Group(), User: d.User(), Session: SessionID(d.Uint()), Messages: d.Bool()}
}

func (c *SetGroupView) append(b []byte) []byte {
	b = AppendBytes(AppendBytes(b, c.Group), c.User)
	return appendOptional(appendOptional(appendOptional(b, c.Muted), c.Pinned), c.Unread)
}

func (c *SetGroupView) decode(d *Decoder) {
	*c = SetGroupView{Group: d.Group(), User: d.User(), Muted: d.optional(), Pinned: d.optional(), Unread: d.optional()}
}

// CreateGroup makes a group. The owner is its first member.
type CreateGroup struct {
	Group      GroupID
	By         UserID
	Owner      UserID // "" = nobody; By unless an administrator acts
	Kind       GroupKind
	Settings   GroupSettings // see GroupKind.Settings
	Name       string        // at most 256 bytes
	Properties []byte        // a map as canonical msgpack, at most 8 KiB; nil = none
	Members    []UserID      // besides the owner
	Salt       uint64        // random, see the group's dedup window
}

// JoinGroup makes the user a member of an open group. In a group that wants approval
// it adds a request for the admins.
type JoinGroup struct {
	Group   GroupID
	User    UserID
	Message string // for the admins
}

// LeaveGroup ends the user's membership.
type LeaveGroup struct {
	Group GroupID
	User  UserID
}

// DismissGroup ends a group. For 30 days only its owner can make a group with that id
// again, whose seqs then go on.
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

// RemoveMembers ends memberships. Users who are not members, or whom By may not
// remove, are in Result.Failed. Users who are not members can still be banned.
type RemoveMembers struct {
	Group GroupID
	By    UserID
	Users []UserID
	Ban   uint32 // seconds for which they cannot come back, at most MaxBan; 0 = no ban
}

// Unban ends the ban of a user.
type Unban struct {
	Group GroupID
	By    UserID
	User  UserID
}

// SetMember changes a member's role, or mutes a user. A mute lasts until its time,
// even if the membership ends.
type SetMember struct {
	Group      GroupID
	By         UserID
	User       UserID
	Role       Role   // RoleAdmin or RoleMember; RoleNone leaves it
	MutedUntil *int64 // ms, 0 = not muted; nil leaves it
}

// SetGroup changes a group's name, properties, settings or owner.
type SetGroup struct {
	Group      GroupID
	By         UserID
	Name       *string // nil leaves it
	Properties []byte  // nil leaves them
	Settings   SettingsChange
	// Owner becomes the owner at once if By is an administrator. If By is the owner,
	// it is offered to Owner, who accepts by AnswerOwner; the owner's own name ends
	// such an offer. "" leaves the owner.
	Owner UserID
}

// AnswerOwner accepts or refuses the ownership of a group that was offered to the
// user.
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
	Admin    bool // an administrator sends in the name of User, who need not be a member
	ID       MsgID
	CID      string
	Body     []byte
	TTL      uint32 // seconds, 0 = none
	Retry    bool
	Mentions []string
}

// ReadGroup moves a member's read cursor forward, with MayMoveBack also back.
type ReadGroup struct {
	Group       GroupID
	User        UserID
	Session     SessionID
	Seq         uint64 // beyond the newest seq means the newest
	MayMoveBack bool   // by an administrator
}

// RecallGroup takes one message of a group from all members. By an administrator it
// counts as deleted.
type RecallGroup struct {
	Group  GroupID
	By     UserID
	Seq    uint64
	Silent bool // members are not told
}

// DeleteMessagesFrom deletes all that a user sent to a group. Result.Deleted has the
// number.
type DeleteMessagesFrom struct {
	Group  GroupID
	Sender UserID
	Silent bool // members are not told
}

// HideMessages deletes messages of a group from one member's view.
type HideMessages struct {
	Group   GroupID
	User    UserID
	Session SessionID
	Seqs    []uint64 // 1-100
}

// HideGroup takes a group off a member's recents; with Messages it also clears the
// history so far in the member's view.
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
	Unread *bool // marks it as unread, see query.ConversationSettings
}

// A GroupCommand is a Command on a group.
type GroupCommand interface {
	Command
	group() GroupID
}

func (c *CreateGroup) group() GroupID { return c.Group }

func (c *JoinGroup) group() GroupID { return c.Group }

func (c *LeaveGroup) group() GroupID { return c.Group }

func (c *DismissGroup) group() GroupID { return c.Group }

func (c *AnswerJoin) group() GroupID { return c.Group }

func (c *AddMembers) group() GroupID { return c.Group }

func (c *RemoveMembers) group() GroupID { return c.Group }

func (c *SetMember) group() GroupID { return c.Group }

func (c *SetGroup) group() GroupID { return c.Group }

func (c *SendGroup) group() GroupID { return c.Group }

func (c *ReadGroup) group() GroupID { return c.Group }

func (c *RecallGroup) group() GroupID { return c.Group }

func (c *DeleteMessagesFrom) group() GroupID { return c.Group }

func (c *HideMessages) group() GroupID { return c.Group }

func (c *HideGroup) group() GroupID { return c.Group }

func (c *SetGroupView) group() GroupID { return c.Group }

func (c *AnswerOwner) group() GroupID { return c.Group }

func (c *Unban) group() GroupID { return c.Group }

func (c *CreateGroup) Key() string { return string(c.Group.Key()) }

func (c *JoinGroup) Key() string { return string(c.Group.Key()) }

func (c *LeaveGroup) Key() string { return string(c.Group.Key()) }

func (c *DismissGroup) Key() string { return string(c.Group.Key()) }

func (c *AnswerJoin) Key() string { return string(c.Group.Key()) }

func (c *AddMembers) Key() string { return string(c.Group.Key()) }

func (c *RemoveMembers) Key() string { return string(c.Group.Key()) }

func (c *SetMember) Key() string { return string(c.Group.Key()) }

func (c *SetGroup) Key() string { return string(c.Group.Key()) }

func (c *SendGroup) Key() string { return string(c.Group.Key()) }

func (c *ReadGroup) Key() string { return string(c.Group.Key()) }

func (c *RecallGroup) Key() string { return string(c.Group.Key()) }

func (c *DeleteMessagesFrom) Key() string { return string(c.Group.Key()) }

func (c *HideMessages) Key() string { return string(c.Group.Key()) }

func (c *HideGroup) Key() string { return string(c.Group.Key()) }

func (c *SetGroupView) Key() string { return string(c.Group.Key()) }

func (c *AnswerOwner) Key() string { return string(c.Group.Key()) }

func (c *Unban) Key() string { return string(c.Group.Key()) }

func (*CreateGroup) kind() kind { return KindCreateGroup }

func (*JoinGroup) kind() kind { return kindJoinGroup }

func (*LeaveGroup) kind() kind { return kindLeaveGroup }

func (*DismissGroup) kind() kind { return kindDismissGroup }

func (*AnswerJoin) kind() kind { return kindAnswerJoin }

func (*AddMembers) kind() kind { return kindAddMembers }

func (*RemoveMembers) kind() kind { return kindRemoveMembers }

func (*SetMember) kind() kind { return kindSetMember }

func (*SetGroup) kind() kind { return kindSetGroup }

func (*SendGroup) kind() kind { return kindSendGroup }

func (*ReadGroup) kind() kind { return kindReadGroup }

func (*RecallGroup) kind() kind { return kindRecallGroup }

func (*DeleteMessagesFrom) kind() kind { return kindDeleteMessagesFrom }

func (*HideMessages) kind() kind { return kindHideMessages }

func (*HideGroup) kind() kind { return kindHideGroup }

func (*SetGroupView) kind() kind { return kindSetGroupView }

func (*AnswerOwner) kind() kind { return kindAnswerOwner }

func (*Unban) kind() kind { return KindUnban }

// MaxBan bounds the time of a ban, in seconds: ten years.
const MaxBan = 10 * 365 * 24 * 3600
