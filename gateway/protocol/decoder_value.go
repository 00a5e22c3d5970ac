package protocol

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// uint reads an integer from lowest to highest. A float is refused, even if its
// value is integral.
func (d *decoder) uint(lowest, highest uint64) uint64 {
	v, ok := d.readUint()
	if !ok || v < lowest || v > highest {
		d.fail(fmt.Sprintf("must be an integer from %d to %d", lowest, highest))
		return 0
	}
	return v
}

func (d *decoder) readUint() (v uint64, ok bool) {
	if d.codec == Msgpack {
		h, next := readHead(d.data, d.pos)
		d.pos = next
		return h.bits, h.kind == kindInt
	}
	d.space()
	start := d.pos
	integer, next := scanNumber(d.data, start)
	if !integer || d.data[start] == '-' {
		return 0, false
	}
	d.pos = next
	return parseDigits(d.data[start:next])
}

// int reads a number as an int64, such as a time: an integer from 0 to MaxInt.
func (d *decoder) int() int64 { return int64(d.uint(0, MaxInt)) }

func (d *decoder) bool() bool {
	if d.kind() != kindBool {
		d.fail("must be true or false")
		return false
	}
	c := d.data[d.pos]
	d.skip()
	return c == 't' || c == 0xc3
}

// bytes reads text without converting it to a string. The result lies in the
// frame, unless JSON has escapes in it. If the value is not text, the rule is
// the error.
func (d *decoder) bytes(rule string) []byte {
	start := d.pos
	b, ok := d.readText()
	if ok {
		return b
	}
	d.pos = start
	if d.kind() == kindText {
		rule = "must be valid UTF-8, without lone surrogates"
	}
	d.fail(rule)
	return nil
}

func (d *decoder) readText() (text []byte, ok bool) {
	if d.codec == Msgpack {
		h, next := readHead(d.data, d.pos)
		if h.kind != kindText {
			return nil, false
		}
		d.pos = next + h.n
		text = d.data[next:d.pos:d.pos]
		return text, utf8.Valid(text)
	}
	d.space()
	raw, plain, next := scanString(d.data, d.pos)
	if next < 0 {
		return nil, false
	}
	d.pos = next
	if plain {
		return raw[:len(raw):len(raw)], utf8.Valid(raw)
	}
	// Unescaped text is never longer than with its escapes.
	return appendUnescaped(make([]byte, 0, len(raw)), raw)
}

// text reads a string whose length in bytes is between shortest and longest.
func (d *decoder) text(shortest, longest int) string {
	b := d.bytes("must be text")
	if d.err == nil && (len(b) < shortest || len(b) > longest) {
		d.fail(fmt.Sprintf("must be text of %d-%d bytes", shortest, longest))
		return ""
	}
	return string(b)
}

// oneOf reads a word of an Enum and returns the Enum's string, without
// allocation.
func (d *decoder) oneOf(of *Enum) string {
	b := d.bytes(of.rule)
	for _, w := range of.Words {
		if string(b) == w {
			return w
		}
	}
	d.fail(of.rule)
	return ""
}

func (d *decoder) user() string {
	b := d.bytes(UserRule)
	if !isName(b, MaxUserLen) {
		d.fail(UserRule)
		return ""
	}
	return string(b)
}

func (d *decoder) group() string {
	b := d.bytes(GroupRule)
	if !isName(b, MaxGroupLen) {
		d.fail(GroupRule)
		return ""
	}
	return string(b)
}

func (d *decoder) conv() Conv {
	c, ok := parseConv(d.bytes(convRule))
	if !ok {
		d.fail(convRule)
	}
	return c
}

func (d *decoder) id() ID {
	id, ok := parseID(d.bytes(idRule))
	if !ok {
		d.fail(idRule)
	}
	return id
}

// body reads a value and returns it as canonical msgpack, of at most longest
// bytes.
func (d *decoder) body(longest int) []byte {
	if d.codec == Msgpack {
		if end := canonicalEnd(d.data, d.pos, 0); end >= 0 {
			b := d.data[d.pos:end:end]
			d.pos = end
			if len(b) > longest {
				d.failBody(tooLarge(longest))
				return nil
			}
			return b
		}
	}
	c := canonicalizers.Get().(*canonicalizer)
	defer c.free()
	end, err := c.run(d.codec, d.data, d.pos, longest)
	if err != nil {
		d.failBody(err)
		return nil
	}
	d.pos = end
	return slices.Clone(c.out)
}

// properties reads a body, which must be a map.
func (d *decoder) properties() []byte {
	if d.kind() != kindMap {
		d.fail("must be an object")
		return nil
	}
	return d.body(MaxPropertiesLen)
}

// failBody sets the error for a body, under the name of the present field.
func (d *decoder) failBody(err *FieldError) {
	if d.err == nil {
		d.err = &FieldError{err.Code, string(d.field), err.Rule}
	}
}
