// Package wstest makes frames as clients send them, for tests.
package wstest

import "encoding/binary"

// Frame returns a frame as a client sends it. first is its first byte: flags and
// opcode.
func Frame(first byte, mask uint32, payload string) []byte {
	b := []byte{first, 0x80}
	switch n := len(payload); {
	case n < 126:
		b[1] |= byte(n)
	case n <= 0xffff:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	for i := range len(payload) {
		b = append(b, payload[i]^byte(mask>>(8*(i%4))))
	}
	return b
}
