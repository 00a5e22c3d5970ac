package protocol

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Scanning of JSON text (RFC 8259). These functions take the text and an offset,
// and return the offset behind what they have read, or -1 if the text breaks the
// grammar.

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipJSON skips a value of any depth. It checks the grammar but not the values:
// escapes may be lone surrogates, numbers may be huge, and keys may come twice. It
// needs one bit of memory for each level.
func skipJSON(b []byte, i int) int {
	var levels bitStack // the open arrays (false) and maps (true)
	for {
		// Here a value begins, or an empty array or map ends.
		i = skipSpace(b, i)
		if i == len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '{':
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == '}' {
				i++
				break
			}
			levels.push(true)
			if i = skipKey(b, i); i < 0 {
				return -1
			}
			continue
		case c == '[':
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == ']' {
				i++
				break
			}
			levels.push(false)
			continue
		case c == '"':
			_, _, i = scanString(b, i)
		case c == '-' || c >= '0' && c <= '9':
			_, i = scanNumber(b, i)
		default:
			i = scanWord(b, i)
		}
		if i < 0 {
			return -1
		}
		// Here a value has ended. Go on until the next value begins.
		for {
			if levels.n == 0 {
				return i
			}
			i = skipSpace(b, i)
			if i == len(b) {
				return -1
			}
			isMap, c := levels.top(), b[i]
			i++
			if c == ',' {
				if isMap {
					if i = skipKey(b, skipSpace(b, i)); i < 0 {
						return -1
					}
				}
				break
			}
			if isMap && c != '}' || !isMap && c != ']' {
				return -1
			}
			levels.pop()
		}
	}
}

// skipKey skips a key and its colon.
func skipKey(b []byte, i int) int {
	_, _, i = scanString(b, i)
	if i < 0 {
		return -1
	}
	i = skipSpace(b, i)
	if i == len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

// A bitStack is a stack of bools.
type bitStack struct {
	n     int
	first uint64   // the lowest 64 levels; honest input has no more
	more  []uint64 // further levels
}

func (s *bitStack) word(i int) *uint64 {
	if i < 64 {
		return &s.first
	}
	return &s.more[i/64-1]
}

func (s *bitStack) push(v bool) {
	if s.n >= 64 && s.n/64 > len(s.more) {
		s.more = append(s.more, 0)
	}
	w, bit := s.word(s.n), uint64(1)<<(s.n%64)
	*w &^= bit
	if v {
		*w |= bit
	}
	s.n++
}

func (s *bitStack) top() bool { return *s.word(s.n - 1)>>((s.n-1)%64)&1 == 1 }
func (s *bitStack) pop()      { s.n-- }

// scanString scans the string whose quote is at b[i]. raw is the text between the
// quotes, and plain reports that it has no escapes.
func scanString(b []byte, i int) (raw []byte, plain bool, next int) {
	if i >= len(b) || b[i] != '"' {
		return nil, false, -1
	}
	i++
	start := i
	plain = true
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			return b[start:i], plain, i + 1
		case c < ' ':
			return nil, false, -1
		case c == '\\':
			plain = false
			i++
			if i == len(b) {
				return nil, false, -1
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if hex4(b[i+1:]) < 0 {
					return nil, false, -1
				}
				i += 4
			default:
				return nil, false, -1
			}
		}
		i++
	}
	return nil, false, -1
}

// hex4 returns the number that the first four bytes of b are in hexadecimal, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendUnescaped appends raw, as returned by scanString, without its escapes. ok
// is false if the result is not UTF-8; lone surrogates are not, either.
func appendUnescaped(dst, raw []byte) (text []byte, ok bool) {
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		if !utf8.Valid(raw[:n]) {
			return dst, false
		}
		dst, raw = append(dst, raw[:n]...), raw[n:]
		if len(raw) == 0 {
			break
		}
		c := raw[1]
		raw = raw[2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
					return dst, false
				}
				if r = utf16.DecodeRune(r, hex4(raw[2:])); r == utf8.RuneError {
					return dst, false
				}
				raw = raw[6:]
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
	return dst, true
}

// scanNumber scans a number. integer reports that it has neither fraction nor
// exponent.
func scanNumber(b []byte, i int) (integer bool, next int) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	if i = skipDigits(b, i); i == first || b[first] == '0' && i > first+1 {
		return false, -1
	}
	integer = true
	if i < len(b) && b[i] == '.' {
		integer = false
		first = i + 1
		if i = skipDigits(b, first); i == first {
			return false, -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		integer = false
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		first = i
		if i = skipDigits(b, first); i == first {
			return false, -1
		}
	}
	return integer, i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// scanWord scans null, true or false.
func scanWord(b []byte, i int) int {
	for _, w := range [...]string{"null", "true", "false"} {
		if len(b)-i >= len(w) && string(b[i:i+len(w)]) == w {
			return i + len(w)
		}
	}
	return -1
}

// parseDigits returns the number that digits stand for. All of them must be 0-9. ok
// is false if it overflows.
func parseDigits(digits []byte) (v uint64, ok bool) {
	for _, c := range digits {
		d := uint64(c - '0')
		if v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

// appendJSONText appends s as a JSON string. s must be UTF-8.
func appendJSONText[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = appendJSONEscaped(dst, s)
	return append(dst, '"')
}

func appendJSONEscaped[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, s[start:]...)
}

// appendJSONFloat appends a finite f, always with a fraction or an exponent, so
// that it is read as a float again.
func appendJSONFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if bytes.IndexByte(dst[at:], '.') < 0 && format == 'f' {
		dst = append(dst, '.', '0')
	}
	return dst
}
