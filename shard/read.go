package shard

// A Message is a copy of one stored message as its view's owner sees it. The
// byte fields lie in the Batch it was read into and live as long as that.
type Message struct {
	ID       MsgID
	Peer     UserID    // the other user of the conversation; conv is "u:" + Peer
	Group    GroupID   // of a group's message, which has no Peer; conv is "g:" + Group
	Session  SessionID // that sent it; only of a group's message
	From     UserID
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
	Peer     UserID
	Group    GroupID // instead of Peer
	Sender   UserID  // ChangeRecall in a group: all that he sent in Ranges, "" = all of them
	Arrival  uint64
	Seq      uint64
	Time     int64
	By       UserID
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

// A Batch is one read of what a session has to be told, in arrival order. It
// may be reused; Reset keeps its memory.
type Batch struct {
	Items    []Item
	Messages []Message
	Changes  []Change
	Events   []GroupEvent // only of a group
	// Missed says that there were events which are no longer known, the newest of
	// them at MissedTo in the order. A group that stores nothing says so only of
	// events that ended memberships.
	Missed   bool
	MissedTo uint64
	// Next is the arrival number up to which the session is now told. It may
	// pass the last item: what lay between was hidden or the session's own.
	Next uint64
	// More says that a limit cut the read short.
	More bool

	buf  []byte // what the fields of Messages and Changes alias
	size int    // bytes handed out, also from earlier pieces of buf
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Messages)
	clear(b.Changes)
	clear(b.Events)
	*b = Batch{
		Items: b.Items[:0], Messages: b.Messages[:0], Changes: b.Changes[:0], Events: b.Events[:0], buf: b.buf[:0],
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
	Session       SessionID
	Since         uint64 // arrival number of the device's cursor; 0 without
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

	refs    []ref    // without a cursor: messages still to push, in push order
	last    int      // how many of them, at the end, are last messages of recents
	recents []uint64 // arrival numbers of the last messages of Conversations
	at      uint64   // with a cursor: what the sync has read so far
}

// Lost is a run of seqs that limits took from the offline queue.
type Lost struct {
	Peer     UserID
	Group    GroupID // instead of Peer
	From, To uint64
	Count    int
}

// A Conversation is an entry of recents.
type Conversation struct {
	Peer        UserID
	LastSeq     uint64 // of the last message that can be shown; 0 = there is none
	Time        int64  // of that message, or else of the newest that ever was
	Place       uint64 // in the order of Conversations; 0 in recents
	ReadSeq     uint64
	PeerReadSeq uint64
	Unread      int
	Muted       bool
	Pinned      bool
	Marked      bool // as unread, by the user
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
	User   UserID
	Peer   UserID
	Group  GroupID // instead of Peer
	Admin  bool    // reads all of a group, whoever is a member of it
	Before uint64  // exclusive, 0 = unset
	After  uint64  // exclusive
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
	Batch    Batch // only Messages is used
	From, To uint64
	Gaps     []Gap
	More     bool // a limit ended it: there is more in its direction, if only gaps

	down bool // it was read downwards
	size int  // bytes of the messages chosen so far
}
