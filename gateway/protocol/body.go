package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"
)

// binKey is the key of a map that stands for binary in JSON: {"$bin": "<base64>"}.
const binKey = "$bin"

// CanonicalJSON appends the canonical msgpack of a body that is given as JSON. If
// the body breaks a rule of bodies or takes more than maxLen bytes, it returns dst
// unchanged and a *FieldError of "body".
func CanonicalJSON(dst, json []byte, maxLen int) ([]byte, error) {
	return appendCanonical(dst, JSON, json, maxLen)
}

// CanonicalMsgpack is CanonicalJSON for a body that is given as msgpack, canonical
// or not.
func CanonicalMsgpack(dst, msgpack []byte, maxLen int) ([]byte, error) {
	return appendCanonical(dst, Msgpack, msgpack, maxLen)
}

func appendCanonical(dst []byte, codec Codec, src []byte, maxLen int) ([]byte, error) {
	c := canonicalizers.Get().(*canonicalizer)
	defer c.free()
	end, err := c.run(codec, src, 0, maxLen)
	if err != nil {
		return dst, err
	}
	if codec == JSON {
		end = skipSpace(src, end)
	}
	if end != len(src) {
		return dst, errBodyGrammar
	}
	return append(dst, c.out...), nil
}

// Errors of bodies, besides their size.
var (
	errBodyGrammar   = bodyError("must be one well-formed value")
	errBodyDepth     = bodyError(fmt.Sprintf("must nest at most %d arrays and maps in one another", MaxDepth))
	errBodyText      = bodyError("must have text of valid UTF-8 only, without lone surrogates")
	errBodyKey       = bodyError("must have text as the keys of its maps")
	errBodyDuplicate = bodyError("must not have a key twice in one map")
	errBodyInt       = bodyError("must have integers from -2^63 to 2^63 only")
	errBodyFloat     = bodyError("must have finite numbers only")
	errBodyExt       = bodyError("must not have extension types")
	errBodyBin       = bodyError(`must have padded base64 text in {"` + binKey + `": …}, as written by RFC 4648`)
	errBodyBinMap    = bodyError(`must not have a map whose only key is "` + binKey + `"`)
)

func bodyError(rule string) *FieldError { return &FieldError{CodeBadRequest, "body", rule} }

func tooLarge(maxLen int) *FieldError {
	return &FieldError{CodeTooLarge, "body", fmt.Sprintf("must take at most %d bytes as msgpack", maxLen)}
}

// maxBodyInt is the largest integer in bodies; the smallest is its negative.
const maxBodyInt = 1 << 63

// A canonicalizer converts a body to its canonical form. It is reused, so that maps
// in any order cost no allocations.
type canonicalizer struct {
	out    []byte
	maxLen int
	// entries are those of all maps that are being read, the innermost map's last.
	entries []bodyEntry
	tmp     []byte
}

// A bodyEntry is the range of bytes of one map entry in canonicalizer.out.
type bodyEntry struct{ at, end uint32 }

var canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}

// maxKeptEntries is the most entries that a canonicalizer keeps room for until its
// reuse. More are needed for hostile bodies only.
const maxKeptEntries = 1024

func (c *canonicalizer) free() {
	if cap(c.entries) > maxKeptEntries {
		c.entries = nil
	}
	if cap(c.out) > MaxFrame || cap(c.tmp) > MaxFrame {
		c.out, c.tmp = nil, nil
	}
	canonicalizers.Put(c)
}

// run converts the value at src[i], with the result in out. end is the offset behind
// the value in src.
func (c *canonicalizer) run(codec Codec, src []byte, i, maxLen int) (end int, err *FieldError) {
	c.out, c.entries, c.maxLen = c.out[:0], c.entries[:0], maxLen
	// A first guess: only floats can become longer.
	c.out = slices.Grow(c.out, min(len(src)-i, max(maxLen, 0)))
	if codec == Msgpack {
		return c.msgpack(src, i, 0)
	}
	return c.json(src, skipSpace(src, i), 0)
}

// checkSize returns an error if out is over its limit.
func (c *canonicalizer) checkSize() *FieldError {
	if len(c.out) > c.maxLen {
		return tooLarge(c.maxLen)
	}
	return nil
}

// addEntry adds an entry to entries, which grow at most once. left is how many bytes of
// the input are left, and perEntry the fewest that an entry takes of them.
func (c *canonicalizer) addEntry(at int, left, perEntry int) {
	if len(c.entries) == cap(c.entries) {
		room := min(left/perEntry, max(0, c.maxLen-len(c.out))/2) + 16
		grown := make([]bodyEntry, len(c.entries), len(c.entries)+room)
		copy(grown, c.entries)
		c.entries = grown
	}
	c.entries = append(c.entries, bodyEntry{uint32(at), uint32(len(c.out))})
}

// key returns the key of an entry. It lies in out.
func (c *canonicalizer) key(e bodyEntry) []byte {
	h, at := readHead(c.out, int(e.at))
	return c.out[at : at+h.n]
}

// sortEntries sorts the entries of the innermost map by their keys, in out too, and removes
// them from entries. first is the index of the first one. A key that comes twice is
// an error.
func (c *canonicalizer) sortEntries(first int) *FieldError {
	es := c.entries[first:]
	c.entries = c.entries[:first]
	if len(es) < 2 {
		return nil
	}
	byKey := func(a, b bodyEntry) int { return bytes.Compare(c.key(a), c.key(b)) }
	start := int(es[0].at)
	sorted := slices.IsSortedFunc(es, byKey)
	if !sorted {
		slices.SortFunc(es, byKey)
	}
	for i := 1; i < len(es); i++ {
		if bytes.Equal(c.key(es[i-1]), c.key(es[i])) {
			return errBodyDuplicate
		}
	}
	if sorted {
		return nil
	}
	c.tmp = append(c.tmp[:0], c.out[start:]...)
	c.out = c.out[:start]
	for _, e := range es {
		c.out = append(c.out, c.tmp[int(e.at)-start:int(e.end)-start]...)
	}
	return nil
}

// msgpack converts the value at b[i] and returns the offset behind it. depth is the
// number of arrays and maps around the value.
func (c *canonicalizer) msgpack(b []byte, i, depth int) (end int, err *FieldError) {
	h, next := readHead(b, i)
	switch h.kind {
	case kindBad:
		return 0, errBodyGrammar
	case kindExt:
		return 0, errBodyExt
	case kindNull, kindBool:
		c.out = append(c.out, b[i])
	case kindInt:
		if h.bits > maxBodyInt {
			return 0, errBodyInt
		}
		c.out = appendUint(c.out, h.bits)
	case kindNegative:
		c.out = appendNegative(c.out, int64(h.bits))
	case kindFloat:
		if !isFinite(h.bits) {
			return 0, errBodyFloat
		}
		c.out = appendFloat(c.out, h.bits)
	case kindText:
		text := b[next : next+h.n]
		if !utf8.Valid(text) {
			return 0, errBodyText
		}
		c.out = append(appendStrHeader(c.out, h.n), text...)
		next += h.n
	case kindBin:
		c.out = append(appendBinHeader(c.out, h.n), b[next:next+h.n]...)
		next += h.n
	case kindArray:
		if depth == MaxDepth {
			return 0, errBodyDepth
		}
		c.out = appendArrayHeader(c.out, h.n)
		for range h.n {
			if next, err = c.msgpack(b, next, depth+1); err != nil {
				return 0, err
			}
		}
	case kindMap:
		if depth == MaxDepth {
			return 0, errBodyDepth
		}
		if next, err = c.msgpackMap(b, next, h.n, depth+1); err != nil {
			return 0, err
		}
	}
	return next, c.checkSize()
}

func (c *canonicalizer) msgpackMap(b []byte, next, n, depth int) (end int, err *FieldError) {
	c.out = appendMapHeader(c.out, n)
	first := len(c.entries)
	for range n {
		h, key := readHead(b, next)
		if h.kind != kindText {
			return 0, errBodyKey
		}
		if n == 1 && string(b[key:key+h.n]) == binKey {
			return 0, errBodyBinMap
		}
		at := len(c.out)
		if next, err = c.msgpack(b, next, depth); err != nil {
			return 0, err
		}
		if next, err = c.msgpack(b, next, depth); err != nil {
			return 0, err
		}
		c.addEntry(at, len(b)-next, 2)
	}
	return next, c.sortEntries(first)
}
