package protocol

// Raw is a value that was not decoded yet: the args of a request or a push, or
// the ok of a reply. It lies in the frame it came in. The zero Raw is no value.
type Raw struct {
	codec Codec
	data  []byte // one well-formed value, or nothing
}

func (r Raw) decoder() decoder { return decoder{codec: r.codec, data: r.data} }

// A decoder reads one well-formed value in either encoding. Its first error
// stays in err; from then on next ends every loop and values are zero.
//
// Like encoder it is a plain struct for the stack.
type decoder struct {
	codec Codec
	data  []byte
	pos   int
	depth int    // maps that are open
	field []byte // the key in the outermost map that is being read
	err   error
}

// An object is the state of reading one map.
type object struct {
	key     []byte // of the entry that next found
	left    int    // msgpack: entries after it
	started bool   // JSON: an entry was read
	empty   bool   // there is no map
	nulls   bool   // entries whose value is null are handed out as well
}

// object opens a map. Null and no value at all are an empty one.
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

// next goes to the next entry, whose value has to be read or skipped before
// the call after. A null value is no entry, unless the key is body.
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
			d.skip() // a key of another type is none that we know
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
		// A key that stands for no text is none that we know, so the raw one will do.
		if key, ok := appendUnescaped(nil, raw); ok {
			o.key = key
		}
	}
	d.pos = colon + 1
	return true
}

// An array is the state of reading one array of n elements.
type array struct {
	n, left int
}

// array opens an array. Its n is exact, so that room is made once.
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

// elem goes to the next element.
func (d *decoder) elem(a *array) bool {
	if d.err != nil || a.left == 0 {
		return false
	}
	if d.codec == JSON && a.left < a.n {
		d.space()
		d.pos++ // the comma that count saw
	}
	a.left--
	return true
}

// endArray closes an array all of whose elements were read.
func (d *decoder) endArray(a array) {
	if d.codec == JSON && a.n > 0 && d.err == nil {
		d.space()
		d.pos++
	}
}

// entries is how many entries the map has that o just opened.
func (d *decoder) entries(o object) int {
	if d.codec == Msgpack || o.empty {
		return o.left
	}
	return d.count('}')
}

// count is the number of elements or entries from here to the closing bracket.
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

// kind is the type of the value that comes next.
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

// null reads a null if one comes next.
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

// skip reads a value of any type.
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

// fail reports that the field being read breaks a rule.
func (d *decoder) fail(rule string) {
	if d.err == nil {
		field := "args"
		if d.depth > 0 {
			field = string(d.field)
		}
		d.err = &FieldError{CodeBadRequest, field, rule}
	}
}

// broken reports bytes that are no value. A Raw holds none such.
func (d *decoder) broken() {
	d.malformed("it ends early or breaks the grammar of " + d.codec.Name())
}

// check reports a rule that is about more than one value.
func (d *decoder) check(ok bool, field, rule string) {
	if !ok && d.err == nil {
		d.err = &FieldError{CodeBadRequest, field, rule}
	}
}

func (d *decoder) require(field string, present bool) {
	d.check(present, field, "is missing")
}
