package command

import "github.com/belfry-im/belfry/shard/codec"

// ReadReport moves the user's read cursor of a conversation forward.
type ReadReport struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // beyond the newest seq means the newest
	Auto    bool   // made by an ack, not by the user: the peer gets no receipt
}

func (*ReadReport) kind() Kind    { return 4 }
func (c *ReadReport) Key() string { return string(c.User) }

func (c *ReadReport) Needs() Needs {
	if c.Auto {
		return Needs{}
	}
	return Needs{Peer: c.Peer}
}

func (c *ReadReport) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Peer.Fields(x)
	codec.Uint(x, &c.Seq)
	codec.Bool(x, &c.Auto)
}

// SetRead sets a user's read cursor of a one-to-one conversation on behalf of an
// administrator, forward or back. If it moves back, messages become unread again except
// those that limits took out of the offline queue or that are too old for it. The peer
// gets no receipt. Notes to oneself are always read.
type SetRead struct {
	User UserID
	Peer UserID
	Seq  uint64 // beyond the newest seq means the newest
}

func (*SetRead) kind() Kind    { return 66 }
func (c *SetRead) Key() string { return string(c.User) }
func (*SetRead) Needs() Needs  { return Needs{} }

func (c *SetRead) fields(x *codec.Coder) {
	c.User.Fields(x)
	c.Peer.Fields(x)
	codec.Uint(x, &c.Seq)
}
