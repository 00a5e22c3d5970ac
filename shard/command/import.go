package command

import "github.com/belfry-im/belfry/shard/codec"

// MaxImportRows is how many rows one command may import.
const MaxImportRows = 4096

// An ImportRow is a message that another system sent.
type ImportRow struct {
	Row      uint64 // number in the stream, from 1
	From     UserID // sender; only in a group
	Own      bool   // sent by the user whose view it goes to
	Peer     uint64 // of an incoming message: its seq in the sender's view; 0 = it is not there
	Time     int64  // ms
	TTL      uint32 // seconds, 0 = none
	ID       MsgID
	CID      string
	Mentions []string
	Body     []byte // canonical msgpack
}

func (r *ImportRow) fields(x *codec.Coder) {
	codec.Uint(x, &r.Row)
	r.From.Fields(x)
	codec.Bool(x, &r.Own)
	codec.Uint(x, &r.Peer)
	codec.Int(x, &r.Time)
	codec.Uint(x, &r.TTL)
	r.ID.Fields(x)
	codec.Text(x, &r.CID, MaxName)
	mentions(x, &r.Mentions)
	codec.Bytes(x, &r.Body, MaxBody)
}

func importRows(x *codec.Coder, rows *[]ImportRow) {
	const least = 25 // bytes of a row
	codec.List(x, rows, least, MaxImportRows, (*ImportRow).fields)
}

// Import adds rows of a stream to one user's view of a conversation. The conversation
// must hold nothing else, or it is refused with CodeConflict: a message sent later
// keeps further rows out. Rows that came before are known by their number and change
// nothing. Rows must ascend by number, their times must not fall, and must not be in
// the future (CodeBadRequest).
//
// Nobody is told. A device with an older cursor is not pushed what was imported after
// it, but finds it through recents and history.
type Import struct {
	User   UserID
	Peer   UserID
	Stream uint64 // hash of the stream's name
	Unread bool   // rows that are not the user's own are unread; otherwise all is read
	Rows   []ImportRow
}

func (*Import) kind() Kind    { return 68 }
func (c *Import) Key() string { return string(c.User) }
func (*Import) Needs() Needs  { return Needs{Room: true} }

func (c *Import) fields(x *codec.Coder) {
	c.User.Fields(x)
	c.Peer.Fields(x)
	codec.Uint(x, &c.Stream)
	codec.Bool(x, &c.Unread)
	importRows(x, &c.Rows)
}

// ImportGroup adds rows of a stream to a group's log, as Import does.
type ImportGroup struct {
	Group  GroupID
	Stream uint64
	Unread bool
	Rows   []ImportRow
}

func (*ImportGroup) onGroup()      {}
func (*ImportGroup) kind() Kind    { return 69 }
func (c *ImportGroup) Key() string { return string(c.Group.Key()) }
func (*ImportGroup) Needs() Needs  { return Needs{Room: true} }

func (c *ImportGroup) fields(x *codec.Coder) {
	c.Group.Fields(x)
	codec.Uint(x, &c.Stream)
	codec.Bool(x, &c.Unread)
	importRows(x, &c.Rows)
}
