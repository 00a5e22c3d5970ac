package command

import (
	"time"

	"github.com/belfry-im/belfry/shard/codec"
)

// UserSettings are what SetUser sets.
type UserSettings struct {
	HistoryTTL time.Duration // 0 = the default
	Suspended  bool
	TokensFrom int64 // ms, 0 = all tokens are accepted
}

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

func (*SetUser) kind() Kind    { return 64 }
func (c *SetUser) Key() string { return string(c.User) }
func (*SetUser) Needs() Needs  { return Needs{} }

func (c *SetUser) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Optional(x, &c.HistoryTTL, codec.Int)
	codec.OptionalBool(x, &c.Suspended)
	codec.Optional(x, &c.TokensFrom, codec.Int)
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

func (*EraseUser) kind() Kind    { return 67 }
func (c *EraseUser) Key() string { return string(c.User) }
func (*EraseUser) Needs() Needs  { return Needs{} }

func (c *EraseUser) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.From)
	codec.Uint(x, &c.MaxWork)
}
