package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// An UpdatesAfter reads what came after an arrival number: visible messages except
// those the session itself sent, and changes except those it made. There are at most
// MaxMessages messages and, beyond the first, about MaxBytes bytes.
type UpdatesAfter struct {
	User        command.UserID
	Session     command.SessionID
	After       uint64
	UpTo        uint64 // arrival number; 0 = no limit
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

// A SyncMessages reads messages that a login found, by their refs, with bounds as in
// UpdatesAfter. Messages that are no longer visible are left out.
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

// A GroupUpdatesAfter reads what came after an arrival number of a group's order:
// visible messages, recalls and events, the same for all members. Of a dismissed group
// it still tells the dismissal. Bounds are as in UpdatesAfter.
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

// A GroupMessages reads messages of a group by seq, as far as they are visible to a
// member.
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

// A MemberChanges reads what other sessions of a member changed in the member's view
// of a group after an arrival number.
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

// An Epoch reads the store's epoch, with which arrival numbers are written as cursors.
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

// A History reads a page of a conversation. That of a group is refused with
// CodeNotFound if there is no such group, and with CodeForbidden if the user is not a
// member.
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
