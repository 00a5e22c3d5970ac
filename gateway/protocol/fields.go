package protocol

// A record is a struct whose fields method names each of its fields once, for
// writing as well as for reading: the key, a pointer to the value, its limits and
// whether it may be absent.
//
//	func (a *UnbanArgs) fields(x *fields) {
//		x.group("group", &a.Group, required)
//		x.user("user", &a.User, required)
//	}
//
// To write a record, the method is called once, and the fields are written in its
// order. To read one, the method is called for each entry of the map, and the
// field with the entry's key reads the value; it is called once more at the end of
// the map, to find what is missing. What has to be fast is written and read by
// hand instead: send, message, ack, readReport, and their replies.
type record interface{ fields(x *fields) }

// need says how a field that is zero or absent is treated.
type need uint8

const (
	optional need = iota // not written if zero; may be absent
	always               // always written; may be absent
	required             // always written; refused if absent
)

// fields is a walk over the fields of a record: it either writes or reads them. It
// is used by value, so that it stays on the stack.
type fields struct {
	e       encoder
	d       decoder
	writing bool

	// State of the map that is being read:
	key   []byte // of the present entry; nil at the end of the map
	ended bool   // all entries have been read
	taken bool   // a field has read the value of the present entry
	row   int    // number of required fields met in this call of the method
	seen  uint64 // bit i: required field i was in the map
}

// record writes the fields of r into the open map.
func (e *encoder) record(r record) {
	x := e.walk()
	r.fields(&x)
	x.end(e)
}

// walk returns a walk that writes fields into the open map. It stays on the stack
// if the record's method is called directly, not through an interface.
func (e *encoder) walk() fields { return fields{e: *e, writing: true} }

func (x *fields) end(e *encoder) { *e = x.e }

// decode reads a map into p, which is first set to zero.
func decode[T any, P interface {
	*T
	record
}](r Raw, p P) error {
	*p = *new(T)
	return r.read(p)
}

// read reads a map into p. Fields that are absent stay as they are.
func (r Raw) read(p record) error {
	x := fields{d: r.decoder()}
	for m := x.object(); x.next(&m); {
		p.fields(&x)
	}
	return x.d.err
}

// A walkedMap is a map whose fields are being written or read. It keeps the walk's
// state of the map around it.
type walkedMap struct {
	o     object
	open  openMap
	begun bool
	ended bool

	key  []byte
	row  int
	seen uint64
}

// object opens a map. The caller then calls the record's method as long as next
// returns true.
func (x *fields) object() walkedMap {
	if x.writing {
		return walkedMap{open: x.e.beginMap()}
	}
	m := walkedMap{o: x.d.object(), key: x.key, row: x.row, seen: x.seen}
	x.seen = 0
	return m
}

// next advances to the next entry of the map or, after the last one, to its end.
// After that it closes the map and returns false. A map that is written has one
// round.
func (x *fields) next(m *walkedMap) bool {
	if x.writing {
		if m.begun {
			x.e.endMap(m.open)
		}
		m.begun = !m.begun
		return m.begun
	}
	if m.begun && !x.taken {
		x.d.skip()
	}
	x.row, x.taken = 0, false
	switch {
	case m.ended:
		x.key, x.row, x.seen, x.ended, x.taken = m.key, m.row, m.seen, false, true
		return false
	case x.d.next(&m.o):
		x.key, x.ended, m.begun = m.o.key, false, true
	default:
		x.key, x.ended, x.taken, m.ended = nil, true, true, true
	}
	return true
}

// reads reports whether the field has to read the present entry: this is reading,
// and the key is the field's.
func (x *fields) reads(key string, n need) bool { return !x.writing && x.isEntry(key, n) }

func (x *fields) isEntry(key string, n need) bool {
	found := string(x.key) == key
	if n == required {
		here := uint64(1) << x.row
		x.row++
		if found {
			x.seen |= here
		}
		if x.ended {
			x.d.require(key, x.seen&here != 0)
		}
	}
	x.taken = x.taken || found
	return found
}

// writes reports whether the field has to be written, and writes its key.
func (x *fields) writes(key string, n need, zero bool) bool {
	if !x.writing || n == optional && zero {
		return false
	}
	x.e.key(key)
	return true
}

// check refuses the map unless ok. It waits until all entries have been read.
func (x *fields) check(ok bool, key, rule string) {
	if x.ended {
		x.d.check(ok, key, rule)
	}
}

// refuse refuses a key that clients might expect to work, and gives the reason.
func (x *fields) refuse(key, rule string) {
	if x.reads(key, optional) {
		x.d.fail(rule)
	}
}
