package protocol

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// An encoder appends one frame to buf, in either encoding. It is called in the
// order of the frame's content: in a map, key and value by turns. It is used by
// value, so that it stays on the stack and writing a frame allocates nothing.
type encoder struct {
	codec Codec
	buf   []byte
	start int // where the frame begins in buf
	keys  int // number of keys in the innermost open map
}

// An openMap is what endMap needs to close a map.
type openMap struct {
	at    int // where the header is
	outer int // number of keys in the map around it
}

// beginMap opens a map of at most 15 keys, since its header is one byte. endMap
// sets the number of keys.
func (e *encoder) beginMap() openMap {
	e.separate()
	m := openMap{len(e.buf), e.keys}
	e.keys = 0
	if e.codec == Msgpack {
		e.buf = append(e.buf, 0x80)
	} else {
		e.buf = append(e.buf, '{')
	}
	return m
}

func (e *encoder) endMap(m openMap) {
	if e.codec == Msgpack {
		e.buf[m.at] |= byte(e.keys)
	} else {
		e.buf = append(e.buf, '}')
	}
	e.keys = m.outer
}

// beginMapOf opens a map of exactly n keys, which are data rather than names of
// fields.
func (e *encoder) beginMapOf(n int) openMap {
	if e.codec == JSON {
		return e.beginMap()
	}
	m := openMap{len(e.buf), e.keys}
	e.buf = appendMapHeader(e.buf, n)
	return m
}

func (e *encoder) endMapOf(m openMap) {
	if e.codec == JSON {
		e.buf = append(e.buf, '}')
	}
	e.keys = m.outer
}

// array opens an array of n values.
func (e *encoder) array(n int) {
	if e.codec == Msgpack {
		e.buf = appendArrayHeader(e.buf, n)
		return
	}
	e.separate()
	e.buf = append(e.buf, '[')
}

func (e *encoder) endArray() {
	if e.codec == JSON {
		e.buf = append(e.buf, ']')
	}
}

// separate writes the comma that JSON needs after a value or entry. After '{',
// '[' and ':' there is none.
func (e *encoder) separate() {
	if e.codec == Msgpack || len(e.buf) == e.start {
		return
	}
	switch e.buf[len(e.buf)-1] {
	case '{', '[', ':':
	default:
		e.buf = append(e.buf, ',')
	}
}

// key writes the name of a field. It is shorter than 32 bytes, and JSON needs no
// escapes for it.
func (e *encoder) key(name string) {
	e.keys++
	if e.codec == Msgpack {
		e.buf = append(e.buf, 0xa0|byte(len(name)))
		e.buf = append(e.buf, name...)
		return
	}
	e.separate()
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '"', ':')
}

// textKey writes a key that is data, such as a user.
func (e *encoder) textKey(name string) {
	e.text(name)
	if e.codec == JSON {
		e.buf = append(e.buf, ':')
	}
}

// text writes s. Bytes that are not UTF-8 become U+FFFD in both encodings.
func (e *encoder) text(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	if e.codec == Msgpack {
		e.buf = appendStrHeader(e.buf, len(s))
		e.buf = append(e.buf, s...)
		return
	}
	e.separate()
	e.buf = appendJSONText(e.buf, s)
}

// textBytes is text for a []byte.
func (e *encoder) textBytes(s []byte) {
	if !utf8.Valid(s) {
		s = bytes.ToValidUTF8(s, []byte("\ufffd"))
	}
	if e.codec == Msgpack {
		e.buf = appendStrHeader(e.buf, len(s))
		e.buf = append(e.buf, s...)
		return
	}
	e.separate()
	e.buf = appendJSONText(e.buf, s)
}

func (e *encoder) uint(v uint64) {
	if e.codec == Msgpack {
		e.buf = appendUint(e.buf, v)
		return
	}
	e.separate()
	e.buf = strconv.AppendUint(e.buf, v, 10)
}

func (e *encoder) int(v int64) {
	if v >= 0 {
		e.uint(uint64(v))
		return
	}
	if e.codec == Msgpack {
		e.buf = appendNegative(e.buf, v)
		return
	}
	e.separate()
	e.buf = strconv.AppendInt(e.buf, v, 10)
}

func (e *encoder) bool(v bool) {
	if e.codec == Msgpack {
		e.buf = append(e.buf, 0xc2+b2u(v))
		return
	}
	e.separate()
	e.buf = strconv.AppendBool(e.buf, v)
}

func b2u(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// body writes canonical msgpack; an empty b is written as null.
func (e *encoder) body(b []byte) {
	if e.codec == Msgpack {
		if len(b) == 0 {
			b = []byte{0xc0}
		}
		e.buf = append(e.buf, b...)
		return
	}
	e.separate()
	e.buf = AppendBodyJSON(e.buf, b)
}

func (e *encoder) textField(name, v string)        { e.key(name); e.text(v) }
func (e *encoder) uintField(name string, v uint64) { e.key(name); e.uint(v) }
func (e *encoder) intField(name string, v int64)   { e.key(name); e.int(v) }
func (e *encoder) boolField(name string, v bool)   { e.key(name); e.bool(v) }
func (e *encoder) bodyField(name string, b []byte) { e.key(name); e.body(b) }

// The opt methods write no key if the value is zero.

func (e *encoder) optText(name, v string) {
	if v != "" {
		e.textField(name, v)
	}
}

func (e *encoder) optUint(name string, v uint64) {
	if v != 0 {
		e.uintField(name, v)
	}
}

func (e *encoder) optInt(name string, v int64) {
	if v != 0 {
		e.intField(name, v)
	}
}

func (e *encoder) optBool(name string, v bool) {
	if v {
		e.boolField(name, v)
	}
}

func (e *encoder) optTexts(name string, vs []string) {
	if len(vs) > 0 {
		e.key(name)
		e.textList(vs)
	}
}

func (e *encoder) textList(vs []string) {
	e.array(len(vs))
	for _, v := range vs {
		e.text(v)
	}
	e.endArray()
}

func (e *encoder) seqList(vs []uint64) {
	e.array(len(vs))
	for _, v := range vs {
		e.uint(v)
	}
	e.endArray()
}

func (e *encoder) seqRange(from, to uint64) {
	e.array(2)
	e.uint(from)
	e.uint(to)
	e.endArray()
}

// convField writes a conversation without joining its prefix and id in memory.
func (e *encoder) convField(name string, c Conv) {
	e.key(name)
	if e.codec == Msgpack {
		e.buf = appendStrHeader(e.buf, len(c.ID)+2)
		e.buf = append(e.buf, c.prefix()...)
		e.buf = append(e.buf, c.ID...)
		return
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, c.prefix()...)
	e.buf = appendJSONEscaped(e.buf, c.ID)
	e.buf = append(e.buf, '"')
}

func (e *encoder) idField(name string, id ID) {
	e.key(name)
	if e.codec == Msgpack {
		e.buf = appendStrHeader(e.buf, idTextLen)
	} else {
		e.buf = append(e.buf, '"')
	}
	at := len(e.buf)
	e.buf = append(e.buf, make([]byte, idTextLen)...)
	_ = ulid.ULID(id).MarshalTextTo(e.buf[at:]) // fails only for another length
	if e.codec == JSON {
		e.buf = append(e.buf, '"')
	}
}

// groupCursors writes a map {group: cursor}, or nothing if gs is empty.
func (e *encoder) groupCursors(name string, gs []GroupCursor) {
	if len(gs) == 0 {
		return
	}
	e.key(name)
	m := e.beginMapOf(len(gs))
	for _, g := range gs {
		e.textKey(g.Group)
		e.text(g.Cursor)
	}
	e.endMapOf(m)
}

// knownCursors is groupCursors without those that are "": their groups' shards do not
// serve.
func (e *encoder) knownCursors(name string, gs []GroupCursor) {
	known := 0
	for _, g := range gs {
		if g.Cursor != "" {
			known++
		}
	}
	if known == 0 {
		return
	}
	e.key(name)
	m := e.beginMapOf(known)
	for _, g := range gs {
		if g.Cursor != "" {
			e.textKey(g.Group)
			e.text(g.Cursor)
		}
	}
	e.endMapOf(m)
}
