package loadtest

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// A body is a map with one text, as a chat message has, in canonical msgpack:
//
//	offset  size  what
//	0       1     map of one entry
//	1       5     key "text"
//	6       2-3   header of the text
//	then    8     stream, hex
//	        12    counter within the stream, hex
//	        12    intended time of sending, µs since the run's epoch, hex
//	        16    checksum of those and of the size, hex
//	        rest  pattern that follows from the checksum
//
// So stream, counter, time and size determine every byte of a body, and the first
// three can be read from it.
const (
	bodyFixed = 8 + 12 + 12 + 16
	// MinBody and MaxBody bound the size of a body in bytes.
	MinBody = 6 + 2 + bodyFixed
	MaxBody = 12 << 10
)

// bodyTick is the precision of the time in a body.
const bodyTick = time.Microsecond

const hexDigits = "0123456789abcdef"

// letters are the 64 that a pattern is made of.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ."

// appendBody appends the body of message counter of a stream.
func appendBody(dst []byte, stream uint32, counter uint64, at time.Duration, size int) []byte {
	dst = append(dst, 0x81, 0xa4, 't', 'e', 'x', 't')
	text := size - 6 - 2
	if text <= 0xff {
		dst = append(dst, 0xd9, byte(text))
	} else {
		text-- // the longer header
		dst = append(dst, 0xda, byte(text>>8), byte(text))
	}
	micros := uint64(at / bodyTick)
	sum := checksum(uint64(stream), counter, micros, uint64(size))
	dst = appendHex(dst, uint64(stream), 8)
	dst = appendHex(dst, counter, 12)
	dst = appendHex(dst, micros, 12)
	dst = appendHex(dst, sum, 16)
	n := len(dst)
	dst = slices.Grow(dst, text-bodyFixed)[:n+text-bodyFixed]
	for rest := dst[n:]; len(rest) > 0; {
		sum = mix(sum)
		some := rest[:min(len(rest), 10)] // as many as sum has six bits for
		for i, bits := 0, sum; i < len(some); i, bits = i+1, bits>>6 {
			some[i] = letters[bits&63]
		}
		rest = rest[len(some):]
	}
	return dst
}

// bodySize returns size, or one more if no body has that size: with one byte of
// text more the header gets longer by one, too.
func bodySize(size int) int {
	if size == 6+2+0x100 {
		return size + 1
	}
	return size
}

// parseBody checks every byte of a body and returns the counter and the time in
// it. tmp is memory to work in.
func parseBody(body []byte, stream uint32, size int, tmp []byte) (counter uint64, at time.Duration, err error) {
	if len(body) != size {
		return 0, 0, fmt.Errorf("body of %d bytes, want %d", len(body), size)
	}
	header := 6 + 2
	if size-header > 0xff {
		header++
	}
	got, ok := parseHex(body[header:][:8])
	counter, okCounter := parseHex(body[header+8:][:12])
	micros, okTime := parseHex(body[header+20:][:12])
	if !ok || !okCounter || !okTime {
		return 0, 0, fmt.Errorf("body %q, want the hex numbers of a test message", body)
	}
	if got != uint64(stream) {
		return 0, 0, fmt.Errorf("body of stream %d, message %d, want one of stream %d", got, counter, stream)
	}
	at = time.Duration(micros) * bodyTick
	if want := appendBody(tmp[:0], stream, counter, at, size); !bytes.Equal(body, want) {
		return 0, 0, fmt.Errorf("body was altered: got %q, want %q", body, want)
	}
	return counter, at, nil
}

// appendHex appends v in hex; the number of digits is even.
func appendHex(dst []byte, v uint64, digits int) []byte {
	for i := digits - 2; i >= 0; i -= 2 {
		b := byte(v >> (4 * i))
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

func checksum(vs ...uint64) uint64 {
	sum := uint64(0)
	for _, v := range vs {
		sum = mix(sum ^ v)
	}
	return sum
}

// mix is the step of splitmix64: a change of any bit of v changes about half the
// bits of the result.
func mix(v uint64) uint64 {
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// cidSize is the length of a cid.
const cidSize = 12

// appendCID appends the cid of a message, which is its counter: cids have to
// differ within one conversation of one sender only.
func appendCID(dst []byte, counter uint64) []byte { return appendHex(dst, counter, cidSize) }

func cidOf(counter uint64) string { return string(appendCID(make([]byte, 0, cidSize), counter)) }
