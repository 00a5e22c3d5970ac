// Package ws is the server's side of a WebSocket: the upgrade, frames, and a connection
// that holds no buffer while it is idle.
//
// The WebSocket library is used for the handshake alone. Its connections would keep a
// buffer of 4 KiB in each direction, and make a write for each frame.
package ws

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Frame opcodes of RFC 6455.
const (
	OpContinuation = 0
	OpText         = 1
	OpBinary       = 2
	OpClose        = 8
	OpPing         = 9
	OpPong         = 10
)

// Close codes of RFC 6455 that an application does not choose.
const (
	CloseProtocolError = 1002
	CloseAbnormal      = 1006 // never sent: the peer has gone
)

// maxControl is the longest payload of a control frame.
const maxControl = 125

// PingFrame is a ping without payload.
var PingFrame = []byte{0x80 | OpPing, 0}

// Errors that end reading, besides those of the socket.
var (
	ErrBrokenFrame = errors.New("ws: broken frame")
	ErrTooLarge    = errors.New("ws: frame too large")
	ErrBadText     = errors.New("ws: text is not UTF-8")
	ErrFragment    = errors.New("ws: fragments are not allowed")

	errLongHeader = fmt.Errorf("%w: its length is not written in the fewest bytes", ErrBrokenFrame)
)

// A frameHeader is the header of a frame from a client.
type frameHeader struct {
	fin    bool
	opcode byte
	size   uint64 // bytes of payload
	mask   uint32 // little-endian
}

// parseHeader parses the header at the start of b and returns its length, 0 if it is
// incomplete. Its error is ErrBrokenFrame for what RFC 6455 forbids.
func parseHeader(b []byte) (h frameHeader, length int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h = frameHeader{fin: b[0]&0x80 != 0, opcode: b[0] & 0x0f, size: uint64(b[1] & 0x7f)}
	if b[0]&0x70 != 0 || b[1]&0x80 == 0 { // no extension was negotiated, and clients must mask
		return h, 0, ErrBrokenFrame
	}
	switch h.opcode {
	case OpContinuation, OpText, OpBinary, OpClose, OpPing, OpPong:
	default:
		return h, 0, ErrBrokenFrame
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
	case h.size > 1<<62 || h.opcode >= OpClose && (!h.fin || h.size > maxControl):
		return h, 0, ErrBrokenFrame
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

// CloseCode returns the code in the payload of a close frame, 0 for none. If clients
// must not send such a payload, the error is ErrBrokenFrame or ErrBadText.
func CloseCode(payload []byte) (code int, err error) {
	if len(payload) == 0 {
		return 0, nil
	}
	if len(payload) < 2 {
		return 0, ErrBrokenFrame
	}
	code = int(binary.BigEndian.Uint16(payload))
	switch {
	case code >= 3000 && code <= 4999:
	case code >= 1000 && code <= 1014 && (code < 1004 || code > 1006):
	default:
		return 0, ErrBrokenFrame
	}
	if !utf8.Valid(payload[2:]) {
		return 0, ErrBadText
	}
	return code, nil
}

// awaitClose reads and drops frames up to the client's close frame.
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
		if h.opcode == OpClose {
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
	return appendFrame(dst, OpClose, func(b []byte) []byte {
		if code == 0 {
			return b
		}
		return append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
	})
}
