package query

import (
	"fmt"
	"reflect"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A Query is a question about the state of a shard, with room for the answer: the
// fields above the blank line in its struct are the question, those below it the
// answer. It is a plain value, so that it can be sent to another node.
type Query interface {
	// Slot returns the slot of the user or group that the question is about; the shard
	// of that slot answers. It returns -1 if the question is about several, so that the
	// caller has to choose the shard.
	Slot() int

	// args writes or reads the question.
	args(x *codec.Coder)
	// result writes or reads the answer.
	result(x *codec.Coder)
}

// slotOfUser returns the slot of a user.
func slotOfUser(user command.UserID) int { return int(command.SlotOf(string(user))) }

// slotOfGroup returns the slot of a group.
func slotOfGroup(group command.GroupID) int {
	return int(command.SlotOf(command.GroupPrefix + string(group)))
}

// slotOfConversation returns the slot of a group, or of a user if group is empty.
func slotOfConversation(user command.UserID, group command.GroupID) int {
	if group != "" {
		return slotOfGroup(group)
	}
	return slotOfUser(user)
}

// noSingleSlot is returned by Slot for a question about several users or groups.
const noSingleSlot = -1

// kinds has, for each kind of query, a function that returns an empty query. The index
// is the kind's number in encoded queries, which must not change.
var kinds = [...]func() Query{
	1:  func() Query { return &UpdatesAfter{Updates: new(Updates)} },
	2:  func() Query { return &SyncMessages{Updates: new(Updates)} },
	3:  func() Query { return &GroupUpdatesAfter{Updates: new(Updates)} },
	4:  func() Query { return &GroupMessages{Updates: new(Updates)} },
	5:  func() Query { return new(MemberChanges) },
	6:  func() Query { return new(Sent) },
	7:  func() Query { return &History{Page: new(Page)} },
	8:  func() Query { return new(Contact) },
	9:  func() Query { return new(Contacts) },
	10: func() Query { return new(Eligibility) },
	11: func() Query { return new(Sharing) },
	12: func() Query { return new(User) },
	13: func() Query { return new(Sessions) },
	14: func() Query { return new(Blocked) },
	15: func() Query { return new(GroupsOf) },
	16: func() Query { return new(Unread) },
	17: func() Query { return new(UnreadTotal) },
	18: func() Query { return new(GroupsUnread) },
	19: func() Query { return new(UnreadSeqs) },
	20: func() Query { return new(Recents) },
	21: func() Query { return new(Conversations) },
	22: func() Query { return new(AllConversations) },
	23: func() Query { return new(QueuedMessage) },
	24: func() Query { return new(ImportState) },
	25: func() Query { return new(SeqOf) },
	26: func() Query { return new(Group) },
	27: func() Query { return new(Membership) },
	28: func() Query { return new(Members) },
	29: func() Query { return new(Bans) },
	30: func() Query { return new(JoinRequests) },
	31: func() Query { return new(SyncGroups) },
	32: func() Query { return new(MaySpeak) },
	33: func() Query { return new(Users) },
	34: func() Query { return new(Groups) },
	35: func() Query { return new(Count) },
	36: func() Query { return new(GroupsHolding) },
	37: func() Query { return new(TraceMessage) },
	38: func() Query { return new(FindMessage) },
	39: func() Query { return new(CountSender) },
}

// All yields an empty query of each kind.
func All(yield func(Query) bool) {
	for _, make := range kinds[1:] {
		if !yield(make()) {
			return
		}
	}
}

// kindNumbers has the index in kinds of each type of query.
var kindNumbers = func() map[reflect.Type]byte {
	numbers := make(map[reflect.Type]byte, len(kinds))
	for n, make := range kinds {
		if make != nil {
			numbers[reflect.TypeOf(make())] = byte(n)
		}
	}
	return numbers
}()

// AppendQuery appends the kind and the question of a query.
func AppendQuery(dst []byte, q Query) []byte {
	x := codec.NewWriter(append(dst, kindNumbers[reflect.TypeOf(q)]))
	q.args(&x)
	return x.B
}

// DecodeQuery returns the query that AppendQuery has encoded in b. It aliases b. What a
// newer binary has appended to it is skipped.
func DecodeQuery(b []byte) (Query, error) {
	x := codec.NewReader(b)
	n := int(x.Decoder.Byte())
	if n >= len(kinds) || kinds[n] == nil {
		return nil, fmt.Errorf("query: kind %d is not known: this binary is older than the one that asks: %w", n, codec.ErrMalformed)
	}
	q := kinds[n]()
	q.args(&x)
	if x.Err != nil {
		return nil, fmt.Errorf("query: %T: %w", q, x.Err)
	}
	return q, nil
}

// AppendAnswer appends the answer of a query, or the refusal if refused is not nil.
func AppendAnswer(dst []byte, q Query, refused *command.RefusedError) []byte {
	x := codec.NewWriter(dst)
	if refused == nil {
		ok := command.OK
		codec.Byte(&x, &ok)
		q.result(&x)
		return x.B
	}
	r := *refused
	codec.Byte(&x, &r.Code)
	texts(&x, &r.Detail)
	ints(&x, &r.RetryAfterMS)
	return x.B
}

// DecodeAnswer reads what AppendAnswer has encoded in b: it fills in the answer of q,
// or returns the refusal as a *command.RefusedError. The answer aliases b. What a newer
// binary has appended to it is skipped.
func DecodeAnswer(b []byte, q Query) error {
	x := codec.NewReader(b)
	var r command.RefusedError
	if codec.Byte(&x, &r.Code); r.Code == command.OK {
		q.result(&x)
	} else {
		texts(&x, &r.Detail)
		ints(&x, &r.RetryAfterMS)
	}
	if x.Err != nil {
		return fmt.Errorf("query: answer to %T: %w", q, x.Err)
	}
	if r.Code != command.OK {
		return &r
	}
	return nil
}
