package command

import "github.com/belfry-im/belfry/shard/codec"

// Login opens a session. Result.Session is its number.
type Login struct {
	User      UserID
	Device    string // 1-64 bytes
	Platform  string // 0-64 bytes; "" is a platform like any other
	Policy    Policy
	AutoRead  bool
	HasCursor bool   // the device has sent a cursor
	Cursor    string // as the client sent it; a malformed one counts as none and sets Result.Reset
	IssuedAt  int64  // ms, when the token was issued; 0 = unknown, which is older than any SetUser.TokensFrom
	// Instead is the session that the new one continues, whose socket is open still; 0 =
	// none. If a login since then has ended it, or would have, the login is refused with
	// CodeConflict, and Detail is the reason, as that of a Kick.
	Instead SessionID
	// Begun is when the client asked, ms of the leader's clock; 0 = when it is applied. A
	// login may be executed after one that the client has tried later, at another node. If
	// one that was begun more than 1 s later has ended its session already, or would have,
	// it is refused like a login with Instead. In one with Instead it only tells how old the
	// session is.
	Begun int64
}

// A Policy says which other sessions of the user a login ends. It always ends the
// session of the same device.
type Policy uint8

const (
	PolicyMulti    Policy = iota // the oldest logins, if more than MaxDevices would remain
	PolicyPlatform               // sessions of the same platform
	PolicySingle                 // all sessions
)

// maxCursor bounds the bytes of a cursor. The server never makes longer ones, so a
// longer cursor counts as malformed.
const maxCursor = 256

// maxReason bounds the bytes of Logout.Reason.
const maxReason = 32

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
	codec.Uint(x, &c.Instead)
	codec.Int(x, &c.Begun)
}

// Logout ends a session, because its client asked for it or its socket is gone.
type Logout struct {
	User     UserID
	Session  SessionID
	LastSeen int64 // ms, when the client last gave a sign of life; 0 = unknown
	// Reason has the session told why it ends, as that of a Kick; "" if its client left.
	Reason string
}

func (*Logout) kind() Kind    { return 2 }
func (c *Logout) Key() string { return string(c.User) }
func (*Logout) Needs() Needs  { return Needs{} }

func (c *Logout) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Int(x, &c.LastSeen)
	codec.Text(x, &c.Reason, maxReason)
}

// RefreshToken records that a session has a new token. It is refused with CodeForbidden
// if the user is suspended, with CodeUnauthorized if the token was issued before
// SetUser.TokensFrom, and with CodeNotFound if the session has ended.
type RefreshToken struct {
	User     UserID
	Session  SessionID
	IssuedAt int64 // ms, as in Login
}

func (*RefreshToken) kind() Kind    { return 65 }
func (c *RefreshToken) Key() string { return string(c.User) }
func (*RefreshToken) Needs() Needs  { return Needs{} }

func (c *RefreshToken) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.Session)
	codec.Int(x, &c.IssuedAt)
}
