package protocol

import "encoding/binary"

// PageOK answers getMessage.
type PageOK struct {
	Messages []Message // ascending seq
	From, To uint64    // what the page covers, inclusive; 0, 0 for an empty view
	Gaps     []Gap
	More     bool // there is more in that direction

	// Encoded has Messages as AppendMessage writes them, where that has been done.
	Encoded [][]byte
}

// A Gap is a run of seqs without messages, for one reason.
type Gap struct {
	From, To uint64
	Reason   string
}

// PageTail is how many bytes the reply to a getMessage takes at most beside its
// messages.
func PageTail(gaps int) int {
	const reply, gap = 128, len(`{"from":9007199254740991,"to":9007199254740991,"reason":"notMember"},`)
	return reply + gaps*gap
}

// MaxMessagesSize is how many bytes n messages take at most in a frame if their
// variable parts have so many bytes in all.
func MaxMessagesSize(codec Codec, n, bytes int) int {
	const (
		fixed  = 512 // keys, numbers, names
		escape = 6   // JSON has a control character as \u0000
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
	Conversations []Conversation // each with Last if there is one
	More          bool           // there are further ones
	After         string         // of getConversations: what to ask for them with
}

// Decode reads the reply to a getRecents or getConversations.
func (r *ConversationsOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *ConversationsOK) encode(e *encoder)   { e.record(r) }

func (r *ConversationsOK) fields(x *fields) {
	x.conversations("conversations", &r.Conversations, always)
	x.bool("more", &r.More, optional)
	x.text("after", &r.After, 0, MaxFrame, optional)
}

// A ConversationsWriter writes the reply to getRecents or getConversations entry by
// entry, until it is full. It is to be used by value, and ended or dropped.
type ConversationsWriter struct {
	list listWriter
	open openFrame
}

// BeginConversations begins the reply to request id behind dst. It holds at most
// MaxPage bytes.
func BeginConversations(dst []byte, codec Codec, id uint64) ConversationsWriter {
	e, open := beginOK(dst, codec, id)
	w := ConversationsWriter{list: listWriter{e: e, limit: MaxPage - conversationsTail}, open: open}
	w.list.begin("conversations")
	return w
}

// conversationsTail is kept for what End writes.
const conversationsTail = len(`],"more":true,"after":""}}`) + MaxAfterLen

// Add appends an entry, unless the reply would be longer than it may be. The first
// one is always taken.
func (w *ConversationsWriter) Add(c *Conversation) bool {
	return w.list.add(c.encode) || w.list.n == 0 && w.list.force(c.encode)
}

// Len is the number of entries so far.
func (w *ConversationsWriter) Len() int { return w.list.n }

// End writes what follows the entries and returns dst with the frame.
func (w *ConversationsWriter) End(more bool, after string) []byte {
	w.list.end()
	w.list.e.optBool("more", more)
	w.list.e.optText("after", after)
	return w.list.e.endFrame(w.open)
}

// A listWriter writes lists into a frame as far as there is room.
type listWriter struct {
	e     encoder
	limit int // bytes of the frame
	count int // where msgpack has the number of elements of the list
	n     int // elements of the list
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

// add appends an element if there is room.
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

// force appends an element, and reports true.
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
	Presence []UserPresence // in the order of the frame; no user twice
}

// UserPresence is what one user may know of another.
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

// userList reads as many users as the frame holds.
func (d *decoder) userList() []string {
	us, a := makeList[string](d, userLen)
	for i := 0; d.elem(&a); i++ {
		us[i] = d.user()
	}
	d.endArray(a)
	return us
}
