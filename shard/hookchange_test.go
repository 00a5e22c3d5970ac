package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// TestChangesThatNobodyWantsCostNothing has a user read on and on, of a user and in
// a group.
func TestChangesThatNobodyWantsCostNothing(t *testing.T) {
	const messages = 2000
	s, out, now := NewState(1), new(Outcome), int64(storyTime)
	apply := func(cmds ...command.Command) {
		now++
		batch := command.AppendBatchHeader(nil, now)
		for _, cmd := range cmds {
			batch = command.AppendCommand(batch, cmd)
		}
		s.Apply(batch, out)
		for i, r := range out.Results {
			if r.Code != command.OK {
				t.Fatalf("%T: %+v", cmds[i], r)
			}
		}
	}
	apply(&command.Configure{Version: 1, Limits: command.Limits{GroupRate: -1, GroupBurst: -1, NewConversations: -1}}, openAll(),
		&command.CreateGroup{Group: "team", By: "alice", Owner: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Members: []command.UserID{"bob"}})
	for n := range messages {
		cid := fmt.Sprint(n)
		apply(&command.Deliver{Letter: command.Letter{From: "alice", To: "bob", Number: uint64(n + 1), Kind: command.LetterMessage, Seq: uint64(n + 1), Time: now, CID: cid, Body: []byte{0xc0}}},
			&command.SendGroup{Group: "team", User: "alice", ID: command.MsgID{byte(n), byte(n >> 8)}, CID: cid, Body: []byte{0xc0}})
	}
	seq := uint64(0)
	measure := func() float64 {
		first := seq
		batches := make([][]byte, 502)
		for i := range batches {
			seq++
			batch := command.AppendBatchHeader(nil, now)
			batch = command.AppendCommand(batch, &command.ReadReport{User: "bob", Peer: "alice", Seq: seq, Auto: true})
			batches[i] = command.AppendCommand(batch, &command.ReadGroup{Group: "team", User: "bob", Seq: seq})
		}
		i := 0
		n := testing.AllocsPerRun(len(batches)-2, func() { s.Apply(batches[i], out); i++ })
		if len(out.Changes) > 0 && out.Changes[0].Seq <= first {
			t.Fatalf("told of %+v", out.Changes)
		}
		return n
	}
	off := measure()
	if len(out.Changes) != 0 {
		t.Errorf("told of %+v, want nothing", out.Changes)
	}
	out.WantedChanges.Add(query.ChangeRead)
	on := measure()
	if len(out.Changes) != 2 {
		t.Errorf("told of %+v, want a read of each", out.Changes)
	}
	if off > 5 || off >= on { // names are decoded and the members who moved are listed in any case
		t.Errorf("two reads that nobody wants to know allocate %v times, others %v, want at most 5, and less", off, on)
	}
}
