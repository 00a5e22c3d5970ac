package query

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// InReadOrder yields the page's messages in the direction in which it was read: from
// the newest on if downwards, otherwise from the oldest on.
func (p *Page) InReadOrder(yield func(*Message) bool) {
	for i := range p.Updates.Messages {
		if p.Down {
			i = len(p.Updates.Messages) - 1 - i
		}
		if !yield(&p.Updates.Messages[i]) {
			return
		}
	}
}

// KeepFirst shortens a page to its first n messages, in the direction in which it was
// read, and to the seqs before the next message.
func (p *Page) KeepFirst(n int) {
	all := p.Updates.Messages
	switch {
	case n >= len(all):
	case p.Down:
		p.narrowTo(all[len(all)-n-1].Seq+1, p.To)
	default:
		p.narrowTo(p.From, all[n].Seq-1)
	}
}

// CutGaps shortens a page so that it has at most most gaps, the first in the direction
// in which it was read. If most is 0, it leaves the page as it is.
func (p *Page) CutGaps(most int) {
	n := len(p.Gaps)
	switch {
	case most == 0 || n <= most:
	case p.Down:
		p.narrowTo(p.Gaps[n-most-1].To+1, p.To)
	default:
		p.narrowTo(p.From, p.Gaps[most].From-1)
	}
}

// narrowTo shortens a page to the seqs from..to, and notes that there is more.
func (p *Page) narrowTo(from, to uint64) {
	p.From, p.To, p.More = from, to, true
	p.Updates.Messages = slices.DeleteFunc(p.Updates.Messages, func(m Message) bool { return m.Seq < from || m.Seq > to })
	p.Gaps = slices.DeleteFunc(p.Gaps, func(g Gap) bool { return g.To < from || g.From > to })
	if n := len(p.Gaps); n > 0 { // a gap may reach beyond from or to
		p.Gaps[0].From = max(p.Gaps[0].From, from)
		p.Gaps[n-1].To = min(p.Gaps[n-1].To, to)
	}
}

// A Message is a copy of a stored message as the owner of the view sees it. Its byte
// fields alias memory of the Updates that it was read into, and are valid as long as
// those.
type Message struct {
	ID       command.MsgID
	Peer     command.UserID    // the other user of a one-to-one conversation
	Group    command.GroupID   // instead of Peer
	Session  command.SessionID // that sent it; only for a group's message
	From     command.UserID
	Seq      uint64
	Arrival  uint64
	Time     int64 // ms
	CID      []byte
	TTL      uint32
	Mentions []string
	Body     []byte // canonical msgpack
}

// A ChangeKind says what changed, and so which fields of a Change are set.
type ChangeKind uint8

const (
	ChangeRead                ChangeKind = iota + 1 // the user's read cursor moved to Seq
	ChangeReceipt                                   // the peer has read up to Seq, at Time
	ChangeRecall                                    // messages in Ranges were recalled by By
	ChangeMessagesDeleted                           // the user deleted the messages in Ranges
	ChangeConversationDeleted                       // the user deleted the conversation up to Seq; with Messages also its history
	ChangeGroupJoined                               // the user became a member of Group at about Time
	ChangeGroupLeft                                 // the user ceased to be a member of Group
	ChangeSettings                                  // Settings are the user's settings of the conversation now
	ChangeBlocked                                   // the user has blocked Peer, or unblocked them: see Blocked
)

// A Change tells a device the present state of something that changed after its cursor.
// Several changes of one kind in one conversation may be told as one.
type Change struct {
	Kind     ChangeKind
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	Sender   command.UserID  // ChangeRecall in a group: only messages of this sender were recalled; "" = all in Ranges
	Arrival  uint64
	Seq      uint64
	Time     int64
	By       command.UserID
	Ranges   []Range
	Messages bool
	Settings ConversationSettings
	Blocked  bool
	Event    GroupEventKind // ChangeGroupLeft: how the membership ended
}

// ConversationSettings are a user's own settings of a conversation.
type ConversationSettings struct {
	Muted  bool // the user does not want to be notified
	Pinned bool
	Unread bool // the user has marked the conversation as unread; their next read report or message there takes that back
}

// A Range is the seqs from From to To, inclusive.
type Range struct{ From, To uint64 }

// An Item is one element of Updates: a message, a change or an event.
type Item struct {
	Message int // index into Messages, or -1
	Change  int // index into Changes, or -1
	Event   int // index into Events, or -1
}

// Updates are the result of one read of what a session has not been told yet, in order
// of arrival. They can be used for another read, which uses their memory again.
type Updates struct {
	Items    []Item // all Messages, Changes and Events in one order
	Messages []Message
	Changes  []Change
	Events   []GroupEvent // only for a group
	// MissedEvents says that some events can no longer be told because they are
	// forgotten; the newest of them was at MissedEventsTo. In a group that stores
	// nothing, only events that ended memberships count.
	MissedEvents   bool
	MissedEventsTo uint64
	// Through is the arrival number up to which this read has covered the order. It may
	// be higher than that of the last item, if nothing after that item was visible, or
	// all of it was done by the session itself.
	Through uint64
	More    bool // a limit cut the read short
	// Epoch is the store's epoch, which is part of a cursor.
	Epoch uint64
	// Uncounted says that the group keeps messages and counts no unread, as it is set now.
	Uncounted bool

	buf  []byte // holds the byte fields of Messages
	Size int    // bytes copied, also into earlier buffers
}

// Reset empties the updates and keeps their memory.
func (up *Updates) Reset() {
	clear(up.Messages)
	clear(up.Changes)
	clear(up.Events)
	*up = Updates{
		Items: up.Items[:0], Messages: up.Messages[:0], Changes: up.Changes[:0], Events: up.Events[:0], buf: up.buf[:0],
	}
}

// A RecentsMode says what a login wants to get of its recent conversations.
type RecentsMode uint8

const (
	RecentsOn    RecentsMode = iota // a list, and the last message of each pushed
	RecentsQuiet                    // only the list
	RecentsOff                      // nothing
)

// A Sync is what a login pushes until its device is up to date. Without a cursor these
// are the offline queue, oldest first, and then the last messages of recents; with a
// cursor, all messages and changes after it. Numbers are as of the login.
type Sync struct {
	Session       command.SessionID
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it gave none, or it was not accepted
	Arrival       uint64 // place of the login in the user's order; later messages are pushed live
	Cursor        string // Arrival as a cursor
	Reset         bool   // the device's cursor was not accepted
	Offline       int    // number of unread messages among those to push
	UnreadTotal   int
	UnreadUnmuted int // those of UnreadTotal in conversations that are not muted
	Lost          []Lost
	Conversations []Conversation // newest first, at most Limits.Recents; nil with RecentsOff
	Unread        []Conversation // conversations that have unread messages or are marked as unread, newest first
	MaxRecents    int            // Limits.Recents
	Groups        []GroupRef     // groups that the user is a member of, by id

	Refs         []MessageRef // without a cursor: messages to push, in this order
	LastMessages int          // how many of Refs, at the end, are last messages of recents, not of the queue
	Recents      []uint64     // arrival numbers of the last messages of Conversations
	ReadTo       uint64       // with a cursor: arrival number up to which ReadNext has read
}

// A Lost is a run of seqs of which limits took Count unread messages out of the offline
// queue.
type Lost struct {
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	From, To uint64
	Count    int
}

// A Conversation is one entry in a list of a user's conversations.
type Conversation struct {
	Peer         command.UserID
	LastSeq      uint64 // seq of the last visible message; 0 = there is none
	Time         int64  // ms, of that message; without one, of the newest entry there ever was
	Place        uint64 // where a further Conversations query goes on, see AfterPlace; 0 in recents
	ReadSeq      uint64
	PeerReadSeq  uint64
	Unread       int
	Muted        bool
	Pinned       bool
	MarkedUnread bool // the user has marked it as unread
}

// A ConversationList is a list of conversations, or the beginning of one.
type ConversationList struct {
	Conversations []Conversation
	Last          []Message // last message of each conversation; zero if none is visible
	More          bool      // a limit cut the list short
}

// A GapReason says why there is no message at a seq of a page.
type GapReason string

const (
	GapExpired   GapReason = "expired"
	GapEvicted   GapReason = "evicted"
	GapDeleted   GapReason = "deleted"
	GapRecalled  GapReason = "recalled"
	GapNotMember GapReason = "notMember"
)

// A Gap is a run of seqs that have no message, all for the same reason.
type Gap struct {
	From, To uint64
	Reason   GapReason
}

// A HistoryQuery asks for a page of a conversation. At most one of Before, After and
// From..To is set; without any, it asks for the newest messages.
type HistoryQuery struct {
	User     command.UserID
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	Admin    bool            // read the group's whole history, not a member's view of it
	Before   uint64          // only seqs below it; 0 = unset
	After    uint64          // only seqs above it
	HasAfter bool            // After is set; After 0 is the beginning
	From, To uint64          // inclusive
	Limit    int             // messages, 1-100
	MaxBytes int             // of the entries in the log; one message is returned even if it is larger
	MaxGaps  int             // most gaps in the page, 0 = no limit
	MaxSeqs  int             // most seqs that the page covers, as far as the log holds them; 0 = no limit
}

// A Page is the answer to a HistoryQuery. Its messages are in order of seq.
type Page struct {
	Updates  Updates // only Messages are used
	From, To uint64  // seqs that the page covers
	Gaps     []Gap
	More     bool // a limit ended the page: there is more in its direction, perhaps only gaps

	Down bool // the page was read downwards, from its newest message
	Size int  // bytes that the page's messages take in the log
}

// A MessageRef names a stored message of a user by its arrival number. Conv and Seq say
// where it is found: indexes of conversations are the same on all replicas, and move with
// a slot. What they lead to is the message only if it has that arrival number: if its user
// was erased meanwhile, it is gone.
type MessageRef struct {
	Arrival uint64 // 0 = whichever is found
	Seq     uint64
	Conv    uint32 // index of the conversation
}

// Copy copies v into memory of the updates, and returns the copy.
func (up *Updates) Copy(v []byte) []byte {
	up.Size += len(v)
	if len(up.buf)+len(v) > cap(up.buf) {
		// A new buffer, because earlier copies still alias the old one.
		up.buf = make([]byte, 0, max(2*cap(up.buf), len(v), 1024))
	}
	start := len(up.buf)
	up.buf = append(up.buf, v...)
	return up.buf[start:len(up.buf):len(up.buf)]
}

// Interleave fills Items from the three lists, each of which is in order of arrival.
func (up *Updates) Interleave() {
	m, c, e := 0, 0, 0
	for {
		item, first := Item{Message: -1, Change: -1, Event: -1}, uint64(math.MaxUint64)
		if m < len(up.Messages) {
			item.Message, first = m, up.Messages[m].Arrival
		}
		if c < len(up.Changes) && up.Changes[c].Arrival < first {
			item, first = Item{Message: -1, Change: c, Event: -1}, up.Changes[c].Arrival
		}
		if e < len(up.Events) && up.Events[e].Arrival < first {
			item = Item{Message: -1, Change: -1, Event: e}
		}
		switch {
		case item.Event >= 0:
			e++
		case item.Change >= 0:
			c++
		case item.Message >= 0:
			m++
		default:
			return
		}
		up.Items = append(up.Items, item)
	}
}

// KeepConversations removes those of Conversations for whose index wanted returns
// false, and takes their last messages out of Refs. It must be called before ReadNext.
func (sync *Sync) KeepConversations(wanted func(i int) bool) {
	kept, recents := sync.Conversations[:0], sync.Recents[:0]
	dropped := make(map[uint64]bool)
	for i, arrival := range sync.Recents {
		if wanted(i) {
			kept, recents = append(kept, sync.Conversations[i]), append(recents, arrival)
		} else {
			dropped[arrival] = true
		}
	}
	sync.Conversations, sync.Recents = kept, recents
	queue := sync.QueueLen()
	last := slices.DeleteFunc(sync.Refs[queue:], func(r MessageRef) bool { return dropped[r.Arrival] })
	sync.Refs, sync.LastMessages = sync.Refs[:queue+len(last)], len(last)
}

// ReadNext reads the next part of a sync into up, with bounds as in UpdatesAfter. If
// up.More is set, it has to be called again. With a cursor the part holds changes too,
// at their places in the order. read must answer a query.
func (sync *Sync) ReadNext(read func(Query) error, user command.UserID, up *Updates, maxMessages, maxBytes int) error {
	if sync.CursorArrival > 0 {
		q := &UpdatesAfter{
			User: user, Session: sync.Session, After: sync.ReadTo, UpTo: sync.Arrival,
			MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up,
		}
		if err := read(q); err != nil {
			return err
		}
		sync.ReadTo = up.Through
		return nil
	}
	q := &SyncMessages{User: user, Refs: sync.Refs, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}
	if err := read(q); err != nil {
		return err
	}
	if sync.Refs = sync.Refs[q.Done:]; !up.More {
		up.Through = sync.Arrival
	}
	return nil
}

// QueueLen returns how many messages of the offline queue are still to be pushed. The
// last messages of recents come after those. With a cursor it returns 0.
func (sync *Sync) QueueLen() int { return max(len(sync.Refs)-sync.LastMessages, 0) }

// A Sent query asks what a send would be answered with as a repeat of an earlier one.
type Sent struct {
	User  command.UserID
	Peer  command.UserID
	Group command.GroupID // instead of Peer
	CID   string
	Body  uint64 // command.HashBody of what the client sends
	Retry bool   // see command.Send

	// Found says that it is a repeat. That of a message whose body a webhook has replaced
	// is only found within the dedupe window.
	Found    bool
	Conflict bool // the body differs from that of the first; the rest means nothing then
	ID       command.MsgID
	Seq      uint64
	Time     int64 // ms
}

func (q *Sent) Slot() int { return slotOfConversation(q.User, q.Group) }

func (q *Sent) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	texts(x, &q.CID)
	uints(x, &q.Body)
	bools(x, &q.Retry)
}

func (q *Sent) result(x *codec.Coder) {
	bools(x, &q.Found, &q.Conflict)
	codec.Fixed(x, q.ID[:])
	uints(x, &q.Seq)
	ints(x, &q.Time)
}
