package command

import "github.com/belfry-im/belfry/shard/codec"

// Bounds of the fields of groups.
const (
	MaxGroupName       = 256
	MaxGroupProperties = 8 << 10
)

// CreateGroup makes a group. Its owner is its first member.
type CreateGroup struct {
	Group      GroupID
	By         UserID
	Owner      UserID // the same as By unless an administrator acts; "" = nobody
	Kind       GroupKind
	Settings   GroupSettings // those of GroupKind.Settings, with the creator's changes
	Name       string        // at most 256 bytes
	Properties []byte        // a map in canonical msgpack, at most 8 KiB; nil = none
	Members    []UserID      // besides the owner
	Salt       uint64        // random; goes into the keys of the group's dedup window
}

func (*CreateGroup) onGroup()      {}
func (*CreateGroup) kind() Kind    { return 19 }
func (c *CreateGroup) Key() string { return string(c.Group.Key()) }

func (c *CreateGroup) Needs() Needs {
	members := append(c.Members[:len(c.Members):len(c.Members)], c.Owner)
	return Needs{Room: true, Members: members}
}

func (c *CreateGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	c.Owner.Fields(x)
	c.Kind.Fields(x)
	c.Settings.Fields(x)
	codec.Text(x, &c.Name, MaxGroupName)
	codec.Blob(x, &c.Properties, MaxGroupProperties)
	Users(x, &c.Members)
	codec.Uint(x, &c.Salt)
}

// DismissGroup ends a group. For 30 days only its owner can make a group with the same
// id again. The seqs of such a group continue those of the old one.
type DismissGroup struct {
	Group GroupID
	By    UserID
}

func (*DismissGroup) onGroup()       {}
func (*DismissGroup) kind() Kind     { return 22 }
func (c *DismissGroup) Key() string  { return string(c.Group.Key()) }
func (c *DismissGroup) Needs() Needs { return Needs{AllShards: true, Members: []UserID{c.By}} }

func (c *DismissGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
}

// SetGroup changes a group's name, properties, settings or owner.
type SetGroup struct {
	Group      GroupID
	By         UserID
	Name       *string // nil leaves the name as it is
	Properties []byte  // nil leaves them
	Settings   SettingsChange
	// Owner becomes the owner at once if By is an administrator. If By is the owner,
	// the ownership is only offered to Owner, who accepts it by AnswerOwner; an owner
	// who names themselves takes such an offer back. "" leaves the owner.
	Owner UserID
}

func (*SetGroup) onGroup()      {}
func (*SetGroup) kind() Kind    { return 27 }
func (c *SetGroup) Key() string { return string(c.Group.Key()) }

func (c *SetGroup) Needs() Needs {
	if c.Owner != "" && c.By == "" {
		return Needs{Members: []UserID{c.Owner}}
	}
	return Needs{}
}

func (c *SetGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.By.Fields(x)
	codec.Optional(x, &c.Name, groupName)
	codec.Blob(x, &c.Properties, MaxGroupProperties)
	c.Owner.Fields(x)
	c.Settings.fields(x)
}

func groupName(x *codec.Coder, name *string) { codec.Text(x, name, MaxGroupName) }

// AnswerOwner accepts or refuses the ownership of a group that was offered to User.
type AnswerOwner struct {
	Group  GroupID
	User   UserID
	Accept bool
}

func (*AnswerOwner) onGroup()       {}
func (*AnswerOwner) kind() Kind     { return 35 }
func (c *AnswerOwner) Key() string  { return string(c.Group.Key()) }
func (c *AnswerOwner) Needs() Needs { return Needs{Members: []UserID{c.User}} }

func (c *AnswerOwner) fields(x *codec.Coder) {
	c.Group.Fields(x)
	c.User.Fields(x)
	codec.Bool(x, &c.Accept)
}
