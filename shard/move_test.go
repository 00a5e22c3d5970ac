package shard

import (
	"errors"
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// must applies a command that is not to be refused.
func (b *bench) must(cmd command.Command) command.Result {
	b.t.Helper()
	r := b.do(cmd)
	if r.Code != command.OK {
		b.t.Fatalf("%T: code %d, %s", cmd, r.Code, r.Detail)
	}
	return r
}

// freeze begins the next move of a slot and freezes it.
func (b *bench) freeze(slot uint16) command.Move {
	b.t.Helper()
	move := b.s.ended[slot].move + 1
	b.must(&command.BeginMove{Slot: slot, Move: move})
	b.must(&command.FreezeSlot{Slot: slot, Move: move, Attempt: 1})
	return move
}

// drop has a slot leave the shard, in steps of that much work.
func (b *bench) drop(slot uint16, work uint32) {
	b.t.Helper()
	move := b.freeze(slot)
	for b.must(&command.DropSlot{Slot: slot, Move: move, MaxWork: work}).Seq > 0 {
	}
}

// copyTo brings a slot to another shard as it is, without a freeze, and leaves the move
// open in this one.
func (b *bench) copyTo(to *bench, slot uint16, move command.Move, size int) {
	b.t.Helper()
	b.must(&command.BeginMove{Slot: slot, Move: move})
	for _, cmd := range CopyAll(b.t, b.s, slot, move, size) {
		to.must(cmd)
	}
	a, _ := to.s.Arriving(slot)
	to.must(&command.FlipSlot{Slot: slot, Move: move, Last: a.Place.Number})
}

// CopyAll makes one round of copies of a slot, the last of which says that it is final
// though the slot is not frozen.
func CopyAll(t testing.TB, s *State, slot uint16, move command.Move, size int) (copies []*command.CopySlot) {
	t.Helper()
	for c := NewCopier(slot, move, CopyPlace{}); ; {
		cmd, err := c.Next(s, size)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Final = cmd.Ended
		if copies = append(copies, cmd); cmd.Ended {
			return copies
		}
	}
}

// A user who is larger than one CopySlot comes in several, which hold no more than they
// may, and a new driver goes on where the old one was, from any of them.
func TestCopyCutsLargeUsers(t *testing.T) {
	old, to := newBench(t, command.Limits{UserBytes: 8 << 20, OfflineMaxBytes: -1, OfflineMaxMessages: -1}), newBench(t, command.Limits{})
	slot := command.SlotOf("alice")
	for n := range 40 {
		r := old.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{byte(n)}, CID: fmt.Sprint(n), Body: make([]byte, 100<<10)})
		if r.Code != command.OK {
			t.Fatal(r)
		}
	}
	to.drop(slot, 1000)
	move := old.freeze(slot) + 1
	old.must(&command.ThawSlot{Slot: slot, Move: move - 1})
	old.must(&command.BeginMove{Slot: slot, Move: move})
	old.must(&command.FreezeSlot{Slot: slot, Move: move, Attempt: 1})
	copies := 0
	for {
		a, _ := to.s.Arriving(slot)
		if a.Place.Final {
			break
		}
		c := NewCopier(slot, move, a.Place)
		for range 6 { // what the one before had of a user is brought anew
			cmd, err := c.Next(old.s, command.MaxCopy)
			if err != nil {
				t.Fatal(err)
			}
			if cmd == nil {
				break
			}
			if len(cmd.Data) > command.MaxCopy {
				t.Fatalf("%d bytes in one CopySlot", len(cmd.Data))
			}
			copies++
			to.must(cmd)
			to.must(cmd) // once more
		}
	}
	if copies < 4 {
		t.Errorf("4 MB came in %d copies", copies)
	}
	a, _ := to.s.Arriving(slot)
	to.must(&command.FlipSlot{Slot: slot, Move: move, Last: a.Place.Number})
	if got, want := to.s.Checksum(slot), old.s.Checksum(slot); got != want {
		t.Errorf("Checksum = %x, want %x", got, want)
	}
}

// An aborted move leaves nothing in the new shard, however far it came, and what it took
// there counted as memory in use.
func TestDiscardFreesAll(t *testing.T) {
	old := newBench(t, command.Limits{})
	slot := command.SlotOf("alice")
	for n := range 50 {
		old.send("alice", command.UserID(fmt.Sprint("peer", n)), "m")
	}
	old.must(&command.BeginMove{Slot: slot, Move: 1})
	copies := CopyAll(t, old.s, slot, 1, 500)
	for came := range len(copies) + 1 {
		to := newBench(t, command.Limits{})
		to.drop(slot, 1)
		before := to.s.Size()
		move := command.Move(2)
		for _, cmd := range copies[:came] {
			c := *cmd
			c.Move = move
			if c.Number > 1 { // the move is part of the chain
				a, _ := to.s.Arriving(slot)
				c.Chain = a.Place.Chain
			}
			to.must(&c)
		}
		if came > 0 && to.s.Size() == before {
			t.Error("what has come does not count")
		}
		for to.must(&command.DiscardSlot{Slot: slot, Move: move, MaxWork: 1}).Seq > 0 {
		}
		if stats := to.s.arena.Stats(); stats.Used != 0 || to.s.tableBytes != 0 || to.s.byAge.total != 0 || to.s.letterBytes != 0 || to.s.dedupRecords != 0 {
			t.Errorf("after %d copies: %+v, %d bytes of tables, %d of messages, %d of letters", came, stats, to.s.tableBytes, to.s.byAge.total, to.s.letterBytes)
		}
		if r := to.do(&command.FlipSlot{Slot: slot, Move: move, Last: uint64(came)}); r.Code != command.CodeConflict {
			t.Errorf("FlipSlot after DiscardSlot: code %d", r.Code)
		}
	}
}

// A user who was copied, and of whom nothing is kept any more since, does not come.
func TestCopyLeavesOutWhoIsGone(t *testing.T) {
	old, to := newGroupBench(t, command.Limits{}, "bob"), newBench(t, command.Limits{})
	slot := command.SlotOf("dan")
	to.drop(slot, 1)
	old.must(&command.AddMembers{Group: "team", By: "ann", Users: []command.UserID{"dan"}})
	old.must(&command.BeginMove{Slot: slot, Move: 2})
	c := NewCopier(slot, 2, CopyPlace{})
	round := func(users int) {
		t.Helper()
		for ended := false; !ended; {
			cmd, err := c.Next(old.s, 100)
			if err != nil {
				t.Fatal(err)
			}
			to.must(cmd)
			ended = cmd.Ended
		}
		if a, _ := to.s.Arriving(slot); a.Users != users {
			t.Errorf("%d users have come, want %d", a.Users, users)
		}
	}
	round(1)
	old.must(&command.RemoveMembers{Group: "team", By: "ann", Users: []command.UserID{"dan"}})
	old.now += keptLeftMS + 100
	old.must(&command.PurgeExpired{LastSlot: command.Slots - 1})
	if old.s.lookup("dan") != nil {
		t.Fatal("the purge has left dan")
	}
	old.must(&command.FreezeSlot{Slot: slot, Move: 2, Attempt: 1})
	round(0)
	if got, want := to.s.arriving[slot].sum, uint64(0); got != want {
		t.Errorf("sum of nobody = %x", got)
	}
}

// A move during which more users change than may be noted cannot go on, but be aborted.
func TestTooManyChanges(t *testing.T) {
	b := newBench(t, command.Limits{})
	slot := command.SlotOf("alice")
	b.must(&command.BeginMove{Slot: slot, Move: 1})
	lv := b.s.leaving[slot]
	for n := range maxChanges {
		lv.changes[command.UserID(fmt.Sprint("user", n))] = 1
	}
	b.send("alice", "bob", "m")
	if _, err := NewCopier(slot, 1, CopyPlace{}).Next(b.s, 1000); !errors.Is(err, ErrTooManyChanges) {
		t.Errorf("Next: %v, want ErrTooManyChanges", err)
	}
	b.must(&command.ThawSlot{Slot: slot, Move: 1})
	b.must(&command.BeginMove{Slot: slot, Move: 2})
	if _, err := NewCopier(slot, 2, CopyPlace{}).Next(b.s, 1000); err != nil {
		t.Errorf("Next of another move: %v", err)
	}
}

// A shard that has had no move writes snapshots that programs without moves read.
func TestSnapshotWithoutMovesIsOfTheOldVersion(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send("alice", "bob", "m")
	const at = 1 + 1 + len(snapshotMagic) // length, kind, magic
	if v := snapshot(b.s)[at]; v != oldestSnapshotVersion {
		t.Errorf("version %d, want %d", v, oldestSnapshotVersion)
	}
	b.must(&command.BeginMove{Slot: 7, Move: 1})
	if v := snapshot(b.s)[at]; v != snapshotVersion {
		t.Errorf("version %d during a move, want %d", v, snapshotVersion)
	}
}
