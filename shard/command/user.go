package command

import (
	"time"

	"github.com/belfry-im/belfry/shard/codec"
)

// UserSettings are the settings that SetUser changes.
type UserSettings struct {
	HistoryTTL time.Duration // how long the user's history is kept if longer than Limits.HistoryTTL; 0 = not set
	Suspended  bool
	TokensFrom int64 // ms, 0 = all tokens are accepted
}

// MaxHistoryTTL is the longest time for which a user's history can be kept.
const MaxHistoryTTL = 10 * 365 * 24 * time.Hour

// SetUser changes what an administrator has set for a user, who need not have logged in
// yet. Suspended ends all sessions of the user, and TokensFrom those with an older
// token; Result.Kicked lists them.
type SetUser struct {
	User       UserID
	HistoryTTL *time.Duration // how long the user's history is kept if longer than Limits.HistoryTTL, at most MaxHistoryTTL; nil leaves it as it is
	Suspended  *bool          // the user cannot log in; nil leaves it as it is
	TokensFrom *int64         // ms; tokens issued in an earlier second are refused, 0 = none are; nil leaves it as it is
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

// EraseUser removes a user's data: messages, queue, dedup window, sessions (listed in
// Result.Kicked), blocks and settings. It keeps what others depend on: for each
// conversation the next seq, the numbers of letters, letters on their way and whether
// the peer has blocked the user; and for the user the last session number and arrival
// number. Otherwise, if the account were used again, letters between the user and their
// peers would be lost or applied twice, and old cursors of the user's devices would
// seem valid.
//
// It stops after MaxWork: if Result.Seq is not 0, another EraseUser has to go on, with
// From = Result.Seq.
type EraseUser struct {
	User    UserID
	From    uint32 // conversation to begin with; 0 in the first command
	MaxWork uint32 // bound of the work: a conversation counts 1, the removal of an entry 1
}

func (*EraseUser) kind() Kind    { return 67 }
func (c *EraseUser) Key() string { return string(c.User) }
func (*EraseUser) Needs() Needs  { return Needs{} }

func (c *EraseUser) fields(x *codec.Coder) {
	c.User.Fields(x)
	codec.Uint(x, &c.From)
	codec.Uint(x, &c.MaxWork)
}
