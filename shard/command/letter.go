package command

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/codec"
)

// A LetterKind says what a letter tells its receiver's shard.
type LetterKind uint8

const (
	LetterMessage LetterKind = iota + 1
	LetterRecall             // message Seq was recalled
	LetterReceipt            // From has read up to Seq, in To's view
	LetterBlock              // From has blocked To
	LetterUnblock
	LetterJoined // of a group: To is a member, added by By; Seq holds flags
	LetterLeft   // of a group: To is no longer a member; Seq holds the reason
)

// A Letter tells To's shard of a command of From that concerns To. The letters of one
// user to another are numbered 1, 2, 3 …, whatever their kind; the receiver's shard
// applies them in that order, each once. The letters of a group to a user have rising
// numbers; only the newest counts.
type Letter struct {
	From, To UserID
	Number   uint64
	Kind     LetterKind
	// Seq is, for a message or a recall, the message's seq in From's view; for a
	// receipt, the highest seq in To's view that From has read.
	Seq      uint64
	Time     int64  // ms, by the clock of From's shard
	By       UserID // the user who made To a member of a group; "" = an administrator
	ID       MsgID
	CID      string
	TTL      uint32
	Mentions []string
	Body     []byte // empty if the message expired before it was delivered
}

func (l *Letter) fields(x *codec.Coder) {
	if !x.Writing() {
		*l = Letter{} // most kinds have few fields
	}
	codec.Enum(x, &l.Kind, LetterMessage, LetterLeft)
	group := Key(x, &l.From)
	l.To.Fields(x)
	codec.Uint(x, &l.Number)
	codec.Uint(x, &l.Seq)
	codec.Int(x, &l.Time)
	if !x.Writing() && (l.Number == 0 || group != (l.Kind >= LetterJoined)) {
		x.Fail(codec.ErrMalformed)
	}
	switch l.Kind {
	case LetterMessage:
		l.ID.Fields(x)
		codec.Text(x, &l.CID, MaxName)
		codec.Uint(x, &l.TTL)
		mentions(x, &l.Mentions)
		codec.Bytes(x, &l.Body, MaxBody)
	case LetterJoined:
		l.By.Fields(x)
	}
}

// AppendLetter appends an encoded letter: kind, from, to, number, seq and time; for
// LetterJoined also by; for a message also id, cid, ttl, mentions and body.
func AppendLetter(b []byte, l *Letter) []byte {
	x := codec.NewWriter(b)
	l.fields(&x)
	return x.B
}

// DecodeLetter decodes a letter. Its body aliases b.
func DecodeLetter(b []byte) (Letter, error) {
	var l Letter
	x := codec.NewReader(b)
	l.fields(&x)
	if err := x.End(); err != nil {
		return Letter{}, fmt.Errorf("shard: letter: %w", err)
	}
	return l, nil
}

// Deliver applies a letter to its receiver. If its number is not the next one from that
// sender, nothing changes: a lower number gets OK, a higher one CodeGap. Letters of
// groups have no gaps: a newer one is applied, an older one is not.
type Deliver struct {
	Letter Letter
}

func (*Deliver) kind() Kind              { return 10 }
func (c *Deliver) Key() string           { return string(c.Letter.To) }
func (*Deliver) Needs() Needs            { return Needs{} }
func (c *Deliver) fields(x *codec.Coder) { c.Letter.fields(x) }

// TrimOutbox removes letters that their receiver's shard has confirmed.
type TrimOutbox struct {
	From, To UserID
	UpTo     uint64 // number of a letter, inclusive
}

func (*TrimOutbox) kind() Kind    { return 11 }
func (c *TrimOutbox) Key() string { return string(c.From) }
func (*TrimOutbox) Needs() Needs  { return Needs{} }

func (c *TrimOutbox) fields(x *codec.Coder) {
	Key(x, &c.From)
	c.To.Fields(x)
	codec.Uint(x, &c.UpTo)
}
