package query

import "github.com/belfry-im/belfry/shard/command"

// Since reads what came after an arrival number: messages that can be shown, except
// those the session itself sent, and changes, except those it made itself. There are
// at most MaxMessages messages and, beyond the first one, MaxBytes bytes.
type Since struct {
	User        command.UserID
	Session     command.SessionID
	After       uint64
	UpTo        uint64 // arrival number; 0 = all there is
	MaxMessages int
	MaxBytes    int

	Batch *Updates // reset first
}

// SyncMessages reads messages that a login found, by their refs, with the bounds of Since.
// Those that were recalled, deleted or dropped since then are left out.
type SyncMessages struct {
	User        command.UserID
	Refs        []MessageRef
	MaxMessages int
	MaxBytes    int

	Batch *Updates // reset first
	Done  int      // how many of Refs were read
}

// GroupSince reads what came after a point in a group's order: messages that can be
// shown, recalls, and events. It is the same for all members; of a group that was
// dismissed it still tells that. Bounds are as for Since.
type GroupSince struct {
	Group       command.GroupID
	After       uint64
	MaxMessages int
	MaxBytes    int

	Batch *Updates // reset first
}

// GroupMessages reads messages of a group by seq, for a member. Those that cannot be
// shown to them are left out.
type GroupMessages struct {
	User  command.UserID
	Group command.GroupID
	Seqs  []uint64

	Batch *Updates // reset first
}

// MemberChanges reads what a member's other sessions have changed in their own view
// of a group after a point in its order: reads, deletions.
type MemberChanges struct {
	User    command.UserID
	Group   command.GroupID
	Session command.SessionID
	After   uint64

	Changes []Change
}

// Epoch reads the present epoch, with which places in the order of a user or a group
// are written as cursors.
type Epoch struct {
	User  command.UserID
	Group command.GroupID // instead of User

	Epoch uint64
}

// History reads a page of a conversation. That of a group is refused with
// CodeNotFound if there is none, and with CodeForbidden if the user is no member.
type History struct {
	HistoryQuery

	Page *Page
}

func (q *Since) Slot() int         { return ofUser(q.User) }
func (q *SyncMessages) Slot() int  { return ofUser(q.User) }
func (q *GroupSince) Slot() int    { return ofGroup(q.Group) }
func (q *GroupMessages) Slot() int { return ofGroup(q.Group) }
func (q *MemberChanges) Slot() int { return ofGroup(q.Group) }
func (q *Epoch) Slot() int         { return ofConversation(q.User, q.Group) }
func (q *History) Slot() int       { return ofConversation(q.User, q.Group) }
