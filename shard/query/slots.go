package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A SlotRange is the slots First..Last, inclusive. Slots that are frozen or not in
// this shard count as empty.
type SlotRange struct{ First, Last uint16 }

// Users reads the users of some slots in order of name, the Limit lowest above After.
type Users struct {
	SlotRange
	After  command.UserID
	Before command.UserID // exclusive; "" = no bound
	Limit  int

	Users []UserEntry
}

func (q *Users) args(x *codec.Coder) {
	q.SlotRange.fields(x)
	texts(x, &q.After, &q.Before)
	sizes(x, &q.Limit)
}

func (q *Users) result(x *codec.Coder) { list(x, &q.Users, (*UserEntry).fields) }

// Groups reads the groups of some slots in order of id, the Limit lowest above After,
// as nobody sees them.
type Groups struct {
	SlotRange
	After  command.GroupID
	Before command.GroupID // exclusive; "" = no bound
	Limit  int

	Groups []GroupInfo
}

func (q *Groups) args(x *codec.Coder) {
	q.SlotRange.fields(x)
	texts(x, &q.After, &q.Before)
	sizes(x, &q.Limit)
}

func (q *Groups) result(x *codec.Coder) { list(x, &q.Groups, (*GroupInfo).fields) }

// Count counts what some slots hold.
type Count struct {
	SlotRange

	Counts Counts
}

func (q *Count) args(x *codec.Coder)   { q.SlotRange.fields(x) }
func (q *Count) result(x *codec.Coder) { q.Counts.fields(x) }

// A GroupsHolding reads the groups of some slots whose member a user is, or that hold
// messages from them, which they may have sent before they left. Groups are in order
// of id. Unlike GroupsOf it asks the groups.
type GroupsHolding struct {
	SlotRange
	User command.UserID

	Groups []command.GroupID
}

func (q *GroupsHolding) args(x *codec.Coder) {
	q.SlotRange.fields(x)
	texts(x, &q.User)
}

func (q *GroupsHolding) result(x *codec.Coder) { names(x, &q.Groups) }

func (SlotRange) Slot() int { return ofMany }
