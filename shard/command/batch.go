package command

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

// Bounds of single fields. Bodies are bounded by the edge (Limits of the gateway); the
// bound here only keeps out nonsense.
const (
	MaxName     = 64 // bytes of the name of a user, device or platform, or of a cid
	maxCursor   = 256
	MaxBody     = 1 << 20
	MaxMentions = 1000
	MaxSeqs     = 1000
)

type kind uint8

// Kinds of commands. The numbers are in the log: never reuse one.
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
	kindTrimOutbox
	kindPurgeExpired
	kindConfigure
	kindFreezeSlot
	kindImportSlot
	kindRemoveSlot
	kindOpenSlots
	kindRaiseCutoff
	KindCreateGroup
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
	kindDeleteMessagesFrom
	kindHideMessages
	kindHideGroup
	kindSetGroupView
	kindAnswerOwner
	KindUnban
)

// AppendBatchHeader begins a batch that is applied as of atMS.
func AppendBatchHeader(dst []byte, atMS int64) []byte {
	return AppendInt(append(dst, batchVersion), atMS)
}

// AppendCommand appends one command to a batch.
func AppendCommand(dst []byte, cmd Command) []byte {
	// Most commands are shorter than 128 bytes: reserve one byte for the length,
	// and move the body if it needs more.
	start := len(dst)
	return closeCommand(cmd.append(append(dst, 0, byte(cmd.kind()))), start)
}

// AppendDeliver is AppendCommand for a Deliver whose letter AppendLetter has encoded.
func AppendDeliver(dst, letter []byte) []byte {
	start := len(dst)
	return closeCommand(append(append(dst, 0, byte(kindDeliver)), letter...), start)
}

// closeCommand puts the length before the command that begins at start, where one byte
// is reserved for it.
func closeCommand(dst []byte, start int) []byte {
	size := len(dst) - start - 1
	if size < 0x80 {
		dst[start] = byte(size)
		return dst
	}
	var head [10]byte
	n := len(AppendUint(head[:0], uint64(size)))
	dst = append(dst, head[:n-1]...)
	copy(dst[start+n:], dst[start+1:start+1+size])
	copy(dst[start:], head[:n])
	return dst
}

// A CommandSet holds one value of each command to decode into, so that
// applying a batch allocates only what its strings need.
type CommandSet struct {
	login        Login
	logout       Logout
	send         Send
	readReport   ReadReport
	recall       Recall
	deleteMsgs   DeleteMessages
	deleteConv   DeleteConversation
	setConv      SetConversation
	block        Block
	deliver      Deliver
	trimOutbox   TrimOutbox
	purgeExpired PurgeExpired
	configure    Configure
	freeze       FreezeSlot
	importSlot   ImportSlot
	removeSlot   RemoveSlot
	openSlots    OpenSlots
	raiseCutoff  RaiseCutoff
	groups       GroupCommandSet
	people       userCommandSet
	hooks        hookCommandSet

	body Decoder // of the command being decoded; here because decode is called through an interface
}

func (cs *CommandSet) get(k kind) Command {
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
	case kindTrimOutbox:
		return &cs.trimOutbox
	case kindPurgeExpired:
		return &cs.purgeExpired
	case kindConfigure:
		return &cs.configure
	case kindFreezeSlot:
		return &cs.freeze
	case kindImportSlot:
		return &cs.importSlot
	case kindRemoveSlot:
		return &cs.removeSlot
	case kindOpenSlots:
		return &cs.openSlots
	case kindRaiseCutoff:
		return &cs.raiseCutoff
	}
	if cmd := cs.groups.Get(k); cmd != nil {
		return cmd
	}
	if cmd := cs.people.get(k); cmd != nil {
		return cmd
	}
	return cs.hooks.get(k)
}

// WalkBatch decodes a batch. It calls begin with the batch's time, then visit with
// each command. The command is valid only during the call; its byte slices alias b.
func WalkBatch(b []byte, cs *CommandSet, begin func(atMS int64), visit func(Command)) error {
	d := Decoder{B: b}
	if v := d.Byte(); d.Err == nil && v != batchVersion {
		return fmt.Errorf("batch version %d, want %d", v, batchVersion)
	}
	at := d.Int()
	if d.Err != nil {
		return fmt.Errorf("batch header: %w", d.Err)
	}
	begin(at)
	for len(d.B) > 0 {
		cmd, err := cs.next(&d, false)
		if err != nil {
			return err
		}
		visit(cmd)
	}
	return nil
}

// next decodes the next command, or checks that it can be decoded.
func (cs *CommandSet) next(d *Decoder, check bool) (Command, error) {
	cs.body = Decoder{B: d.Bytes(), checkOnly: check}
	k := kind(cs.body.Byte())
	cmd := cs.get(k)
	if d.Err != nil || cmd == nil {
		return nil, fmt.Errorf("command of kind %d: %w", k, ErrMalformed)
	}
	cmd.decode(&cs.body)
	if err := cs.body.End(); err != nil {
		return nil, fmt.Errorf("command of kind %d: %w", k, err)
	}
	return cmd, nil
}

// DecodeBatch checks that a batch can be decoded.
func DecodeBatch(b []byte) error {
	var cs CommandSet
	return WalkBatch(b, &cs, func(int64) {}, func(Command) {})
}

// A Checker checks that Apply can decode commands. It is ready when zero, and is for
// one goroutine at a time, because it keeps what it decodes into.
type Checker struct{ set CommandSet }

// Check checks what AppendCommand has appended for one command. It allocates only for
// an error.
func (c *Checker) Check(b []byte) error {
	d := Decoder{B: b}
	if _, err := c.set.next(&d, true); err != nil {
		return err
	}
	return d.End()
}

func appendMentions(b []byte, mentions []string) []byte {
	b = AppendUint(b, uint64(len(mentions)))
	for _, m := range mentions {
		b = AppendBytes(b, m)
	}
	return b
}

func AppendRequest(b []byte, r Request) []byte { return AppendUint(AppendUint(b, r.ID), r.Hash) }

func appendSeqs(b []byte, seqs []uint64) []byte {
	b = AppendUint(b, uint64(len(seqs)))
	for _, seq := range seqs {
		b = AppendUint(b, seq)
	}
	return b
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

func AppendLimits(b []byte, l Limits) []byte {
	for _, v := range l.fields() {
		b = AppendInt(b, v.get())
	}
	return b
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
