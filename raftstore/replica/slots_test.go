package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// The first slot of a shard moves away. Whoever leads the shard after that must not open
// it again, though each replica was told that the shard is made with it.
func TestMovedSlotStaysAway(t *testing.T) {
	first := command.UserID("")
	for n := 0; first == "" || command.SlotOf(string(first)) != 0; n++ {
		first = command.UserID(fmt.Sprint("user", n))
	}
	g := newTrio(t, nil)
	cfg := testConfig(t, 1)
	cfg.Slots = command.OpenSlots{} // it is made without any
	target, _ := start(t, cfg)
	eventually(t, "the target leads", target.Leads)

	hello := &command.Send{User: first, To: first, ID: command.MsgID{1}, CID: "1", Body: []byte{0xc0}}
	source := func(cmd command.Command) error { return propose(g.replicas[g.leader()], cmd) }
	for _, cmd := range []command.Command{hello, &command.BeginMove{Slot: 0, Move: 1}, &command.FreezeSlot{Slot: 0, Move: 1, Attempt: 1}} {
		if err := source(cmd); err != nil {
			t.Fatal(err)
		}
	}
	var part *command.CopySlot
	var sum uint64
	g.replicas[g.leader()].Inspect(func(s *shard.State, _ int64) {
		var err error
		if part, err = shard.NewCopier(0, 1, shard.CopyPlace{}).Next(s, command.MaxCopy); err != nil {
			t.Error(err)
		}
		sum = s.Checksum(0)
	})
	if err := propose(target, part); err != nil {
		t.Fatal(err)
	}
	if err := propose(target, &command.FlipSlot{Slot: 0, Move: 1, Last: 1, Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	if err := source(&command.DropSlot{Slot: 0, Move: 1, Epoch: 2, MaxWork: 1000}); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		g.depose(g.leader())
		send(t, g.replicas[g.leader()], n)
		g.agree()
		for i, r := range g.replicas {
			r.Inspect(func(s *shard.State, _ int64) {
				if s.Owns(0) || s.MapEpoch() != 2 || s.Served() != command.Slots-1 {
					t.Errorf("replica %d owns the slot again: %v, map epoch %d, %d slots", i, s.Owns(0), s.MapEpoch(), s.Served())
				}
			})
		}
		if err := source(hello); err == nil {
			t.Error("the source took a command for the slot that has moved")
		}
	}
	target.Inspect(func(s *shard.State, _ int64) {
		if !s.Owns(0) || s.Served() != 1 || s.Checksum(0) != sum {
			t.Errorf("the target owns the slot: %v, %d slots, checksum %x, want %x", s.Owns(0), s.Served(), s.Checksum(0), sum)
		}
	})
}

// A round goes through the slots that the state serves at the time, and through each of
// them once.
func TestExpiryGoesByTheState(t *testing.T) {
	s := shard.NewState(0)
	var out shard.Outcome
	apply := func(commands ...command.Command) {
		batch := command.AppendBatchHeader(nil, time.Now().UnixMilli())
		for _, cmd := range commands {
			batch = command.AppendCommand(batch, cmd)
		}
		s.Apply(batch, &out)
	}
	var round Expiry
	if cmd := round.Next(s); cmd != nil {
		t.Fatalf("without slots: %+v, want nothing", cmd)
	}
	apply(&command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{First: 10, Last: 500}, {First: 9000, Last: 9500}, {First: 16000, Last: command.Slots - 1}}})
	if cmd := round.Next(s); cmd != nil {
		t.Fatalf("of an empty shard: %+v, want nothing", cmd)
	}
	alice := command.UserID("")
	for n := 0; alice == "" || !s.Owns(command.SlotOf(string(alice))); n++ {
		alice = command.UserID(fmt.Sprint("alice", n))
	}
	apply(&command.Send{User: alice, To: alice, ID: command.MsgID{1}, CID: "1", Body: []byte{0xc0}})
	for range 3 {
		swept := map[uint16]int{}
		steps := 0
		for cmd := round.Next(s); ; cmd = round.Next(s) {
			steps++
			n := 0
			for slot := cmd.FirstSlot; slot <= cmd.LastSlot; slot++ {
				if s.Owns(slot) {
					swept[slot]++
					n++
				}
			}
			if most := (s.Served() + expirySteps - 1) / expirySteps; n > most {
				t.Fatalf("%+v sweeps %d slots, want at most %d", cmd, n, most)
			}
			if len(swept) == s.Served() {
				break
			}
		}
		for slot, n := range swept {
			if n != 1 {
				t.Errorf("slot %d was swept %d times in one round", slot, n)
			}
		}
		if steps > expirySteps {
			t.Errorf("a round took %d steps, want at most %d", steps, expirySteps)
		}
		// A slot leaves the set.
		for slot := range uint16(command.Slots) {
			if s.Owns(slot) && slot != command.SlotOf(string(alice)) {
				apply(&command.BeginMove{Slot: slot, Move: 1}, &command.FreezeSlot{Slot: slot, Move: 1, Attempt: 1},
					&command.DropSlot{Slot: slot, Move: 1, Epoch: s.MapEpoch() + 1, MaxWork: 1000})
				break
			}
		}
	}
}
