package protocol

import "encoding/binary"

// PageOK answers getMessage.
type PageOK struct {
	Messages []Message // ascending seq
	From, To uint64    // the seqs that the page covers, inclusive; 0, 0 for an empty view
	Gaps     []Gap
	More     bool // there are more messages in that direction

	// Encoded, unless nil, has Messages as AppendMessage has encoded them.
	Encoded [][]byte
}

// A Gap is a run of seqs without messages, all for the same reason.
type Gap struct {
	From, To uint64
	Reason   string
}

// PageTail returns the most bytes that the reply to a getMessage with so many gaps
// takes, besides its messages.
func PageTail(gaps int) int {
	const reply, gap = 128, len(`{"from":9007199254740991,"to":9007199254740991,"reason":"notMember"},`)
	return reply + gaps*gap
}

// MaxMessagesSize returns the most bytes that n messages take in a frame. bytes is
// the size of all their fields of variable length.
func MaxMessagesSize(codec Codec, n, bytes int) int {
	const (
		fixed  = 512 // for keys, numbers and names
		escape = 6   // JSON may need \u0000 for a byte
	)
	if codec == JSON {
		bytes *= escape
	}
	return n*fixed + bytes
}

// Decode reads the reply to a getMessage.
func (r *PageOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *PageOK) encode(e *encoder)   { e.record(r) }

func (r *PageOK) fields(x *fields) {
	x.messages("messages", &r.Messages, r.Encoded)
	count(x, "from", &r.From, always)
	count(x, "to", &r.To, always)
	list(x, "gaps", &r.Gaps, gapLen, always)
	x.bool("more", &r.More, always)
}

func (g *Gap) fields(x *fields) {
	number(x, "from", &g.From, 1, MaxInt, always)
	number(x, "to", &g.To, 1, MaxInt, always)
	x.text("reason", &g.Reason, 0, MaxFrame, always)
	x.check(g.From != 0 && g.To >= g.From, "gaps", "must have 1 <= from <= to in each element")
}

// ConversationsOK answers getRecents and getConversations. The server writes it
// with a ConversationsWriter.
type ConversationsOK struct {
	Conversations []Conversation // each with Last, if it has a message
	More          bool           // there are more conversations
	After         string         // in getConversations: the After to ask for them with
}

// Decode reads the reply to a getRecents or getConversations.
func (r *ConversationsOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *ConversationsOK) encode(e *encoder)   { e.record(r) }

func (r *ConversationsOK) fields(x *fields) {
	x.conversations("conversations", &r.Conversations, always)
	x.bool("more", &r.More, optional)
	x.text("after", &r.After, 0, MaxFrame, optional)
}

// A ConversationsWriter writes the reply to getRecents or getConversations, entry
// by entry until it is full. It is used by value. Without End its frame is
// incomplete.
type ConversationsWriter struct {
	list listWriter
	open openFrame
}

// BeginConversations begins the reply to the request with an id at the end of dst.
// It will have at most MaxPage bytes, unless it is a single entry.
func BeginConversations(dst []byte, codec Codec, id uint64) ConversationsWriter {
	e, open := beginOK(dst, codec, id)
	w := ConversationsWriter{list: listWriter{e: e, limit: MaxPage - conversationsTail}, open: open}
	w.list.begin("conversations")
	return w
}

// conversationsTail is the most bytes that End writes.
const conversationsTail = len(`],"more":true,"after":""}}`) + MaxAfterLen

// Add appends an entry and reports true, unless the reply is full. The first entry
// is always added.
func (w *ConversationsWriter) Add(c *Conversation) bool {
	return w.list.add(c.encode) || w.list.n == 0 && w.list.force(c.encode)
}

// Len returns the number of entries so far.
func (w *ConversationsWriter) Len() int { return w.list.n }

// End writes the fields after the entries, and returns dst with the whole frame.
func (w *ConversationsWriter) End(more bool, after string) []byte {
	w.list.end()
	w.list.e.optBool("more", more)
	w.list.e.optText("after", after)
	return w.list.e.endFrame(w.open)
}

// A listWriter writes lists into a frame, each element only if it fits.
type listWriter struct {
	e     encoder
	limit int // of the frame, in bytes
	count int // msgpack: where the number of elements is
	n     int // elements in the present list
}

func (w *listWriter) begin(name string) {
	w.e.key(name)
	if w.n = 0; w.e.codec == Msgpack {
		w.e.buf = append(w.e.buf, 0xdc, 0, 0)
		w.count = len(w.e.buf) - 2
	} else {
		w.e.array(0)
	}
}

// add appends an element if it fits, and reports whether it did.
func (w *listWriter) add(element func(*encoder)) bool {
	before := len(w.e.buf)
	w.force(element)
	if len(w.e.buf)-w.e.start > w.limit {
		w.e.buf = w.e.buf[:before]
		w.n--
		return false
	}
	return true
}

// force appends an element even if it does not fit, and returns true.
func (w *listWriter) force(element func(*encoder)) bool {
	element(&w.e)
	w.n++
	return true
}

func (w *listWriter) end() {
	if w.e.codec == Msgpack {
		binary.BigEndian.PutUint16(w.e.buf[w.count:], uint16(w.n))
	}
	w.e.endArray()
}

// PresenceOK answers getPresence and subscribePresence.
type PresenceOK struct {
	Presence []UserPresence // in any order; each user once
}

// UserPresence is the presence of a user, as far as the asking user may know it.
type UserPresence struct {
	User     string
	Online   bool
	LastSeen int64 // ms; 0 = never
}

// Decode reads the reply to a getPresence or subscribePresence.
func (r *PresenceOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *PresenceOK) encode(e *encoder)   { e.record(r) }
func (r *PresenceOK) fields(x *fields)    { x.presence("presence", &r.Presence) }

func (p *UserPresence) fields(x *fields) {
	x.bool("online", &p.Online, always)
	count(x, "lastSeen", &p.LastSeen, always)
}

// BlockedOK answers getBlocked.
type BlockedOK struct {
	Users []string
}

// Decode reads the reply to a getBlocked.
func (r *BlockedOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *BlockedOK) encode(e *encoder)   { e.record(r) }

func (r *BlockedOK) fields(x *fields) {
	x.anyUsers("users", &r.Users, always)
}

// userList reads a list of users of any length.
func (d *decoder) userList() []string {
	us, a := openList[string](d, userLen)
	for i := 0; d.elem(&a); i++ {
		us[i] = d.user()
	}
	d.endArray(a)
	return us
}
