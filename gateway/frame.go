package gateway

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Frame opcodes of RFC 6455.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// maxControl is the longest payload of a control frame.
const maxControl = 125

// pingFrame asks the peer for a sign of life.
var pingFrame = []byte{0x80 | opPing, 0}

// What ends reading, besides errors of the socket.
var (
	errBrokenFrame = errors.New("gateway: broken WebSocket frame")
	errTooLarge    = errors.New("gateway: frame too large")
	errBadText     = errors.New("gateway: text is not UTF-8")
	errLongHeader  = fmt.Errorf("%w: its length is not written in the fewest bytes", errBrokenFrame)
	errFragment    = errors.New("gateway: fragment before the login")
)

// maxLoginFrame is the largest frame before a login. The longest login, with a
// token of 8 KiB and cursors of 200 groups, takes some 25 KiB.
const maxLoginFrame = 32 << 10

// A frameHeader is the header of a frame from a client.
type frameHeader struct {
	fin    bool
	opcode byte
	size   uint64 // bytes of payload
	mask   uint32 // little-endian
}

// parseHeader reads the header at the front of b and gives its length; 0 means
// that b holds only a part of it. It refuses what RFC 6455 refuses.
func parseHeader(b []byte) (h frameHeader, length int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h = frameHeader{fin: b[0]&0x80 != 0, opcode: b[0] & 0x0f, size: uint64(b[1] & 0x7f)}
	if b[0]&0x70 != 0 || b[1]&0x80 == 0 { // no extension is agreed upon; clients mask
		return h, 0, errBrokenFrame
	}
	switch h.opcode {
	case opContinuation, opText, opBinary, opClose, opPing, opPong:
	default:
		return h, 0, errBrokenFrame
	}
	length = 2
	switch h.size {
	case 126:
		if length += 2; len(b) >= length {
			h.size = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if length += 8; len(b) >= length {
			h.size = binary.BigEndian.Uint64(b[2:])
		}
	}
	if len(b) < length+4 {
		return h, 0, nil
	}
	h.mask = binary.LittleEndian.Uint32(b[length:])
	switch {
	case h.size > 1<<62 || h.opcode >= opClose && (!h.fin || h.size > maxControl):
		return h, 0, errBrokenFrame
	case length > 2 && h.size < 126 || length > 4 && h.size <= 0xffff:
		return h, 0, errLongHeader
	}
	return h, length + 4, nil
}

// unmask undoes the mask of a whole payload, in place.
func unmask(payload []byte, mask uint32) {
	wide := uint64(mask)<<32 | uint64(mask)
	for len(payload) >= 8 {
		binary.LittleEndian.PutUint64(payload, binary.LittleEndian.Uint64(payload)^wide)
		payload = payload[8:]
	}
	for i := range payload {
		payload[i] ^= byte(mask >> (8 * i % 32))
	}
}

// An inbox puts together what a client sends. It holds memory only while a
// message is incomplete.
type inbox struct {
	limit int  // most bytes of a message
	whole bool // a message is one frame

	bytes   *[]byte // received and not taken, nil for none; a pooled buffer
	message *[]byte // fragments of a message that goes on, nil for none
	opcode  byte    // of that message
}

// held is how many bytes of memory it holds.
func (in *inbox) held() (n int64) {
	if in.bytes != nil {
		n = int64(cap(*in.bytes))
	}
	if in.message != nil {
		n += int64(cap(*in.message))
	}
	return n
}

// unfinished reports whether a frame or a message has begun and not ended.
func (in *inbox) unfinished() bool { return in.bytes != nil || in.message != nil }

// room gives space to read into, at least one byte.
func (in *inbox) room() []byte {
	if in.bytes == nil {
		in.bytes = buffers.Get().(*[]byte)
	}
	b := *in.bytes
	if len(b) == cap(b) {
		*in.bytes = slices.Grow(b, cap(b))
	}
	return (*in.bytes)[len(b):cap(*in.bytes)]
}

// received counts n bytes that were read into room.
func (in *inbox) received(n int) {
	*in.bytes = (*in.bytes)[:len(*in.bytes)+n]
	in.release()
}

// release gives back a buffer that nothing is left in.
func (in *inbox) release() {
	if in.bytes != nil && len(*in.bytes) == 0 {
		putBuffer(in.bytes)
		in.bytes = nil
	}
}

// drain takes all whole messages and control frames out of what was received
// and hands them to take, whose argument is valid until it returns; a fragment
// that others follow is opContinuation, without payload. It stops early when
// take says so. Its error is errBrokenFrame, errTooLarge or errFragment.
func (in *inbox) drain(take func(opcode byte, payload []byte) (goOn bool)) error {
	if in.bytes == nil {
		return nil
	}
	b := *in.bytes
	goOn, err := true, error(nil)
	for goOn && err == nil {
		var n int
		if n, goOn, err = in.next(b, take); n == 0 {
			break
		}
		b = b[n:]
	}
	*in.bytes = (*in.bytes)[:copy(*in.bytes, b)]
	in.release()
	return err
}

// next takes the first frame of b, if it is whole, and gives its length.
func (in *inbox) next(b []byte, take func(byte, []byte) bool) (n int, goOn bool, err error) {
	h, header, err := parseHeader(b)
	if header == 0 || err != nil {
		return 0, false, err
	}
	control := h.opcode >= opClose
	before := 0
	if in.message != nil {
		before = len(*in.message)
	}
	switch {
	case !control && (h.opcode == opContinuation) != (in.message != nil):
		return 0, false, errBrokenFrame
	case !control && in.whole && !h.fin:
		return 0, false, errFragment
	case !control && h.size > uint64(max(in.limit-before, 0)):
		return 0, false, errTooLarge
	case h.size > uint64(len(b)-header):
		return 0, false, nil
	}
	n = header + int(h.size)
	payload := b[header:n]
	unmask(payload, h.mask)
	if control || h.fin && in.message == nil {
		return n, take(h.opcode, payload), nil
	}
	if in.message == nil {
		in.message, in.opcode = buffers.Get().(*[]byte), h.opcode
	}
	*in.message = append(*in.message, payload...)
	if !h.fin {
		return n, take(opContinuation, nil), nil
	}
	goOn = take(in.opcode, *in.message)
	putBuffer(in.message)
	in.message = nil
	return n, goOn, nil
}

// closePayload reads what a close frame says: 0 for no code, or errBrokenFrame
// or errBadText for what must not be sent.
func closePayload(payload []byte) (code int, err error) {
	if len(payload) == 0 {
		return 0, nil
	}
	if len(payload) < 2 {
		return 0, errBrokenFrame
	}
	code = int(binary.BigEndian.Uint16(payload))
	switch {
	case code >= 3000 && code <= 4999:
	case code >= 1000 && code <= 1014 && (code < 1004 || code > 1006):
	default:
		return 0, errBrokenFrame
	}
	if !utf8.Valid(payload[2:]) {
		return 0, errBadText
	}
	return code, nil
}

// awaitClose reads until the client's close frame, past everything else.
func awaitClose(r *bufio.Reader) error {
	for {
		var h frameHeader
		length := 0
		for want := 2; length == 0; want++ {
			b, err := r.Peek(want)
			if err != nil {
				return err
			}
			if h, length, err = parseHeader(b); err != nil {
				return err
			}
		}
		if h.opcode == opClose {
			return nil
		}
		for rest := uint64(length) + h.size; rest > 0; {
			n, err := r.Discard(int(min(rest, 1<<30)))
			if err != nil {
				return err
			}
			rest -= uint64(n)
		}
	}
}

// appendFrame appends an unfragmented, unmasked WebSocket frame with the
// payload that encode appends.
func appendFrame(dst []byte, opcode byte, encode func([]byte) []byte) []byte {
	const short, medium, long = 2, 4, 10 // sizes of the three headers
	start := len(dst)
	dst = encode(append(dst, make([]byte, medium)...))
	size := len(dst) - start - medium

	header := medium
	switch {
	case size < 126:
		header = short
	case size > 0xffff:
		header = long
		dst = append(dst, make([]byte, long-medium)...)
	}
	if header != medium {
		copy(dst[start+header:], dst[start+medium:start+medium+size])
		dst = dst[:start+header+size]
	}
	dst[start] = 0x80 | opcode
	switch header {
	case short:
		dst[start+1] = byte(size)
	case medium:
		dst[start+1] = 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(size))
	case long:
		dst[start+1] = 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(size))
	}
	return dst
}

// appendClose appends a close frame; code 0 is none.
func appendClose(dst []byte, code int, reason string) []byte {
	return appendFrame(dst, opClose, func(b []byte) []byte {
		if code == 0 {
			return b
		}
		return append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
	})
}
