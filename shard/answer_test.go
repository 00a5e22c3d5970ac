package shard_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Each query has an answer, and the user or group that it names decides by their slot
// whether this shard gives it.
func TestEveryQueryIsAnswered(t *testing.T) {
	for q := range query.All {
		t.Run(reflect.TypeOf(q).Elem().Name(), func(t *testing.T) {
			s := shard.NewState(0)
			err := s.Answer(q, 1)
			refused, isRefused := errors.AsType[*command.RefusedError](err)
			if moved := isRefused && refused.Code == command.CodeMoved; moved != (q.Slot() >= 0) {
				t.Errorf("slot %d that is not here: %v", q.Slot(), err)
			}
			open := command.AppendCommand(command.AppendBatchHeader(nil, 1), &command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{Last: command.Slots - 1}}})
			s.Apply(open, new(shard.Outcome))
			err = s.Answer(q, 1)
			if refused, isRefused := errors.AsType[*command.RefusedError](err); err != nil && (!isRefused || refused.Code != command.CodeNotFound) {
				t.Errorf("of nobody: %v", err)
			}
		})
	}
}
