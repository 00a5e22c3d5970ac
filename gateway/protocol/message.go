package protocol

import "fmt"

// A Message is a message as its receiving user sees it.
type Message struct {
	ID        ID
	Conv      Conv
	From      string
	Seq       uint64 // of the receiver's view; 0 for an ephemeral one
	Time      int64  // ms
	CID       []byte // the sender's own id, UTF-8
	Body      []byte // canonical msgpack
	TTL       uint32 // seconds; 0 = the message has none
	Ephemeral bool   // stored nowhere
	Mentions  []string
}

// BodyValue is the body as Go values, see the function BodyValue.
func (m *Message) BodyValue() (any, error) { return BodyValue(m.Body) }

// DecodeBody stores the body in what v points to; see the function DecodeBody.
func (m *Message) DecodeBody(v any) error { return DecodeBody(m.Body, v) }

func (m *Message) encode(e *encoder) {
	open := e.beginMap()
	e.idField("id", m.ID)
	e.convField("conv", m.Conv)
	e.textField("from", m.From)
	e.optUint("seq", m.Seq)
	e.intField("time", m.Time)
	e.key("cid")
	e.textBytes(m.CID)
	e.bodyField("body", m.Body)
	e.optUint("ttl", uint64(m.TTL))
	e.optBool("ephemeral", m.Ephemeral)
	e.optTexts("mentions", m.Mentions)
	e.endMap(open)
}

func (m *Message) decode(d *decoder) {
	*m = Message{}
	hasID := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "id":
			m.ID, hasID = d.id(), true
		case "conv":
			m.Conv = d.conv()
		case "from":
			m.From = d.user()
		case "seq":
			m.Seq = d.uint(0, MaxInt)
		case "time":
			m.Time = d.int()
		case "cid":
			m.CID = d.bytes("must be text")
		case "body":
			m.Body = d.body(maxBodyOfServer)
		case "ttl":
			m.TTL = uint32(d.uint(0, MaxTTL))
		case "ephemeral":
			m.Ephemeral = d.bool()
		case "mentions":
			m.Mentions = d.users(0, MaxMentions)
		default:
			d.skip()
		}
	}
	d.require("id", hasID)
	d.require("conv", m.Conv.ID != "")
	d.require("from", m.From != "")
	d.require("body", m.Body != nil)
}

// maxBodyOfServer is the limit for bodies that a client reads: practically
// none, since the server has checked them, and the frame is in memory already.
const maxBodyOfServer = 1 << 30

// messages reads at most MaxMessages messages.
func (d *decoder) messages() []Message {
	ms, a := openList[Message](d, messageLen)
	if d.err == nil && len(ms) > MaxMessages {
		d.fail(fmt.Sprintf("must have at most %d messages", MaxMessages))
	}
	for i := 0; d.elem(&a); i++ {
		ms[i].decode(d)
	}
	d.endArray(a)
	return ms
}

// A Conversation is an entry of recents.
type Conversation struct {
	Conv        Conv
	LastSeq     uint64 // of the last message that can be shown; 0 = there is none
	Time        int64  // of that message or, if there is none, of the newest one that ever was; ms
	ReadSeq     uint64
	Unread      int
	PeerReadSeq uint64
	Cursor      string // of a group
	Muted       bool
	Pinned      bool
	Marked      bool     // the user has marked it as unread
	Uncounted   bool     // a group whose messages do not count as unread
	Last        *Message // only in the replies to getRecents and getConversations
}

func (c *Conversation) fields(x *fields) {
	x.conv("conv", &c.Conv, required)
	count(x, "lastSeq", &c.LastSeq, always)
	count(x, "time", &c.Time, always)
	count(x, "readSeq", &c.ReadSeq, always)
	count(x, "unread", &c.Unread, optional)
	count(x, "peerReadSeq", &c.PeerReadSeq, optional)
	x.text("cursor", &c.Cursor, 0, MaxFrame, optional)
	x.bool("muted", &c.Muted, optional)
	x.bool("pinned", &c.Pinned, optional)
	x.bool("markedUnread", &c.Marked, optional)
	x.unless("counts", &c.Uncounted)
	if last := pointer(x, "last", &c.Last); last != nil && x.writing {
		last.encode(&x.e)
	} else if last != nil {
		last.decode(&x.d)
	}
}

// encode writes c as an element of a list.
func (c *Conversation) encode(e *encoder) {
	x := e.walk()
	for m := x.object(); x.next(&m); {
		c.fields(&x)
	}
	x.end(e)
}
