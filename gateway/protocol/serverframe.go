package protocol

// A ServerFrame is a frame from the server: a reply when ID is set, else a
// push. What it carries lies in the frame until it is decoded.
type ServerFrame struct {
	ID      uint64      // of the request that is answered; 0 = a push
	Err     *ReplyError // of a reply that refuses; nil in all other frames
	Op      string      // of a push; may be one that a later server added
	Payload Raw         // the ok of a reply, the args of a push
}

// Decode reads what the frame carries into the struct for the op asked or
// pushed. Its error is a *FieldError.
func (f *ServerFrame) Decode(into interface{ Decode(Raw) error }) error {
	return into.Decode(f.Payload)
}

// DecodeServerFrame reads the frame of a server down to its payload. Its error
// is a *MalformedError.
func DecodeServerFrame(codec Codec, data []byte) (ServerFrame, error) {
	d := decoder{codec: codec, data: data}
	var f ServerFrame
	hasOK := false
	for o := d.frame(); d.next(&o); {
		switch string(o.key) {
		case "id":
			f.ID = d.frameID()
		case "op":
			f.Op = d.frameOp()
		case "ok":
			f.Payload, hasOK = d.raw(), true
		case "args":
			f.Payload = d.raw()
		case "err":
			f.Err = d.replyError()
		default:
			d.skip()
		}
	}
	d.endFrame()
	switch {
	case f.ID == 0 && f.Op == "":
		d.malformed("it has neither id nor op")
	case f.ID != 0 && hasOK == (f.Err != nil):
		d.malformed("it has not one of ok and err")
	case f.ID == 0 && f.Err != nil:
		d.malformed("it has err without id")
	}
	if d.err != nil {
		return ServerFrame{}, d.err
	}
	return f, nil
}

func (d *decoder) replyError() *ReplyError {
	raw := d.raw()
	inner := raw.decoder()
	var r ReplyError
	for o := inner.object(); inner.next(&o); {
		switch string(o.key) {
		case "code":
			r.Code = inner.text(1, MaxFrame)
		case "message":
			r.Message = inner.text(0, MaxFrame)
		case "retryAfterMs":
			r.RetryAfterMS = inner.int()
		default:
			inner.skip()
		}
	}
	inner.require("code", r.Code != "")
	if inner.err != nil {
		d.malformed("its err is none")
	}
	return &r
}
