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
		since = "" // longer than any cursor of ours, and so malformed
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
	// Commands of earlier versions end here.
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

// A UserID names a user: 1-64 bytes of printable ASCII without spaces, neither "." nor
// "..".
type UserID string

// A MsgID is a ULID. The proposer makes it and the command carries it, so that it is
// the same on all replicas and after a replay.
type MsgID [16]byte

// A SessionID is the number that the user's shard gives a session at login. The
// numbers of one user rise; of two sessions of a device the higher one counts. 0 is no
// session: the server itself or an administrator.
type SessionID uint64

// A Request is the client's number of a changing request within its session, and a
// hash of what it asks. A repeat of both gets the answer of the first and changes
// nothing. The zero Request is never remembered.
type Request struct {
	ID   uint64
	Hash uint64
}

// A Command is one change to the state of a shard. Commands are proposed in batches
// and executed by State.Apply. Key is the user's name, or the group's key, whose slot
// decides the shard.
//
// Every command names its subject. The proposer fills in what must be the same on all
// replicas, such as ids.
type Command interface {
	Key() string
	kind() kind
	append(b []byte) []byte
	decode(d *Decoder)
}

// Login opens a session. The result has its number.
type Login struct {
	User      UserID
	Device    string // 1-64 bytes
	Platform  string // 0-64 bytes; "" counts as a platform of its own
	Policy    Policy
	AutoRead  bool
	HasCursor bool   // the device gave a cursor
	Cursor    string // as the client gave it; one that is malformed counts as none and resets the device
	IssuedAt  int64  // ms, of the token; 0 = unknown, and so before every other time
}

// A Policy says which sessions a login ends, besides that of the same device.
type Policy uint8

const (
	PolicyMulti    Policy = iota // those with the oldest login, so that at most MaxDevices remain
	PolicyPlatform               // those of the same platform
	PolicySingle                 // all
)

// Logout ends a session, because the client asked or its socket is gone.
type Logout struct {
	User     UserID
	Session  SessionID
	LastSeen int64 // ms, of the last sign of life; 0 = not known
}

// Send stores a one-to-one message in the sender's view and, by letter or at once, in
// the receiver's.
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
}

// ReadReport moves the user's read cursor of a conversation forward.
type ReadReport struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // beyond the newest seq means the newest
	Auto    bool   // made by an ack: the peer gets no receipt
}

// Recall takes back a message that the user sent, in both views.
type Recall struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seq     uint64 // in the user's view
}

// DeleteMessages deletes messages from the user's own view.
type DeleteMessages struct {
	User    UserID
	Session SessionID
	Request Request
	Peer    UserID
	Seqs    []uint64 // 1-100
}

// DeleteConversation takes a conversation off the user's recents and out of the
// offline queue; with Messages it also clears its history in the user's view.
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
	Unread  *bool // marks it as unread, see query.ConversationSettings
}

// Block stops messages of Target to User from now on. Undo lets them through again.
type Block struct {
	User    UserID
	Session SessionID
	Request Request
	Target  UserID
	Undo    bool
}

// Deliver applies a letter to its receiver. Only the next number of its direction is
// applied: lower ones answer OK, higher ones CodeGap.
type Deliver struct {
	Letter Letter
}

// TrimOutbox removes letters that their receiver's shard has confirmed.
type TrimOutbox struct {
	From, To UserID
	UpTo     uint64 // number of a letter, inclusive
}

// PurgeExpired removes what has expired in a range of slots. Reads do not show it
// anyway; this frees the memory.
type PurgeExpired struct {
	FirstSlot, LastSlot uint16 // inclusive
}

// RaiseCutoff raises the cutoff: reads do not show messages of that time or older any
// more. It also begins to evict them, from FirstSlot on; NextSlot of the result is
// where another RaiseCutoff has to go on.
type RaiseCutoff struct {
	Cutoff    int64 // ms; it never falls, and stays below the time of the batch
	FirstSlot uint16
	MaxWork   uint32 // after which it stops: a look counts 1, the removal of an entry 4
}

// Configure replaces the limits that decide what a shard keeps, and also the epoch of
// the store unless Epoch is 0.
type Configure struct {
	Limits Limits
	Epoch  uint64
}

// FreezeSlot stops a slot: from now on its commands answer CodeMoved. It is the last
// step before the slot's bytes are copied to another shard.
type FreezeSlot struct{ Slot uint16 }

// ImportSlot adds a slot from the bytes of State.AppendSlot on its old owner.
type ImportSlot struct {
	Slot uint16
	Data []byte
}

// RemoveSlot removes a frozen slot that has moved to another shard.
type RemoveSlot struct{ Slot uint16 }

// OpenSlots adds empty slots that no shard owned.
type OpenSlots struct{ FirstSlot, LastSlot uint16 }

// A LetterKind says what a letter tells its receiver's shard.
type LetterKind uint8

const (
	LetterMessage LetterKind = iota + 1
	LetterRecall             // message Seq was recalled
	LetterReceipt            // From has read up to Seq
	LetterBlock              // From has blocked To
	LetterUnblock
	LetterJoined // of a group: To is a member, added by By; Seq has flags
	LetterLeft   // of a group: To is not a member any more; Seq has the reason
)

// A Letter carries what a command of From means for To. The letters of one user to
// another are numbered 1, 2, 3 …, whatever their kind; the receiver's shard applies
// them in that order, each once. The letters of a group to a user have rising numbers,
// of which the newest counts.
type Letter struct {
	From, To UserID
	Number   uint64
	Kind     LetterKind
	// Seq is, for a message or a recall, the message's seq in From's view; for a
	// receipt, the highest seq in To's view that From has read.
	Seq      uint64
	Time     int64  // ms, by the clock of From's shard
	By       UserID // who made To a member of a group; "" = an administrator
	ID       MsgID
	CID      string
	TTL      uint32
	Mentions []string
	Body     []byte // empty if the message expired before it was delivered
}
