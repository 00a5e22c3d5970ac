package shard

import (
	"fmt"
	"time"
)

// A batch is what one log entry holds:
//
//	offset  field
//	0       version, 1
//	1       time, zigzag varint, Unix milliseconds
//	…       commands, each: length of the rest (uvarint), kind (1 byte), fields
//
// Fields are varints, length-prefixed bytes and single-byte booleans in the
// order of the append methods below. Bytes of a command beyond its fields are
// malformed: a new field needs a new kind or version.
const batchVersion = 1

// Bounds of single fields. Bodies are bounded by the edge (Limits of the
// gateway) and here only against nonsense.
const (
	MaxName     = 64 // bytes of a user, device, platform or cid
	maxCursor   = 256
	maxBody     = 1 << 20
	maxMentions = 1000
	maxSeqs     = 1000
)

type kind uint8

// The numbers are in the log: never reuse one.
const (
	kindLogin kind = iota + 1
	kindLogout
	kindSend
	kindReadReport
	kindRecall
	kindDeleteMessages
	kindDeleteConversation
	kindSetConversation
	kindBlock
	kindDeliver
	kindTrim
	kindExpire
	kindConfigure
	kindFreezeSlot
	kindImportSlot
	kindDropSlot
	kindOpenSlots
	kindRetain
	kindCreateGroup
	kindJoinGroup
	kindLeaveGroup
	kindDismissGroup
	kindAnswerJoin
	kindAddMembers
	kindRemoveMembers
	kindSetMember
	kindSetGroup
	kindSendGroup
	kindReadGroup
	kindRecallGroup
	kindDeleteSender
	kindHideMessages
	kindHideGroup
	kindSetGroupView
	kindAnswerOwner
	kindUnban
)

// AppendBatchHeader begins a batch that will be applied as of atMS.
func AppendBatchHeader(dst []byte, atMS int64) []byte {
	return appendInt(append(dst, batchVersion), atMS)
}

// AppendCommand adds one command to a batch.
func AppendCommand(dst []byte, cmd Command) []byte {
	// Most commands are shorter than 128 bytes: reserve one byte for the
	// length and move the body when it needs more.
	start := len(dst)
	return closeCommand(cmd.append(append(dst, 0, byte(cmd.kind()))), start)
}

// AppendDeliver is AppendCommand of a Deliver, of a letter that AppendLetter has
// encoded: its fields are those of the command.
func AppendDeliver(dst, letter []byte) []byte {
	start := len(dst)
	return closeCommand(append(append(dst, 0, byte(kindDeliver)), letter...), start)
}

// closeCommand puts the length in front of the command that begins at start,
// with one byte kept free for it.
func closeCommand(dst []byte, start int) []byte {
	size := len(dst) - start - 1
	if size < 0x80 {
		dst[start] = byte(size)
		return dst
	}
	var head [10]byte
	n := len(appendUint(head[:0], uint64(size)))
	dst = append(dst, head[:n-1]...)
	copy(dst[start+n:], dst[start+1:start+1+size])
	copy(dst[start:], head[:n])
	return dst
}

// A commandSet holds one value of each command to decode into, so that
// applying a batch allocates only what its strings need.
type commandSet struct {
	login      Login
	logout     Logout
	send       Send
	readReport ReadReport
	recall     Recall
	deleteMsgs DeleteMessages
	deleteConv DeleteConversation
	setConv    SetConversation
	block      Block
	deliver    Deliver
	trim       Trim
	expire     Expire
	configure  Configure
	freeze     FreezeSlot
	importSlot ImportSlot
	drop       DropSlot
	openSlots  OpenSlots
	retain     Retain
	groups     groupCommandSet
	people     userCommandSet
	hooks      hookCommandSet

	body decoder // of the command being decoded; here because decode is called through an interface
}

func (cs *commandSet) get(k kind) Command {
	switch k {
	case kindLogin:
		return &cs.login
	case kindLogout:
		return &cs.logout
	case kindSend:
		return &cs.send
	case kindReadReport:
		return &cs.readReport
	case kindRecall:
		return &cs.recall
	case kindDeleteMessages:
		return &cs.deleteMsgs
	case kindDeleteConversation:
		return &cs.deleteConv
	case kindSetConversation:
		return &cs.setConv
	case kindBlock:
		return &cs.block
	case kindDeliver:
		return &cs.deliver
	case kindTrim:
		return &cs.trim
	case kindExpire:
		return &cs.expire
	case kindConfigure:
		return &cs.configure
	case kindFreezeSlot:
		return &cs.freeze
	case kindImportSlot:
		return &cs.importSlot
	case kindDropSlot:
		return &cs.drop
	case kindOpenSlots:
		return &cs.openSlots
	case kindRetain:
		return &cs.retain
	}
	if cmd := cs.groups.get(k); cmd != nil {
		return cmd
	}
	if cmd := cs.people.get(k); cmd != nil {
		return cmd
	}
	return cs.hooks.get(k)
}

// walkBatch calls visit for each command of a batch. The command is only valid
// during the call; its byte slices alias b.
func walkBatch(b []byte, cs *commandSet, begin func(atMS int64), visit func(Command)) error {
	d := decoder{b: b}
	if v := d.byte(); d.err == nil && v != batchVersion {
		return fmt.Errorf("batch version %d, want %d", v, batchVersion)
	}
	at := d.int()
	if d.err != nil {
		return fmt.Errorf("batch header: %w", d.err)
	}
	begin(at)
	for len(d.b) > 0 {
		cmd, err := cs.next(&d, false)
		if err != nil {
			return err
		}
		visit(cmd)
	}
	return nil
}

// next decodes the command that d stands at, or only checks it.
func (cs *commandSet) next(d *decoder, check bool) (Command, error) {
	cs.body = decoder{b: d.bytes(), check: check}
	k := kind(cs.body.byte())
	cmd := cs.get(k)
	if d.err != nil || cmd == nil {
		return nil, fmt.Errorf("command of kind %d: %w", k, errMalformed)
	}
	cmd.decode(&cs.body)
	if err := cs.body.end(); err != nil {
		return nil, fmt.Errorf("command of kind %d: %w", k, err)
	}
	return cmd, nil
}

// DecodeBatch checks that every command of a batch decodes.
func DecodeBatch(b []byte) error {
	var cs commandSet
	return walkBatch(b, &cs, func(int64) {}, func(Command) {})
}

// A Checker tells whether Apply can decode commands. The zero one is ready. It
// keeps what it decodes into, for one goroutine at a time.
type Checker struct{ set commandSet }

// Check takes what AppendCommand gave: exactly one command. It allocates only
// for an error.
func (c *Checker) Check(b []byte) error {
	d := decoder{b: b}
	if _, err := c.set.next(&d, true); err != nil {
		return err
	}
	return d.end()
}

func (c *Login) Key() string              { return string(c.User) }
func (c *Logout) Key() string             { return string(c.User) }
func (c *Send) Key() string               { return string(c.User) }
func (c *ReadReport) Key() string         { return string(c.User) }
func (c *Recall) Key() string             { return string(c.User) }
func (c *DeleteMessages) Key() string     { return string(c.User) }
func (c *DeleteConversation) Key() string { return string(c.User) }
func (c *SetConversation) Key() string    { return string(c.User) }
func (c *Block) Key() string              { return string(c.User) }
func (c *Deliver) Key() string            { return string(c.Letter.To) }
func (c *Trim) Key() string               { return string(c.From) }

// Commands about slots and limits are addressed to a shard, not to a key.
func (c *Expire) Key() string     { return "" }
func (c *Configure) Key() string  { return "" }
func (c *FreezeSlot) Key() string { return "" }
func (c *ImportSlot) Key() string { return "" }
func (c *DropSlot) Key() string   { return "" }
func (c *OpenSlots) Key() string  { return "" }
func (c *Retain) Key() string     { return "" }

func (*Login) kind() kind              { return kindLogin }
func (*Logout) kind() kind             { return kindLogout }
func (*Send) kind() kind               { return kindSend }
func (*ReadReport) kind() kind         { return kindReadReport }
func (*Recall) kind() kind             { return kindRecall }
func (*DeleteMessages) kind() kind     { return kindDeleteMessages }
func (*DeleteConversation) kind() kind { return kindDeleteConversation }
func (*SetConversation) kind() kind    { return kindSetConversation }
func (*Block) kind() kind              { return kindBlock }
func (*Deliver) kind() kind            { return kindDeliver }
func (*Trim) kind() kind               { return kindTrim }
func (*Expire) kind() kind             { return kindExpire }
func (*Configure) kind() kind          { return kindConfigure }
func (*FreezeSlot) kind() kind         { return kindFreezeSlot }
func (*ImportSlot) kind() kind         { return kindImportSlot }
func (*DropSlot) kind() kind           { return kindDropSlot }
func (*OpenSlots) kind() kind          { return kindOpenSlots }
func (*Retain) kind() kind             { return kindRetain }

func (c *Login) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendBytes(b, c.Device)
	b = appendBytes(b, c.Platform)
	b = append(b, byte(c.Policy))
	b = appendBool(b, c.AutoRead)
	b = appendBool(b, c.HasSince)
	since := c.Since
	if len(since) > maxCursor {
		since = "" // none of ours: as malformed as any other
	}
	if b = appendBytes(b, since); c.IssuedAt != 0 {
		b = appendInt(b, c.IssuedAt)
	}
	return b
}

func (c *Login) decode(d *decoder) {
	*c = Login{
		User: d.user(), Device: d.text(MaxName), Platform: d.text(MaxName),
		Policy: Policy(d.byte()), AutoRead: d.bool(), HasSince: d.bool(), Since: d.text(maxCursor),
	}
	// Logs of earlier programs end here.
	if len(d.b) > 0 {
		if c.IssuedAt = d.int(); c.IssuedAt == 0 {
			d.fail(errMalformed)
		}
	}
}

func (c *Logout) append(b []byte) []byte {
	return appendInt(appendUint(appendBytes(b, c.User), uint64(c.Session)), c.Seen)
}

func (c *Logout) decode(d *decoder) {
	*c = Logout{User: d.user(), Session: SessionID(d.uint()), Seen: d.int()}
}

func appendMentions(b []byte, mentions []string) []byte {
	b = appendUint(b, uint64(len(mentions)))
	for _, m := range mentions {
		b = appendBytes(b, m)
	}
	return b
}

func (d *decoder) mentions() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	if n > maxMentions {
		d.fail(errMalformed)
		return nil
	}
	if d.check {
		for range n {
			d.text(MaxName)
		}
		return nil
	}
	mentions := make([]string, n)
	for i := range mentions {
		mentions[i] = d.text(MaxName)
	}
	return mentions
}

func (d *decoder) body() []byte {
	v := d.bytes()
	if len(v) > maxBody {
		d.fail(errMalformed)
	}
	return v
}

func (c *Send) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendBytes(b, c.To)
	b = append(b, c.ID[:]...)
	b = appendBytes(b, c.CID)
	b = appendUint(b, uint64(c.TTL))
	b = appendBool(b, c.Retry)
	b = appendMentions(b, c.Mentions)
	return appendBytes(b, c.Body)
}

func (c *Send) decode(d *decoder) {
	*c = Send{
		User: d.user(), Session: SessionID(d.uint()), To: d.user(), ID: d.id(), CID: d.text(MaxName),
		TTL: uint32(d.uintMax(1<<32 - 1)), Retry: d.bool(), Mentions: d.mentions(), Body: d.body(),
	}
}

func appendRequest(b []byte, r Request) []byte { return appendUint(appendUint(b, r.ID), r.Hash) }

func (d *decoder) request() Request { return Request{ID: d.uint(), Hash: d.uint()} }

func (c *ReadReport) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Peer)
	b = appendUint(b, c.Seq)
	return appendBool(b, c.Auto)
}

func (c *ReadReport) decode(d *decoder) {
	*c = ReadReport{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(),
		Peer: d.user(), Seq: d.uint(), Auto: d.bool(),
	}
}

func (c *Recall) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Peer)
	return appendUint(b, c.Seq)
}

func (c *Recall) decode(d *decoder) {
	*c = Recall{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(), Peer: d.user(), Seq: d.uint(),
	}
}

func (c *DeleteMessages) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Peer)
	return appendSeqs(b, c.Seqs)
}

func appendSeqs(b []byte, seqs []uint64) []byte {
	b = appendUint(b, uint64(len(seqs)))
	for _, seq := range seqs {
		b = appendUint(b, seq)
	}
	return b
}

// seqs appends a list to dst, which is kept for the next command.
func (d *decoder) seqs(dst []uint64) []uint64 {
	n := d.count(1)
	if n > maxSeqs {
		d.fail(errMalformed)
		return dst
	}
	for range n {
		dst = append(dst, d.uint())
	}
	return dst
}

func (c *DeleteMessages) decode(d *decoder) {
	*c = DeleteMessages{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(), Peer: d.user(),
		Seqs: d.seqs(c.Seqs[:0]),
	}
}

func (c *DeleteConversation) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Peer)
	return appendBool(b, c.Messages)
}

func (c *DeleteConversation) decode(d *decoder) {
	*c = DeleteConversation{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(), Peer: d.user(), Messages: d.bool(),
	}
}

// appendOptional writes 0 for nil, 1 for false, 2 for true.
func appendOptional(b []byte, v *bool) []byte {
	switch {
	case v == nil:
		return append(b, 0)
	case *v:
		return append(b, 2)
	}
	return append(b, 1)
}

func (d *decoder) optional() *bool {
	switch d.byte() {
	case 0:
		return nil
	case 1:
		return new(bool)
	case 2:
		return new(true)
	}
	d.fail(errMalformed)
	return nil
}

func (c *SetConversation) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Peer)
	return appendOptional(appendOptional(appendOptional(b, c.Muted), c.Pinned), c.Unread)
}

func (c *SetConversation) decode(d *decoder) {
	*c = SetConversation{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(), Peer: d.user(),
		Muted: d.optional(), Pinned: d.optional(), Unread: d.optional(),
	}
}

func (c *Block) append(b []byte) []byte {
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendRequest(b, c.Request)
	b = appendBytes(b, c.Target)
	return appendBool(b, c.Undo)
}

func (c *Block) decode(d *decoder) {
	*c = Block{
		User: d.user(), Session: SessionID(d.uint()), Request: d.request(), Target: d.user(), Undo: d.bool(),
	}
}

func (c *Deliver) append(b []byte) []byte { return AppendLetter(b, &c.Letter) }
func (c *Deliver) decode(d *decoder)      { d.letter(&c.Letter) }

func (c *Trim) append(b []byte) []byte {
	return appendUint(appendBytes(appendBytes(b, c.From), c.To), c.UpTo)
}

func (c *Trim) decode(d *decoder) {
	from, _ := d.key()
	*c = Trim{From: from, To: d.user(), UpTo: d.uint()}
}

func (d *decoder) slot() uint16 { return uint16(d.uintMax(Slots - 1)) }

func (c *Expire) append(b []byte) []byte {
	return appendUint(appendUint(b, uint64(c.FirstSlot)), uint64(c.LastSlot))
}

func (c *Expire) decode(d *decoder) { *c = Expire{FirstSlot: d.slot(), LastSlot: d.slot()} }

func (c *OpenSlots) append(b []byte) []byte {
	return appendUint(appendUint(b, uint64(c.FirstSlot)), uint64(c.LastSlot))
}

func (c *OpenSlots) decode(d *decoder) { *c = OpenSlots{FirstSlot: d.slot(), LastSlot: d.slot()} }

func (c *Retain) append(b []byte) []byte {
	return appendUint(appendUint(appendInt(b, c.Cutoff), uint64(c.FirstSlot)), uint64(c.MaxWork))
}

func (c *Retain) decode(d *decoder) {
	*c = Retain{Cutoff: d.int(), FirstSlot: d.slot(), MaxWork: uint32(d.uintMax(1<<32 - 1))}
}

func (c *Configure) append(b []byte) []byte { return appendUint(appendLimits(b, c.Limits), c.Epoch) }
func (c *Configure) decode(d *decoder)      { *c = Configure{Limits: d.limits(), Epoch: d.uint()} }

func (c *FreezeSlot) append(b []byte) []byte { return appendUint(b, uint64(c.Slot)) }
func (c *FreezeSlot) decode(d *decoder)      { *c = FreezeSlot{Slot: d.slot()} }

func (c *DropSlot) append(b []byte) []byte { return appendUint(b, uint64(c.Slot)) }
func (c *DropSlot) decode(d *decoder)      { *c = DropSlot{Slot: d.slot()} }

func (c *ImportSlot) append(b []byte) []byte {
	return appendBytes(appendUint(b, uint64(c.Slot)), c.Data)
}

func (c *ImportSlot) decode(d *decoder) { *c = ImportSlot{Slot: d.slot(), Data: d.bytes()} }

func appendLimits(b []byte, l Limits) []byte {
	for _, v := range l.fields() {
		b = appendInt(b, v.get())
	}
	return b
}

func (d *decoder) limits() Limits {
	var l Limits
	for _, v := range l.fields() {
		v.set(d.int())
	}
	return l
}

// A limitField gives a duration (in its own nanoseconds) or an int of Limits a
// common shape, so that both directions of the codec walk one list.
type limitField struct {
	duration *time.Duration
	number   *int
}

func (f limitField) get() int64 {
	if f.duration != nil {
		return int64(*f.duration)
	}
	return int64(*f.number)
}

func (f limitField) set(v int64) {
	if f.duration != nil {
		*f.duration = time.Duration(v)
		return
	}
	*f.number = int(v)
}

// fields lists all limits in the order of the encoding.
func (l *Limits) fields() []limitField {
	return []limitField{
		{duration: &l.OfflineTTL}, {number: &l.OfflineMaxMessages}, {number: &l.OfflineMaxBytes},
		{duration: &l.HistoryTTL}, {number: &l.UserBytes}, {duration: &l.DedupWindow},
		{duration: &l.RecallWindow}, {number: &l.Recents}, {number: &l.MaxDevices},
		{number: &l.NewConversations}, {number: &l.MaxConversations}, {number: &l.MaxBlocked},
		{duration: &l.GroupTTL}, {number: &l.GroupBytes}, {number: &l.GroupRate}, {number: &l.GroupBurst},
	}
}
