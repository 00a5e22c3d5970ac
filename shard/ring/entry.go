package ring

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Flags are properties of an entry. Only Own and Expired are stored.
type Flags uint8

const (
	Own     Flags = 1 << iota // sent by the owner of the view
	Expired                   // had expired when it arrived, and is stored without its body
)

// Bits of an entry's flag byte besides those of Flags. Each says that an optional field
// is present.
const (
	hasSession = 4 << iota
	hasPeer
	hasTTL
	hasFrom
	hasMentions
	// moreFlags says that a second byte of flags follows. Its bits have no meaning yet,
	// so that no entry has one; future flags will be in it.
	moreFlags
)

// An Entry is one message of a log. Byte fields of an entry that was read from a ring
// alias memory of the arena: they must not be written, and are valid until the entry
// is removed or the ring appended to.
type Entry struct {
	Seq      uint64 // set by Ring.Append; not part of the encoding
	Flags    Flags
	Time     int64  // ms
	Arrival  uint64 // rises with Seq
	Peer     uint64 // of an incoming message: its seq in the sender's view; else 0
	Session  uint64 // of an own message: the session that sent it; 0 = none
	TTL      uint32 // seconds; 0 = none
	ID       [16]byte
	From     []byte // sender; only in group logs, else empty
	CID      []byte
	Mentions []byte // in an encoding that only the caller knows
	Body     []byte
}

// EntrySize returns the bytes that an entry takes in a ring, as Ring.Bytes counts
// them.
func EntrySize(e *Entry) int {
	n := contentSize(e)
	return n + 2*uvarintLen(uint64(n))
}

// contentSize returns the value of the size field of e's encoding.
func contentSize(e *Entry) int {
	n := 1 + uvarintLen(e.Arrival) + uvarintLen(uint64(e.Time)) + len(e.ID) +
		uvarintLen(uint64(len(e.CID))) + len(e.CID) + len(e.Body)
	if e.Session != 0 {
		n += uvarintLen(e.Session)
	}
	if e.Peer != 0 {
		n += uvarintLen(e.Peer)
	}
	if e.TTL != 0 {
		n += uvarintLen(uint64(e.TTL))
	}
	if len(e.From) > 0 {
		n += uvarintLen(uint64(len(e.From))) + len(e.From)
	}
	if len(e.Mentions) > 0 {
		n += uvarintLen(uint64(len(e.Mentions))) + len(e.Mentions)
	}
	return n
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// AppendEntry appends the encoding of e, without its seq, to dst.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(contentSize(e)))
	at := len(dst)
	dst = append(dst, byte(e.Flags&(Own|Expired)))
	dst = binary.AppendUvarint(dst, e.Arrival)
	dst = binary.AppendUvarint(dst, uint64(e.Time))
	if e.Session != 0 {
		dst[at] |= hasSession
		dst = binary.AppendUvarint(dst, e.Session)
	}
	if e.Peer != 0 {
		dst[at] |= hasPeer
		dst = binary.AppendUvarint(dst, e.Peer)
	}
	if e.TTL != 0 {
		dst[at] |= hasTTL
		dst = binary.AppendUvarint(dst, uint64(e.TTL))
	}
	dst = append(dst, e.ID[:]...)
	dst = appendBytes(dst, e.CID)
	if len(e.From) > 0 {
		dst[at] |= hasFrom
		dst = appendBytes(dst, e.From)
	}
	if len(e.Mentions) > 0 {
		dst[at] |= hasMentions
		dst = appendBytes(dst, e.Mentions)
	}
	dst = append(dst, e.Body...)
	size := len(dst) - at
	at = len(dst)
	dst = binary.AppendUvarint(dst, uint64(size))
	slices.Reverse(dst[at:])
	return dst
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// An EntryError says which field of an encoded entry is wrong, and which rule it
// breaks.
type EntryError struct{ Field, Rule string }

func (e *EntryError) Error() string {
	return fmt.Sprintf("ring: entry: %s %s", e.Field, e.Rule)
}

// Rules of the encoding that more than one field can break.
const (
	ruleCut     = "is cut off"
	ruleMinimal = "is no varint of the fewest bytes"
	ruleEmpty   = "is flagged but zero"
)

// DecodeEntry decodes the entry at the start of b into e and returns its size. It sets
// every field except Seq; byte fields alias b. If b does not begin with the encoding
// of an entry, it returns an *EntryError and e is undefined. It allocates nothing
// except the error.
func DecodeEntry(b []byte, e *Entry) (int, error) {
	size, width := binary.Uvarint(b)
	switch {
	case width == 0:
		return 0, &EntryError{"size", ruleCut}
	case width < 0 || width > 1 && b[width-1] == 0:
		return 0, &EntryError{"size", ruleMinimal}
	case size > uint64(len(b)) || int(size)+2*width > len(b):
		return 0, &EntryError{"size", "goes beyond the input"}
	}
	end := width + int(size)
	for i := range width {
		if b[end+i] != b[width-1-i] {
			return 0, &EntryError{"size", "is not repeated in reverse at the end"}
		}
	}
	d := decoder{rest: b[width:end:end]}
	flags := d.flags()
	e.Flags = Flags(flags) & (Own | Expired)
	e.Arrival = d.uvarint("arrival")
	e.Time = int64(d.uvarint("time"))
	e.Session, e.Peer, e.TTL = 0, 0, 0
	if flags&hasSession != 0 {
		e.Session = d.nonzero("session", math.MaxUint64)
	}
	if flags&hasPeer != 0 {
		e.Peer = d.nonzero("peer", math.MaxUint64)
	}
	if flags&hasTTL != 0 {
		e.TTL = uint32(d.nonzero("ttl", math.MaxUint32))
	}
	d.id(&e.ID)
	e.CID = d.bytes("cid")
	e.From, e.Mentions = nil, nil
	if flags&hasFrom != 0 {
		e.From = d.nonempty("from")
	}
	if flags&hasMentions != 0 {
		e.Mentions = d.nonempty("mentions")
	}
	e.Body = d.rest
	if d.err != nil {
		return 0, d.err
	}
	return end + width, nil
}

// A decoder reads fields from the start of rest. After an error all fields read as
// zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(field, rule string) {
	if d.err == nil {
		d.err = &EntryError{field, rule}
	}
	d.rest = nil
}

func (d *decoder) flags() byte {
	if len(d.rest) == 0 {
		d.fail("flags", ruleCut)
		return 0
	}
	flags := d.rest[0]
	d.rest = d.rest[1:]
	if flags&moreFlags != 0 {
		d.moreFlags()
	}
	return flags
}

func (d *decoder) moreFlags() {
	switch {
	case len(d.rest) == 0:
		d.fail("more flags", ruleCut)
	case d.rest[0] == 0:
		d.fail("more flags", ruleEmpty)
	default:
		d.fail("more flags", "has an unknown bit")
	}
}

func (d *decoder) uvarint(field string) uint64 {
	v, n := binary.Uvarint(d.rest)
	switch {
	case n == 0:
		d.fail(field, ruleCut)
		return 0
	case n < 0 || n > 1 && d.rest[n-1] == 0:
		d.fail(field, ruleMinimal)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// nonzero reads an optional number that a flag says is there: it must not be zero.
func (d *decoder) nonzero(field string, most uint64) uint64 {
	v := d.uvarint(field)
	if v == 0 {
		d.fail(field, ruleEmpty)
	} else if v > most {
		d.fail(field, "is beyond its range")
	}
	return v
}

func (d *decoder) id(id *[16]byte) {
	if len(d.rest) < len(id) {
		d.fail("id", ruleCut)
		return
	}
	d.rest = d.rest[copy(id[:], d.rest):]
}

func (d *decoder) bytes(field string) []byte {
	n := d.uvarint(field)
	if n > uint64(len(d.rest)) {
		d.fail(field, "is longer than the entry")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// nonempty reads optional bytes that a flag says are there: they must not be empty.
func (d *decoder) nonempty(field string) []byte {
	b := d.bytes(field)
	if len(b) == 0 {
		d.fail(field, ruleEmpty)
	}
	return b
}

// decodeHeader decodes the fields of an entry up to ttl, and returns the entry's size.
// It leaves the other fields of e as they are. It trusts b, which this package wrote.
func decodeHeader(b []byte, seq uint64, e *Entry) int {
	size, width := binary.Uvarint(b)
	flags := b[width]
	e.Seq, e.Flags = seq, Flags(flags)&(Own|Expired)
	rest := b[width+1:]
	e.Arrival, rest = number(rest)
	ms, rest := number(rest)
	e.Time = int64(ms)
	e.Session, e.Peer, e.TTL = 0, 0, 0
	if flags&hasSession != 0 {
		e.Session, rest = number(rest)
	}
	if flags&hasPeer != 0 {
		e.Peer, rest = number(rest)
	}
	if flags&hasTTL != 0 {
		ttl, _ := number(rest)
		e.TTL = uint32(ttl)
	}
	return int(size) + 2*width
}

// cidAt returns the cid of the entry at the start of b, which this package wrote.
func cidAt(b []byte) []byte {
	_, at := binary.Uvarint(b)
	numbers := 2 + bits.OnesCount8(b[at]&(hasSession|hasPeer|hasTTL)) // arrival and time
	for at++; numbers > 0; at++ {
		if b[at] < 0x80 {
			numbers--
		}
	}
	n, rest := number(b[at+len(Entry{}.ID):])
	return rest[:n:n]
}

func number(b []byte) (v uint64, rest []byte) {
	v, n := binary.Uvarint(b)
	return v, b[n:]
}

// sizeAt returns the size of the entry at the start of b.
func sizeAt(b []byte) uint32 {
	size, width := binary.Uvarint(b)
	return uint32(size) + 2*uint32(width)
}

// sizeBefore returns the size of the entry at the end of b.
func sizeBefore(b []byte) uint32 {
	var size, width uint32
	for {
		c := b[len(b)-1-int(width)]
		size |= uint32(c&0x7f) << (7 * width)
		width++
		if c < 0x80 {
			return size + 2*width
		}
	}
}

// arrivalAt returns the arrival number of the entry at the start of b.
func arrivalAt(b []byte) uint64 {
	_, width := binary.Uvarint(b)
	arrival, _ := binary.Uvarint(b[width+1:])
	return arrival
}

// timeAt returns the time of the entry at the start of b.
func timeAt(b []byte) int64 {
	_, width := binary.Uvarint(b)
	_, skip := binary.Uvarint(b[width+1:])
	ms, _ := binary.Uvarint(b[width+1+skip:])
	return int64(ms)
}
