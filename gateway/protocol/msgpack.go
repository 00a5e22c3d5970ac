package protocol

import (
	"encoding/binary"
	"math"
)

// kind is the type of a value, in either encoding.
type kind uint8

const (
	kindBad kind = iota // not a value, or an incomplete one
	kindNull
	kindBool
	kindInt      // in msgpack integers from 0 up, in JSON all integers
	kindNegative // in msgpack integers below 0; not used for JSON
	kindFloat
	kindText
	kindBin
	kindArray
	kindMap
	kindExt
)

// A head is the beginning of a msgpack value. It has four fields, which the
// compiler still keeps in registers.
type head struct {
	kind kind
	// shortest says that the head is canonical: no other head means the same in
	// fewer bytes.
	shortest bool
	n        int    // kindText, kindBin, kindExt: bytes that follow; kindArray, kindMap: elements, entries
	bits     uint64 // kindInt: value; kindNegative: value as int64; kindBool: 0 or 1; kindFloat: as float64
}

// readHead reads the head at b[i] and returns it with the offset behind it. A head is
// bad if the bytes or elements that it announces cannot fit into the rest of b; an
// element takes at least one byte.
func readHead(b []byte, i int) (head, int) {
	if i >= len(b) {
		return head{}, i
	}
	c := b[i]
	i++
	switch {
	case c <= 0x7f:
		return head{kindInt, true, 0, uint64(c)}, i
	case c >= 0xe0:
		return head{kindNegative, true, 0, uint64(int64(int8(c)))}, i
	case c <= 0x8f:
		return sizedHead(b, i, kindMap, true, uint64(c&0x0f))
	case c <= 0x9f:
		return sizedHead(b, i, kindArray, true, uint64(c&0x0f))
	case c <= 0xbf:
		return sizedHead(b, i, kindText, true, uint64(c&0x1f))
	}
	f := &heads[c-0xc0]
	size := int(f.size)
	if len(b)-i < size {
		return head{}, i
	}
	v := bigEndian(b[i:], size)
	i += size
	switch f.kind {
	case kindBad, kindNull:
		return head{f.kind, true, 0, 0}, i
	case kindBool:
		return head{kindBool, true, 0, uint64(c & 1)}, i
	case kindInt:
		return head{kindInt, v > uint64(f.above), 0, v}, i
	case kindNegative:
		unused := 64 - 8*uint(size)
		signed := int64(v<<unused) >> unused
		if signed >= 0 {
			return head{kindInt, false, 0, uint64(signed)}, i
		}
		return head{kindNegative, signed < f.above, 0, uint64(signed)}, i
	case kindFloat:
		if size == 4 {
			return head{kindFloat, false, 0, math.Float64bits(float64(math.Float32frombits(uint32(v))))}, i
		}
		return head{kindFloat, true, 0, v}, i
	}
	if c >= 0xd4 && c <= 0xd8 { // fixext: the first byte gives the length
		v = 1 << (c - 0xd4)
	}
	return sizedHead(b, i, f.kind, int64(v) > f.above, v)
}

// sizedHead returns the head of a value with n bytes, elements or entries. It is
// kindBad if the rest of b is too short for them.
func sizedHead(b []byte, i int, k kind, shortest bool, n uint64) (head, int) {
	need := n
	switch k {
	case kindMap:
		need = 2 * n
	case kindExt:
		need = n + 1 // one more for the type
	}
	if need > uint64(len(b)-i) {
		return head{}, i
	}
	return head{k, shortest, int(n), 0}, i
}

func bigEndian(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// heads describes the first bytes 0xc0-0xdf: the kind of value, the size of the
// number that follows, and the largest value that a shorter form can hold. Signed
// integers are kindNegative here, and the value is the smallest one.
var heads = [32]struct {
	kind  kind
	size  uint8
	above int64
}{
	0x00: {kind: kindNull},
	0x01: {kind: kindBad}, // unused in msgpack
	0x02: {kind: kindBool},
	0x03: {kind: kindBool},
	0x04: {kindBin, 1, -1},
	0x05: {kindBin, 2, math.MaxUint8},
	0x06: {kindBin, 4, math.MaxUint16},
	0x07: {kindExt, 1, 0},
	0x08: {kindExt, 2, 0},
	0x09: {kindExt, 4, 0},
	0x0a: {kindFloat, 4, 0},
	0x0b: {kindFloat, 8, 0},
	0x0c: {kindInt, 1, math.MaxInt8},
	0x0d: {kindInt, 2, math.MaxUint8},
	0x0e: {kindInt, 4, math.MaxUint16},
	0x0f: {kindInt, 8, math.MaxUint32},
	0x10: {kindNegative, 1, -32},
	0x11: {kindNegative, 2, math.MinInt8},
	0x12: {kindNegative, 4, math.MinInt16},
	0x13: {kindNegative, 8, math.MinInt32},
	0x14: {kindExt, 0, 0},
	0x15: {kindExt, 0, 0},
	0x16: {kindExt, 0, 0},
	0x17: {kindExt, 0, 0},
	0x18: {kindExt, 0, 0},
	0x19: {kindText, 1, 31},
	0x1a: {kindText, 2, math.MaxUint8},
	0x1b: {kindText, 4, math.MaxUint16},
	0x1c: {kindArray, 2, 15},
	0x1d: {kindArray, 4, math.MaxUint16},
	0x1e: {kindMap, 2, 15},
	0x1f: {kindMap, 4, math.MaxUint16},
}

// skipMsgpack skips a value of any depth. It returns the offset behind the value,
// or -1 if it is incomplete or not well-formed. It needs no memory per level, only
// the number of values that are still to come.
func skipMsgpack(b []byte, i int) int {
	for due := 1; due > 0; due-- {
		h, next := readHead(b, i)
		i = next
		switch h.kind {
		case kindBad:
			return -1
		case kindText, kindBin:
			i += h.n
		case kindExt:
			i += h.n + 1
		case kindArray:
			due += h.n
		case kindMap:
			due += 2 * h.n
		}
		if due-1 > len(b)-i {
			return -1
		}
	}
	return i
}

// Headers of msgpack values, each in its shortest form.

func appendMapHeader(b []byte, n int) []byte {
	switch {
	case n < 1<<4:
		return append(b, 0x80|byte(n))
	case n < 1<<16:
		return append(b, 0xde, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
}

func appendArrayHeader(b []byte, n int) []byte {
	switch {
	case n < 1<<4:
		return append(b, 0x90|byte(n))
	case n < 1<<16:
		return append(b, 0xdc, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}

func appendStrHeader(b []byte, n int) []byte {
	switch {
	case n < 1<<5:
		return append(b, 0xa0|byte(n))
	case n < 1<<8:
		return append(b, 0xd9, byte(n))
	case n < 1<<16:
		return append(b, 0xda, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
}

func appendBinHeader(b []byte, n int) []byte {
	switch {
	case n < 1<<8:
		return append(b, 0xc4, byte(n))
	case n < 1<<16:
		return append(b, 0xc5, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<7:
		return append(b, byte(v))
	case v < 1<<8:
		return append(b, 0xcc, byte(v))
	case v < 1<<16:
		return append(b, 0xcd, byte(v>>8), byte(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

// appendNegative appends an integer v < 0.
func appendNegative(b []byte, v int64) []byte {
	switch {
	case v >= -1<<5:
		return append(b, byte(v))
	case v >= -1<<7:
		return append(b, 0xd0, byte(v))
	case v >= -1<<15:
		return append(b, 0xd1, byte(v>>8), byte(v))
	case v >= -1<<31:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
}

func appendFloat(dst []byte, bits uint64) []byte {
	return append(dst, 0xcb, byte(bits>>56), byte(bits>>48), byte(bits>>40), byte(bits>>32),
		byte(bits>>24), byte(bits>>16), byte(bits>>8), byte(bits))
}

func isFinite(bits uint64) bool {
	const exponent = 0x7ff << 52
	return bits&exponent != exponent
}
