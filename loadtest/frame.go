package loadtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Opcodes of RFC 6455.
const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
)

// appendFrame appends a masked, unfragmented WebSocket frame with the payload
// that encode appends.
func appendFrame(dst []byte, opcode byte, encode func([]byte) []byte) []byte {
	const short, medium, long = 2, 4, 10 // sizes of the three headers, without the mask
	const mask = 4
	start := len(dst)
	dst = encode(append(dst, make([]byte, medium+mask)...))
	size := len(dst) - start - medium - mask

	header := medium
	switch {
	case size < 126:
		header = short
	case size > 0xffff:
		header = long
		dst = append(dst, make([]byte, long-medium)...)
	}
	payload := start + header + mask
	if header != medium {
		copy(dst[payload:], dst[start+medium+mask:start+medium+mask+size])
		dst = dst[:payload+size]
	}
	dst[start] = 0x80 | opcode
	switch header {
	case short:
		dst[start+1] = 0x80 | byte(size)
	case medium:
		dst[start+1] = 0x80 | 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(size))
	case long:
		dst[start+1] = 0x80 | 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(size))
	}
	key := rand.Uint32()
	binary.LittleEndian.PutUint32(dst[payload-mask:], key)
	applyMask(dst[payload:], key)
	return dst
}

// applyMask masks or unmasks b, eight bytes at a time.
func applyMask(b []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * (i & 3)))
	}
}

// maxFrame bounds a frame from the server: the largest is a page of history.
const maxFrame = 1 << 20

// splitFrame reads the frame that b begins with. n is its length, or 0 if b does
// not hold all of it; need is then the length of b from which another call is
// worthwhile.
func splitFrame(b []byte) (opcode byte, payload []byte, n, need int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, 2, nil
	}
	header, size := 2, uint64(b[1]&0x7f)
	switch size {
	case 126:
		if header = 4; len(b) >= header {
			size = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if header = 10; len(b) >= header {
			size = binary.BigEndian.Uint64(b[2:])
		}
	}
	opcode = b[0] & 0x0f
	switch {
	case b[0]&0x70 != 0:
		return 0, nil, 0, 0, fmt.Errorf("websocket frame has reserved bits %#x, none was agreed on", b[0]&0x70)
	case b[0]&0x80 == 0 || opcode == 0:
		return 0, nil, 0, 0, fmt.Errorf("websocket message is fragmented, want one frame a message")
	case b[1]&0x80 != 0:
		return 0, nil, 0, 0, fmt.Errorf("websocket frame from the server is masked")
	case len(b) < header:
		return 0, nil, 0, header, nil
	case size > maxFrame:
		return 0, nil, 0, 0, fmt.Errorf("websocket frame of %d bytes, want at most %d", size, maxFrame)
	case opcode >= opClose && size > 125:
		return 0, nil, 0, 0, fmt.Errorf("websocket control frame of %d bytes, want at most 125", size)
	}
	end := header + int(size)
	if len(b) < end {
		return 0, nil, 0, end, nil
	}
	return opcode, b[header:end], end, 0, nil
}
