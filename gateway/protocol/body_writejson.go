package protocol

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendBodyJSON appends a canonical body as JSON, from which CanonicalJSON
// makes the same body again: floats have a fraction or an exponent, integers
// have neither, and binary is {"$bin": "<base64>"}. For a body that is not
// canonical the result is JSON too, with null in place of what cannot be read.
func AppendBodyJSON(dst, body []byte) []byte {
	w := bodyWriter{body: body}
	return w.value(dst, 0)
}

// A bodyWriter writes a body as JSON, from front to back.
type bodyWriter struct {
	body []byte
	pos  int
	// plainBin writes binary as a string of base64, which encoding/json expects
	// for a []byte.
	plainBin bool
}

func (w *bodyWriter) value(dst []byte, depth int) []byte {
	h, next := readHead(w.body, w.pos)
	w.pos = next
	switch h.kind {
	case kindBool:
		return strconv.AppendBool(dst, h.bits == 1)
	case kindNegative:
		return strconv.AppendInt(dst, int64(h.bits), 10)
	case kindInt:
		return strconv.AppendUint(dst, h.bits, 10)
	case kindFloat:
		if isFinite(h.bits) {
			return appendJSONFloat(dst, math.Float64frombits(h.bits))
		}
	case kindText:
		return appendJSONText(dst, w.text(h.n))
	case kindBin:
		bin := w.bytes(h.n)
		if w.plainBin {
			return append(base64.StdEncoding.AppendEncode(append(dst, '"'), bin), '"')
		}
		dst = append(dst, `{"`+binKey+`":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, bin)
		return append(dst, '"', '}')
	case kindArray:
		if depth == MaxDepth {
			break
		}
		dst = append(dst, '[')
		for n := range h.n {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = w.value(dst, depth+1)
		}
		return append(dst, ']')
	case kindMap:
		if depth == MaxDepth {
			break
		}
		dst = append(dst, '{')
		for n := range h.n {
			key, next := readHead(w.body, w.pos)
			if key.kind != kindText {
				w.pos = len(w.body)
				break
			}
			w.pos = next
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONText(dst, w.text(key.n)), ':')
			dst = w.value(dst, depth+1)
		}
		return append(dst, '}')
	}
	if h.kind != kindNull {
		w.pos = len(w.body) // what follows cannot be read
	}
	return append(dst, "null"...)
}

func (w *bodyWriter) bytes(n int) []byte {
	b := w.body[w.pos : w.pos+n]
	w.pos += n
	return b
}

func (w *bodyWriter) text(n int) []byte {
	if b := w.bytes(n); utf8.Valid(b) {
		return b
	}
	return nil
}
