package protocol

// SendArgs are the args of send.
type SendArgs struct {
	Conv     Conv
	CID      string // 1-64 bytes, the sender's own id
	Body     []byte // canonical msgpack
	HasTTL   bool   // distinguishes ttl 0 (online only) from no ttl
	TTL      uint32 // seconds
	Retry    bool
	Mentions []string // users
}

// Decode reads the args of a send whose body may have maxBody bytes. Its errors
// are *FieldError. Body lies in the frame if it was canonical msgpack there,
// else in new memory.
func (a *SendArgs) Decode(args Raw, maxBody int) error {
	*a = SendArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			a.Conv = d.conv()
		case "cid":
			a.CID = d.text(1, MaxCIDLen)
		case "body":
			a.Body = d.body(maxBody)
		case "ttl":
			a.TTL, a.HasTTL = uint32(d.uint(0, MaxTTL)), true
		case "retry":
			a.Retry = d.bool()
		case "mentions":
			a.Mentions = d.users(0, MaxMentions)
		default:
			d.skip()
		}
	}
	d.require("conv", a.Conv.ID != "")
	d.require("cid", a.CID != "")
	d.require("body", a.Body != nil)
	return d.err
}

func (a *SendArgs) encode(e *encoder) {
	e.convField("conv", a.Conv)
	e.textField("cid", a.CID)
	e.bodyField("body", a.Body)
	if a.HasTTL {
		e.uintField("ttl", uint64(a.TTL))
	}
	e.optBool("retry", a.Retry)
	e.optTexts("mentions", a.Mentions)
}

// GetMessageArgs are the args of getMessage. At most one of Before, After and
// From..To is set. If none is, the newest messages are asked for.
type GetMessageArgs struct {
	Conv     Conv
	Before   uint64 // exclusive; 0 = unset
	After    uint64 // exclusive
	HasAfter bool   // distinguishes after 0 (from the beginning) from no after
	From, To uint64 // inclusive; 0, 0 = unset
	Limit    int    // messages, 1-100; default 20
}

// Decode reads the args of a getMessage. Its errors are *FieldError.
func (a *GetMessageArgs) Decode(args Raw) error {
	*a = GetMessageArgs{Limit: DefaultPageLimit}
	return args.read(a)
}

func (a *GetMessageArgs) encode(e *encoder) { e.record(a) }

func (a *GetMessageArgs) fields(x *fields) {
	x.conv("conv", &a.Conv, required)
	number(x, "before", &a.Before, 1, MaxInt, optional)
	x.givenSeq("after", &a.After, &a.HasAfter)
	x.seqRange("range", &a.From, &a.To)
	number(x, "limit", &a.Limit, 1, MaxMessages, optional)
	x.check(atMostOne(a.Before != 0, a.HasAfter, a.From != 0), "before", "must come alone: only one of before, after and range")
}

func atMostOne(given ...bool) bool {
	n := 0
	for _, g := range given {
		if g {
			n++
		}
	}
	return n <= 1
}

// GetConversationsArgs are the args of getConversations.
type GetConversationsArgs struct {
	After string // After of the previous reply; "" = from the beginning
	Limit int    // 1-100; default 20
}

// Decode reads the args of a getConversations. Its errors are *FieldError.
func (a *GetConversationsArgs) Decode(args Raw) error {
	*a = GetConversationsArgs{Limit: DefaultPageLimit}
	return args.read(a)
}

func (a *GetConversationsArgs) encode(e *encoder) { e.record(a) }

func (a *GetConversationsArgs) fields(x *fields) {
	x.text("after", &a.After, 0, MaxAfterLen, optional)
	number(x, "limit", &a.Limit, 1, MaxMessages, optional)
}

// ReadReportArgs are the args of readReport.
type ReadReportArgs struct {
	Conv Conv
	Seq  uint64
}

// Decode reads the args of a readReport. Its errors are *FieldError.
func (a *ReadReportArgs) Decode(args Raw) (err error) {
	a.Conv, a.Seq, err = decodeConvSeq(args)
	return err
}

func (a *ReadReportArgs) encode(e *encoder) {
	e.convField("conv", a.Conv)
	e.uintField("seq", a.Seq)
}

func decodeConvSeq(args Raw) (conv Conv, seq uint64, err error) {
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			conv = d.conv()
		case "seq":
			seq = d.uint(1, MaxInt)
		default:
			d.skip()
		}
	}
	d.require("conv", conv.ID != "")
	d.require("seq", seq != 0)
	return conv, seq, d.err
}

// RecallArgs are the args of recall.
type RecallArgs struct {
	Conv Conv
	Seq  uint64
}

// Decode reads the args of a recall. Its errors are *FieldError.
func (a *RecallArgs) Decode(args Raw) error { return decode(args, a) }
func (a *RecallArgs) encode(e *encoder)     { e.record(a) }

func (a *RecallArgs) fields(x *fields) {
	x.conv("conv", &a.Conv, required)
	number(x, "seq", &a.Seq, 1, MaxInt, required)
}

// DeleteMessageArgs are the args of deleteMessage.
type DeleteMessageArgs struct {
	Conv Conv
	Seqs []uint64 // 1-100
}

// Decode reads the args of a deleteMessage. Its errors are *FieldError.
func (a *DeleteMessageArgs) Decode(args Raw) error { return decode(args, a) }
func (a *DeleteMessageArgs) encode(e *encoder)     { e.record(a) }

func (a *DeleteMessageArgs) fields(x *fields) {
	x.conv("conv", &a.Conv, required)
	x.seqs("seqs", &a.Seqs, 1, MaxSeqs, required)
}

// DeleteConversationArgs are the args of deleteConversation.
type DeleteConversationArgs struct {
	Conv     Conv
	Messages bool // its history is deleted too
}

// Decode reads the args of a deleteConversation. Its errors are *FieldError.
func (a *DeleteConversationArgs) Decode(args Raw) error { return decode(args, a) }
func (a *DeleteConversationArgs) encode(e *encoder)     { e.record(a) }

func (a *DeleteConversationArgs) fields(x *fields) {
	x.conv("conv", &a.Conv, required)
	x.bool("messages", &a.Messages, optional)
}

// SetConversationArgs are the args of setConversation.
type SetConversationArgs struct {
	Conv   Conv
	Muted  *bool // nil leaves it
	Pinned *bool
	Unread *bool // marks it as unread
}

// Decode reads the args of a setConversation. Its errors are *FieldError.
func (a *SetConversationArgs) Decode(args Raw) error { return decode(args, a) }
func (a *SetConversationArgs) encode(e *encoder)     { e.record(a) }

func (a *SetConversationArgs) fields(x *fields) {
	x.conv("conv", &a.Conv, required)
	x.flag("muted", &a.Muted)
	x.flag("pinned", &a.Pinned)
	x.flag("unread", &a.Unread)
}

// TypingArgs are the args of the notice typing.
type TypingArgs struct {
	Conv Conv
}

// Decode reads the args of a typing. Its errors are *FieldError.
func (a *TypingArgs) Decode(args Raw) error { return decode(args, a) }
func (a *TypingArgs) encode(e *encoder)     { e.record(a) }
func (a *TypingArgs) fields(x *fields)      { x.conv("conv", &a.Conv, required) }

// PresenceArgs are the args of getPresence and subscribePresence.
type PresenceArgs struct {
	Users []string // 1-100
}

// Decode reads the args of a getPresence or subscribePresence. Its errors are
// *FieldError.
func (a *PresenceArgs) Decode(args Raw) error { return decode(args, a) }
func (a *PresenceArgs) encode(e *encoder)     { e.record(a) }
func (a *PresenceArgs) fields(x *fields)      { x.users("users", &a.Users, 1, MaxUsers, required) }

// BlockArgs are the args of block and unblock.
type BlockArgs struct {
	User string
}

// Decode reads the args of a block or unblock. Its errors are *FieldError.
func (a *BlockArgs) Decode(args Raw) error { return decode(args, a) }
func (a *BlockArgs) encode(e *encoder)     { e.record(a) }
func (a *BlockArgs) fields(x *fields)      { x.user("user", &a.User, required) }
