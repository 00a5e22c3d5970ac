package protocol

import (
	"bytes"
	"unicode/utf8"
)

// canonicalEnd returns the offset behind the value at b[i] if the value is a
// body in canonical form, else -1. depth is the number of arrays and maps
// around it. Most clients send canonical bodies, which need no conversion.
func canonicalEnd(b []byte, i, depth int) int {
	h, next := readHead(b, i)
	if !h.shortest {
		return -1
	}
	switch h.kind {
	case kindNull, kindBool, kindNegative:
		return next
	case kindInt:
		if h.bits > maxBodyInt {
			return -1
		}
		return next
	case kindFloat:
		if !isFinite(h.bits) {
			return -1
		}
		return next
	case kindText:
		if !utf8.Valid(b[next : next+h.n]) {
			return -1
		}
		return next + h.n
	case kindBin:
		return next + h.n
	case kindArray:
		if depth == MaxDepth {
			return -1
		}
		for range h.n {
			if next = canonicalEnd(b, next, depth+1); next < 0 {
				return -1
			}
		}
		return next
	case kindMap:
		if depth == MaxDepth {
			return -1
		}
		return canonicalMapEnd(b, next, h.n, depth+1)
	}
	return -1
}

// canonicalMapEnd is canonicalEnd for the n entries of a map. They begin at
// b[next].
func canonicalMapEnd(b []byte, next, n, depth int) int {
	var last []byte
	for entry := range n {
		h, at := readHead(b, next)
		if h.kind != kindText || !h.shortest {
			return -1
		}
		next = at + h.n
		key := b[at:next]
		if !utf8.Valid(key) || entry > 0 && bytes.Compare(last, key) >= 0 {
			return -1
		}
		if n == 1 && string(key) == binKey {
			return -1
		}
		last = key
		if next = canonicalEnd(b, next, depth); next < 0 {
			return -1
		}
	}
	return next
}
