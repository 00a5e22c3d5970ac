package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A SlotRange is the slots from First to Last, inclusive. Slots of the range that are
// frozen or not in this shard count as empty.
type SlotRange struct{ First, Last uint16 }

// Users reads the users of a range of slots in order of name: the first Limit above
// After.
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

// Groups reads the groups of a range of slots in order of id: the first Limit above
// After. GroupInfo's fields about an asker are empty.
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

// Count counts the users, groups and messages that a range of slots holds.
type Count struct {
	SlotRange

	Counts Counts
}

func (q *Count) args(x *codec.Coder)   { q.SlotRange.fields(x) }
func (q *Count) result(x *codec.Coder) { q.Counts.fields(x) }

// A GroupsHolding query reads the groups of a range of slots that a user is a member
// of, or that still hold messages of a former member. They are in order of id. It reads
// the groups' records, whereas GroupsOf reads the user's list.
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

func (SlotRange) Slot() int { return noSingleSlot }
