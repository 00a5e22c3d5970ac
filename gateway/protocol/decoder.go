package protocol

// A Raw is a value that has not been decoded yet: the args of a request or push, or
// the ok of a reply. It lies in the frame in which it came. The zero Raw stands for
// no value.
type Raw struct {
	codec Codec
	data  []byte // one well-formed value, or nothing
}

func (r Raw) decoder() decoder { return decoder{codec: r.codec, data: r.data} }

// A decoder reads one well-formed value in either encoding. Its first error is kept
// in err. After an error next and elem return false, and all values are zero.
//
// Like encoder it is used by value, so that it stays on the stack.
type decoder struct {
	codec Codec
	data  []byte
	pos   int
	depth int    // number of open maps
	field []byte // in the outermost map, the key of the entry being read
	err   error
}

// An object is the state of reading a map.
type object struct {
	key     []byte // key of the present entry
	left    int    // msgpack: number of entries after the present one
	started bool   // JSON: an entry has been read
	empty   bool   // there is no map
	nulls   bool   // next also stops at entries whose value is null
}

// object opens a map. Null and a missing value count as an empty map.
func (d *decoder) object() object {
	if d.depth == 0 && d.pos == len(d.data) || d.null() {
		return object{empty: true}
	}
	if d.kind() != kindMap {
		d.fail("must be an object")
		return object{empty: true}
	}
	d.depth++
	if d.codec == Msgpack {
		h, next := readHead(d.data, d.pos)
		d.pos = next
		return object{left: h.n}
	}
	d.pos++
	return object{}
}

// next advances to the next entry and reports whether there is one. The caller must
// read or skip its value before the next call. Entries with a null value are skipped,
// unless the key is body.
func (d *decoder) next(o *object) bool {
	for d.err == nil && !o.empty && d.nextKey(o) {
		if d.depth == 1 {
			d.field = o.key
		}
		if o.nulls || string(o.key) == "body" || !d.null() {
			return d.err == nil
		}
	}
	return false
}

func (d *decoder) nextKey(o *object) bool {
	if d.codec == Msgpack {
		for o.left > 0 {
			o.left--
			h, next := readHead(d.data, d.pos)
			if h.kind == kindText {
				o.key = d.data[next : next+h.n]
				d.pos = next + h.n
				return true
			}
			d.skip() // the protocol has only text as keys
			d.skip()
		}
		d.depth--
		return false
	}
	d.space()
	if d.peek() == '}' {
		d.pos++
		d.depth--
		return false
	}
	if o.started {
		if d.peek() != ',' {
			d.broken()
			return false
		}
		d.pos++
		d.space()
	}
	o.started = true
	raw, plain, next := scanString(d.data, d.pos)
	colon := next
	if next >= 0 {
		colon = skipSpace(d.data, next)
	}
	if next < 0 || colon == len(d.data) || d.data[colon] != ':' {
		d.broken()
		return false
	}
	o.key = raw
	if !plain {
		// No key of the protocol has such bytes, so the raw key will match none.
		if key, ok := appendUnescaped(nil, raw); ok {
			o.key = key
		}
	}
	d.pos = colon + 1
	return true
}

// An array is the state of reading an array of n elements.
type array struct {
	n, left int
}

// array opens an array. Its n is exact, so that the caller can allocate once.
func (d *decoder) array() array {
	if d.kind() != kindArray {
		d.fail("must be a list")
		return array{}
	}
	if d.codec == Msgpack {
		h, next := readHead(d.data, d.pos)
		d.pos = next
		return array{h.n, h.n}
	}
	d.pos++
	n := d.count(']')
	if n == 0 {
		d.space()
		d.pos++
	}
	return array{n, n}
}

// elem advances to the next element and reports whether there is one.
func (d *decoder) elem(a *array) bool {
	if d.err != nil || a.left == 0 {
		return false
	}
	if d.codec == JSON && a.left < a.n {
		d.space()
		d.pos++ // the comma, which count has found there
	}
	a.left--
	return true
}

// endArray closes an array. All elements must have been read.
func (d *decoder) endArray(a array) {
	if d.codec == JSON && a.n > 0 && d.err == nil {
		d.space()
		d.pos++
	}
}

// entries returns the number of entries of the map that o has just opened.
func (d *decoder) entries(o object) int {
	if d.codec == Msgpack || o.empty {
		return o.left
	}
	return d.count('}')
}

// count returns the number of elements or entries up to the closing bracket.
func (d *decoder) count(closing byte) int {
	i := skipSpace(d.data, d.pos)
	if i < len(d.data) && d.data[i] == closing {
		return 0
	}
	for n := 1; ; n++ {
		if closing == '}' {
			if i = skipKey(d.data, skipSpace(d.data, i)); i < 0 {
				break
			}
		}
		if i = skipJSON(d.data, i); i < 0 {
			break
		}
		if i = skipSpace(d.data, i); i == len(d.data) {
			break
		}
		if d.data[i] == closing {
			return n
		}
		i++
	}
	d.broken()
	return 0
}

func (d *decoder) space() { d.pos = skipSpace(d.data, d.pos) }

func (d *decoder) peek() byte {
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

// kind returns the type of the next value.
func (d *decoder) kind() kind {
	if d.codec == Msgpack {
		h, _ := readHead(d.data, d.pos)
		return h.kind
	}
	d.space()
	switch c := d.peek(); {
	case c == '{':
		return kindMap
	case c == '[':
		return kindArray
	case c == '"':
		return kindText
	case c == 'n':
		return kindNull
	case c == 't' || c == 'f':
		return kindBool
	case c == '-' || c >= '0' && c <= '9':
		if integer, _ := scanNumber(d.data, d.pos); !integer {
			return kindFloat
		}
		return kindInt
	}
	return kindBad
}

// null reads the next value if it is null, and reports whether it was.
func (d *decoder) null() bool {
	if d.codec == Msgpack {
		if d.peek() != 0xc0 {
			return false
		}
		d.pos++
		return true
	}
	d.space()
	if d.peek() != 'n' {
		return false
	}
	d.skip()
	return true
}

// skip skips the next value, of any type.
func (d *decoder) skip() {
	if d.err != nil {
		return
	}
	i := 0
	if d.codec == Msgpack {
		i = skipMsgpack(d.data, d.pos)
	} else {
		i = skipJSON(d.data, d.pos)
	}
	if i < 0 {
		d.broken()
		return
	}
	d.pos = i
}

// fail sets the error: the value of the present field breaks a rule.
func (d *decoder) fail(rule string) {
	if d.err == nil {
		field := "args"
		if d.depth > 0 {
			field = string(d.field)
		}
		d.err = &FieldError{CodeBadRequest, field, rule}
	}
}

// broken sets the error: the bytes are not a well-formed value. That cannot happen in
// a Raw.
func (d *decoder) broken() {
	d.malformed("it ends early or breaks the grammar of " + d.codec.Name())
}

// check sets the error if ok is false. It is for rules about several values.
func (d *decoder) check(ok bool, field, rule string) {
	if !ok && d.err == nil {
		d.err = &FieldError{CodeBadRequest, field, rule}
	}
}

func (d *decoder) require(field string, present bool) {
	d.check(present, field, "is missing")
}
