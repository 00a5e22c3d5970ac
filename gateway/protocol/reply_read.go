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

// PageTail is what the reply to a getMessage takes at most beside its messages.
func PageTail(gaps int) int {
	const reply, gap = 128, len(`{"from":9007199254740991,"to":9007199254740991,"reason":"notMember"},`)
	return reply + gaps*gap
}

// MostOfMessages is what n messages take at most in a frame, whose variable parts
// have some bytes.
func MostOfMessages(codec Codec, n, bytes int) int {
	const (
		fixed  = 512 // keys, numbers, names
		escape = 6   // JSON has a control character as \u0000
	)
	if codec == JSON {
		bytes *= escape
	}
	return n*fixed + bytes
}

func (r *PageOK) encode(e *encoder) {
	e.key("messages")
	e.array(len(r.Messages))
	for i := range r.Messages {
		if r.Encoded != nil {
			e.encoded(r.Encoded[i])
		} else {
			r.Messages[i].encode(e)
		}
	}
	e.endArray()
	e.uintField("from", r.From)
	e.uintField("to", r.To)
	e.key("gaps")
	e.array(len(r.Gaps))
	for _, g := range r.Gaps {
		m := e.beginMap()
		e.uintField("from", g.From)
		e.uintField("to", g.To)
		e.textField("reason", g.Reason)
		e.endMap(m)
	}
	e.endArray()
	e.boolField("more", r.More)
}

// Decode reads the reply to a getMessage.
func (r *PageOK) Decode(ok Raw) error {
	*r = PageOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "messages":
			r.Messages = d.messages()
		case "from":
			r.From = d.uint(0, MaxInt)
		case "to":
			r.To = d.uint(0, MaxInt)
		case "gaps":
			r.Gaps = d.gaps()
		case "more":
			r.More = d.bool()
		default:
			d.skip()
		}
	}
	return d.err
}

func (d *decoder) gaps() []Gap {
	gs, a := makeList[Gap](d, gapLen)
	for i := 0; d.elem(&a); i++ {
		g := &gs[i]
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "from":
				g.From = d.uint(1, MaxInt)
			case "to":
				g.To = d.uint(1, MaxInt)
			case "reason":
				g.Reason = d.text(0, MaxFrame)
			default:
				d.skip()
			}
		}
		d.check(g.From != 0 && g.To >= g.From, "gaps", "must have 1 <= from <= to in each element")
	}
	d.endArray(a)
	return gs
}

// ConversationsOK answers getRecents and getConversations. The server writes it
// with a ConversationsWriter.
type ConversationsOK struct {
	Conversations []Conversation // each with Last if there is one
	More          bool           // there are further ones
	After         string         // of getConversations: what to ask for them with
}

func (r *ConversationsOK) encode(e *encoder) {
	e.conversations("conversations", r.Conversations)
	e.optBool("more", r.More)
	e.optText("after", r.After)
}

// Decode reads the reply to a getRecents or getConversations.
func (r *ConversationsOK) Decode(ok Raw) error {
	*r = ConversationsOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "conversations":
			r.Conversations = d.conversations()
		case "more":
			r.More = d.bool()
		case "after":
			r.After = d.text(0, MaxFrame)
		default:
			d.skip()
		}
	}
	return d.err
}

// A ConversationsWriter writes the reply to getRecents or getConversations entry by
// entry, until it is full. It is to be used by value, and ended or dropped.
type ConversationsWriter struct {
	list listWriter
	mark frameMark
}

// BeginConversations begins the reply to request id behind dst. It holds at most
// MaxPage bytes.
func BeginConversations(dst []byte, codec Codec, id uint64) ConversationsWriter {
	e, mark := beginOK(dst, codec, id)
	w := ConversationsWriter{list: listWriter{e: e, most: MaxPage - conversationsTail}, mark: mark}
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
	return w.list.e.endFrame(w.mark)
}

// A listWriter writes lists into a frame as far as there is room.
type listWriter struct {
	e     encoder
	most  int // bytes of the frame
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
	if len(w.e.buf)-w.e.start > w.most {
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

func (r *PresenceOK) encode(e *encoder) {
	e.key("presence")
	users := e.beginMapOf(len(r.Presence))
	for _, p := range r.Presence {
		e.textKey(p.User)
		m := e.beginMap()
		e.boolField("online", p.Online)
		e.intField("lastSeen", p.LastSeen)
		e.endMap(m)
	}
	e.endMapOf(users)
}

// Decode reads the reply to a getPresence or subscribePresence.
func (r *PresenceOK) Decode(ok Raw) error {
	*r = PresenceOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "presence":
			r.decodeUsers(&d)
		default:
			d.skip()
		}
	}
	return d.err
}

func (r *PresenceOK) decodeUsers(d *decoder) {
	users := d.object()
	r.Presence = makeEntries[UserPresence](d, users, presenceLen)
	for d.next(&users) {
		p := UserPresence{User: string(users.key)}
		d.check(ValidUser(p.User), "presence", userKeys)
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "online":
				p.Online = d.bool()
			case "lastSeen":
				p.LastSeen = d.int()
			default:
				d.skip()
			}
		}
		r.Presence = append(r.Presence, p)
	}
}

// BlockedOK answers getBlocked.
type BlockedOK struct {
	Users []string
}

func (r *BlockedOK) encode(e *encoder) { e.texts("users", r.Users) }

// Decode reads the reply to a getBlocked.
func (r *BlockedOK) Decode(ok Raw) error {
	*r = BlockedOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "users":
			r.Users = d.userList()
		default:
			d.skip()
		}
	}
	return d.err
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
