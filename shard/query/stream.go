package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// UpdatesAfter reads what came after an arrival number: messages that can be shown, except
// those the session itself sent, and changes, except those it made itself. There are
// at most MaxMessages messages and, beyond the first one, MaxBytes bytes.
type UpdatesAfter struct {
	User        command.UserID
	Session     command.SessionID
	After       uint64
	UpTo        uint64 // arrival number; 0 = all there is
	MaxMessages int
	MaxBytes    int

	Updates *Updates // reset first
}

func (q *UpdatesAfter) Slot() int { return ofUser(q.User) }

func (q *UpdatesAfter) args(x *codec.Coder) {
	texts(x, &q.User)
	codec.Uint(x, &q.Session)
	uints(x, &q.After, &q.UpTo)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *UpdatesAfter) result(x *codec.Coder) { q.Updates.fields(x) }

// SyncMessages reads messages that a login found, by their refs, with the bounds of UpdatesAfter.
// Those that were recalled, deleted or dropped since then are left out.
type SyncMessages struct {
	User        command.UserID
	Refs        []MessageRef
	MaxMessages int
	MaxBytes    int

	Updates *Updates // reset first
	Done    int      // how many of Refs were read
}

func (q *SyncMessages) Slot() int { return ofUser(q.User) }

func (q *SyncMessages) args(x *codec.Coder) {
	texts(x, &q.User)
	list(x, &q.Refs, (*MessageRef).fields)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *SyncMessages) result(x *codec.Coder) {
	q.Updates.fields(x)
	sizes(x, &q.Done)
}

// GroupUpdatesAfter reads what came after a point in a group's order: messages that can be
// shown, recalls, and events. It is the same for all members; of a group that was
// dismissed it still tells that. Bounds are as for UpdatesAfter.
type GroupUpdatesAfter struct {
	Group       command.GroupID
	After       uint64
	MaxMessages int
	MaxBytes    int

	Updates *Updates // reset first
}

func (q *GroupUpdatesAfter) Slot() int { return ofGroup(q.Group) }

func (q *GroupUpdatesAfter) args(x *codec.Coder) {
	texts(x, &q.Group)
	uints(x, &q.After)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *GroupUpdatesAfter) result(x *codec.Coder) { q.Updates.fields(x) }

// GroupMessages reads messages of a group by seq, for a member. Those that cannot be
// shown to them are left out.
type GroupMessages struct {
	User  command.UserID
	Group command.GroupID
	Seqs  []uint64

	Updates *Updates // reset first
}

func (q *GroupMessages) Slot() int { return ofGroup(q.Group) }

func (q *GroupMessages) args(x *codec.Coder) {
	texts(x, &q.User)
	texts(x, &q.Group)
	seqs(x, &q.Seqs)
}

func (q *GroupMessages) result(x *codec.Coder) { q.Updates.fields(x) }

// MemberChanges reads what a member's other sessions have changed in their own view
// of a group after a point in its order: reads, deletions.
type MemberChanges struct {
	User    command.UserID
	Group   command.GroupID
	Session command.SessionID
	After   uint64

	Changes []Change
}

func (q *MemberChanges) Slot() int { return ofGroup(q.Group) }

func (q *MemberChanges) args(x *codec.Coder) {
	texts(x, &q.User)
	texts(x, &q.Group)
	codec.Uint(x, &q.Session)
	uints(x, &q.After)
}

func (q *MemberChanges) result(x *codec.Coder) { list(x, &q.Changes, (*Change).fields) }

// Epoch reads the present epoch, with which places in the order of a user or a group
// are written as cursors.
type Epoch struct {
	User  command.UserID
	Group command.GroupID // instead of User

	Epoch uint64
}

func (q *Epoch) Slot() int { return ofConversation(q.User, q.Group) }

func (q *Epoch) args(x *codec.Coder) {
	texts(x, &q.User)
	texts(x, &q.Group)
}

func (q *Epoch) result(x *codec.Coder) { uints(x, &q.Epoch) }

// History reads a page of a conversation. That of a group is refused with
// CodeNotFound if there is none, and with CodeForbidden if the user is no member.
type History struct {
	HistoryQuery

	Page *Page
}

func (q *History) Slot() int { return ofConversation(q.User, q.Group) }

func (q *History) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	bools(x, &q.Admin, &q.HasAfter)
	uints(x, &q.Before, &q.After, &q.From, &q.To)
	sizes(x, &q.Limit, &q.MaxBytes, &q.MaxGaps, &q.MaxSeqs)
}

func (q *History) result(x *codec.Coder) { q.Page.fields(x) }
