package command

import "time"

// Kinds of commands of administrators on users, and of imports. Their numbers leave
// room for those of batch.go.
const (
	kindSetUser kind = iota + 64
	kindRefreshToken
	kindSetRead
	kindEraseUser
	kindImport
	kindImportGroup
)

// MaxImportRows is how many rows one command may import.
const MaxImportRows = 4096

// MaxHistoryTTL is the longest time for which a user's history can be kept.
const MaxHistoryTTL = 10 * 365 * 24 * time.Hour

// SetUser changes what an administrator has set for a user, who need not have logged
// in yet. Suspended ends the user's sessions, and TokensFrom those opened with an
// older token. They are in Result.Kicked.
type SetUser struct {
	User       UserID
	HistoryTTL *time.Duration // how long the user's history is kept, if longer than Limits.HistoryTTL; at most MaxHistoryTTL; nil leaves it
	Suspended  *bool          // the user cannot log in; nil leaves it
	TokensFrom *int64         // ms; tokens issued in an earlier second are refused, 0 = none; nil leaves it
}

// RefreshToken replaces the token of a session. It is refused with CodeForbidden if
// the user is suspended, CodeUnauthorized if the token was issued before
// SetUser.TokensFrom, and CodeNotFound if the session has ended.
type RefreshToken struct {
	User     UserID
	Session  SessionID
	IssuedAt int64 // ms, as Login.IssuedAt
}

// SetRead sets the read cursor of a one-to-one conversation on behalf of an
// administrator, also back. What becomes unread again is what the queue can hold:
// messages that limits took out of it or that are too old for it stay out. The peer
// gets no receipt. Notes to oneself are always read.
type SetRead struct {
	User UserID
	Peer UserID
	Seq  uint64 // beyond the newest seq means the newest
}

// EraseUser removes a user's data: messages, queue, dedup window, sessions (they are
// in Result.Kicked), blocks and settings. What others rely on stays: of each
// conversation the next seq, the numbers of letters, letters on their way and whether
// the peer has blocked the user; and the user's last session and arrival numbers.
// Without these, letters between the user and their peers would be lost or applied
// twice, and old cursors of their devices would seem to fit, should the account be
// used again.
//
// It stops when it has done enough for one command: unless Result.Seq is 0, another
// command has to go on with that as From.
type EraseUser struct {
	User    UserID
	From    uint32 // conversation to begin with; 0 in the first command
	MaxWork uint32 // after which it stops: a conversation counts 1, the removal of an entry 1
}

// An ImportRow is a message that another system sent.
type ImportRow struct {
	Row      uint64 // number in the stream, from 1
	From     UserID // sender; only in a group
	Own      bool   // sent by the user whose view it goes to
	Peer     uint64 // of an incoming message: its seq in the sender's view; 0 = it is not there
	Time     int64  // ms
	TTL      uint32 // seconds, 0 = none
	ID       MsgID
	CID      string
	Mentions []string
	Body     []byte // canonical msgpack
}

// Import adds rows of a stream to one user's view of a conversation. The conversation
// must hold nothing else, or it is refused with CodeConflict: a message sent later
// keeps further rows out. Rows that came before are known by their number and change
// nothing. Rows must ascend by number, their times must not fall, and must not be in
// the future (CodeBadRequest).
//
// Nobody is told. A device with an older cursor is not pushed what was imported after
// it, but finds it through recents and history.
type Import struct {
	User   UserID
	Peer   UserID
	Stream uint64 // hash of the stream's name
	Unread bool   // rows that are not the user's own are unread; otherwise all is read
	Rows   []ImportRow
}

// ImportGroup adds rows of a stream to a group's log, as Import does.
type ImportGroup struct {
	Group  GroupID
	Stream uint64
	Unread bool
	Rows   []ImportRow
}

// A userCommandSet holds one value of each of these commands, see commandSet.
type userCommandSet struct {
	set         SetUser
	refresh     RefreshToken
	setRead     SetRead
	erase       EraseUser
	imports     Import
	importGroup ImportGroup
}

func (cs *userCommandSet) get(k kind) Command {
	switch k {
	case kindSetUser:
		return &cs.set
	case kindRefreshToken:
		return &cs.refresh
	case kindSetRead:
		return &cs.setRead
	case kindEraseUser:
		return &cs.erase
	case kindImport:
		return &cs.imports
	case kindImportGroup:
		return &cs.importGroup
	}
	return nil
}

func (c *SetUser) Key() string { return string(c.User) }

func (c *RefreshToken) Key() string { return string(c.User) }

func (c *SetRead) Key() string { return string(c.User) }

func (c *EraseUser) Key() string { return string(c.User) }

func (c *Import) Key() string { return string(c.User) }

func (c *ImportGroup) Key() string { return string(c.Group.Key()) }

func (*SetUser) kind() kind { return kindSetUser }

func (*RefreshToken) kind() kind { return kindRefreshToken }

func (*SetRead) kind() kind { return kindSetRead }

func (*EraseUser) kind() kind { return kindEraseUser }

func (*Import) kind() kind { return kindImport }

func (*ImportGroup) kind() kind { return kindImportGroup }

func (c *ImportGroup) group() GroupID { return c.Group }

func (c *SetUser) append(b []byte) []byte {
	b = AppendBytes(b, c.User)
	var ttl *int64
	if c.HistoryTTL != nil {
		ttl = new(int64(*c.HistoryTTL))
	}
	b = appendOptional(appendOptionalInt(b, ttl), c.Suspended)
	return appendOptionalInt(b, c.TokensFrom)
}

func (c *SetUser) decode(d *Decoder) {
	*c = SetUser{User: d.User()}
	if ttl := d.optionalInt(); ttl != nil {
		c.HistoryTTL = new(time.Duration(*ttl))
	}
	c.Suspended, c.TokensFrom = d.optional(), d.optionalInt()
}

func appendOptionalInt(b []byte, v *int64) []byte {
	if b = AppendBool(b, v != nil); v != nil {
		b = AppendInt(b, *v)
	}
	return b
}

func (c *RefreshToken) append(b []byte) []byte {
	return AppendInt(AppendUint(AppendBytes(b, c.User), uint64(c.Session)), c.IssuedAt)
}

func (c *RefreshToken) decode(d *Decoder) {
	*c = RefreshToken{User: d.User(), Session: SessionID(d.Uint()), IssuedAt: d.Int()}
}

func (c *SetRead) append(b []byte) []byte {
	return AppendUint(AppendBytes(AppendBytes(b, c.User), c.Peer), c.Seq)
}

func (c *SetRead) decode(d *Decoder) { *c = SetRead{User: d.User(), Peer: d.User(), Seq: d.Uint()} }

func (c *EraseUser) append(b []byte) []byte {
	return AppendUint(AppendUint(AppendBytes(b, c.User), uint64(c.From)), uint64(c.MaxWork))
}

func (c *EraseUser) decode(d *Decoder) {
	*c = EraseUser{User: d.User(), From: uint32(d.UintMax(1<<32 - 1)), MaxWork: uint32(d.UintMax(1<<32 - 1))}
}

func (c *Import) append(b []byte) []byte {
	b = AppendBytes(AppendBytes(b, c.User), c.Peer)
	return appendImportRows(AppendBool(AppendUint(b, c.Stream), c.Unread), c.Rows)
}

func (c *Import) decode(d *Decoder) {
	*c = Import{User: d.User(), Peer: d.User(), Stream: d.Uint(), Unread: d.Bool(), Rows: d.importRows(c.Rows[:0])}
}

func (c *ImportGroup) append(b []byte) []byte {
	b = AppendBool(AppendUint(AppendBytes(b, c.Group), c.Stream), c.Unread)
	return appendImportRows(b, c.Rows)
}

func (c *ImportGroup) decode(d *Decoder) {
	*c = ImportGroup{Group: d.Group(), Stream: d.Uint(), Unread: d.Bool(), Rows: d.importRows(c.Rows[:0])}
}

func appendImportRows(b []byte, rows []ImportRow) []byte {
	b = AppendUint(b, uint64(len(rows)))
	for i := range rows {
		r := &rows[i]
		b = AppendUint(b, r.Row)
		b = AppendBytes(b, r.From)
		b = AppendBool(b, r.Own)
		b = AppendUint(b, r.Peer)
		b = AppendInt(b, r.Time)
		b = AppendUint(b, uint64(r.TTL))
		b = append(b, r.ID[:]...)
		b = AppendBytes(b, r.CID)
		b = appendMentions(b, r.Mentions)
		b = AppendBytes(b, r.Body)
	}
	return b
}

// UserSettings are what SetUser sets.
type UserSettings struct {
	HistoryTTL time.Duration // 0 = the default
	Suspended  bool
	TokensFrom int64 // ms, 0 = all tokens are accepted
}
