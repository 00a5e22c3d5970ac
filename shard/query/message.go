package query

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// Found yields the messages of a page in the direction of reading: from the newest on
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

// Keep reduces a page to its first n messages in the direction of reading, and to the
// range up to the next message.
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

// CutGaps shortens a page to its first most gaps in the direction of reading; most is
// at least 1.
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

// cover reduces a page to the seqs from..to.
func (p *Page) cover(from, to uint64) {
	p.From, p.To, p.More = from, to, true
	p.Updates.Messages = slices.DeleteFunc(p.Updates.Messages, func(m Message) bool { return m.Seq < from || m.Seq > to })
	p.Gaps = slices.DeleteFunc(p.Gaps, func(g Gap) bool { return g.To < from || g.From > to })
	if n := len(p.Gaps); n > 0 { // one that spans the end
		p.Gaps[0].From = max(p.Gaps[0].From, from)
		p.Gaps[n-1].To = min(p.Gaps[n-1].To, to)
	}
}

// A Message is a copy of one stored message as the view's owner sees it. The byte
// fields lie in the Updates it was read into and live as long as those.
type Message struct {
	ID       command.MsgID
	Peer     command.UserID    // the other user of a one-to-one conversation
	Group    command.GroupID   // instead of Peer
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

// A ChangeKind says what a Change alters on a device.
type ChangeKind uint8

const (
	ChangeRead                ChangeKind = iota + 1 // the user's read cursor moved to Seq
	ChangeReceipt                                   // the peer has read up to Seq, at Time
	ChangeRecall                                    // Ranges were recalled by By
	ChangeMessagesDeleted                           // the user deleted Ranges
	ChangeConversationDeleted                       // the user deleted the conversation up to Seq; with Messages also its history
	ChangeGroupJoined                               // the user became a member of Group at about Time
	ChangeGroupLeft                                 // the user ceased to be a member of Group
	ChangeSettings                                  // the user's settings of the conversation are Settings
	ChangeBlocked                                   // the user has blocked or unblocked Peer
)

// A Change is the present state of something that changed after a cursor. Several
// changes of one kind in one conversation may be told as one.
type Change struct {
	Kind     ChangeKind
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	Sender   command.UserID  // ChangeRecall in a group: only messages of this sender; "" = all in Ranges
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
	Unread bool // the user has marked it as unread; their next read report or message there takes that back
}

// A Range is the seqs from From to To, inclusive.
type Range struct{ From, To uint64 }

// An Item of Updates is a message, a change or an event.
type Item struct {
	Message int // index into Messages, or -1
	Change  int // index into Changes, or -1
	Event   int // index into Events, or -1
}

// Updates are one read of what a session has not been told yet, in order of arrival.
// They may be reused; Reset keeps the memory.
type Updates struct {
	Items    []Item // Messages, Changes and Events in one order
	Messages []Message
	Changes  []Change
	Events   []GroupEvent // only in a group
	// MissedEvents says that there were events that are no longer known, the newest of
	// them at MissedEventsTo. A group that stores nothing says so only of events that
	// ended memberships.
	MissedEvents   bool
	MissedEventsTo uint64
	// Through is the arrival number up to which the session is told now. It may be
	// beyond the last item: what came after that was not visible, or the session's
	// own.
	Through uint64
	More    bool // a limit cut the read short
	// Epoch is that with which places in the order are written as cursors.
	Epoch uint64

	buf  []byte // what byte fields of Messages alias
	Size int    // bytes copied, also to earlier pieces of buf
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

// A RecentsMode says what a login wants of its recent conversations.
type RecentsMode uint8

const (
	RecentsOn    RecentsMode = iota // push the last message of each and list them
	RecentsQuiet                    // only list them
	RecentsOff                      // neither
)

// A Sync is what a login pushes before it is synced: the offline queue, oldest first
// (or, with a cursor, all that came after it), then the last messages of recents, then
// the changes the device missed. Numbers are as of the login.
type Sync struct {
	Session       command.SessionID
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it had none
	Arrival       uint64 // place of the login in the user's order; live messages come after it
	Cursor        string // Arrival as a cursor
	Reset         bool   // the device's cursor was not accepted
	Offline       int    // unread messages among those to push
	UnreadTotal   int
	UnreadUnmuted int // in conversations that are not muted
	Lost          []Lost
	Conversations []Conversation // newest first, at most Limits.Recents; nil with RecentsOff
	Unread        []Conversation // conversations that have unread messages or are marked as unread, newest first
	MaxRecents    int            // Limits.Recents
	Groups        []GroupRef     // groups whose member the user is, by id

	Refs         []MessageRef // without a cursor: messages to push, in that order
	LastMessages int          // how many of Refs, at the end, are last messages of recents
	Recents      []uint64     // arrival numbers of the last messages of Conversations
	ReadTo       uint64       // with a cursor: arrival number up to which the sync has read
}

// A Lost is a run of seqs that limits took out of the offline queue.
type Lost struct {
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	From, To uint64
	Count    int
}

// A Conversation is an entry of a list of conversations.
type Conversation struct {
	Peer         command.UserID
	LastSeq      uint64 // of the last visible message; 0 = there is none
	Time         int64  // ms, of that message, or else of the newest there ever was
	Place        uint64 // in the order of State.Conversations; 0 in recents
	ReadSeq      uint64
	PeerReadSeq  uint64
	Unread       int
	Muted        bool
	Pinned       bool
	MarkedUnread bool // by the user
}

// A ConversationList is a list of conversations, or its beginning.
type ConversationList struct {
	Conversations []Conversation
	Last          []Message // the last message of each; one without ID if none is visible
	More          bool      // a limit cut the list short
}

// A GapReason says why a seq of a page has no message.
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

// A HistoryQuery asks for a page of a conversation. At most one of Before, After and
// From..To is set; without any, it asks for the newest messages.
type HistoryQuery struct {
	User     command.UserID
	Peer     command.UserID
	Group    command.GroupID // instead of Peer
	Admin    bool            // read all of a group's history, not a member's view
	Before   uint64          // exclusive, 0 = unset
	After    uint64          // exclusive
	HasAfter bool            // After is set; 0 is the beginning
	From, To uint64          // inclusive
	Limit    int             // messages, 1-100
	MaxBytes int             // of bodies and headers; at least one message is returned
	MaxGaps  int             // in the page, 0 = no limit
	MaxSeqs  int             // that the page covers of those the log holds, 0 = no limit
}

// A Page answers a HistoryQuery. Messages are in order of seq.
type Page struct {
	Updates  Updates // only Messages is used
	From, To uint64  // seqs that the page covers
	Gaps     []Gap
	More     bool // a limit ended the page: there is more in its direction, if only gaps

	Down bool // Down reports whether the page was read downwards, from its newest message.
	Size int  // Size returns the bytes that the page's messages take in the log.
}

// A MessageRef names one stored message of a user.
type MessageRef struct {
	Arrival uint64
	Seq     uint64
	Conv    uint32
}

// Copy copies bytes into the memory of the updates and returns the copy.
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

// KeepConversations removes those of Conversations for which wanted is false, and
// their last messages from what is pushed. It must come before the first NextSync.
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

// ReadOn reads the next part of a sync, with bounds as in UpdatesAfter; More tells
// whether to call again. With a cursor, changes that the device missed come at their
// place in the order. read answers a query.
func (sync *Sync) ReadOn(read func(Query) error, user command.UserID, up *Updates, maxMessages, maxBytes int) error {
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

// QueueLen returns how many messages of the offline queue are still to push, before
// the last messages of recents. With a cursor it is 0.
func (sync *Sync) QueueLen() int { return max(len(sync.Refs)-sync.LastMessages, 0) }
