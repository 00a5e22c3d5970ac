package protocol

// A Request is a frame from a client. Its args lie in the frame.
type Request struct {
	ID   uint64 // 0 = a notice, which is not answered
	Op   string // any text; the caller refuses unknown ones
	Args Raw
}

// DecodeRequest decodes a client's frame, except for its args. Its error is a
// *MalformedError.
func DecodeRequest(codec Codec, data []byte) (Request, error) {
	d := decoder{codec: codec, data: data}
	var r Request
	hasOp := false
	for o := d.frame(); d.next(&o); {
		switch string(o.key) {
		case "id":
			r.ID = d.frameID()
		case "op":
			r.Op, hasOp = d.frameOp(), true
		case "args":
			r.Args = d.raw()
		default:
			d.skip()
		}
	}
	d.endFrame()
	if d.err == nil && !hasOp {
		d.malformed("it has no op")
	}
	if d.err != nil {
		return Request{}, d.err
	}
	return r, nil
}

// Args are the content of a request: one of the structs that are named after
// the ops.
type Args interface {
	encode(e *encoder)
}

// AppendRequest appends the frame of a request or, if id is 0, of a notice.
// Args may be nil.
func AppendRequest(dst []byte, codec Codec, id uint64, op string, args Args) []byte {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	frame := e.beginMap()
	e.optUint("id", id)
	e.textField("op", op)
	if args != nil {
		e.key("args")
		m := e.beginMap()
		args.encode(&e)
		e.endMap(m)
	}
	e.endMap(frame)
	return e.buf
}

// frame opens the frame's map. When it has been read to its end, all bytes are
// known to be well-formed, because every value was read or skipped.
func (d *decoder) frame() object {
	if d.kind() != kindMap {
		d.malformed("it is no object")
	}
	o := d.object()
	o.nulls = true
	return o
}

// endFrame checks that nothing follows the frame's map.
func (d *decoder) endFrame() {
	if d.codec == JSON {
		d.space()
	}
	if d.pos != len(d.data) {
		d.malformed("something follows its end")
	}
}

func (d *decoder) malformed(reason string) {
	if d.err == nil {
		d.err = &MalformedError{reason}
	}
}

func (d *decoder) frameID() uint64 {
	v, ok := d.readUint()
	if !ok || v < 1 || v > MaxInt {
		d.malformed("its id is no integer from 1 to 2^53-1")
		return 0
	}
	return v
}

// frameOp reads the name of an op. Names of the protocol cost no allocation.
func (d *decoder) frameOp() string {
	b, ok := d.readText()
	if !ok {
		d.malformed("its op is no text")
		return ""
	}
	if op, ok := opNames[string(b)]; ok {
		return op
	}
	return string(b)
}

// raw skips a value and returns it undecoded.
func (d *decoder) raw() Raw {
	start := d.pos
	d.skip()
	return Raw{d.codec, d.data[start:d.pos]}
}
