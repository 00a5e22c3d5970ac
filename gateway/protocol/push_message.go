package protocol

import "encoding/binary"

// NewMessage is onNewMessage: messages for the user.
type NewMessage struct {
	D            uint64    // delivery number: 1, 2, 3 … in this session
	Messages     []Message // 1-100
	Cursor       string    // for one-to-one conversations; "" = absent
	GroupCursors []GroupCursor
	Skipped      int // messages of a live group that were lost before these messages
}

// AppendNewMessage appends the frame of an onNewMessage of any length. A
// NewMessageWriter keeps to MaxFrame.
func AppendNewMessage(dst []byte, codec Codec, p *NewMessage) []byte {
	w := BeginNewMessage(dst, codec, p.D)
	for i := range p.Messages {
		p.Messages[i].encode(&w.e)
	}
	w.n = len(p.Messages)
	return w.End(p.Cursor, p.GroupCursors, p.Skipped)
}

// A NewMessageWriter writes the frame of an onNewMessage, message by message until
// it is full. It is used by value. Without End its frame is incomplete.
type NewMessageWriter struct {
	e     encoder
	open  openFrame
	count int // msgpack: where the number of messages is
	n     int
}

// BeginNewMessage begins a frame with delivery number d at the end of dst.
func BeginNewMessage(dst []byte, codec Codec, d uint64) NewMessageWriter {
	var w NewMessageWriter
	w.e, w.open = beginPush(dst, codec, OpOnNewMessage)
	w.e.uintField("d", d)
	w.e.key("messages")
	if codec == Msgpack {
		w.e.buf = append(w.e.buf, 0xdc, 0, 0)
		w.count = len(w.e.buf) - 2
	} else {
		w.e.array(0)
	}
	return w
}

// Add appends m and reports true, unless the frame is full: it has MaxMessages, or
// would take more than MaxFrame bytes with m and with tail bytes for what End
// writes. The first message is always added, however long.
func (w *NewMessageWriter) Add(m *Message, tail int) bool {
	if w.n == MaxMessages {
		return false
	}
	before := len(w.e.buf)
	m.encode(&w.e)
	if w.n > 0 && len(w.e.buf)-w.e.start+tail+len(`]}}`) > MaxFrame {
		w.e.buf = w.e.buf[:before]
		return false
	}
	w.n++
	return true
}

// AppendMessage appends a message in the form that AddEncoded takes. In JSON a
// comma follows, so that several messages can simply be joined.
func AppendMessage(dst []byte, codec Codec, m *Message) []byte {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	m.encode(&e)
	if codec == JSON {
		e.buf = append(e.buf, ',')
	}
	return e.buf
}

// encoded writes messages that AppendMessage has encoded.
func (e *encoder) encoded(message []byte) {
	if e.codec == JSON {
		message = message[:len(message)-1]
	}
	e.separate()
	e.buf = append(e.buf, message...)
}

// Room returns how many messages still fit into the frame, and how many bytes of
// them if tail bytes are kept for what End writes.
func (w *NewMessageWriter) Room(tail int) (messages, bytes int) {
	return MaxMessages - w.n, MaxFrame - (len(w.e.buf) - w.e.start) - tail - len(`,]}}`)
}

// AddEncoded appends n messages that AppendMessage has encoded one after another.
// They must fit, according to Room; the first message of a frame always does.
func (w *NewMessageWriter) AddEncoded(messages []byte, n int) {
	w.e.encoded(messages)
	w.n += n
}

// Len returns the number of messages in the frame so far.
func (w *NewMessageWriter) Len() int { return w.n }

// End writes the fields after the messages, and returns dst with the whole frame.
func (w *NewMessageWriter) End(cursor string, groups []GroupCursor, skipped int) []byte {
	if w.e.codec == Msgpack {
		binary.BigEndian.PutUint16(w.e.buf[w.count:], uint16(w.n))
	}
	w.e.endArray()
	w.e.optText("cursor", cursor)
	w.e.knownCursors("groupCursors", groups)
	w.e.optInt("skipped", int64(skipped))
	return w.e.endFrame(w.open)
}

// Decode reads the args of an onNewMessage. Bodies and CIDs may lie in the frame.
func (p *NewMessage) Decode(args Raw) error {
	*p = NewMessage{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "d":
			p.D = d.uint(1, MaxInt)
		case "messages":
			p.Messages = d.messages()
		case "cursor":
			p.Cursor = d.text(0, MaxFrame)
		case "groupCursors":
			p.GroupCursors = d.groupCursorList()
		case "skipped":
			p.Skipped = int(d.int())
		default:
			d.skip()
		}
	}
	d.require("d", p.D != 0)
	return d.err
}

// Synced is onSynced: the sync of the login is complete. Its numbers are those at
// the start of the login.
type Synced struct {
	Offline int // unread one-to-one messages pushed in this sync
	Lost    []Lost
	Cursor  string
	Reset   bool // a cursor of the login was invalid and counted as absent
	// ResetGroups are the groups whose cursors that were. With Reset and none here the
	// one of one-to-one conversations was among them.
	ResetGroups   []string
	UnreadTotal   int
	UnreadUnmuted int // UnreadTotal without muted conversations and groups
	// Conversations are the recents, newest first; nil if the login asked for
	// none.
	Conversations []Conversation
	// Users and Groups are the conversations with unread messages that are not
	// among Conversations.
	Users  []Conversation
	Groups []Conversation
}

// A Lost is a run of unread seqs whose messages were removed by limits.
type Lost struct {
	Conv     Conv
	From, To uint64
	Count    int // number of messages for the user among them
}

// AppendSynced appends the frame of an onSynced of any length. AppendSyncedPart
// keeps to MaxFrame.
func AppendSynced(dst []byte, codec Codec, p *Synced) []byte {
	x, m := walkPush(dst, codec, OpOnSynced)
	p.fields(&x)
	return x.e.endFrame(m)
}

// A SyncedPart is onConversations: the first entries of the lists of an onSynced
// which has no room for all. The onSynced follows.
type SyncedPart struct {
	Lost          []Lost
	Conversations []Conversation
	Users         []Conversation
	Groups        []Conversation
}

// Add appends the entries of the next part.
func (p *SyncedPart) Add(next *SyncedPart) {
	p.Lost = append(p.Lost, next.Lost...)
	p.Conversations = append(p.Conversations, next.Conversations...)
	p.Users = append(p.Users, next.Users...)
	p.Groups = append(p.Groups, next.Groups...)
}

// Complete puts the entries of the parts before those of the onSynced.
func (p *SyncedPart) Complete(s *Synced) {
	p.Add(&SyncedPart{s.Lost, s.Conversations, s.Users, s.Groups})
	s.Lost, s.Users, s.Groups = p.Lost, p.Users, p.Groups
	if p.Conversations != nil {
		s.Conversations = p.Conversations
	}
}

// minEntry is the fewest bytes of an entry of an onSynced's lists.
const minEntry = 40

// AppendSyncedPart appends the frame of p if that has at most MaxFrame bytes, and
// reports that it is the last one. Otherwise it appends an onConversations with as
// many entries of p as fit, and removes these from p.
func AppendSyncedPart(dst []byte, codec Codec, p *Synced) (frame []byte, last bool) {
	if n := len(p.Lost) + len(p.Conversations) + len(p.Users) + len(p.Groups); n <= MaxFrame/minEntry {
		if frame = AppendSynced(dst, codec, p); len(frame)-len(dst) <= MaxFrame {
			return frame, true
		}
	}
	e, m := beginPush(dst, codec, OpOnConversations)
	const tail = len(`]}}`) + len(`,"conversations":[]`) // for an empty list, if need be
	w := listWriter{e: e, limit: MaxFrame - tail}
	if len(p.Lost) > 0 {
		w.begin("lost")
		for len(p.Lost) > 0 && w.add(p.Lost[0].encode) {
			p.Lost = p.Lost[1:]
		}
		w.end()
	}
	full := len(p.Lost) > 0
	for _, part := range []struct {
		name string
		list *[]Conversation
	}{{"conversations", &p.Conversations}, {"users", &p.Users}, {"groups", &p.Groups}} {
		if full || len(*part.list) == 0 {
			continue
		}
		w.begin(part.name)
		for len(*part.list) > 0 && w.add((*part.list)[0].encode) {
			*part.list = (*part.list)[1:]
		}
		w.end()
		full = len(*part.list) > 0
	}
	return w.e.endFrame(m), false
}

// Decode reads the args of an onConversations.
func (p *SyncedPart) Decode(args Raw) error { return decode(args, p) }

func (p *SyncedPart) fields(x *fields) {
	x.losses("lost", &p.Lost, optional)
	x.conversations("conversations", &p.Conversations, optional)
	x.conversations("users", &p.Users, optional)
	x.conversations("groups", &p.Groups, optional)
}

// Decode reads the args of an onSynced.
func (p *Synced) Decode(args Raw) error { return decode(args, p) }

func (p *Synced) fields(x *fields) {
	count(x, "offline", &p.Offline, always)
	x.losses("lost", &p.Lost, always)
	x.text("cursor", &p.Cursor, 0, MaxFrame, always)
	x.bool("reset", &p.Reset, optional)
	x.groups("resetGroups", &p.ResetGroups, optional)
	count(x, "unreadTotal", &p.UnreadTotal, always)
	count(x, "unreadUnmuted", &p.UnreadUnmuted, always)
	recents := optional
	if p.Conversations != nil {
		recents = always
	}
	x.conversations("conversations", &p.Conversations, recents)
	x.conversations("users", &p.Users, optional)
	x.conversations("groups", &p.Groups, always)
}

func (l *Lost) fields(x *fields) {
	x.conv("conv", &l.Conv, always)
	number(x, "from", &l.From, 1, MaxInt, always)
	number(x, "to", &l.To, 1, MaxInt, always)
	count(x, "count", &l.Count, always)
	x.check(l.Conv.ID != "" && l.From != 0 && l.To >= l.From, "lost", "must have conv and 1 <= from <= to in each element")
}

// encode writes l as an element of a list.
func (l *Lost) encode(e *encoder) {
	x := e.walk()
	for m := x.object(); x.next(&m); {
		l.fields(&x)
	}
	x.end(e)
}
