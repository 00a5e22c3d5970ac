package command

import "github.com/belfry-im/belfry/shard/codec"

// DeleteConversation takes a conversation off the user's recents and its messages out
// of the offline queue. With Messages it also clears the conversation's history in the
// user's view.
type DeleteConversation struct {
	User     UserID
	Session  SessionID
	Request  Request
	Peer     UserID
	Messages bool
}

func (*DeleteConversation) kind() Kind    { return 7 }
func (c *DeleteConversation) Key() string { return string(c.User) }
func (*DeleteConversation) Needs() Needs  { return Needs{} }

func (c *DeleteConversation) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Peer.Fields(x)
	codec.Bool(x, &c.Messages)
}

// SetConversation changes the user's own settings of a conversation.
type SetConversation struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Muted   *bool // nil leaves the setting as it is; so for the next two
	Pinned  *bool
	Unread  *bool // whether the user has marked it as unread, see query.ConversationSettings
}

func (*SetConversation) kind() Kind    { return 8 }
func (c *SetConversation) Key() string { return string(c.User) }
func (*SetConversation) Needs() Needs  { return Needs{} }

func (c *SetConversation) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Peer.Fields(x)
	codec.OptionalBool(x, &c.Muted)
	codec.OptionalBool(x, &c.Pinned)
	codec.OptionalBool(x, &c.Unread)
}

// Block keeps messages of Target away from User from now on; with Undo they arrive
// again.
type Block struct {
	User    UserID
	Session SessionID
	Request Request
	Target  UserID
	Undo    bool
}

func (*Block) kind() Kind     { return 9 }
func (c *Block) Key() string  { return string(c.User) }
func (c *Block) Needs() Needs { return Needs{Peer: c.Target} }

func (c *Block) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Target.Fields(x)
	codec.Bool(x, &c.Undo)
}
