package protocol

func beginPush(dst []byte, codec Codec, op string) (encoder, openFrame) {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	frame := e.beginMap()
	e.textField("op", op)
	e.key("args")
	return e, openFrame{frame, e.beginMap()}
}

func walkPush(dst []byte, codec Codec, op string) (fields, openFrame) {
	e, m := beginPush(dst, codec, op)
	return e.walk(), m
}

// ReadReport is onReadReport: the user's own read cursor has moved.
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
	Seq  uint64 // read up to this one, in the user's own view
	Time int64  // ms
}

// AppendReadReceipt appends the frame of an onReadReceipt.
func AppendReadReceipt(dst []byte, codec Codec, p *ReadReceipt) []byte {
	x, m := walkPush(dst, codec, OpOnReadReceipt)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onReadReceipt.
func (p *ReadReceipt) Decode(args Raw) error { return decode(args, p) }

func (p *ReadReceipt) fields(x *fields) {
	x.conv("conv", &p.Conv, required)
	number(x, "seq", &p.Seq, 1, MaxInt, required)
	count(x, "time", &p.Time, always)
}

// Recall is onRecall: messages were recalled.
type Recall struct {
	Conv   Conv
	Ranges []Range
	By     string
	Sender string // if set, only this member's messages in the ranges are recalled
}

// A Range holds the seqs From..To, inclusive.
type Range struct{ From, To uint64 }

// AppendRecall appends the frame of an onRecall.
func AppendRecall(dst []byte, codec Codec, p *Recall) []byte {
	x, m := walkPush(dst, codec, OpOnRecall)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onRecall.
func (p *Recall) Decode(args Raw) error { return decode(args, p) }

func (p *Recall) fields(x *fields) {
	x.conv("conv", &p.Conv, required)
	x.ranges("ranges", &p.Ranges)
	x.text("by", &p.By, 0, MaxUserLen, always)
	x.user("sender", &p.Sender, optional)
}

// ConversationDeleted is onConversationDeleted: the user has deleted a conversation
// on another device.
type ConversationDeleted struct {
	Conv     Conv
	Messages bool   // its history was deleted too
	UpTo     uint64 // the newest seq that was deleted; later messages stay
}

// AppendConversationDeleted appends the frame of an onConversationDeleted.
func AppendConversationDeleted(dst []byte, codec Codec, p *ConversationDeleted) []byte {
	x, m := walkPush(dst, codec, OpOnConversationDeleted)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onConversationDeleted.
func (p *ConversationDeleted) Decode(args Raw) error { return decode(args, p) }

func (p *ConversationDeleted) fields(x *fields) {
	x.conv("conv", &p.Conv, required)
	x.bool("messages", &p.Messages, always)
	count(x, "upTo", &p.UpTo, always)
}

// ConversationChanged is onConversationChanged: the user has changed the settings
// of a conversation. It has the new ones.
type ConversationChanged struct {
	Conv   Conv
	Muted  bool
	Pinned bool
	Unread bool // it is marked as unread
}

// AppendConversationChanged appends the frame of an onConversationChanged.
func AppendConversationChanged(dst []byte, codec Codec, p *ConversationChanged) []byte {
	x, m := walkPush(dst, codec, OpOnConversationChanged)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onConversationChanged.
func (p *ConversationChanged) Decode(args Raw) error { return decode(args, p) }

func (p *ConversationChanged) fields(x *fields) {
	x.conv("conv", &p.Conv, required)
	x.bool("muted", &p.Muted, always)
	x.bool("pinned", &p.Pinned, always)
	x.bool("unread", &p.Unread, always)
}

// Blocked is onBlocked: the user has blocked or unblocked another user.
type Blocked struct {
	User    string
	Blocked bool
}

// AppendBlocked appends the frame of an onBlocked.
func AppendBlocked(dst []byte, codec Codec, p *Blocked) []byte {
	x, m := walkPush(dst, codec, OpOnBlocked)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onBlocked.
func (p *Blocked) Decode(args Raw) error { return decode(args, p) }

func (p *Blocked) fields(x *fields) {
	x.user("user", &p.User, required)
	x.bool("blocked", &p.Blocked, always)
}

// MessageDeleted is onMessageDeleted: the user has deleted messages on another
// device.
type MessageDeleted struct {
	Conv Conv
	Seqs []uint64
}

// AppendMessageDeleted appends the frame of an onMessageDeleted.
func AppendMessageDeleted(dst []byte, codec Codec, p *MessageDeleted) []byte {
	x, m := walkPush(dst, codec, OpOnMessageDeleted)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onMessageDeleted.
func (p *MessageDeleted) Decode(args Raw) error { return decode(args, p) }

func (p *MessageDeleted) fields(x *fields) {
	x.conv("conv", &p.Conv, required)
	x.seqs("seqs", &p.Seqs, 0, len(x.d.data)/seqLen, always)
}

// Presence is onPresence: a user has come online or gone offline.
type Presence struct {
	User   string
	Status string // StatusOnline or StatusOffline
	Time   int64  // ms
}

// AppendPresence appends the frame of an onPresence.
func AppendPresence(dst []byte, codec Codec, p *Presence) []byte {
	x, m := walkPush(dst, codec, OpOnPresence)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onPresence.
func (p *Presence) Decode(args Raw) error { return decode(args, p) }

func (p *Presence) fields(x *fields) {
	x.user("user", &p.User, required)
	x.text("status", &p.Status, 1, MaxFrame, required)
	count(x, "time", &p.Time, always)
}

// Typing is onTyping: a user types in a conversation.
type Typing struct {
	User string
	Conv Conv
	Time int64 // ms
}

// AppendTyping appends the frame of an onTyping.
func AppendTyping(dst []byte, codec Codec, p *Typing) []byte {
	x, m := walkPush(dst, codec, OpOnTyping)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onTyping.
func (p *Typing) Decode(args Raw) error { return decode(args, p) }

func (p *Typing) fields(x *fields) {
	x.user("user", &p.User, required)
	x.conv("conv", &p.Conv, required)
	count(x, "time", &p.Time, always)
}

// Kicked is onKicked. After it the server closes the connection with CloseKicked.
type Kicked struct {
	Reason string
}

// AppendKicked appends the frame of an onKicked.
func AppendKicked(dst []byte, codec Codec, p *Kicked) []byte {
	x, m := walkPush(dst, codec, OpOnKicked)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onKicked.
func (p *Kicked) Decode(args Raw) error { return decode(args, p) }

func (p *Kicked) fields(x *fields) {
	x.text("reason", &p.Reason, 1, MaxFrame, required)
}

// GroupEvent is onGroupEvent: something has changed in a group.
type GroupEvent struct {
	Group string
	Event string // one of the Event constants
	By    string
	Users []string
	Time  int64 // ms
	// Cursor is set only in the push to the user who has just joined. A device without
	// a cursor of the group that resumes from it misses nothing sent after the join.
	Cursor string
	// Uncounted says, with EventCreated, EventJoined and EventChanged, that messages of
	// the group do not count as unread.
	Uncounted bool
}

// AppendGroupEvent appends the frame of an onGroupEvent.
func AppendGroupEvent(dst []byte, codec Codec, p *GroupEvent) []byte {
	x, m := walkPush(dst, codec, OpOnGroupEvent)
	p.fields(&x)
	return x.e.endFrame(m)
}

// Decode reads the args of an onGroupEvent.
func (p *GroupEvent) Decode(args Raw) error { return decode(args, p) }

func (p *GroupEvent) fields(x *fields) {
	x.group("group", &p.Group, required)
	x.text("event", &p.Event, 1, MaxFrame, required)
	x.text("by", &p.By, 0, MaxUserLen, always)
	x.anyUsers("users", &p.Users, optional)
	count(x, "time", &p.Time, always)
	x.text("cursor", &p.Cursor, 0, MaxFrame, optional)
	x.unless("counts", &p.Uncounted)
}
