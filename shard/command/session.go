package command

import "github.com/belfry-im/belfry/shard/codec"

// Login opens a session. The result has its number.
type Login struct {
	User      UserID
	Device    string // 1-64 bytes
	Platform  string // 0-64 bytes; "" counts as a platform of its own
	Policy    Policy
	AutoRead  bool
	HasCursor bool   // the device gave a cursor
	Cursor    string // as the client gave it; one that is malformed counts as none and resets the device
	IssuedAt  int64  // ms, of the token; 0 = unknown, and so before every other time
}

// A Policy says which sessions a login ends, besides that of the same device.
type Policy uint8

const (
	PolicyMulti    Policy = iota // those with the oldest login, so that at most MaxDevices remain
	PolicyPlatform               // those of the same platform
	PolicySingle                 // all
)

// maxCursor bounds the bytes of a cursor. Longer ones are none of ours, and as
// malformed as any other.
const maxCursor = 256

func (*Login) kind() Kind    { return 1 }
func (c *Login) Key() string { return string(c.User) }
func (*Login) Needs() Needs  { return Needs{} }

func (c *Login) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Text(x, &c.Device, MaxName)
	codec.Text(x, &c.Platform, MaxName)
	codec.Byte(x, &c.Policy)
	codec.Bool(x, &c.AutoRead)
	codec.Bool(x, &c.HasCursor)
	cursor := c.Cursor
	if x.Writing() && len(cursor) > maxCursor {
		cursor = ""
	}
	codec.Text(x, &cursor, maxCursor)
	if !x.Writing() {
		c.Cursor = cursor
	}
	codec.Int(x, &c.IssuedAt)
}

// Logout ends a session, because the client asked or its socket is gone.
type Logout struct {
	User     UserID
	Session  SessionID
	LastSeen int64 // ms, of the last sign of life; 0 = not known
}

func (*Logout) kind() Kind    { return 2 }
func (c *Logout) Key() string { return string(c.User) }
func (*Logout) Needs() Needs  { return Needs{} }

func (c *Logout) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Int(x, &c.LastSeen)
}

// RefreshToken replaces the token of a session. It is refused with CodeForbidden if
// the user is suspended, CodeUnauthorized if the token was issued before
// SetUser.TokensFrom, and CodeNotFound if the session has ended.
type RefreshToken struct {
	User     UserID
	Session  SessionID
	IssuedAt int64 // ms, as Login.IssuedAt
}

func (*RefreshToken) kind() Kind    { return 65 }
func (c *RefreshToken) Key() string { return string(c.User) }
func (*RefreshToken) Needs() Needs  { return Needs{} }

func (c *RefreshToken) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Int(x, &c.IssuedAt)
}
