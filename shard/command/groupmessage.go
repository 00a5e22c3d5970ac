package command

import "github.com/belfry-im/belfry/shard/codec"

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
	Retry    bool   // as Send.Retry
	Mentions []string
	Original uint64 // as Send.Original
	Origin   Origin
}

func (*SendGroup) onGroup()      {}
func (*SendGroup) kind() Kind    { return 28 }
func (c *SendGroup) Key() string { return string(c.Group.Key()) }
func (*SendGroup) Needs() Needs  { return Needs{Room: true} }

func (c *SendGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Bool(x, &c.Admin)
	c.ID.Fields(x)
	codec.Text(x, &c.CID, MaxName)
	codec.Uint(x, &c.TTL)
	codec.Bool(x, &c.Retry)
	codec.Uint(x, &c.Original)
	c.Origin.fields(x)
	mentions(x, &c.Mentions)
	codec.Bytes(x, &c.Body, MaxBody)
}

// ReadGroup moves a member's read cursor of a group forward; with MayMoveBack it also
// moves it back.
type ReadGroup struct {
	Group       GroupID
	User        UserID
	Session     SessionID
	Seq         uint64 // beyond the newest seq means the newest
	MayMoveBack bool   // set by an administrator
}

func (*ReadGroup) onGroup()      {}
func (*ReadGroup) kind() Kind    { return 29 }
func (c *ReadGroup) Key() string { return string(c.Group.Key()) }
func (*ReadGroup) Needs() Needs  { return Needs{} }

func (c *ReadGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Uint(x, &c.Seq)
	codec.Bool(x, &c.MayMoveBack)
}

// RecallGroup takes one message of a group away from all members. If an administrator
// of the server does so, the message counts as deleted, not recalled.
type RecallGroup struct {
	Group  GroupID
	By     UserID
	Seq    uint64
	Silent bool // members are not told
}

func (*RecallGroup) onGroup()      {}
func (*RecallGroup) kind() Kind    { return 30 }
func (c *RecallGroup) Key() string { return string(c.Group.Key()) }
func (*RecallGroup) Needs() Needs  { return Needs{} }

func (c *RecallGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	codec.Uint(x, &c.Seq)
	codec.Bool(x, &c.Silent)
}

// DeleteMessagesFrom deletes all messages that a user sent to a group. Result.Deleted
// is their number.
type DeleteMessagesFrom struct {
	Group  GroupID
	Sender UserID
	Silent bool // members are not told
}

func (*DeleteMessagesFrom) onGroup()      {}
func (*DeleteMessagesFrom) kind() Kind    { return 31 }
func (c *DeleteMessagesFrom) Key() string { return string(c.Group.Key()) }
func (*DeleteMessagesFrom) Needs() Needs  { return Needs{} }

func (c *DeleteMessagesFrom) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.Sender.Fields(x)
	codec.Bool(x, &c.Silent)
}

// HideMessages deletes messages of a group from the view of one member alone.
type HideMessages struct {
	Group   GroupID
	User    UserID
	Session SessionID
	Seqs    []uint64 // 1-100
}

func (*HideMessages) onGroup()      {}
func (*HideMessages) kind() Kind    { return 32 }
func (c *HideMessages) Key() string { return string(c.Group.Key()) }
func (*HideMessages) Needs() Needs  { return Needs{} }

func (c *HideMessages) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Uints(x, &c.Seqs, MaxSeqs)
}

// HideGroup takes a group off a member's recents. With Messages it also clears the
// group's history up to now in the member's view.
type HideGroup struct {
	Group    GroupID
	User     UserID
	Session  SessionID
	Messages bool
}

func (*HideGroup) onGroup()      {}
func (*HideGroup) kind() Kind    { return 33 }
func (c *HideGroup) Key() string { return string(c.Group.Key()) }
func (*HideGroup) Needs() Needs  { return Needs{} }

func (c *HideGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Bool(x, &c.Messages)
}

// SetGroupView changes a member's own settings of a group.
type SetGroupView struct {
	Group  GroupID
	User   UserID
	Muted  *bool // nil leaves the setting as it is; so for the next two
	Pinned *bool
	Unread *bool // whether the member has marked it as unread, see query.ConversationSettings
}

func (*SetGroupView) onGroup()      {}
func (*SetGroupView) kind() Kind    { return 34 }
func (c *SetGroupView) Key() string { return string(c.Group.Key()) }
func (*SetGroupView) Needs() Needs  { return Needs{} }

func (c *SetGroupView) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.OptionalBool(x, &c.Muted)
	codec.OptionalBool(x, &c.Pinned)
	codec.OptionalBool(x, &c.Unread)
}
