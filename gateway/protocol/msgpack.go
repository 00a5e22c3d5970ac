package protocol

import (
	"encoding/binary"
	"math"
)

// kind is the type of a value, in either encoding.
type kind uint8

const (
	kindBad kind = iota // no value begins like this, or it is cut short
	kindNull
	kindBool
	kindInt
	kindFloat
	kindText
	kindBin
	kindArray
	kindMap
	kindExt
)

// A head is what a msgpack value begins with.
type head struct {
	kind kind
	// shortest tells that no other head says the same in fewer bytes, nor in
	// another canonical form.
	shortest bool
	negative bool   // kindInt: bits is an int64 below 0
	n        int    // kindText, kindBin, kindExt: bytes that follow; kindArray, kindMap: elements, entries
	bits     uint64 // kindInt: value; kindBool: 0 or 1; kindFloat: as float64
}

// readHead reads the head at b[i] and returns the offset behind it. Whatever n
// says fits into what is left of b: an element has at least one byte.
func readHead(b []byte, i int) (h head, next int) {
	if i >= len(b) {
		return head{}, i
	}
	c := b[i]
	i++
	h.shortest = true
	switch {
	case c <= 0x7f:
		h.kind, h.bits = kindInt, uint64(c)
		return h, i
	case c >= 0xe0:
		h.kind, h.negative, h.bits = kindInt, true, uint64(int64(int8(c)))
		return h, i
	case c <= 0x8f:
		h.kind, h.n = kindMap, int(c&0x0f)
		return h.fit(b, i)
	case c <= 0x9f:
		h.kind, h.n = kindArray, int(c&0x0f)
		return h.fit(b, i)
	case c <= 0xbf:
		h.kind, h.n = kindText, int(c&0x1f)
		return h.fit(b, i)
	}
	f := heads[c-0xc0]
	if len(b)-i < int(f.size) {
		return head{}, i
	}
	v := bigEndian(b[i:], int(f.size))
	i += int(f.size)
	h.kind = f.kind
	switch f.kind {
	case kindNull:
	case kindBool:
		h.bits = uint64(c & 1)
	case kindInt:
		h.bits = v
		if c >= 0xd0 { // signed
			bits := 64 - 8*uint(f.size)
			h.bits = uint64(int64(v<<bits) >> bits)
			h.negative = int64(h.bits) < 0
			h.shortest = h.negative && int64(h.bits) < f.above
		} else {
			h.shortest = v > uint64(f.above)
		}
	case kindFloat:
		h.bits = v
		if f.size == 4 {
			h.bits, h.shortest = math.Float64bits(float64(math.Float32frombits(uint32(v)))), false
		}
	default:
		if c >= 0xd4 && c <= 0xd8 { // fixext: the length is in the head
			v = 1 << (c - 0xd4)
		}
		if v > math.MaxInt32 {
			return head{}, i
		}
		h.n = int(v)
		h.shortest = int64(v) > f.above
		return h.fit(b, i)
	}
	return h, i
}

// fit refuses a head whose n cannot be.
func (h head) fit(b []byte, i int) (head, int) {
	left, need := len(b)-i, h.n
	switch h.kind {
	case kindMap:
		need = 2 * h.n
	case kindExt:
		need = h.n + 1 // and its type
	}
	if need > left {
		return head{}, i
	}
	return h, i
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

// heads are the forms 0xc0-0xdf: what they begin, the size of the number that
// follows, and the value that a shorter form still holds. For signed integers
// that one is the lowest such value.
var heads = [32]struct {
	kind  kind
	size  uint8
	above int64
}{
	0x00: {kind: kindNull},
	0x01: {kind: kindBad}, // never used
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
	0x10: {kindInt, 1, -32},
	0x11: {kindInt, 2, math.MinInt8},
	0x12: {kindInt, 4, math.MinInt16},
	0x13: {kindInt, 8, math.MinInt32},
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

// skipMsgpack reads one value of any depth and returns the offset behind it, or
// -1 if it is cut short or none. It needs no memory: how many values are still
// due says it all.
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
