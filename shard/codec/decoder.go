package codec

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

var (
	errTruncated = errors.New("truncated")

	// ErrMalformed says that the input holds a value that no writer would have
	// written. It comes wrapped with the name of the thing that was being read.
	ErrMalformed = errors.New("malformed")
)

// A Decoder reads values from the start of B. After its first error, Err, all
// reads return zero values. Byte slices that it returns alias B.
type Decoder struct {
	B   []byte
	Err error
}

// Fail sets the Decoder's error to err, unless it has one already.
func (d *Decoder) Fail(err error) {
	if d.Err == nil {
		d.Err = err
	}
	d.B = nil
}

// End returns the first error. It is an error too if bytes are left over.
func (d *Decoder) End() error {
	if d.Err == nil && len(d.B) > 0 {
		d.Fail(ErrMalformed)
	}
	return d.Err
}

// Uint reads an unsigned varint.
func (d *Decoder) Uint() uint64 {
	if len(d.B) > 0 && d.B[0] < 0x80 { // most are short
		v := d.B[0]
		d.B = d.B[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.B)
	if n <= 0 {
		d.Fail(errTruncated)
		return 0
	}
	d.B = d.B[n:]
	return v
}

// UintMax reads an unsigned varint of at most limit.
func (d *Decoder) UintMax(limit uint64) uint64 {
	v := d.Uint()
	if v > limit {
		d.Fail(ErrMalformed)
		return 0
	}
	return v
}

// Int reads a zigzag varint.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.B)
	if n <= 0 {
		d.Fail(errTruncated)
		return 0
	}
	d.B = d.B[n:]
	return v
}

// Byte reads a single byte.
func (d *Decoder) Byte() byte {
	if len(d.B) == 0 {
		d.Fail(errTruncated)
		return 0
	}
	v := d.B[0]
	d.B = d.B[1:]
	return v
}

// Bool reads a byte that must be 0 or 1.
func (d *Decoder) Bool() bool {
	v := d.Byte()
	if v > 1 {
		d.Fail(ErrMalformed)
	}
	return v == 1
}

// Take reads n bytes.
func (d *Decoder) Take(n uint64) []byte {
	if n > uint64(len(d.B)) {
		d.Fail(errTruncated)
		return nil
	}
	v := d.B[:n:n]
	d.B = d.B[n:]
	return v
}

// Bytes reads a length and that many bytes.
func (d *Decoder) Bytes() []byte {
	if len(d.B) > 0 && int(d.B[0]) < min(len(d.B), 0x80) { // most are short
		end := 1 + int(d.B[0])
		v := d.B[1:end:end]
		d.B = d.B[end:]
		return v
	}
	return d.Take(d.Uint())
}

// Text reads a length and that many bytes, which must be UTF-8 and at most
// limit.
func (d *Decoder) Text(limit int) []byte {
	v := d.Bytes()
	if len(v) > limit || !utf8.Valid(v) {
		d.Fail(ErrMalformed)
		return nil
	}
	return v
}

// Count reads the length of a list whose elements take at least size bytes
// each. It fails if the rest of B cannot hold so many, so that the caller may
// allocate for them.
func (d *Decoder) Count(size int) int {
	n := d.Uint()
	if n > uint64(len(d.B)/size) {
		d.Fail(errTruncated)
		return 0
	}
	return int(n)
}

// CountMax is Count for a list that has at most most elements.
func (d *Decoder) CountMax(size, most int) int {
	n := d.Count(size)
	if n > most {
		d.Fail(ErrMalformed)
		return 0
	}
	return n
}
