package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// An UpdatesAfter query reads what came after an arrival number: visible messages,
// except those that the session sent, and changes, except those that it made. It stops
// at MaxMessages messages, or when they take MaxBytes bytes.
type UpdatesAfter struct {
	User        command.UserID
	Session     command.SessionID
	After       uint64
	UpTo        uint64 // arrival number at which to stop; 0 = no limit
	MaxMessages int
	MaxBytes    int

	Updates *Updates // must not be nil; its old content is dropped
}

func (q *UpdatesAfter) Slot() int { return slotOfUser(q.User) }

func (q *UpdatesAfter) args(x *codec.Coder) {
	texts(x, &q.User)
	codec.Uint(x, &q.Session)
	uints(x, &q.After, &q.UpTo)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *UpdatesAfter) result(x *codec.Coder) { q.Updates.fields(x) }

// A SyncMessages query reads the messages that a Sync lists in Refs, with bounds as in
// UpdatesAfter. It leaves out messages that are no longer visible.
type SyncMessages struct {
	User        command.UserID
	Refs        []MessageRef
	MaxMessages int
	MaxBytes    int

	Updates *Updates // as in UpdatesAfter
	Done    int      // number of Refs that were read
}

func (q *SyncMessages) Slot() int { return slotOfUser(q.User) }

func (q *SyncMessages) args(x *codec.Coder) {
	texts(x, &q.User)
	list(x, &q.Refs, (*MessageRef).fields)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *SyncMessages) result(x *codec.Coder) {
	q.Updates.fields(x)
	sizes(x, &q.Done)
}

// A GroupUpdatesAfter query reads what came after an arrival number in a group's order:
// visible messages, recalls and events, the same for all members. For a dismissed group
// it still reads the event of the dismissal. Bounds are as in UpdatesAfter.
type GroupUpdatesAfter struct {
	Group       command.GroupID
	After       uint64
	MaxMessages int
	MaxBytes    int

	Updates *Updates // as in UpdatesAfter
}

func (q *GroupUpdatesAfter) Slot() int { return slotOfGroup(q.Group) }

func (q *GroupUpdatesAfter) args(x *codec.Coder) {
	texts(x, &q.Group)
	uints(x, &q.After)
	sizes(x, &q.MaxMessages, &q.MaxBytes)
}

func (q *GroupUpdatesAfter) result(x *codec.Coder) { q.Updates.fields(x) }

// A GroupMessages query reads those of a group's messages with the given seqs that are
// visible to a member.
type GroupMessages struct {
	User  command.UserID
	Group command.GroupID
	Seqs  []uint64

	Updates *Updates // as in UpdatesAfter
}

func (q *GroupMessages) Slot() int { return slotOfGroup(q.Group) }

func (q *GroupMessages) args(x *codec.Coder) {
	texts(x, &q.User)
	texts(x, &q.Group)
	seqs(x, &q.Seqs)
}

func (q *GroupMessages) result(x *codec.Coder) { q.Updates.fields(x) }

// A MemberChanges query reads the changes after an arrival number that a member's other
// sessions made in the member's view of a group.
type MemberChanges struct {
	User    command.UserID
	Group   command.GroupID
	Session command.SessionID
	After   uint64

	Changes []Change
}

func (q *MemberChanges) Slot() int { return slotOfGroup(q.Group) }

func (q *MemberChanges) args(x *codec.Coder) {
	texts(x, &q.User)
	texts(x, &q.Group)
	codec.Uint(x, &q.Session)
	uints(x, &q.After)
}

func (q *MemberChanges) result(x *codec.Coder) { list(x, &q.Changes, (*Change).fields) }

// A History query reads a page of a conversation. For a group the error is CodeNotFound
// if there is no such group, and CodeForbidden if the user is not a member.
type History struct {
	HistoryQuery

	Page *Page
}

func (q *History) Slot() int { return slotOfConversation(q.User, q.Group) }

func (q *History) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	bools(x, &q.Admin, &q.HasAfter)
	uints(x, &q.Before, &q.After, &q.From, &q.To)
	sizes(x, &q.Limit, &q.MaxBytes, &q.MaxGaps, &q.MaxSeqs)
}

func (q *History) result(x *codec.Coder) { q.Page.fields(x) }
