// Package codec writes and reads the bytes of logs, snapshots and messages
// between nodes: varints, length-prefixed bytes and single-byte booleans, one
// after the other, without names.
//
// A type says once what it consists of, in a method that a Coder writes, reads
// or checks by:
//
//	func (c *TrimOutbox) fields(x *codec.Coder) {
//		Key(x, &c.From)
//		c.To.Fields(x)
//		codec.Uint(x, &c.UpTo)
//	}
//
// The functions of the package go both ways; the methods of the Decoder in a
// Coder only read. A limit is checked by reading alone: whatever is written is
// read back, or refused, as a whole.
package codec

import "encoding/binary"

type mode uint8

const (
	reading mode = iota
	checking
	writing
)

// A Coder writes values behind B, or reads them from it. The zero Coder reads
// nothing. A Coder that is passed to a method of an interface is on the heap:
// who must not allocate keeps one.
type Coder struct {
	Decoder // when writing, B is what has been written
	mode    mode
}

// Writer returns a Coder that appends to b.
func Writer(b []byte) Coder { return Coder{Decoder: Decoder{B: b}, mode: writing} }

// Reader returns a Coder that reads b. Byte slices alias it.
func Reader(b []byte) Coder { return Coder{Decoder: Decoder{B: b}} }

// A Checker checks that Apply can decode commands. It is ready when zero, and is for
// one goroutine at a time, because it keeps what it decodes into.
func Checker(b []byte) Coder { return Coder{Decoder: Decoder{B: b}, mode: checking} }

// Writing reports whether values are written, not read or checked.
func (x *Coder) Writing() bool { return x.mode == writing }

// Checking reports whether values are read only to see that they can be.
func (x *Coder) Checking() bool { return x.mode == checking }

// putUint appends to B in place: storing only its length is cheaper than storing
// what AppendUint returns.
func (x *Coder) putUint(v uint64) {
	for v >= 0x80 {
		x.B = append(x.B, byte(v)|0x80)
		v >>= 7
	}
	x.B = append(x.B, byte(v))
}

// putLen is putUint of a length, most of which are short.
func (x *Coder) putLen(n int) {
	if n < 0x80 {
		x.B = append(x.B, byte(n))
		return
	}
	x.putUint(uint64(n))
}

// Uint is an unsigned integer as a varint.
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

// UintMax is an integer that is not negative and at most limit.
func UintMax[T ~int | ~uint16 | ~uint32 | ~uint64](x *Coder, v *T, limit uint64) {
	if x.mode == writing {
		x.putUint(uint64(*v))
		return
	}
	*v = T(x.Decoder.UintMax(limit))
}

// Int is an integer that may be negative, as a zigzag varint.
func Int[T ~int | ~int64](x *Coder, v *T) {
	if x.mode == writing {
		n := int64(*v)
		x.putUint(uint64(n<<1) ^ uint64(n>>63))
		return
	}
	*v = T(x.Decoder.Int())
}

// Byte is a single byte.
func Byte[T ~uint8](x *Coder, v *T) {
	if x.mode == writing {
		x.B = append(x.B, byte(*v))
		return
	}
	*v = T(x.Decoder.Byte())
}

// Enum is a single byte from first to last.
func Enum[T ~uint8](x *Coder, v *T, first, last T) {
	if Byte(x, v); x.mode != writing && (*v < first || *v > last) {
		x.Fail(ErrMalformed)
	}
}

// Bool is a byte that is 0 or 1.
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

// Fixed is bytes without a length: len(v) of them.
func Fixed(x *Coder, v []byte) {
	if x.mode == writing {
		x.B = append(x.B, v...)
		return
	}
	copy(v, x.Decoder.Take(uint64(len(v))))
}

// Bytes is a length and at most limit bytes. When read, they alias what is read.
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

// Blob is Bytes that may be nil.
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

// Text is UTF-8 of at most limit bytes.
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

// Texts is a list of at most most Texts. A new one is made for what is read.
func Texts[T ~string](x *Coder, list *[]T, most, limit int) {
	if x.mode == writing {
		x.putLen(len(*list))
		for i := range *list {
			Text(x, &(*list)[i], limit)
		}
		return
	}
	n := x.Decoder.Few(1, most)
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

// Uints is a list of at most most integers. It is read into the capacity of
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

// Len is the length of a list whose elements take at least size bytes each: n
// when it is written, and what may be allocated for when it is read.
func Len(x *Coder, n, size, most int) int {
	if x.mode == writing {
		x.putLen(n)
		return n
	}
	return x.Decoder.Few(size, most)
}

// List is a list of at most most elements that take at least size bytes each. A
// new one is made for what is read; what is checked is read into one element.
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

// Optional is a value that may be nil: a byte 0, or 1 and the value.
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

// OptionalBool is a byte: 0 for nil, 1 for false, 2 for true.
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

// AppendInt appends a zigzag varint, for times and counts: never negative in
// practice, they must survive being so.
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
