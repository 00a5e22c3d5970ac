package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A TraceMessage query reads what became of one message in one view: that of a user, of a
// member of a group, or of the group without regard to any member.
type TraceMessage struct {
	User  command.UserID // of a group: a member, or "" for the group's log
	Peer  command.UserID
	Group command.GroupID // instead of Peer
	Seq   uint64          // 0 = look for ID
	ID    command.MsgID

	Trace MessageTrace
}

// A MessageTrace is what became of a message. Without a Seq there is no trace of it in the
// view.
type MessageTrace struct {
	Seq    uint64
	ID     command.MsgID // zero if the log does not hold the entry any more; so are From, Time, TTL and Bytes
	From   command.UserID
	Time   int64  // ms
	TTL    uint32 // s
	Bytes  int
	Reason GapReason // why it is not visible; "" if it is
	Unread bool      // it is in the offline queue or, of a member, among their unread

	First, Last uint64 // seqs that the log holds
	ReadSeq     uint64 // of the view's user, 0 for a group's log
	PeerReadSeq uint64 // one-to-one: up to which the other user has read, in this view
}

func (q *TraceMessage) Slot() int { return slotOfConversation(q.User, q.Group) }

func (q *TraceMessage) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	uints(x, &q.Seq)
	codec.Fixed(x, q.ID[:])
}

func (q *TraceMessage) result(x *codec.Coder) {
	t := &q.Trace
	uints(x, &t.Seq)
	codec.Fixed(x, t.ID[:])
	texts(x, &t.From)
	ints(x, &t.Time)
	codec.Uint(x, &t.TTL)
	sizes(x, &t.Bytes)
	texts(x, &t.Reason)
	bools(x, &t.Unread)
	uints(x, &t.First, &t.Last, &t.ReadSeq, &t.PeerReadSeq)
}

// A FindMessage query looks for a message in all views of a range of slots. It looks only
// at entries whose time lies in From..To: logs are in order of time, so that it passes
// over the others without reading them.
type FindMessage struct {
	SlotRange
	ID       command.MsgID
	From, To int64 // ms, inclusive

	Places []MessagePlace // in no order
}

// A MessagePlace is where a message lies: in the view of a user, or in a group.
type MessagePlace struct {
	User, Peer command.UserID
	Group      command.GroupID // instead of User and Peer
	Seq        uint64
}

func (p *MessagePlace) fields(x *codec.Coder) {
	texts(x, &p.User, &p.Peer)
	texts(x, &p.Group)
	uints(x, &p.Seq)
}

func (q *FindMessage) args(x *codec.Coder) {
	q.SlotRange.fields(x)
	codec.Fixed(x, q.ID[:])
	ints(x, &q.From, &q.To)
}

func (q *FindMessage) result(x *codec.Coder) { list(x, &q.Places, (*MessagePlace).fields) }

// A CountSender query counts the messages of one sender that a group holds and shows: those
// that command.DeleteMessagesFrom would delete.
type CountSender struct {
	Group  command.GroupID
	Sender command.UserID

	Exists   bool // there is such a group
	Messages int
	Bytes    int
}

func (q *CountSender) Slot() int { return slotOfGroup(q.Group) }

func (q *CountSender) args(x *codec.Coder) {
	texts(x, &q.Group)
	texts(x, &q.Sender)
}

func (q *CountSender) result(x *codec.Coder) {
	bools(x, &q.Exists)
	sizes(x, &q.Messages, &q.Bytes)
}
