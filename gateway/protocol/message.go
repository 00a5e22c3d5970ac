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
	TTL       uint32 // seconds; 0 = none of its own
	Ephemeral bool   // stored nowhere
	Mentions  []string
}

// BodyValue is the body as Go values, see the function BodyValue.
func (m *Message) BodyValue() (any, error) { return BodyValue(m.Body) }

// DecodeBody stores the body in what v points to, see the function DecodeBody.
func (m *Message) DecodeBody(v any) error { return DecodeBody(m.Body, v) }

func (m *Message) encode(e *encoder) {
	mark := e.beginMap()
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
	e.endMap(mark)
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

// maxBodyOfServer is what a client takes of a body: it is the server's limit
// that counts, and the frame is here already.
const maxBodyOfServer = 1 << 30

// messages reads at most MaxMessages messages.
func (d *decoder) messages() []Message {
	ms, a := makeList[Message](d, messageLen)
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
	Time        int64  // of that message, or else of the newest that ever was, ms
	ReadSeq     uint64
	Unread      int
	PeerReadSeq uint64
	Cursor      string // of a group
	Muted       bool
	Pinned      bool
	Marked      bool     // as unread, by the user
	Last        *Message // in the reply to getRecents only
}

func (c *Conversation) encode(e *encoder) {
	m := e.beginMap()
	e.convField("conv", c.Conv)
	e.uintField("lastSeq", c.LastSeq)
	e.intField("time", c.Time)
	e.uintField("readSeq", c.ReadSeq)
	e.optInt("unread", int64(c.Unread))
	e.optUint("peerReadSeq", c.PeerReadSeq)
	e.optText("cursor", c.Cursor)
	e.optBool("muted", c.Muted)
	e.optBool("pinned", c.Pinned)
	e.optBool("markedUnread", c.Marked)
	if c.Last != nil {
		e.key("last")
		c.Last.encode(e)
	}
	e.endMap(m)
}

func (c *Conversation) decode(d *decoder) {
	*c = Conversation{}
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conv":
			c.Conv = d.conv()
		case "lastSeq":
			c.LastSeq = d.uint(0, MaxInt)
		case "time":
			c.Time = d.int()
		case "readSeq":
			c.ReadSeq = d.uint(0, MaxInt)
		case "unread":
			c.Unread = int(d.int())
		case "peerReadSeq":
			c.PeerReadSeq = d.uint(0, MaxInt)
		case "cursor":
			c.Cursor = d.text(0, MaxFrame)
		case "muted":
			c.Muted = d.bool()
		case "pinned":
			c.Pinned = d.bool()
		case "markedUnread":
			c.Marked = d.bool()
		case "last":
			c.Last = new(Message)
			c.Last.decode(d)
		default:
			d.skip()
		}
	}
	d.require("conv", c.Conv.ID != "")
}

func (e *encoder) conversations(name string, cs []Conversation) {
	e.key(name)
	e.array(len(cs))
	for i := range cs {
		cs[i].encode(e)
	}
	e.endArray()
}

// optConversations leaves an empty list out.
func (e *encoder) optConversations(name string, cs []Conversation) {
	if len(cs) > 0 {
		e.conversations(name, cs)
	}
}

// conversations reads a list, which is not nil even when empty.
func (d *decoder) conversations() []Conversation {
	cs, a := makeList[Conversation](d, conversationLen)
	for i := 0; d.elem(&a); i++ {
		cs[i].decode(d)
	}
	d.endArray(a)
	return cs
}
