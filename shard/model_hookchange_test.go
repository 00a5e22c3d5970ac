package shard_test

import (
	"fmt"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// allChanges are all kinds that there are.
const allChanges = ^shard.ChangeKinds(0)

// addHookChange notes a change that hooks are told of.
func (m *model) addHookChange(sh *modelShard, user command.UserID, c query.Change) {
	c.Time = sh.now
	m.told = append(m.told, shard.HookChange{User: user, Change: c})
}

func oneSeq(seq uint64) []query.Range { return []query.Range{{From: seq, To: seq}} }

// toldOf describes changes. The model tells of each message that a user deletes,
// the state of all of a command together.
func toldOf(changes []shard.HookChange) (told []string) {
	for _, c := range changes {
		if c.Kind != query.ChangeMessagesDeleted || c.User == "" {
			told = append(told, fmt.Sprintf("%+v", c))
			continue
		}
		for _, r := range c.Ranges {
			for seq := r.From; seq <= r.To; seq++ {
				c.Ranges = oneSeq(seq)
				told = append(told, fmt.Sprintf("%+v", c))
			}
		}
	}
	return told
}
