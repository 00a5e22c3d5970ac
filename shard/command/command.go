package command

func (c *Login) Key() string { return string(c.User) }

func (c *Logout) Key() string { return string(c.User) }

func (c *Send) Key() string { return string(c.User) }

func (c *ReadReport) Key() string { return string(c.User) }

func (c *Recall) Key() string { return string(c.User) }

func (c *DeleteMessages) Key() string { return string(c.User) }

func (c *DeleteConversation) Key() string { return string(c.User) }

func (c *SetConversation) Key() string { return string(c.User) }

func (c *Block) Key() string { return string(c.User) }

func (c *Deliver) Key() string { return string(c.Letter.To) }

func (c *TrimOutbox) Key() string { return string(c.From) }

// Commands about slots and limits are addressed to a shard, not to a key.
func (c *PurgeExpired) Key() string { return "" }

func (c *Configure) Key() string { return "" }

func (c *FreezeSlot) Key() string { return "" }

func (c *ImportSlot) Key() string { return "" }

func (c *RemoveSlot) Key() string { return "" }

func (c *OpenSlots) Key() string { return "" }

func (c *RaiseCutoff) Key() string { return "" }

func (*Login) kind() kind { return kindLogin }

func (*Logout) kind() kind { return kindLogout }

func (*Send) kind() kind { return kindSend }

func (*ReadReport) kind() kind { return kindReadReport }

func (*Recall) kind() kind { return kindRecall }

func (*DeleteMessages) kind() kind { return kindDeleteMessages }

func (*DeleteConversation) kind() kind { return kindDeleteConversation }

func (*SetConversation) kind() kind { return kindSetConversation }

func (*Block) kind() kind { return kindBlock }

func (*Deliver) kind() kind { return kindDeliver }

func (*TrimOutbox) kind() kind { return kindTrimOutbox }

func (*PurgeExpired) kind() kind { return kindPurgeExpired }

func (*Configure) kind() kind { return kindConfigure }

func (*FreezeSlot) kind() kind { return kindFreezeSlot }

func (*ImportSlot) kind() kind { return kindImportSlot }

func (*RemoveSlot) kind() kind { return kindRemoveSlot }

func (*OpenSlots) kind() kind { return kindOpenSlots }

func (*RaiseCutoff) kind() kind { return kindRaiseCutoff }

func (c *Login) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendBytes(b, c.Device)
	b = AppendBytes(b, c.Platform)
	b = append(b, byte(c.Policy))
	b = AppendBool(b, c.AutoRead)
	b = AppendBool(b, c.HasCursor)
	since := c.Cursor
	if len(since) > maxCursor {
		since = "" // none of ours: as malformed as any other
	}
	if b = AppendBytes(b, since); c.IssuedAt != 0 {
		b = AppendInt(b, c.IssuedAt)
	}
	return b
}

func (c *Login) decode(d *Decoder) {
	*c = Login{
		User: d.User(), Device: d.Text(MaxName), Platform: d.Text(MaxName),
		Policy: Policy(d.Byte()), AutoRead: d.Bool(), HasCursor: d.Bool(), Cursor: d.Text(maxCursor),
	}
	// Logs of earlier programs end here.
	if len(d.B) > 0 {
		if c.IssuedAt = d.Int(); c.IssuedAt == 0 {
			d.Fail(ErrMalformed)
		}
	}
}

func (c *Logout) append(b []byte) []byte {
	return AppendInt(AppendUint(AppendBytes(b, c.User), uint64(c.Session)), c.LastSeen)
}

func (c *Logout) decode(d *Decoder) {
	*c = Logout{User: d.User(), Session: SessionID(d.Uint()), LastSeen: d.Int()}
}

func (c *Send) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendBytes(b, c.To)
	b = append(b, c.ID[:]...)
	b = AppendBytes(b, c.CID)
	b = AppendUint(b, uint64(c.TTL))
	b = AppendBool(b, c.Retry)
	b = appendMentions(b, c.Mentions)
	return AppendBytes(b, c.Body)
}

func (c *Send) decode(d *Decoder) {
	*c = Send{
		User: d.User(), Session: SessionID(d.Uint()), To: d.User(), ID: d.ID(), CID: d.Text(MaxName),
		TTL: uint32(d.UintMax(1<<32 - 1)), Retry: d.Bool(), Mentions: d.mentions(), Body: d.body(),
	}
}

func (c *ReadReport) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Peer)
	b = AppendUint(b, c.Seq)
	return AppendBool(b, c.Auto)
}

func (c *ReadReport) decode(d *Decoder) {
	*c = ReadReport{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(),
		Peer: d.User(), Seq: d.Uint(), Auto: d.Bool(),
	}
}

func (c *Recall) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Peer)
	return AppendUint(b, c.Seq)
}

func (c *Recall) decode(d *Decoder) {
	*c = Recall{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(), Peer: d.User(), Seq: d.Uint(),
	}
}

func (c *DeleteMessages) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Peer)
	return appendSeqs(b, c.Seqs)
}

func (c *DeleteMessages) decode(d *Decoder) {
	*c = DeleteMessages{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(), Peer: d.User(),
		Seqs: d.seqs(c.Seqs[:0]),
	}
}

func (c *DeleteConversation) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Peer)
	return AppendBool(b, c.Messages)
}

func (c *DeleteConversation) decode(d *Decoder) {
	*c = DeleteConversation{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(), Peer: d.User(), Messages: d.Bool(),
	}
}

func (c *SetConversation) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Peer)
	return appendOptional(appendOptional(appendOptional(b, c.Muted), c.Pinned), c.Unread)
}

func (c *SetConversation) decode(d *Decoder) {
	*c = SetConversation{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(), Peer: d.User(),
		Muted: d.optional(), Pinned: d.optional(), Unread: d.optional(),
	}
}

func (c *Block) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	b = AppendUint(b, uint64(c.Session))
	b = AppendRequest(b, c.Request)
	b = AppendBytes(b, c.Target)
	return AppendBool(b, c.Undo)
}

func (c *Block) decode(d *Decoder) {
	*c = Block{
		User: d.User(), Session: SessionID(d.Uint()), Request: d.Request(), Target: d.User(), Undo: d.Bool(),
	}
}

func (c *Deliver) append(b []byte) []byte { return AppendLetter(b, &c.Letter) }

func (c *Deliver) decode(d *Decoder) { d.letter(&c.Letter) }

func (c *TrimOutbox) append(b []byte) []byte {
	return AppendUint(AppendBytes(AppendBytes(b, c.From), c.To), c.UpTo)
}

func (c *TrimOutbox) decode(d *Decoder) {
	from, _ := d.Key()
	*c = TrimOutbox{From: from, To: d.User(), UpTo: d.Uint()}
}

func (c *PurgeExpired) append(b []byte) []byte {
	return AppendUint(AppendUint(b, uint64(c.FirstSlot)), uint64(c.LastSlot))
}

func (c *PurgeExpired) decode(d *Decoder) { *c = PurgeExpired{FirstSlot: d.Slot(), LastSlot: d.Slot()} }

func (c *OpenSlots) append(b []byte) []byte {
	return AppendUint(AppendUint(b, uint64(c.FirstSlot)), uint64(c.LastSlot))
}

func (c *OpenSlots) decode(d *Decoder) { *c = OpenSlots{FirstSlot: d.Slot(), LastSlot: d.Slot()} }

func (c *RaiseCutoff) append(b []byte) []byte {
	return AppendUint(AppendUint(AppendInt(b, c.Cutoff), uint64(c.FirstSlot)), uint64(c.MaxWork))
}

func (c *RaiseCutoff) decode(d *Decoder) {
	*c = RaiseCutoff{Cutoff: d.Int(), FirstSlot: d.Slot(), MaxWork: uint32(d.UintMax(1<<32 - 1))}
}

func (c *Configure) append(b []byte) []byte { return AppendUint(AppendLimits(b, c.Limits), c.Epoch) }

func (c *Configure) decode(d *Decoder) { *c = Configure{Limits: d.Limits(), Epoch: d.Uint()} }

func (c *FreezeSlot) append(b []byte) []byte { return AppendUint(b, uint64(c.Slot)) }

func (c *FreezeSlot) decode(d *Decoder) { *c = FreezeSlot{Slot: d.Slot()} }

func (c *RemoveSlot) append(b []byte) []byte { return AppendUint(b, uint64(c.Slot)) }

func (c *RemoveSlot) decode(d *Decoder) { *c = RemoveSlot{Slot: d.Slot()} }

func (c *ImportSlot) append(b []byte) []byte {
	return AppendBytes(AppendUint(b, uint64(c.Slot)), c.Data)
}

func (c *ImportSlot) decode(d *Decoder) { *c = ImportSlot{Slot: d.Slot(), Data: d.Bytes()} }

// UserID names an account: 1-64 bytes of printable ASCII without spaces, neither
// "." nor "..".
type UserID string

// MsgID is a ULID, made by the proposer and carried in the command, so that it
// is the same for everybody and survives a replay.
type MsgID [16]byte

// SessionID is the number a user's shard allots to a session at login. Numbers
// of one user only rise; the higher one wins a dispute over a device. 0 is no
// session: the server itself, or an administrator.
type SessionID uint64

// A Request is the client's own number of a changing request within its
// session, with a hash of what it asks. A repeat of both is answered with the
// first result and changes nothing. The zero Request is never remembered.
type Request struct {
	ID   uint64
	Hash uint64
}

// A Command is one change to the state of a shard. Commands are proposed in
// batches (see AppendBatch) and executed by State.Apply. Key is the user (later
// also group) whose slot decides the shard.
//
// Every command names its subject; a proposer fills in what must be the same
// on all replicas (ids) and never reads it back from the state.
type Command interface {
	Key() string
	kind() kind
	append(b []byte) []byte
	decode(d *Decoder)
}

// Login opens a session. The result carries the session's number.
type Login struct {
	User      UserID
	Device    string // 1-64 bytes
	Platform  string // 0-64 bytes; none named counts as one platform
	Policy    Policy
	AutoRead  bool
	HasCursor bool   // the device says where it stands
	Cursor    string // the cursor as the client gave it; malformed counts as absent and resets
	IssuedAt  int64  // ms, of the token; 0 = unknown, and so before every other time
}

// Policy says which sessions a login ends, beside those of the same device.
type Policy uint8

const (
	PolicyMulti    Policy = iota // up to MaxDevices, the one that logged in first goes
	PolicyPlatform               // one per platform
	PolicySingle                 // one per user
)

// Logout ends a session, whether the client asked or its socket is gone.
type Logout struct {
	User     UserID
	Session  SessionID
	LastSeen int64 // ms, of the last sign of life; 0 = that is not known, and what is stays
}

// Send stores a one-to-one message in the sender's view and, by letter or at
// once, in the receiver's.
type Send struct {
	User     UserID // sender
	Session  SessionID
	To       UserID // receiver; the sender himself for a note
	ID       MsgID
	CID      string // 1-64 bytes, the sender's own id
	Body     []byte // canonical msgpack (see gateway/protocol), within Limits.MaxBody
	TTL      uint32 // seconds, 0 = none
	Retry    bool   // search all of history for CID, not only the dedupe window
	Mentions []string
}

// ReadReport moves the user's read cursor of a conversation forward.
type ReadReport struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // beyond the newest means the newest
	Auto    bool   // by ack: the peer gets no receipt
}

// Recall takes a message of the user's own back for both sides.
type Recall struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // in the user's view
}

// DeleteMessages hides messages from the user's own view.
type DeleteMessages struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seqs    []uint64 // 1-100
}

// DeleteConversation takes a conversation off the user's recents and out of
// his queue, with Messages also its history in his view.
type DeleteConversation struct {
	User     UserID
	Session  SessionID
	Request  Request
	Peer     UserID
	Messages bool
}

// SetConversation changes the user's own settings of a conversation.
type SetConversation struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Muted   *bool // nil leaves it
	Pinned  *bool
	Unread  *bool // marks it as unread, see ConversationSettings
}

// Block stops messages of Target to User from now on; with Undo lets them in again.
type Block struct {
	User    UserID
	Session SessionID
	Request Request
	Target  UserID
	Undo    bool
}

// Deliver applies a letter of another user to this one. Only the next number
// of its direction is applied: lower ones answer OK, higher ones CodeGap.
type Deliver struct {
	Letter Letter
}

// TrimOutbox drops letters that their receiver has confirmed.
type TrimOutbox struct {
	From, To UserID
	UpTo     uint64 // letter number, inclusive
}

// PurgeExpired removes what has run out of time in a range of slots. Reads hide it
// already; this frees the memory.
type PurgeExpired struct {
	FirstSlot, LastSlot uint16 // inclusive
}

// RaiseCutoff raises the cutoff: messages of that time or older are gone. Reads hide
// them at once. It also begins to free their memory, from FirstSlot on; the
// result's Next says where another Retain has to go on.
type RaiseCutoff struct {
	Cutoff    int64 // ms; lower than that in force changes nothing, and it stays below the time of the batch
	FirstSlot uint16
	MaxWork   uint32 // after which it stops: what it looks at counts 1 each, and an entry removed 4
}

// Configure replaces the limits that decide what a shard keeps, and the epoch
// of the store unless it is 0.
type Configure struct {
	Limits Limits
	Epoch  uint64
}

// FreezeSlot stops a slot: from here on its commands answer CodeMoved. It is
// the last step before its bytes are copied for a move.
type FreezeSlot struct{ Slot uint16 }

// ImportSlot installs a slot from the bytes of AppendSlot on its old owner.
type ImportSlot struct {
	Slot uint16
	Data []byte
}

// RemoveSlot forgets a slot that has moved away.
type RemoveSlot struct{ Slot uint16 }

// OpenSlots makes slots that nobody owned this shard's own, empty.
type OpenSlots struct{ FirstSlot, LastSlot uint16 }

// LetterKind says what a letter asks of its receiver's shard.
type LetterKind uint8

const (
	LetterMessage LetterKind = iota + 1
	LetterRecall             // Seq was taken back
	LetterReceipt            // the peer has read up to Seq
	LetterBlock
	LetterUnblock
	LetterJoined // of a group: To is a member of it, by By; Seq says in which way
	LetterLeft   // of a group: To is no member of it
)

// A Letter carries one consequence of a command to the other user of a
// conversation. The letters From writes To are numbered 1, 2, 3 …, whatever
// their kind; the receiver's shard applies them in that order, each once.
type Letter struct {
	From, To UserID
	Number   uint64
	Kind     LetterKind
	// Seq is, for a message or a recall, the message's seq in From's view; for
	// a receipt the highest seq in To's own view that From has read.
	Seq      uint64
	Time     int64  // ms, stamped by From's shard
	By       UserID // who made To a member of a group; To himself if he wanted it, "" = an administrator
	ID       MsgID
	CID      string
	TTL      uint32
	Mentions []string
	Body     []byte // empty when the message expired before it was delivered
}
