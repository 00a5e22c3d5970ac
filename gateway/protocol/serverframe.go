package protocol

// A ServerFrame is a server's frame: a reply if ID is set, otherwise a push.
// Payload lies in the frame.
type ServerFrame struct {
	ID      uint64      // of the request; 0 = this is a push
	Err     *ReplyError // of a reply that refuses, else nil
	Op      string      // of a push; may be the op of a later server
	Payload Raw         // the ok of a reply, or the args of a push
}

// Decode decodes the payload into the struct for the op. Its error is a
// *FieldError.
func (f *ServerFrame) Decode(into interface{ Decode(Raw) error }) error {
	return into.Decode(f.Payload)
}

// DecodeServerFrame decodes a server's frame, except for its payload. Its error
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
