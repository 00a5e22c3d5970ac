package protocol

import "encoding/binary"

// NewMessage is onNewMessage.
type NewMessage struct {
	D            uint64    // delivery number: 1, 2, 3 … in this session
	Messages     []Message // 1-100
	Cursor       string    // "" = absent; of one-to-one conversations
	GroupCursors []GroupCursor
	Skipped      int // messages of a live group that were lost before these
}

// AppendNewMessage appends the frame of an onNewMessage, however long. Its
// length is the caller's to mind; a NewMessageWriter minds it.
func AppendNewMessage(dst []byte, codec Codec, p *NewMessage) []byte {
	w := BeginNewMessage(dst, codec, p.D)
	for i := range p.Messages {
		p.Messages[i].encode(&w.e)
	}
	w.n = len(p.Messages)
	return w.End(p.Cursor, p.GroupCursors, p.Skipped)
}

// A NewMessageWriter writes an onNewMessage message by message, until the
// frame is full. It is to be used by value, and ended or dropped.
type NewMessageWriter struct {
	e     encoder
	open  openFrame
	count int // where msgpack has the number of messages
	n     int
}

// BeginNewMessage begins a frame behind dst.
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

// Add appends m, unless the frame has MaxMessages already or would take more
// than MaxFrame bytes with it and tail more, which are for what End writes. The
// first message is always taken: a frame may be longer for one message alone.
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

// AppendMessage appends one message as AddEncoded takes it: for JSON with a
// comma behind it, so that messages that lie one after the other are a list.
func AppendMessage(dst []byte, codec Codec, m *Message) []byte {
	e := encoder{codec: codec, buf: dst, start: len(dst)}
	m.encode(&e)
	if codec == JSON {
		e.buf = append(e.buf, ',')
	}
	return e.buf
}

// encoded writes what AppendMessage has written.
func (e *encoder) encoded(message []byte) {
	if e.codec == JSON {
		message = message[:len(message)-1]
	}
	e.separate()
	e.buf = append(e.buf, message...)
}

// Room is how many messages the frame still takes, and how many bytes of them
// when tail bytes are kept for what End writes.
func (w *NewMessageWriter) Room(tail int) (messages, bytes int) {
	return MaxMessages - w.n, MaxFrame - (len(w.e.buf) - w.e.start) - tail - len(`,]}}`)
}

// AddEncoded appends n messages that AppendMessage has written one behind the
// other. Whether they fit is the caller's to mind, with Room; the first message
// of a frame always does.
func (w *NewMessageWriter) AddEncoded(messages []byte, n int) {
	w.e.encoded(messages)
	w.n += n
}

// Len is the number of messages that the frame has so far.
func (w *NewMessageWriter) Len() int { return w.n }

// End writes what follows the messages and returns dst with the frame.
func (w *NewMessageWriter) End(cursor string, groups []GroupCursor, skipped int) []byte {
	if w.e.codec == Msgpack {
		binary.BigEndian.PutUint16(w.e.buf[w.count:], uint16(w.n))
	}
	w.e.endArray()
	w.e.optText("cursor", cursor)
	w.e.groupCursors("groupCursors", groups)
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

// Synced is onSynced. Its numbers are as of the start of the login.
type Synced struct {
	Offline       int // unread one-to-one messages pushed in this sync
	Lost          []Lost
	Cursor        string
	Reset         bool // the cursor of the login counted as absent
	UnreadTotal   int
	UnreadUnmuted int // of conversations and groups that are not muted
	// Conversations are newest first; nil when the login had recents off.
	Conversations []Conversation
	// Users and Groups are those with unread that are not among Conversations.
	Users  []Conversation
	Groups []Conversation
}

// Lost is a run of unread seqs that limits took away.
type Lost struct {
	Conv     Conv
	From, To uint64
	Count    int // of them that were messages for the user
}

// AppendSynced appends the frame of an onSynced, however long. AppendSyncedPart
// minds its length.
func AppendSynced(dst []byte, codec Codec, p *Synced) []byte {
	x, m := walkPush(dst, codec, OpOnSynced)
	p.fields(&x)
	return x.e.endFrame(m)
}

// A SyncedPart is onConversations: the beginning of the lists of an onSynced that
// is to come, which has no room for all.
type SyncedPart struct {
	Lost          []Lost
	Conversations []Conversation
	Users         []Conversation
	Groups        []Conversation
}

// Add appends what a later part has.
func (p *SyncedPart) Add(next *SyncedPart) {
	p.Lost = append(p.Lost, next.Lost...)
	p.Conversations = append(p.Conversations, next.Conversations...)
	p.Users = append(p.Users, next.Users...)
	p.Groups = append(p.Groups, next.Groups...)
}

// Complete puts the parts before what an onSynced has itself.
func (p *SyncedPart) Complete(s *Synced) {
	p.Add(&SyncedPart{s.Lost, s.Conversations, s.Users, s.Groups})
	s.Lost, s.Users, s.Groups = p.Lost, p.Users, p.Groups
	if p.Conversations != nil {
		s.Conversations = p.Conversations
	}
}

// minEntry is the fewest bytes of an entry of an onSynced's lists.
const minEntry = 40

// AppendSyncedPart appends the frame of p, if it has at most MaxFrame bytes: that
// is the last one. Else it appends an onConversations with as much of the lists of
// p as that holds, and takes it out of p.
func AppendSyncedPart(dst []byte, codec Codec, p *Synced) (frame []byte, last bool) {
	if n := len(p.Lost) + len(p.Conversations) + len(p.Users) + len(p.Groups); n <= MaxFrame/minEntry {
		if frame = AppendSynced(dst, codec, p); len(frame)-len(dst) <= MaxFrame {
			return frame, true
		}
	}
	e, m := beginPush(dst, codec, OpOnConversations)
	const tail = len(`]}}`) + len(`,"conversations":[]`) // of an empty list, perhaps
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
