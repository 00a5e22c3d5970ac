package store

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A coder writes or reads the fields of a value, in one order for both. Both check all: what
// is too long or out of range is an error, so that nothing is written that cannot be read.
type coder struct {
	b       []byte
	reading bool
	err     error
}

func (c *coder) fail(what string) {
	if c.err == nil {
		why := ErrValue
		if c.reading {
			why = ErrCorrupt
		}
		c.err = fmt.Errorf("%w: a value has a wrong %s", why, what)
	}
	c.b = nil
}

func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	n := 0
	if *v, n = binary.Uvarint(c.b); n <= 0 {
		*v = 0
		c.fail("number")
		return
	}
	c.b = c.b[n:]
}

func (c *coder) int(v *int64) {
	u := uint64(*v)
	c.uint(&u)
	*v = int64(u)
}

func (c *coder) bytes(v *[]byte) {
	n := uint64(len(*v))
	c.uint(&n)
	if !c.reading {
		c.b = append(c.b, *v...)
		return
	}
	if n > uint64(len(c.b)) {
		c.fail("length")
		return
	}
	*v = append([]byte{}, c.b[:n]...)
	c.b = c.b[n:]
}

func (c *coder) text(v *string) {
	n := uint64(len(*v))
	c.uint(&n)
	switch {
	case !c.reading && !utf8.ValidString(*v):
		c.fail("text")
	case !c.reading:
		c.b = append(c.b, *v...)
	case n > uint64(len(c.b)) || !utf8.Valid(c.b[:n]):
		c.fail("text")
	default:
		*v = string(c.b[:n])
		c.b = c.b[n:]
	}
}

// list writes or reads a list of at most limit elements.
func list[T any](c *coder, v *[]T, limit int, element func(*T)) {
	n := uint64(len(*v))
	c.uint(&n)
	if n > uint64(limit) || c.reading && n > uint64(len(c.b)) {
		c.fail("count")
		return
	}
	if c.reading {
		if *v = nil; n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		element(&(*v)[i])
	}
}

// flags writes or reads up to 8 booleans.
func (c *coder) flags(flags ...*bool) {
	var b uint64
	for i, f := range flags {
		if *f {
			b |= 1 << i
		}
	}
	c.uint(&b)
	if c.reading {
		for i, f := range flags {
			*f = b&(1<<i) != 0
		}
		if b >= 1<<len(flags) {
			c.fail("flag")
		}
	}
}

func (c *coder) conv(v *protocol.Conv) {
	text := ""
	if !c.reading {
		text = v.String()
	}
	c.text(&text)
	if c.err == nil {
		var err error
		if *v, err = protocol.ParseConv(text); err != nil {
			c.fail("conversation")
		}
	}
}

// A value can be written to and read from a store.
type value interface{ fields(*coder) }

// encode returns the bytes of a value; an error, ErrValue, if decode would not take them. They
// lie in b, as far as that has room.
func encode(b []byte, v value) ([]byte, error) {
	c := coder{b: b[:0]}
	v.fields(&c)
	return c.b, c.err
}

func decode(b []byte, v value) error {
	c := coder{b: b, reading: true}
	return c.read(v)
}

func (c *coder) read(v value) error {
	v.fields(c)
	if c.err == nil && len(c.b) > 0 {
		c.fail("end")
	}
	return c.err
}

// A record is a message as it is stored, without what its key says.
type record struct {
	protocol.Message
	login uint64 // in whose session it came; 0 = in none
}

func (r *record) fields(c *coder) {
	id := r.ID[:]
	if c.reading {
		if len(c.b) < len(id) {
			c.fail("id")
			return
		}
		copy(r.ID[:], c.b)
		c.b = c.b[len(id):]
	} else {
		c.b = append(c.b, id...)
	}
	c.text(&r.From)
	c.int(&r.Time)
	c.bytes(&r.CID)
	c.bytes(&r.Body)
	ttl := uint64(r.TTL)
	c.uint(&ttl)
	if r.TTL = uint32(ttl); ttl > protocol.MaxTTL {
		c.fail("ttl")
	}
	list(c, &r.Mentions, protocol.MaxMentions, c.text)
	c.uint(&r.login)
}

func (r *Run) fields(c *coder) {
	c.uint(&r.To)
	kind := uint64(r.Kind)
	c.uint(&kind)
	if r.Kind = Kind(kind); r.Kind == Unknown || kind >= uint64(len(reasons)) || r.To < r.From {
		c.fail("run")
	}
}

func (e *Entry) fields(c *coder) {
	c.uint(&e.End)
	c.uint(&e.LastSeq)
	c.int(&e.Time)
	c.uint(&e.ReadSeq)
	c.uint(&e.Unread)
	c.uint(&e.PeerReadSeq)
	c.uint(&e.Floor)
	c.flags(&e.Listed, &e.Muted, &e.Pinned, &e.Marked, &e.Followed, &e.Uncounted)
}

func (o *Outgoing) fields(c *coder) {
	c.conv(&o.Conv)
	c.text(&o.CID)
	c.bytes(&o.Body)
	ttl := uint64(o.TTL)
	c.uint(&ttl)
	if o.TTL = uint32(ttl); ttl > protocol.MaxTTL {
		c.fail("ttl")
	}
	list(c, &o.Mentions, protocol.MaxMentions, c.text)
	c.int(&o.Queued)
}

// A delivery names the messages of one call of the application's handler.
type delivery struct{ refs []Ref }

// A Ref names the messages From..To of a conversation.
type Ref struct {
	Conv     protocol.Conv
	From, To uint64
}

func (d *delivery) fields(c *coder) {
	list(c, &d.refs, protocol.MaxMessages, func(r *Ref) {
		c.conv(&r.Conv)
		c.uint(&r.From)
		c.uint(&r.To)
		if r.From > r.To || r.To-r.From >= protocol.MaxMessages {
			c.fail("range")
		}
	})
}

// A cursor is that of a group, with the number of its last move.
type cursor struct {
	moved uint64
	text  string
}

func (g *cursor) fields(c *coder) {
	c.uint(&g.moved)
	c.text(&g.text)
}

// An identity says whose data a store holds.
type identity struct {
	format                uint64
	service, user, device string
	ahead                 int64 // the server's clock minus ours, ms
	logins                uint64
}

func (i *identity) fields(c *coder) {
	c.uint(&i.format)
	c.text(&i.service)
	c.text(&i.user)
	c.text(&i.device)
	c.int(&i.ahead)
	c.uint(&i.logins)
}
