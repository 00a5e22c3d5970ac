package shard_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// goldenSeed and goldenCommands make the world whose log, snapshot and slots lie
// in testdata. The files say what it was: a later simulation that takes the seed
// elsewhere does not matter.
const (
	goldenSeed     = 7
	goldenCommands = 2500
	groupWorth     = 32 << 10 // bytes of a snapshot, that a group counts as
	goldenMove     = 1 << 40  // number of the moves of its slots
	goldenCopy     = 3000     // bytes of a CopySlot of them
)

// TestGoldenState applies and restores files that an earlier program wrote: a log,
// a snapshot, and each of its slots. They have to give the state that they gave
// then, and that state has to be written as it was. A format that changes fails
// here, whether its version was raised or not: raise it, and write the files anew
// with -update.
func TestGoldenState(t *testing.T) {
	if shard.Update() {
		writeGoldenState(t)
	}
	log, snapshot, slots := goldenFile(t, "log"), goldenFile(t, "snapshot"), goldenFile(t, "slots")
	sums, err := os.ReadFile(filepath.Join("testdata", "state.sums"))
	if err != nil {
		t.Fatal(err)
	}
	want := string(sums)

	var replayed *shard.State
	if err := catch(func() { replayed = replay(log) }); err != nil {
		t.Errorf("log: %v", err)
	} else if got := checksums(replayed); got != want {
		t.Errorf("the log gives another state than it did: %s", firstDifference(got, want))
	}

	restored, err := shard.Restore(bytes.NewReader(snapshot), 1)
	if err != nil {
		t.Errorf("snapshot: %v", err)
	} else {
		if got := checksums(restored); got != want {
			t.Errorf("the snapshot gives another state than it did: %s", firstDifference(got, want))
		}
		if !bytes.Equal(snapshotOf(restored), snapshot) {
			t.Error("a snapshot of the state is written otherwise than it was")
		}
	}

	var moved *shard.State
	if err := catch(func() { moved = importSlots(t, slots) }); err != nil {
		t.Errorf("slots: %v", err)
	} else if got := checksums(moved); got != want {
		t.Errorf("the slots give another state than they did: %s", firstDifference(got, want))
	}
	if restored != nil && !bytes.Equal(slotsOf(t, restored), slots) {
		t.Error("slots of the state are written otherwise than they were")
	}
}

// writeGoldenState lets a world live and writes the largest state that a shard had, with groups
// if there are any.
func writeGoldenState(t *testing.T) {
	w := newWorld(goldenSeed)
	var log []byte
	best := 0
	w.spoil = func(w *world) {
		for _, sh := range w.shards {
			n := sh.leader.Count(0, command.Slots-1)
			worth := len(snapshotOf(sh.leader)) + groupWorth*n.Groups
			if worth <= best {
				continue
			}
			best, log = worth, log[:0]
			for _, batch := range sh.log {
				log = append(binary.AppendUvarint(log, uint64(len(batch))), batch...)
			}
		}
	}
	w.run(goldenCommands)
	st := replay(log)
	for name, data := range map[string][]byte{"log": log, "snapshot": snapshotOf(st), "slots": slotsOf(t, st)} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", "state."+name+".gz"), packed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join("testdata", "state.sums"), []byte(checksums(st)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldenFile(t *testing.T, name string) []byte {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", "state."+name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replay applies batches that are each behind their length.
func replay(log []byte) *shard.State {
	st := shard.NewState(1)
	var out shard.Outcome
	for len(log) > 0 {
		size, width := binary.Uvarint(log)
		log = log[width:]
		st.Apply(log[:size], &out)
		log = log[size:]
	}
	return st
}

func snapshotOf(st *shard.State) (data []byte) {
	v := st.Snapshot()
	defer v.Release()
	for more := true; more; {
		data, more = v.Next(data)
	}
	return data
}

// slotsOf encodes the copies of the slots that hold something, each behind its length.
func slotsOf(t *testing.T, st *shard.State) (data []byte) {
	t.Helper()
	for number := range uint16(command.Slots) {
		if sum := st.Checksum(number); sum != 0 && sum != xxhash.New().Sum64() {
			apply(t, st, &command.BeginMove{Slot: number, Move: goldenMove})
			for _, cmd := range shard.CopyAll(t, st, number, goldenMove, goldenCopy) {
				encoded := command.AppendCommand(nil, cmd)
				data = append(binary.AppendUvarint(data, uint64(len(encoded))), encoded...)
			}
		}
	}
	return data
}

// apply applies a command that is not to be refused.
func apply(t *testing.T, st *shard.State, cmd command.Command) {
	t.Helper()
	var out shard.Outcome
	st.Apply(command.AppendCommand(command.AppendBatchHeader(nil, 1), cmd), &out)
	if r := out.Results[0]; r.Code != command.OK {
		t.Errorf("%T = %+v", cmd, r)
	}
}

func importSlots(t *testing.T, slots []byte) *shard.State {
	t.Helper()
	st := shard.NewState(1)
	var out shard.Outcome
	for len(slots) > 0 {
		size, width := binary.Uvarint(slots)
		slots = slots[width:]
		st.Apply(append(command.AppendBatchHeader(nil, 1), slots[:size]...), &out)
		if r := out.Results[0]; r.Code != command.OK {
			t.Errorf("CopySlot = %+v", r)
		}
		slots = slots[size:]
	}
	for number := range uint16(command.Slots) {
		if a, ok := st.Arriving(number); ok {
			apply(t, st, &command.FlipSlot{Slot: number, Move: a.Move, Last: a.Place.Number})
		}
	}
	return st
}

// checksums lists what the slots that hold something hash to, by number.
func checksums(st *shard.State) string {
	none := xxhash.New().Sum64()
	var b strings.Builder
	for number := range uint16(command.Slots) {
		if sum := st.Checksum(number); sum != 0 && sum != none {
			fmt.Fprintf(&b, "%d %016x\n", number, sum)
		}
	}
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("slot and checksum are %q, want %q", g[i], w[i])
		}
	}
	return fmt.Sprintf("%d slots, want %d", len(g)-1, len(w)-1)
}

// catch returns what f panics with.
func catch(f func()) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	f()
	return nil
}
