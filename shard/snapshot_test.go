package shard

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// TestSnapshotAfterAnother returns snapshots up when they have made an image of
// every user, and takes another at once: that must neither wait for those images
// to go nor take one for its own.
func TestSnapshotAfterAnother(t *testing.T) {
	const users = 40 * releasedPerApply
	b := newBench(t, command.Limits{NewConversations: -1})
	n := 0
	change := func() {
		n++
		b.now++
		data := command.AppendBatchHeader(nil, b.now)
		for i := range users {
			data = command.AppendCommand(data, &command.Send{
				User: loadUser(i), To: loadUser((i + 1) % users), CID: fmt.Sprint(n), ID: command.MsgID{byte(i), byte(i >> 8), byte(n)}, Body: []byte{1},
			})
		}
		b.s.Apply(data, &b.out)
	}
	images := func() (count int) {
		for i := range users {
			if b.s.lookup(loadUser(i)).image != nil {
				count++
			}
		}
		return count
	}
	change()
	for range 3 {
		w := b.s.Snapshot()
		change()
		w.Release()
	}
	w := b.s.Snapshot()
	if got := images(); got != users {
		t.Errorf("%d images are left when the snapshot begins, want all %d", got, users)
	}
	var sums [command.Slots]uint64
	for slot := range sums {
		sums[slot] = b.s.Checksum(uint16(slot))
	}
	CutFine(w, 4<<10, frameBytes)
	var data []byte
	for more := true; more; {
		if data, more = w.Next(data); len(data) > 20<<10 && n < 6 {
			change()
		}
	}
	w.Release()
	restored, err := Restore(bytes.NewReader(data), 1)
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range sums {
		if got := restored.Checksum(uint16(slot)); got != want {
			t.Fatalf("Checksum(%d) after Restore = %x, want %x", slot, got, want)
		}
	}
	for batches := 0; b.s.staleImages != nil; batches++ {
		if batches > 3*users/releasedPerApply {
			t.Fatal("images of snapshots given up do not go")
		}
		b.s.Apply(command.AppendBatchHeader(nil, b.now), &b.out)
	}
	for range 100_000 {
		if b.s.arena.Stats().Deferred == 0 {
			break
		}
		b.s.arena.Free(b.s.arena.Alloc(1), 1)
	}
	if got := images(); got != 0 || b.s.arena.Stats().Deferred != 0 {
		t.Errorf("%d images and %d bytes kept for them after the last snapshot", got, b.s.arena.Stats().Deferred)
	}
}

// TestSnapshotBeforeAFreeze freezes a slot that a snapshot has not come to, of a
// user who held something below the cutoff: the freeze removes that.
func TestSnapshotBeforeAFreeze(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send(slotNames(1)[0], "b", "m")
	b.now += 10
	b.do(&command.RaiseCutoff{Cutoff: b.now, FirstSlot: 8, MaxWork: 1 << 30})
	want := b.s.Checksum(7)
	w := b.s.Snapshot()
	b.freeze(7)
	if b.s.Checksum(7) == want {
		t.Fatal("the freeze changed nothing")
	}
	var data []byte
	for more := true; more; {
		data, more = w.Next(data)
	}
	w.Release()
	restored, err := Restore(bytes.NewReader(data), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := restored.Checksum(7); got != want {
		t.Errorf("Checksum(7) after Restore = %x, want %x", got, want)
	}
}
