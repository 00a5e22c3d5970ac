package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// An InvariantError is what Apply panics with when it meets a batch that it
// cannot decode, or finds its own state broken.
type InvariantError struct{ Reason string }

func (e *InvariantError) Error() string { return "shard: " + e.Reason }

func broken(format string, args ...any) {
	panic(&InvariantError{Reason: fmt.Sprintf(format, args...)})
}

// errTruncated and errMalformed are wrapped with what was being decoded.
var (
	errTruncated = errors.New("truncated")
	errMalformed = errors.New("malformed")
)

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// appendInt takes values that are never negative in practice (times, counts)
// but must survive being so.
func appendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(appendUint(b, uint64(len(v))), v...)
}

// A decoder reads the encodings above. The first error sticks; later reads
// give zero values. Byte slices alias the input.
type decoder struct {
	b   []byte
	err error
	// check has strings and lists checked and left empty, so that finding out
	// whether something decodes allocates nothing.
	check bool
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// uintMax reads an integer of at most limit.
func (d *decoder) uintMax(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.fail(errMalformed)
		return 0
	}
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail(errTruncated)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail(errMalformed)
	}
	return v == 1
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail(errTruncated)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uint()) }

// text reads a UTF-8 string of at most limit bytes.
func (d *decoder) text(limit int) string {
	v := d.bytes()
	if len(v) > limit || !utf8.Valid(v) {
		d.fail(errMalformed)
		return ""
	}
	if d.check {
		return ""
	}
	return string(v)
}

// count reads the length of a list whose elements take at least size bytes
// each, so that a caller may allocate for it.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail(errTruncated)
		return 0
	}
	return int(n)
}

// key reads the name of a user, or the key of a group, which no user has.
func (d *decoder) key() (name UserID, group bool) {
	v := d.bytes()
	group = bytes.HasPrefix(v, []byte(groupPrefix))
	if len(v) > MaxName || !utf8.Valid(v) || group && len(v) == len(groupPrefix) {
		d.fail(errMalformed)
		return "", false
	}
	if !d.check {
		name = UserID(v)
	}
	return name, group
}

func (d *decoder) user() UserID {
	name, group := d.key()
	if group {
		d.fail(errMalformed)
	}
	return name
}

func (d *decoder) id() (id MsgID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

// end reports the first error, or that bytes were left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(errMalformed)
	}
	return d.err
}
