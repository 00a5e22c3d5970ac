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
// Written are the fields in that order. To read a map, the method is called for
// each of its entries, of which the field with that key takes the value, and once
// more at its end, for what is missing. What has to be fast is written and read by
// hand instead: send, message, ack, readReport, and their replies.
type record interface{ fields(x *fields) }

// need says what becomes of a field that is zero or absent.
type need uint8

const (
	optional need = iota // is left out when it is zero; may be absent
	always               // is always written; may be absent
	required             // is always written; is refused when absent
)

// fields is a walk over the fields of a record that writes them, or reads them.
// It is a plain struct for the stack.
type fields struct {
	e       encoder
	d       decoder
	writing bool

	// Of the map that is being read:
	key   []byte // of the entry; nil at the end of the map
	ended bool   // all entries were read
	taken bool   // a field has read the value of the entry
	row   int    // required fields that this call of the record has come by
	seen  uint64 // bit i: required field i was there
}

// record writes the fields of r into the open map.
func (e *encoder) record(r record) {
	x := e.walk()
	r.fields(&x)
	x.end(e)
}

// walk begins to write the fields of a record into the open map. The walk stays on
// the stack if the record's method is called by its type, not by an interface.
func (e *encoder) walk() fields { return fields{e: *e, writing: true} }

func (x *fields) end(e *encoder) { *e = x.e }

// decode reads what r holds into p, which loses what it had.
func decode[T any, P interface {
	*T
	record
}](r Raw, p P) error {
	*p = *new(T)
	return r.read(p)
}

// read reads what r holds into p; what is absent stays as it is.
func (r Raw) read(p record) error {
	x := fields{d: r.decoder()}
	for m := x.object(); x.next(&m); {
		p.fields(&x)
	}
	return x.d.err
}

// A walkedMap is a map whose fields are being written or read, and what the walk
// has to know again when it is closed.
type walkedMap struct {
	o     object
	open  openMap
	begun bool
	ended bool

	key  []byte
	row  int
	seen uint64
}

// object opens a map. The record's method is to be called as often as next says.
func (x *fields) object() walkedMap {
	if x.writing {
		return walkedMap{open: x.e.beginMap()}
	}
	m := walkedMap{o: x.d.object(), key: x.key, row: x.row, seen: x.seen}
	x.seen = 0
	return m
}

// next goes to the next entry of the map, or to its end.
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

// reads reports whether the entry being read is that of the field.
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

// writes writes the key of a field, unless the field is to be left out.
func (x *fields) writes(key string, n need, zero bool) bool {
	if !x.writing || n == optional && zero {
		return false
	}
	x.e.key(key)
	return true
}

// check refuses what was read unless ok, once all of the map was.
func (x *fields) check(ok bool, key, rule string) {
	if x.ended {
		x.d.check(ok, key, rule)
	}
}

// refuse refuses a field that a client might think it can set.
func (x *fields) refuse(key, rule string) {
	if x.reads(key, optional) {
		x.d.fail(rule)
	}
}
