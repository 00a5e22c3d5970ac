package command

import "github.com/belfry-im/belfry/shard/codec"

// MaxImportRows is how many rows one command may import.
const MaxImportRows = 4096

// An ImportRow is one message to import: another system sent it in the past.
type ImportRow struct {
	Row      uint64 // the row's number in its stream, from 1
	From     UserID // sender; only for ImportGroup
	Own      bool   // sent by the user into whose view it is imported
	Peer     uint64 // of an incoming message: its seq in the sender's view; 0 = it is not in that view
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

// Import adds rows of a stream to one user's view of a conversation. It is refused with
// CodeConflict if the view holds messages that this stream did not bring, which
// includes messages sent after earlier rows were imported. Rows whose numbers were
// imported before change nothing. Numbers must rise, times must not fall, and no time
// may be in the future (CodeBadRequest). If Next is set and the rows would not have the
// seqs that follow from it, it is refused with CodeGap; Result.Seq is the next seq then.
//
// Nobody is told of an import. A device that was online before it is not pushed the
// imported messages, but finds them in recents and history.
type Import struct {
	User   UserID
	Peer   UserID
	Stream uint64 // hash of the stream's name
	Unread bool   // the peer's messages become unread; otherwise all rows count as read
	Next   uint64 // seq that was planned for the first row; 0 = whichever it gets
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
	codec.Uint(x, &c.Next)
	importRows(x, &c.Rows)
}

// ImportGroup adds rows of a stream to a group's log, under the same rules as Import.
type ImportGroup struct {
	Group  GroupID
	Stream uint64
	Unread bool
	Next   uint64
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
	codec.Uint(x, &c.Next)
	importRows(x, &c.Rows)
}
