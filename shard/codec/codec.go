// Package codec writes and reads the bytes of logs, snapshots and messages between
// nodes: varints, length-prefixed bytes and single-byte booleans, one after the other,
// without names.
//
// A type lists its fields once, in a method that serves to write, to read and to check
// them, depending on the Coder:
//
//	func (c *TrimOutbox) fields(x *codec.Coder) {
//		Key(x, &c.From)
//		c.To.Fields(x)
//		codec.Uint(x, &c.UpTo)
//	}
//
// The package's functions write or read, as the Coder says; the methods that a Coder
// has from its Decoder only read. Limits are checked only on reading: a value beyond
// its limit is written, but the reader refuses all of what it reads.
package codec

import "encoding/binary"

type mode uint8

const (
	reading mode = iota
	checking
	writing
)

// A Coder appends values to B, or reads them from B. The zero Coder reads, and finds
// nothing. A Coder that is passed to a method of an interface escapes to the heap: a
// caller that must not allocate keeps one and uses it again.
type Coder struct {
	Decoder // when writing, B is what was written so far
	mode    mode
}

// NewWriter returns a Coder that appends to b.
func NewWriter(b []byte) Coder { return Coder{Decoder: Decoder{B: b}, mode: writing} }

// NewReader returns a Coder that reads b. Byte slices that it reads alias b.
func NewReader(b []byte) Coder { return Coder{Decoder: Decoder{B: b}} }

// NewChecker returns a Coder that reads b only to check it: strings and most lists are
// not stored, so that checking hardly allocates. Values decoded by it must not be used.
func NewChecker(b []byte) Coder { return Coder{Decoder: Decoder{B: b}, mode: checking} }

// Writing reports whether the Coder writes; otherwise it reads or checks.
func (x *Coder) Writing() bool { return x.mode == writing }

// Checking reports whether the Coder reads only to check, see NewChecker.
func (x *Coder) Checking() bool { return x.mode == checking }

// putUint appends a varint to B. It does so byte by byte, because that is cheaper than
// to store the slice that binary.AppendUvarint returns.
func (x *Coder) putUint(v uint64) {
	for v >= 0x80 {
		x.B = append(x.B, byte(v)|0x80)
		v >>= 7
	}
	x.B = append(x.B, byte(v))
}

// putLen appends a length as putUint does, but faster if it is short, as most are.
func (x *Coder) putLen(n int) {
	if n < 0x80 {
		x.B = append(x.B, byte(n))
		return
	}
	x.putUint(uint64(n))
}

// Uint writes or reads an unsigned integer as a varint.
func Uint[T ~uint16 | ~uint32 | ~uint64](x *Coder, v *T) {
	if x.mode == writing {
		x.putUint(uint64(*v))
		return
	}
	n := x.Decoder.Uint()
	if n > uint64(^T(0)) {
		x.Fail(ErrMalformed)
		n = 0
	}
	*v = T(n)
}

// UintMax writes or reads an integer that is not negative and at most limit.
func UintMax[T ~int | ~uint16 | ~uint32 | ~uint64](x *Coder, v *T, limit uint64) {
	if x.mode == writing {
		x.putUint(uint64(*v))
		return
	}
	*v = T(x.Decoder.UintMax(limit))
}

// Int writes or reads an integer that may be negative, as a zigzag varint.
func Int[T ~int | ~int64](x *Coder, v *T) {
	if x.mode == writing {
		n := int64(*v)
		x.putUint(uint64(n<<1) ^ uint64(n>>63))
		return
	}
	*v = T(x.Decoder.Int())
}

// Byte writes or reads a single byte.
func Byte[T ~uint8](x *Coder, v *T) {
	if x.mode == writing {
		x.B = append(x.B, byte(*v))
		return
	}
	*v = T(x.Decoder.Byte())
}

// Enum writes or reads a single byte whose value is from first to last.
func Enum[T ~uint8](x *Coder, v *T, first, last T) {
	if Byte(x, v); x.mode != writing && (*v < first || *v > last) {
		x.Fail(ErrMalformed)
	}
}

// Bool writes or reads a byte that is 0 or 1.
func Bool(x *Coder, v *bool) {
	if x.mode == writing {
		b := byte(0)
		if *v {
			b = 1
		}
		x.B = append(x.B, b)
		return
	}
	*v = x.Decoder.Bool()
}

// Fixed writes or reads len(v) bytes, without a length before them.
func Fixed(x *Coder, v []byte) {
	if x.mode == writing {
		x.B = append(x.B, v...)
		return
	}
	copy(v, x.Decoder.Take(uint64(len(v))))
}

// Bytes writes or reads a length and at most limit bytes. Bytes that were read alias
// the input.
func Bytes(x *Coder, v *[]byte, limit int) {
	if x.mode == writing {
		x.putLen(len(*v))
		x.B = append(x.B, *v...)
		return
	}
	if *v = x.Decoder.Bytes(); len(*v) > limit {
		x.Fail(ErrMalformed)
	}
}

// Blob writes or reads bytes that may be nil: a byte 0, or 1 and the bytes as Bytes
// does.
func Blob(x *Coder, v *[]byte, limit int) {
	there := *v != nil
	if Bool(x, &there); !there {
		*v = nil
		return
	}
	if Bytes(x, v, limit); *v == nil {
		*v = []byte{}
	}
}

// Text writes or reads a length and at most limit bytes of UTF-8.
func Text[T ~string](x *Coder, v *T, limit int) {
	if x.mode == writing {
		x.putLen(len(*v))
		x.B = append(x.B, *v...)
		return
	}
	if raw := x.Decoder.Text(limit); x.mode == reading {
		*v = T(raw)
	}
}

// Texts writes or reads a list of at most most Texts. Reading makes a new list.
func Texts[T ~string](x *Coder, list *[]T, most, limit int) {
	if x.mode == writing {
		x.putLen(len(*list))
		for i := range *list {
			Text(x, &(*list)[i], limit)
		}
		return
	}
	n := x.Decoder.CountMax(1, most)
	*list = nil
	if n > 0 && x.mode == reading {
		*list = make([]T, n)
	}
	for i := range n {
		raw := x.Decoder.Text(limit)
		if x.mode == reading {
			(*list)[i] = T(raw)
		}
	}
}

// Uints writes or reads a list of at most most integers. Reading uses the capacity of
// *list.
func Uints[T ~uint64](x *Coder, list *[]T, most int) {
	n := Len(x, len(*list), 1, most)
	if x.mode == writing {
		for _, v := range *list {
			x.putUint(uint64(v))
		}
		return
	}
	*list = (*list)[:0]
	for range n {
		*list = append(*list, T(x.Decoder.Uint()))
	}
}

// Len writes or reads the length of a list whose elements take at least size bytes
// each. A writer passes the length as n and gets n back. A reader gets the length read,
// which is at most most and no more than the rest of the input can hold, so that memory
// may be allocated for it.
func Len(x *Coder, n, size, most int) int {
	if x.mode == writing {
		x.putLen(n)
		return n
	}
	return x.Decoder.CountMax(size, most)
}

// List writes or reads a list of at most most elements that take at least size bytes
// each. Reading makes a new list; checking reads all elements into one.
func List[T any](x *Coder, list *[]T, size, most int, fields func(*T, *Coder)) {
	n := Len(x, len(*list), size, most)
	if x.mode == checking {
		if cap(*list) == 0 && n > 0 {
			*list = make([]T, 1)
		}
		for range n {
			fields(&(*list)[:1][0], x)
		}
		return
	}
	if x.mode == reading {
		*list = nil
		if n > 0 {
			*list = make([]T, n)
		}
	}
	for i := range *list {
		fields(&(*list)[i], x)
	}
}

// Optional writes or reads a value that may be nil: a byte 0, or 1 and the value.
func Optional[T any](x *Coder, v **T, value func(*Coder, *T)) {
	there := *v != nil
	if Bool(x, &there); !there {
		if x.mode == reading {
			*v = nil
		}
		return
	}
	if x.mode == reading || *v == nil {
		*v = new(T)
	}
	value(x, *v)
}

// Item writes or reads a length and what fields writes or reads. A reader skips what lies
// behind the fields that it knows.
func Item(x *Coder, fields func(*Coder)) {
	if x.mode != writing {
		body := x.Decoder.Bytes()
		if x.Err != nil {
			return
		}
		rest := x.B
		x.B = body
		if fields(x); x.Err == nil {
			x.B = rest
		}
		return
	}
	start := len(x.B)
	x.B = append(x.B, 0) // most lengths take one byte
	fields(x)
	size := len(x.B) - start - 1
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(size))
	x.B = append(x.B, head[:n-1]...)
	copy(x.B[start+n:], x.B[start+1:start+1+size])
	copy(x.B[start:], head[:n])
}

// OptionalBool writes or reads a bool that may be nil, as a byte: 0 for nil, 1 for
// false, 2 for true.
func OptionalBool(x *Coder, v **bool) {
	if x.mode == writing {
		b := byte(0)
		switch {
		case *v == nil:
		case **v:
			b = 2
		default:
			b = 1
		}
		x.B = append(x.B, b)
		return
	}
	*v = nil
	b := x.Decoder.Byte()
	if b > 2 {
		x.Fail(ErrMalformed)
	}
	if b > 0 && x.mode == reading {
		*v = new(b == 2)
	}
}

// AppendUint appends an unsigned varint.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt appends a zigzag varint. Times and counts are written so: they are not
// negative in practice, but must survive it.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendBool appends a byte that is 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendBytes appends a length and that many bytes.
func AppendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(AppendUint(b, uint64(len(v))), v...)
}
