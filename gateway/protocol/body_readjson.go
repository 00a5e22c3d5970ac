package protocol

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// json converts the value at b[i] and returns the offset behind it. There is no
// space at i, and depth arrays and maps are around the value.
func (c *canonicalizer) json(b []byte, i, depth int) (end int, err *FieldError) {
	if i >= len(b) {
		return 0, errBodyGrammar
	}
	switch b[i] {
	case '{':
		end, err = c.jsonMap(b, i+1, depth)
	case '[':
		end, err = c.jsonArray(b, i+1, depth)
	case '"':
		end, err = c.jsonText(b, i)
	case 'n', 't', 'f':
		if end = scanWord(b, i); end < 0 {
			return 0, errBodyGrammar
		}
		if b[i] == 'n' {
			c.out = append(c.out, 0xc0)
		} else {
			c.out = append(c.out, 0xc2+b2u(b[i] == 't'))
		}
	default:
		end, err = c.jsonNumber(b, i)
	}
	if err != nil {
		return 0, err
	}
	return end, c.checkSize()
}

func (c *canonicalizer) jsonArray(b []byte, i, depth int) (end int, err *FieldError) {
	if depth == MaxDepth {
		return 0, errBodyDepth
	}
	at, n := c.openCollection()
	if i = skipSpace(b, i); i < len(b) && b[i] == ']' {
		c.closeArray(at, n)
		return i + 1, nil
	}
	for {
		if i, err = c.json(b, skipSpace(b, i), depth+1); err != nil {
			return 0, err
		}
		n++
		if i = skipSpace(b, i); i == len(b) || b[i] != ',' && b[i] != ']' {
			return 0, errBodyGrammar
		}
		i++
		if b[i-1] == ']' {
			c.closeArray(at, n)
			return i, nil
		}
	}
}

func (c *canonicalizer) jsonMap(b []byte, i, depth int) (end int, err *FieldError) {
	i = skipSpace(b, i)
	if end, err = c.jsonBin(b, i); end > 0 || err != nil {
		return end, err
	}
	if depth == MaxDepth {
		return 0, errBodyDepth
	}
	at, n := c.openCollection()
	first := len(c.entries)
	if i < len(b) && b[i] == '}' {
		c.closeMap(at, n)
		return i + 1, nil
	}
	for {
		entry := len(c.out)
		if i, err = c.jsonText(b, skipSpace(b, i)); err != nil {
			return 0, err
		}
		if i = skipSpace(b, i); i == len(b) || b[i] != ':' {
			return 0, errBodyGrammar
		}
		if i, err = c.json(b, skipSpace(b, i+1), depth+1); err != nil {
			return 0, err
		}
		n++
		c.addEntry(entry, len(b)-i, 4)
		if i = skipSpace(b, i); i == len(b) || b[i] != ',' && b[i] != '}' {
			return 0, errBodyGrammar
		}
		i++
		if b[i-1] == '}' {
			if n == 1 && string(c.key(c.entries[first])) == binKey {
				return 0, errBodyBin
			}
			if err := c.sortEntries(first); err != nil {
				return 0, err
			}
			c.closeMap(at, n)
			return i, nil
		}
	}
}

// openCollection reserves one byte for the header of an array or map, whose
// length is known only at its end. It returns the byte's place, and 0 for the
// number of elements so far.
func (c *canonicalizer) openCollection() (at, n int) {
	c.out = append(c.out, 0)
	return len(c.out) - 1, 0
}

func (c *canonicalizer) closeArray(at, n int) {
	var header [5]byte
	c.out = slices.Replace(c.out, at, at+1, appendArrayHeader(header[:0], n)...)
}

func (c *canonicalizer) closeMap(at, n int) {
	var header [5]byte
	c.out = slices.Replace(c.out, at, at+1, appendMapHeader(header[:0], n)...)
}

// jsonBin converts the rest of {"$bin": "<base64>"}, from behind the brace, and
// returns the offset behind it. For any other map it returns 0 and converts
// nothing.
func (c *canonicalizer) jsonBin(b []byte, i int) (end int, err *FieldError) {
	key, plain, next := scanString(b, i)
	if next < 0 {
		return 0, nil
	}
	if !plain {
		if key, plain = appendUnescaped(c.tmp[:0], key); !plain {
			return 0, errBodyText
		}
		c.tmp = key
	}
	if string(key) != binKey {
		return 0, nil
	}
	if next = skipSpace(b, next); next == len(b) || b[next] != ':' {
		return 0, errBodyGrammar
	}
	raw, _, next := scanString(b, skipSpace(b, next+1))
	if next < 0 {
		return 0, nil // not text: jsonMap refuses it, unless more keys follow
	}
	if next = skipSpace(b, next); next == len(b) || b[next] != '}' {
		return 0, nil // more keys follow: it is an ordinary map
	}
	text, ok := appendUnescaped(c.tmp[:0], raw)
	c.tmp = text
	// The decoder skips line breaks, so with them one value would have several
	// forms.
	if !ok || bytes.ContainsAny(text, "\r\n") {
		return 0, errBodyBin
	}
	n := base64.StdEncoding.DecodedLen(len(text)) - bytes.Count(text[max(0, len(text)-2):], []byte{'='})
	c.out = appendBinHeader(c.out, n)
	bin, decodeErr := base64.StdEncoding.Strict().AppendDecode(c.out, text)
	if decodeErr != nil {
		return 0, errBodyBin
	}
	c.out = bin
	return next + 1, nil
}

func (c *canonicalizer) jsonText(b []byte, i int) (end int, err *FieldError) {
	raw, plain, next := scanString(b, i)
	if next < 0 {
		return 0, errBodyGrammar
	}
	if plain {
		if !utf8.Valid(raw) {
			return 0, errBodyText
		}
	} else {
		if raw, plain = appendUnescaped(c.tmp[:0], raw); !plain {
			return 0, errBodyText
		}
		c.tmp = raw
	}
	c.out = append(appendStrHeader(c.out, len(raw)), raw...)
	return next, nil
}

func (c *canonicalizer) jsonNumber(b []byte, i int) (end int, err *FieldError) {
	integer, end := scanNumber(b, i)
	if end < 0 {
		return 0, errBodyGrammar
	}
	text := b[i:end]
	if !integer {
		f, parseErr := strconv.ParseFloat(string(text), 64)
		if parseErr != nil {
			return 0, errBodyFloat
		}
		c.out = appendFloat(c.out, math.Float64bits(f))
		return end, nil
	}
	negative := text[0] == '-'
	v, ok := parseDigits(bytes.TrimPrefix(text, []byte{'-'}))
	switch {
	case !ok || v > maxBodyInt:
		return 0, errBodyInt
	case negative && v > 0:
		c.out = appendNegative(c.out, int64(-v))
	default:
		c.out = appendUint(c.out, v)
	}
	return end, nil
}
