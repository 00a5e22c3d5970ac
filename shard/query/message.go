package query

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// Found yields the messages of a page as they were found: from the newest on
// if it was read downwards, else from the oldest on.
func (p *Page) Found(yield func(*Message) bool) {
	for i := range p.Updates.Messages {
		if p.Down {
			i = len(p.Updates.Messages) - 1 - i
		}
		if !yield(&p.Updates.Messages[i]) {
			return
		}
	}
}

// Keep leaves the first n messages of a page, in the direction in which it was
// read, and what it covers up to the next one.
func (p *Page) Keep(n int) {
	all := p.Updates.Messages
	switch {
	case n >= len(all):
	case p.Down:
		p.cover(all[len(all)-n-1].Seq+1, p.To)
	default:
		p.cover(p.From, all[n].Seq-1)
	}
}

// CutGaps ends a page that tells more gaps apart than most, which is at least 1.
func (p *Page) CutGaps(most int) {
	n := len(p.Gaps)
	switch {
	case most == 0 || n <= most:
	case p.Down:
		p.cover(p.Gaps[n-most-1].To+1, p.To)
	default:
		p.cover(p.From, p.Gaps[most].From-1)
	}
}

// cover has a page end at a part of the seqs that it covers.
func (p *Page) cover(from, to uint64) {
	p.From, p.To, p.More = from, to, true
	p.Updates.Messages = slices.DeleteFunc(p.Updates.Messages, func(m Message) bool { return m.Seq < from || m.Seq > to })
	p.Gaps = slices.DeleteFunc(p.Gaps, func(g Gap) bool { return g.To < from || g.From > to })
	if n := len(p.Gaps); n > 0 { // one that spans the end
		p.Gaps[0].From = max(p.Gaps[0].From, from)
		p.Gaps[n-1].To = min(p.Gaps[n-1].To, to)
	}
}

// A Message is a copy of one stored message as its view's owner sees it. The
// byte fields lie in the Batch it was read into and live as long as that.
type Message struct {
	ID       command.MsgID
	Peer     command.UserID    // the other user of the conversation; conv is "u:" + Peer
	Group    command.GroupID   // of a group's message, which has no Peer; conv is "g:" + Group
	Session  command.SessionID // that sent it; only of a group's message
	From     command.UserID
	Seq      uint64
	Arrival  uint64
	Time     int64 // ms
	CID      []byte
	TTL      uint32
	Mentions []string
	Body     []byte // canonical msgpack
}

// ChangeKind says what a Change alters in what a device holds.
type ChangeKind uint8

const (
	ChangeRead                ChangeKind = iota + 1 // my read cursor moved to Seq
	ChangeReceipt                                   // my peer has read up to Seq at Time
	ChangeRecall                                    // Ranges were taken back by By
	ChangeMessagesDeleted                           // Ranges were deleted on a device of mine
	ChangeConversationDeleted                       // up to Seq; Messages says whether its history went too
	ChangeGroupJoined                               // the user is a member of Group now, since about Time
	ChangeGroupLeft                                 // he no longer is
	ChangeSettings                                  // the user's settings of the conversation are Settings
	ChangeBlocked                                   // the user has blocked Peer, or let him in again
)

// A Change is the present state of something that altered after a cursor;
// several changes of one kind and conversation may have become one.
type Change struct {
	Kind     ChangeKind
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	Sender   command.UserID  // ChangeRecall in a group: all that he sent in Ranges, "" = all of them
	Arrival  uint64
	Seq      uint64
	Time     int64
	By       command.UserID
	Ranges   []Range
	Messages bool
	Settings ConversationSettings
	Blocked  bool
	Event    GroupEventKind // ChangeGroupLeft: how that came
}

// ConversationSettings are what a user has set of a conversation for himself.
type ConversationSettings struct {
	Muted  bool // he does not want to be notified
	Pinned bool
	Unread bool // he has marked it as unread; his next report or message there takes that back
}

// A Range holds From..To, inclusive.
type Range struct{ From, To uint64 }

// An Item of a Batch is the index of a message, a change or an event.
type Item struct {
	Message int // index into Messages, or -1
	Change  int // index into Changes, or -1
	Event   int // index into Events, or -1
}

// A Updates is one read of what a session has to be told, in arrival order. It
// may be reused; Reset keeps its memory.
type Updates struct {
	Items    []Item
	Messages []Message
	Changes  []Change
	Events   []GroupEvent // only of a group
	// Missed says that there were events which are no longer known, the newest of
	// them at MissedEventsTo in the order. A group that stores nothing says so only of
	// events that ended memberships.
	MissedEvents   bool
	MissedEventsTo uint64
	// Next is the arrival number up to which the session is now told. It may
	// pass the last item: what lay between was hidden or the session's own.
	Through uint64
	// More says that a limit cut the read short.
	More bool
	// Epoch is that with which places in the order are written as cursors.
	Epoch uint64

	buf  []byte // what the fields of Messages and Changes alias
	Size int    // bytes handed out, also from earlier pieces of buf
}

// Reset empties the batch and keeps its memory.
func (up *Updates) Reset() {
	clear(up.Messages)
	clear(up.Changes)
	clear(up.Events)
	*up = Updates{
		Items: up.Items[:0], Messages: up.Messages[:0], Changes: up.Changes[:0], Events: up.Events[:0], buf: up.buf[:0],
	}
}

// RecentsMode is what a login asks of its recent contacts.
type RecentsMode uint8

const (
	RecentsOn    RecentsMode = iota // push the last message of each, and list them
	RecentsQuiet                    // list only
	RecentsOff                      // neither
)

// A Sync is what a login pushes before onSynced: the queue (or, with a cursor,
// all that came after it) oldest first, then the last messages of recents,
// then the changes the device missed. Numbers are as of the login.
type Sync struct {
	Session       command.SessionID
	CursorArrival uint64 // arrival number of the device's cursor; 0 without
	Arrival       uint64 // the login's own point in the arrival order: live messages come after
	Cursor        string // Arrival as a cursor
	Reset         bool
	Offline       int // unread messages among those to push
	UnreadTotal   int
	UnreadUnmuted int // of conversations that are not muted
	Lost          []Lost
	Conversations []Conversation // newest first, at most Limits.Recents; nil with RecentsOff
	Unread        []Conversation // that have unread messages or are marked so, newest first, whether they are among Conversations or not
	MaxRecents    int            // Limits.Recents
	Groups        []GroupRef     // whose member the user is, by id

	Refs         []MessageRef // without a cursor: messages still to push, in push order
	LastMessages int          // how many of them, at the end, are last messages of recents
	Recents      []uint64     // arrival numbers of the last messages of Conversations
	ReadTo       uint64       // with a cursor: what the sync has read so far
}

// Lost is a run of seqs that limits took from the offline queue.
type Lost struct {
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	From, To uint64
	Count    int
}

// A Conversation is an entry of recents.
type Conversation struct {
	Peer         command.UserID
	LastSeq      uint64 // of the last message that can be shown; 0 = there is none
	Time         int64  // of that message, or else of the newest that ever was
	Place        uint64 // in the order of Conversations; 0 in recents
	ReadSeq      uint64
	PeerReadSeq  uint64
	Unread       int
	Muted        bool
	Pinned       bool
	MarkedUnread bool // as unread, by the user
}

// A ConversationList is a list of conversations, or the beginning of one.
type ConversationList struct {
	Conversations []Conversation
	Last          []Message // of each its last message; one without ID where none can be shown
	More          bool      // a bound cut it short
}

// GapReason says why a seq of a page has no message.
type GapReason string

const (
	GapExpired   GapReason = "expired"
	GapEvicted   GapReason = "evicted"
	GapDeleted   GapReason = "deleted"
	GapRecalled  GapReason = "recalled"
	GapNotMember GapReason = "notMember"
)

// A Gap is a run of seqs without messages for one reason.
type Gap struct {
	From, To uint64
	Reason   GapReason
}

// A HistoryQuery asks for a page of a conversation. At most one of Before,
// After and From..To is set; none asks for the newest.
type HistoryQuery struct {
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of Peer
	Admin  bool            // reads all of a group, whoever is a member of it
	Before uint64          // exclusive, 0 = unset
	After  uint64          // exclusive
	// HasAfter tells after: 0 (from the beginning) from no after at all.
	HasAfter bool
	From, To uint64 // inclusive
	Limit    int    // messages, 1-100
	MaxBytes int    // of bodies and headers; at least one message is returned
	MaxGaps  int    // that the page tells apart, 0 = any number
	MaxSeqs  int    // that it covers of those that the log holds, 0 = any number
}

// A Page answers a HistoryQuery. Messages ascend by seq.
type Page struct {
	Updates  Updates // only Messages is used
	From, To uint64
	Gaps     []Gap
	More     bool // a limit ended it: there is more in its direction, if only gaps

	Down bool // it was read downwards
	Size int  // bytes of the messages chosen so far
}

// A MessageRef names one stored message of a user.
type MessageRef struct {
	Arrival uint64
	Seq     uint64
	Conv    uint32
}

// Copy copies bytes into the batch and returns them as they lie there.
func (up *Updates) Copy(v []byte) []byte {
	up.Size += len(v)
	if len(up.buf)+len(v) > cap(up.buf) {
		// A new piece instead of a grown one: what was handed out stays valid.
		up.buf = make([]byte, 0, max(2*cap(up.buf), len(v), 1024))
	}
	start := len(up.buf)
	up.buf = append(up.buf, v...)
	return up.buf[start:len(up.buf):len(up.buf)]
}

// Interleave lists messages, changes and events, each in arrival order, as one.
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

// KeepConversations drops those of Conversations that are not wanted, by index, and does not
// push their last messages. It comes before the first NextSync.
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

// ReadOn reads the next part of a sync into b, with the bounds of Since; b.More tells
// whether to call again. With a cursor the changes that the device missed come at
// their place. read answers a query.
func (sync *Sync) ReadOn(read func(Query) error, user command.UserID, up *Updates, maxMessages, maxBytes int) error {
	if sync.CursorArrival > 0 {
		q := &Since{
			User: user, Session: sync.Session, After: sync.ReadTo, UpTo: sync.Arrival,
			MaxMessages: maxMessages, MaxBytes: maxBytes, Batch: up,
		}
		if err := read(q); err != nil {
			return err
		}
		sync.ReadTo = up.Through
		return nil
	}
	q := &SyncMessages{User: user, MaxMessages: maxMessages, MaxBytes: maxBytes, Batch: up}
	for {
		q.Refs = sync.Refs[:min(len(sync.Refs), maxMessages)]
		if err := read(q); err != nil {
			return err
		}
		sync.Refs = sync.Refs[q.Done:]
		if up.More = len(sync.Refs) > 0; !up.More {
			up.Through = sync.Arrival
			return nil
		}
		if len(up.Messages) > 0 {
			return nil
		}
	}
}

// QueueLen is how many messages of the offline queue are still to push, before the
// last messages of recents. With a cursor it is 0.
func (sync *Sync) QueueLen() int { return max(len(sync.Refs)-sync.LastMessages, 0) }
