package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// maxRows bounds each list of a query or an answer, maxText each text, and
	// maxBytes the bytes of a body.
	maxRows  = 1 << 20
	maxText  = 4 << 10
	maxBytes = command.MaxBody
)

// list writes or reads a list of at most maxRows elements.
func list[T any](x *codec.Coder, v *[]T, fields func(*T, *codec.Coder)) {
	size := 1
	if !x.Writing() {
		// No element takes fewer bytes than an empty one.
		w := codec.NewWriter(nil)
		fields(new(T), &w)
		size = max(len(w.B), 1)
	}
	codec.List(x, v, size, maxRows, fields)
}

func texts[T ~string](x *codec.Coder, values ...*T) {
	for _, v := range values {
		codec.Text(x, v, maxText)
	}
}

func uints(x *codec.Coder, values ...*uint64) {
	for _, v := range values {
		codec.Uint(x, v)
	}
}

func ints[T ~int | ~int64](x *codec.Coder, values ...*T) {
	for _, v := range values {
		codec.Int(x, v)
	}
}

// sizes writes or reads integers that are not negative, such as limits and indexes.
func sizes(x *codec.Coder, values ...*int) {
	for _, v := range values {
		codec.UintMax(x, v, 1<<31-1)
	}
}

func bools(x *codec.Coder, values ...*bool) {
	for _, v := range values {
		codec.Bool(x, v)
	}
}

func flags(x *codec.Coder, v *[]bool) {
	list(x, v, func(v *bool, x *codec.Coder) { codec.Bool(x, v) })
}

func names[T ~string](x *codec.Coder, v *[]T) { codec.Texts(x, v, maxRows, maxText) }

func seqs(x *codec.Coder, v *[]uint64) {
	if codec.Uints(x, v, maxRows); len(*v) == 0 {
		*v = nil
	}
}

// Fields writes or reads the message. What was read aliases the input.
func (m *Message) Fields(x *codec.Coder) {
	codec.Fixed(x, m.ID[:])
	texts(x, &m.Peer, &m.From)
	texts(x, &m.Group)
	codec.Uint(x, &m.Session)
	uints(x, &m.Seq, &m.Arrival)
	ints(x, &m.Time)
	codec.Blob(x, &m.CID, maxText)
	codec.Uint(x, &m.TTL)
	names(x, &m.Mentions)
	codec.Blob(x, &m.Body, maxBytes)
}

func (r *Range) fields(x *codec.Coder) { uints(x, &r.From, &r.To) }

func (s *ConversationSettings) fields(x *codec.Coder) { bools(x, &s.Muted, &s.Pinned, &s.Unread) }

func (c *Change) fields(x *codec.Coder) {
	codec.Byte(x, &c.Kind)
	texts(x, &c.Peer, &c.Sender, &c.By)
	texts(x, &c.Group)
	uints(x, &c.Arrival, &c.Seq)
	ints(x, &c.Time)
	list(x, &c.Ranges, (*Range).fields)
	bools(x, &c.Messages, &c.Blocked)
	c.Settings.fields(x)
	codec.Byte(x, &c.Event)
}

func (e *GroupEvent) fields(x *codec.Coder) {
	codec.Byte(x, &e.Kind)
	texts(x, &e.Group)
	texts(x, &e.By)
	names(x, &e.Users)
	ints(x, &e.Time)
	uints(x, &e.Arrival)
}

// fields writes the updates, or resets them and reads them.
func (up *Updates) fields(x *codec.Coder) {
	if !x.Writing() {
		up.Reset()
	}
	list(x, &up.Messages, (*Message).Fields)
	list(x, &up.Changes, (*Change).fields)
	list(x, &up.Events, (*GroupEvent).fields)
	up.items(x)
	bools(x, &up.MissedEvents, &up.More)
	uints(x, &up.MissedEventsTo, &up.Through, &up.Epoch)
	ints(x, &up.Size)
	bools(x, &up.Uncounted)
}

// items writes or reads Items. Only the kind of each item is encoded, because the
// messages, changes and events each stand in the order of the items.
func (up *Updates) items(x *codec.Coder) {
	const message, change, event = 0, 1, 2
	n := codec.Len(x, len(up.Items), 1, maxRows)
	if x.Writing() {
		for _, item := range up.Items {
			kind := byte(event)
			switch {
			case item.Message >= 0:
				kind = message
			case item.Change >= 0:
				kind = change
			}
			codec.Byte(x, &kind)
		}
		return
	}
	next := [...]int{message: 0, change: 0, event: 0}
	of := [...]int{message: len(up.Messages), change: len(up.Changes), event: len(up.Events)}
	for range n {
		var kind byte
		codec.Enum(x, &kind, message, event)
		if x.Err != nil || next[kind] == of[kind] {
			x.Fail(codec.ErrMalformed)
			return
		}
		item := Item{Message: -1, Change: -1, Event: -1}
		*[...]*int{message: &item.Message, change: &item.Change, event: &item.Event}[kind] = next[kind]
		next[kind]++
		up.Items = append(up.Items, item)
	}
}

func (r *MessageRef) fields(x *codec.Coder) {
	uints(x, &r.Arrival, &r.Seq)
	codec.Uint(x, &r.Conv)
}

func (l *Lost) fields(x *codec.Coder) {
	texts(x, &l.Peer)
	texts(x, &l.Group)
	uints(x, &l.From, &l.To)
	ints(x, &l.Count)
}

func (c *Conversation) fields(x *codec.Coder) {
	texts(x, &c.Peer)
	uints(x, &c.LastSeq, &c.Place, &c.ReadSeq, &c.PeerReadSeq)
	ints(x, &c.Time)
	ints(x, &c.Unread)
	bools(x, &c.Muted, &c.Pinned, &c.MarkedUnread)
}

func (l *ConversationList) fields(x *codec.Coder) {
	list(x, &l.Conversations, (*Conversation).fields)
	list(x, &l.Last, (*Message).Fields)
	bools(x, &l.More)
}

// Fields writes or reads a sync.
func (sync *Sync) Fields(x *codec.Coder) {
	codec.Uint(x, &sync.Session)
	uints(x, &sync.CursorArrival, &sync.Arrival, &sync.ReadTo)
	texts(x, &sync.Cursor)
	bools(x, &sync.Reset)
	ints(x, &sync.Offline, &sync.UnreadTotal, &sync.UnreadUnmuted, &sync.MaxRecents, &sync.LastMessages)
	list(x, &sync.Lost, (*Lost).fields)
	list(x, &sync.Conversations, (*Conversation).fields)
	list(x, &sync.Unread, (*Conversation).fields)
	list(x, &sync.Groups, (*GroupRef).fields)
	list(x, &sync.Refs, (*MessageRef).fields)
	seqs(x, &sync.Recents)
}

func (g *Gap) fields(x *codec.Coder) {
	uints(x, &g.From, &g.To)
	texts(x, &g.Reason)
}

func (p *Page) fields(x *codec.Coder) {
	p.Updates.fields(x)
	uints(x, &p.From, &p.To)
	list(x, &p.Gaps, (*Gap).fields)
	bools(x, &p.More, &p.Down)
	ints(x, &p.Size)
}

func (s *SessionInfo) fields(x *codec.Coder) {
	codec.Uint(x, &s.Number)
	texts(x, &s.Device, &s.Platform)
	ints(x, &s.LoginMS)
}

func (u *UserInfo) fields(x *codec.Coder) {
	texts(x, &u.User)
	bools(x, &u.Exists, &u.Settings.Suspended)
	ints(x, &u.Settings.HistoryTTL)
	ints(x, &u.Settings.TokensFrom, &u.LastSeen)
	list(x, &u.Sessions, (*SessionInfo).fields)
	ints(x, &u.Conversations, &u.Messages, &u.Bytes, &u.Queued, &u.QueuedBytes, &u.Unread, &u.Blocked)
	list(x, &u.Groups, (*GroupRef).fields)
}

func (u *UserEntry) fields(x *codec.Coder) {
	texts(x, &u.User)
	bools(x, &u.Exists, &u.Suspended)
	ints(x, &u.Sessions, &u.Bytes)
	ints(x, &u.LastSeen)
}

func (n *UnreadSum) fields(x *codec.Coder) { ints(x, &n.Total, &n.Unmuted) }

func (c *UnreadCount) fields(x *codec.Coder) {
	texts(x, &c.Peer)
	texts(x, &c.Group)
	ints(x, &c.Unread)
}

func (q *QueuedInfo) fields(x *codec.Coder) {
	ints(x, &q.Unread)
	bools(x, &q.Muted)
}

func (v *ImportStatus) fields(x *codec.Coder) {
	bools(x, &v.AcceptsRows)
	uints(x, &v.Row, &v.Next)
	ints(x, &v.LastTime, &v.Cutoff)
	ints(x, &v.HistoryTTL)
}

func (c *Counts) fields(x *codec.Coder) {
	ints(x, &c.Users, &c.Sessions, &c.Groups, &c.Conversations, &c.Messages, &c.Bytes)
}

func (g *GroupInfo) fields(x *codec.Coder) {
	texts(x, &g.ID)
	codec.Byte(x, &g.Kind)
	ints(x, &g.Settings.MaxMembers)
	codec.Byte(x, &g.Settings.Join)
	codec.Byte(x, &g.Settings.History)
	bools(x, &g.Settings.Unread, &g.Settings.StoresMessages, &g.Settings.MutedAll)
	texts(x, &g.Name)
	texts(x, &g.Owner, &g.Offered)
	codec.Blob(x, &g.Properties, maxBytes)
	ints(x, &g.Created, &g.MutedUntil, &g.BannedUntil)
	ints(x, &g.Members, &g.Requests, &g.Bytes)
	uints(x, &g.LastSeq, &g.Arrival, &g.EndArrival)
	codec.Byte(x, &g.Role)
}

func (m *Member) fields(x *codec.Coder) {
	texts(x, &m.User)
	codec.Byte(x, &m.Role)
	ints(x, &m.Joined, &m.MutedUntil)
	uints(x, &m.VisibleFrom, &m.Read)
}

func (s *PastMembership) fields(x *codec.Coder) {
	uints(x, &s.From, &s.To, &s.VisibleFrom)
	ints(x, &s.EndedMS)
}

func (r *JoinRequest) fields(x *codec.Coder) {
	texts(x, &r.User)
	texts(x, &r.Message)
	ints(x, &r.Time)
}

func (r *GroupRef) fields(x *codec.Coder) {
	texts(x, &r.Group)
	bools(x, &r.Owner, &r.Invited)
}

func (a *GroupSyncAsk) fields(x *codec.Coder) {
	texts(x, &a.Group)
	bools(x, &a.HasCursor)
	texts(x, &a.Cursor)
}

func (v *GroupSyncItem) fields(x *codec.Coder) {
	texts(x, &v.Group)
	texts(x, &v.Cursor)
	uints(x, &v.Arrival, &v.CursorArrival, &v.JoinArrival, &v.LastSeq, &v.LastArrival, &v.VisibleFrom, &v.Read)
	ints(x, &v.Time)
	ints(x, &v.Unread, &v.PushBytes)
	bools(x, &v.Reset, &v.CountsUnread, &v.Unlisted, &v.Muted, &v.Pinned, &v.MarkedUnread)
	seqs(x, &v.Push)
	list(x, &v.Lost, (*Lost).fields)
	list(x, &v.Changes, (*Change).fields)
	v.LastChange.fields(x)
}

func (n *GroupCounts) fields(x *codec.Coder) { ints(x, &n.Joined, &n.Owned, &n.ByStrangers) }

func (s *GroupSync) fields(x *codec.Coder) {
	list(x, &s.Items, (*GroupSyncItem).fields)
	list(x, &s.Moved, (*GroupSyncAsk).fields)
	list(x, &s.Remaining, (*GroupSyncAsk).fields)
}

func (b *Ban) fields(x *codec.Coder) {
	texts(x, &b.User)
	ints(x, &b.Until)
}

func (r *SlotRange) fields(x *codec.Coder) {
	codec.UintMax(x, &r.First, command.Slots-1)
	codec.UintMax(x, &r.Last, command.Slots-1)
}
