package protocol

func beginPush(dst []byte, codec Codec, op string) (encoder, frameMark) {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	frame := e.beginMap()
	e.textField("op", op)
	e.key("args")
	return e, frameMark{frame, e.beginMap()}
}

// ReadReport is onReadReport: the user's own read cursor moved.
type ReadReport struct {
	Conv Conv
	Seq  uint64
}

// AppendReadReport appends the frame of an onReadReport.
func AppendReadReport(dst []byte, codec Codec, p *ReadReport) []byte {
	e, m := beginPush(dst, codec, OpOnReadReport)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *ReadReport) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.uintField("seq", p.Seq)
}

// Decode reads the args of an onReadReport.
func (p *ReadReport) Decode(args Raw) (err error) {
	p.Conv, p.Seq, err = decodeConvSeq(args)
	return err
}

// ReadReceipt is onReadReceipt: the peer has read the user's messages.
type ReadReceipt struct {
	Conv Conv
	Seq  uint64 // up to this one, in the user's own view
	Time int64  // ms
}

// AppendReadReceipt appends the frame of an onReadReceipt.
func AppendReadReceipt(dst []byte, codec Codec, p *ReadReceipt) []byte {
	e, m := beginPush(dst, codec, OpOnReadReceipt)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *ReadReceipt) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.uintField("seq", p.Seq)
	e.intField("time", p.Time)
}

// Decode reads the args of an onReadReceipt.
func (p *ReadReceipt) Decode(args Raw) error {
	*p = ReadReceipt{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			p.Conv = d.conv()
		case "seq":
			p.Seq = d.uint(1, MaxInt)
		case "time":
			p.Time = d.int()
		default:
			d.skip()
		}
	}
	d.require("conv", p.Conv.ID != "")
	d.require("seq", p.Seq != 0)
	return d.err
}

// Recall is onRecall: messages were taken back.
type Recall struct {
	Conv   Conv
	Ranges []Range
	By     string
	Sender string // if set, of the ranges only what this member sent
}

// A Range holds the seqs From..To, inclusive.
type Range struct{ From, To uint64 }

// AppendRecall appends the frame of an onRecall.
func AppendRecall(dst []byte, codec Codec, p *Recall) []byte {
	e, m := beginPush(dst, codec, OpOnRecall)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *Recall) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.key("ranges")
	e.array(len(p.Ranges))
	for _, r := range p.Ranges {
		e.array(2)
		e.uint(r.From)
		e.uint(r.To)
		e.endArray()
	}
	e.endArray()
	e.textField("by", p.By)
	e.optText("sender", p.Sender)
}

// Decode reads the args of an onRecall.
func (p *Recall) Decode(args Raw) error {
	*p = Recall{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			p.Conv = d.conv()
		case "ranges":
			p.Ranges = d.ranges()
		case "by":
			p.By = d.text(0, MaxUserLen)
		case "sender":
			p.Sender = d.user()
		default:
			d.skip()
		}
	}
	d.require("conv", p.Conv.ID != "")
	return d.err
}

func (d *decoder) ranges() []Range {
	rs, a := makeList[Range](d, rangeLen)
	for i := 0; d.elem(&a); i++ {
		rs[i].From, rs[i].To = d.seqRange()
	}
	d.endArray(a)
	return rs
}

// ConversationDeleted is onConversationDeleted: done on another device of the user.
type ConversationDeleted struct {
	Conv     Conv
	Messages bool   // its history went too
	UpTo     uint64 // the newest seq that it concerns; what came later stays
}

// AppendConversationDeleted appends the frame of an onConversationDeleted.
func AppendConversationDeleted(dst []byte, codec Codec, p *ConversationDeleted) []byte {
	e, m := beginPush(dst, codec, OpOnConversationDeleted)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *ConversationDeleted) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.boolField("messages", p.Messages)
	e.uintField("upTo", p.UpTo)
}

// Decode reads the args of an onConversationDeleted.
func (p *ConversationDeleted) Decode(args Raw) error {
	*p = ConversationDeleted{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			p.Conv = d.conv()
		case "messages":
			p.Messages = d.bool()
		case "upTo":
			p.UpTo = d.uint(0, MaxInt)
		default:
			d.skip()
		}
	}
	d.require("conv", p.Conv.ID != "")
	return d.err
}

// ConversationChanged is onConversationChanged: what the user has set of a
// conversation is this now.
type ConversationChanged struct {
	Conv   Conv
	Muted  bool
	Pinned bool
	Unread bool // it is marked as unread
}

// AppendConversationChanged appends the frame of an onConversationChanged.
func AppendConversationChanged(dst []byte, codec Codec, p *ConversationChanged) []byte {
	e, m := beginPush(dst, codec, OpOnConversationChanged)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *ConversationChanged) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.boolField("muted", p.Muted)
	e.boolField("pinned", p.Pinned)
	e.boolField("unread", p.Unread)
}

// Decode reads the args of an onConversationChanged.
func (p *ConversationChanged) Decode(args Raw) error {
	*p = ConversationChanged{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			p.Conv = d.conv()
		case "muted":
			p.Muted = d.bool()
		case "pinned":
			p.Pinned = d.bool()
		case "unread":
			p.Unread = d.bool()
		default:
			d.skip()
		}
	}
	d.require("conv", p.Conv.ID != "")
	return d.err
}

// Blocked is onBlocked: the user has blocked another, or let him in again.
type Blocked struct {
	User    string
	Blocked bool
}

// AppendBlocked appends the frame of an onBlocked.
func AppendBlocked(dst []byte, codec Codec, p *Blocked) []byte {
	e, m := beginPush(dst, codec, OpOnBlocked)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *Blocked) encode(e *encoder) {
	e.textField("user", p.User)
	e.boolField("blocked", p.Blocked)
}

// Decode reads the args of an onBlocked.
func (p *Blocked) Decode(args Raw) error {
	*p = Blocked{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "user":
			p.User = d.user()
		case "blocked":
			p.Blocked = d.bool()
		default:
			d.skip()
		}
	}
	d.require("user", p.User != "")
	return d.err
}

// MessageDeleted is onMessageDeleted: done on another device of the user.
type MessageDeleted struct {
	Conv Conv
	Seqs []uint64
}

// AppendMessageDeleted appends the frame of an onMessageDeleted.
func AppendMessageDeleted(dst []byte, codec Codec, p *MessageDeleted) []byte {
	e, m := beginPush(dst, codec, OpOnMessageDeleted)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *MessageDeleted) encode(e *encoder) {
	e.convField("conv", p.Conv)
	e.seqs("seqs", p.Seqs)
}

// Decode reads the args of an onMessageDeleted.
func (p *MessageDeleted) Decode(args Raw) error {
	*p = MessageDeleted{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			p.Conv = d.conv()
		case "seqs":
			p.Seqs = d.seqs(0, len(d.data)/seqLen)
		default:
			d.skip()
		}
	}
	d.require("conv", p.Conv.ID != "")
	return d.err
}

// Status of a Presence.
const (
	StatusOnline  = "online"
	StatusOffline = "offline"
)

// Presence is onPresence: a user came online or went.
type Presence struct {
	User   string
	Status string // StatusOnline or StatusOffline
	Time   int64  // ms
}

// AppendPresence appends the frame of an onPresence.
func AppendPresence(dst []byte, codec Codec, p *Presence) []byte {
	e, m := beginPush(dst, codec, OpOnPresence)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *Presence) encode(e *encoder) {
	e.textField("user", p.User)
	e.textField("status", p.Status)
	e.intField("time", p.Time)
}

// Decode reads the args of an onPresence.
func (p *Presence) Decode(args Raw) error {
	*p = Presence{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "user":
			p.User = d.user()
		case "status":
			p.Status = d.text(1, MaxFrame)
		case "time":
			p.Time = d.int()
		default:
			d.skip()
		}
	}
	d.require("user", p.User != "")
	d.require("status", p.Status != "")
	return d.err
}

// Typing is onTyping: a user types in a conversation.
type Typing struct {
	User string
	Conv Conv
	Time int64 // ms
}

// AppendTyping appends the frame of an onTyping.
func AppendTyping(dst []byte, codec Codec, p *Typing) []byte {
	e, m := beginPush(dst, codec, OpOnTyping)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *Typing) encode(e *encoder) {
	e.textField("user", p.User)
	e.convField("conv", p.Conv)
	e.intField("time", p.Time)
}

// Decode reads the args of an onTyping.
func (p *Typing) Decode(args Raw) error {
	*p = Typing{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "user":
			p.User = d.user()
		case "conv":
			p.Conv = d.conv()
		case "time":
			p.Time = d.int()
		default:
			d.skip()
		}
	}
	d.require("user", p.User != "")
	d.require("conv", p.Conv.ID != "")
	return d.err
}

// Reasons of a Kicked.
const (
	KickSameDevice = "sameDevice"
	KickPolicy     = "policy"
	KickAdmin      = "admin"
)

// Kicked is onKicked; the connection is closed with CloseKicked after it.
type Kicked struct {
	Reason string
}

// AppendKicked appends the frame of an onKicked.
func AppendKicked(dst []byte, codec Codec, p *Kicked) []byte {
	e, m := beginPush(dst, codec, OpOnKicked)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *Kicked) encode(e *encoder) { e.textField("reason", p.Reason) }

// Decode reads the args of an onKicked.
func (p *Kicked) Decode(args Raw) error {
	*p = Kicked{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "reason":
			p.Reason = d.text(1, MaxFrame)
		default:
			d.skip()
		}
	}
	d.require("reason", p.Reason != "")
	return d.err
}

// Events of a GroupEvent.
const (
	EventCreated       = "created"
	EventJoined        = "joined"
	EventLeft          = "left"
	EventRemoved       = "removed"
	EventRoleChanged   = "roleChanged"
	EventMuted         = "muted"
	EventChanged       = "changed"
	EventDismissed     = "dismissed"
	EventJoinRequested = "joinRequested"
	EventOwnerOffered  = "ownerOffered"
	EventBanned        = "banned"
)

// GroupEvent is onGroupEvent.
type GroupEvent struct {
	Group string
	Event string // one of the Event constants
	By    string
	Users []string
	Time  int64 // ms
	// Cursor is the group's, for the sessions of who joined: a device that has none
	// loses nothing of what comes from here on.
	Cursor string
}

// AppendGroupEvent appends the frame of an onGroupEvent.
func AppendGroupEvent(dst []byte, codec Codec, p *GroupEvent) []byte {
	e, m := beginPush(dst, codec, OpOnGroupEvent)
	p.encode(&e)
	return e.endFrame(m)
}

func (p *GroupEvent) encode(e *encoder) {
	e.textField("group", p.Group)
	e.textField("event", p.Event)
	e.textField("by", p.By)
	e.optTexts("users", p.Users)
	e.intField("time", p.Time)
	e.optText("cursor", p.Cursor)
}

// Decode reads the args of an onGroupEvent.
func (p *GroupEvent) Decode(args Raw) error {
	*p = GroupEvent{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			p.Group = d.group()
		case "event":
			p.Event = d.text(1, MaxFrame)
		case "by":
			p.By = d.text(0, MaxUserLen)
		case "users":
			p.Users = d.userList()
		case "time":
			p.Time = d.int()
		case "cursor":
			p.Cursor = d.text(0, MaxFrame)
		default:
			d.skip()
		}
	}
	d.require("group", p.Group != "")
	d.require("event", p.Event != "")
	return d.err
}
