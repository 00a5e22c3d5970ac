package command

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/cespare/xxhash/v2"
)

// Send stores a one-to-one message in the sender's view and in the receiver's: at once
// if the receiver is in the same shard, otherwise by letter.
type Send struct {
	User     UserID // sender
	Session  SessionID
	To       UserID // receiver; the sender for a note to themselves
	ID       MsgID
	CID      string // 1-64 bytes, the client's id of the message
	Body     []byte // canonical msgpack (see gateway/protocol), within Limits.MaxBody
	TTL      uint32 // seconds, 0 = none
	Retry    bool   // search all of history for CID, not only the dedup window
	Mentions []string
	// Original is the hash (HashBody) of the body that the client sent, if a webhook has
	// replaced it by Body; 0 = none has. A repeat has the same one, whatever replaces its
	// body.
	Original uint64
	Origin   Origin
}

// HashBody returns the hash of a message's body for Original.
func HashBody(body []byte) uint64 { return xxhash.Sum64(body) }

func (*Send) kind() Kind     { return 3 }
func (c *Send) Key() string  { return string(c.User) }
func (c *Send) Needs() Needs { return Needs{Room: true, Peer: c.To} }

func (c *Send) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.To.Fields(x)
	c.ID.Fields(x)
	codec.Text(x, &c.CID, MaxName)
	codec.Uint(x, &c.TTL)
	codec.Bool(x, &c.Retry)
	codec.Uint(x, &c.Original)
	c.Origin.fields(x)
	mentions(x, &c.Mentions)
	codec.Bytes(x, &c.Body, MaxBody)
}

// Recall takes back a message that the user sent, in both users' views.
type Recall struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // in the user's view
}

func (*Recall) kind() Kind     { return 5 }
func (c *Recall) Key() string  { return string(c.User) }
func (c *Recall) Needs() Needs { return Needs{Peer: c.Peer} }

func (c *Recall) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Peer.Fields(x)
	codec.Uint(x, &c.Seq)
}

// DeleteMessages deletes messages from the user's own view.
type DeleteMessages struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seqs    []uint64 // 1-100
}

func (*DeleteMessages) kind() Kind    { return 6 }
func (c *DeleteMessages) Key() string { return string(c.User) }
func (*DeleteMessages) Needs() Needs  { return Needs{} }

func (c *DeleteMessages) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	c.Request.Fields(x)
	c.Peer.Fields(x)
	codec.Uints(x, &c.Seqs, MaxSeqs)
}
