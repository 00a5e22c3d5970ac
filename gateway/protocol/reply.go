package protocol

// AppendReplyOK appends the reply to the request with an id. A nil ok is written as
// an empty map.
func AppendReplyOK(dst []byte, codec Codec, id uint64, ok OK) []byte {
	e, m := beginOK(dst, codec, id)
	if ok != nil {
		ok.encode(&e)
	}
	return e.endFrame(m)
}

// AppendSendOK is AppendReplyOK for send, without any allocation.
func AppendSendOK(dst []byte, codec Codec, id uint64, ok *SendOK) []byte {
	e, m := beginOK(dst, codec, id)
	ok.encode(&e)
	return e.endFrame(m)
}

// AppendReplyErr appends a reply that refuses the request with an id. A retryAfterMS
// of 0 is not written.
func AppendReplyErr(dst []byte, codec Codec, id uint64, code, message string, retryAfterMS int64) []byte {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	frame := e.beginMap()
	e.uintField("id", id)
	e.key("err")
	m := e.beginMap()
	e.textField("code", code)
	e.textField("message", message)
	e.optInt("retryAfterMs", retryAfterMS)
	e.endMap(m)
	e.endMap(frame)
	return e.buf
}

// An OK is the content of the answer to a request: one of the structs that are named
// after the ops.
type OK interface {
	encode(e *encoder)
	Decode(ok Raw) error
}

// NoOK is the answer to ops that only report success.
type NoOK struct{}

// Decode checks that ok is a map.
func (r *NoOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *NoOK) encode(*encoder)     {}
func (r *NoOK) fields(*fields)      {}

// An openFrame is what endFrame needs to close a frame with one payload.
type openFrame struct{ frame, payload openMap }

func beginOK(dst []byte, codec Codec, id uint64) (encoder, openFrame) {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	frame := e.beginMap()
	e.uintField("id", id)
	e.key("ok")
	return e, openFrame{frame, e.beginMap()}
}

func (e *encoder) endFrame(m openFrame) []byte {
	e.endMap(m.payload)
	e.endMap(m.frame)
	return e.buf
}

// LoginOK answers login.
type LoginOK struct {
	User       string
	Session    uint64
	ServerTime int64 // ms
	Protocol   int   // Version
	Limits     SessionLimits
}

// SessionLimits are limits that a client has to keep to.
type SessionLimits struct {
	MaxBody  int   // bytes of canonical msgpack
	MaxFrame int   // bytes
	Window   int   // frames that may be unacked
	IdleMS   int64 // without a sign of life until the server closes the connection
}

// Decode reads the reply to a login.
func (r *LoginOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *LoginOK) encode(e *encoder)   { e.record(r) }

func (r *LoginOK) fields(x *fields) {
	x.user("user", &r.User, required)
	count(x, "session", &r.Session, always)
	count(x, "serverTime", &r.ServerTime, always)
	count(x, "protocol", &r.Protocol, always)
	x.nested("limits", &r.Limits)
	x.check(r.Session != 0, "session", "is missing")
}

func (l *SessionLimits) fields(x *fields) {
	count(x, "maxBody", &l.MaxBody, always)
	count(x, "maxFrame", &l.MaxFrame, always)
	count(x, "window", &l.Window, always)
	count(x, "idleMs", &l.IdleMS, always)
}

// RefreshOK answers refreshToken.
type RefreshOK struct {
	Exp int64 // when the new token expires, ms
}

// Decode reads the reply to a refreshToken.
func (r *RefreshOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *RefreshOK) encode(e *encoder)   { e.record(r) }

func (r *RefreshOK) fields(x *fields) {
	count(x, "exp", &r.Exp, always)
}

// PingOK answers ping.
type PingOK struct {
	ServerTime int64 // ms
}

// Decode reads the reply to a ping.
func (r *PingOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *PingOK) encode(e *encoder)   { e.record(r) }

func (r *PingOK) fields(x *fields) {
	count(x, "serverTime", &r.ServerTime, always)
}

// SendOK answers send.
type SendOK struct {
	ID        ID
	Seq       uint64 // 0 for a message of ttl 0
	Time      int64  // ms
	Duplicate bool   // a repeat: this is the answer to the first send
}

func (r *SendOK) encode(e *encoder) {
	e.idField("id", r.ID)
	e.optUint("seq", r.Seq)
	e.intField("time", r.Time)
	e.optBool("duplicate", r.Duplicate)
}

// Decode reads the reply to a send.
func (r *SendOK) Decode(ok Raw) error {
	*r = SendOK{}
	d := ok.decoder()
	hasID := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "id":
			r.ID, hasID = d.id(), true
		case "seq":
			r.Seq = d.uint(0, MaxInt)
		case "time":
			r.Time = d.int()
		case "duplicate":
			r.Duplicate = d.bool()
		default:
			d.skip()
		}
	}
	d.require("id", hasID)
	return d.err
}

// ReadReportOK answers readReport.
type ReadReportOK struct {
	Unread int // in that conversation
}

func (r *ReadReportOK) encode(e *encoder) { e.intField("unread", int64(r.Unread)) }

// Decode reads the reply to a readReport.
func (r *ReadReportOK) Decode(ok Raw) error {
	*r = ReadReportOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "unread":
			r.Unread = int(d.int())
		default:
			d.skip()
		}
	}
	return d.err
}
