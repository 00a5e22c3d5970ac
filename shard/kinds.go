package shard

import "github.com/belfry-im/belfry/shard/command"

// A kind says how commands of one kind are made and applied.
type kind struct {
	make  func() command.Command
	apply func(*State, command.Command, *command.Result)
}

// kinds has an element for each kind of command. The index is its number in the log:
// never use one again for another command.
var kinds = [256]kind{
	1:  row((*State).applyLogin),
	2:  row((*State).applyLogout),
	3:  row((*State).applySend),
	4:  row((*State).applyReadReport),
	5:  row((*State).applyRecall),
	6:  row((*State).applyDeleteMessages),
	7:  row((*State).applyDeleteConversation),
	8:  row((*State).applySetConversation),
	9:  row((*State).applyBlock),
	10: row((*State).applyDeliver),
	11: row((*State).applyTrimOutbox),
	12: row((*State).applyPurgeExpired),
	13: row((*State).applyConfigure),
	// 14, 15 and 16 moved slots in one step each, before moves had numbers.
	17: row((*State).applyOpenSlots),
	18: row((*State).applyRaiseCutoff),

	19: row((*State).applyCreateGroup),
	20: row((*State).applyJoinGroup),
	21: row((*State).applyLeaveGroup),
	22: row((*State).applyDismissGroup),
	23: row((*State).applyAnswerJoin),
	24: row((*State).applyAddMembers),
	25: row((*State).applyRemoveMembers),
	26: row((*State).applySetMember),
	27: row((*State).applySetGroup),
	28: row((*State).applySendGroup),
	29: row((*State).applyReadGroup),
	30: row((*State).applyRecallGroup),
	31: row((*State).applyDeleteMessagesFrom),
	32: row((*State).applyHideMessages),
	33: row((*State).applyHideGroup),
	34: row((*State).applySetGroupView),
	35: row((*State).applyAnswerOwner),
	36: row((*State).applyUnban),

	37: row((*State).applyChecksum),
	38: row((*State).applyBeginMove),
	39: row((*State).applyCopySlot),
	40: row((*State).applyFreezeSlot),
	41: row((*State).applyFlipSlot),
	42: row((*State).applyDropSlot),
	43: row((*State).applyThawSlot),
	44: row((*State).applyDiscardSlot),

	64: row((*State).applySetUser),
	65: row((*State).applyRefreshToken),
	66: row((*State).applySetRead),
	67: row((*State).applyEraseUser),
	68: row((*State).applyImport),
	69: row((*State).applyImportGroup),

	// 96 was a command of its own for HookBytes of Configure.
	97: row((*State).applyTrimHookQueue),
}

// row returns the kind of the commands that apply takes.
func row[C any, P interface {
	*C
	command.Command
}](apply func(*State, P, *command.Result)) kind {
	return kind{
		make:  func() command.Command { return P(new(C)) },
		apply: func(s *State, cmd command.Command, r *command.Result) { apply(s, cmd.(P), r) },
	}
}

// newCommand returns a zero command of a kind, or nil if there is no such kind.
func newCommand(k command.Kind) command.Command {
	if kinds[k].make == nil {
		return nil
	}
	return kinds[k].make()
}

// A Checker checks that Apply will be able to decode commands. The zero Checker is
// ready for use. It is for one goroutine at a time, because it decodes into values that
// it keeps.
type Checker struct{ set *command.Set }

// Check checks one command as AppendCommand or Encoder.Append has appended it. It
// allocates only for an error.
func (c *Checker) Check(b []byte) error {
	if c.set == nil {
		c.set = command.NewSet(newCommand)
	}
	return c.set.Check(b)
}

// A Decoder decodes commands one by one. The zero Decoder is ready for use. It is for
// one goroutine at a time.
type Decoder struct{ set *command.Set }

// Decode returns the command that AppendCommand or Encoder.Append has appended. It is
// valid until the next call, and its byte slices alias b.
func (c *Decoder) Decode(b []byte) (command.Command, error) {
	if c.set == nil {
		c.set = command.NewSet(newCommand)
	}
	return c.set.Decode(b)
}
