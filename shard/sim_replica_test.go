package shard_test

import (
	"bytes"
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// A photo is a snapshot that is being taken while commands go on.
type photo struct {
	view  *shard.SnapshotWriter
	state *shard.State
	bytes []byte
	mark  int // batches it covers
	sums  map[uint16]uint64
}

// photograph goes on with the snapshot of a shard. When it is done a new
// replica is made from it, brought up to date and put in a replica's place.
func (w *world) photograph(sh *simShard) {
	p := sh.photo
	if w.spoil != nil {
		return // as in replay
	}
	if p == nil {
		state := sh.leader
		if w.chance(50) {
			state = sh.follower
		}
		sh.photo = &photo{view: state.Snapshot(), state: state, mark: len(sh.log), sums: w.sums(state)}
		shard.CutFine(sh.photo.view, 1<<w.rng.IntN(17), 2<<w.rng.IntN(15)) // the first byte of a frame is its kind
		return
	}
	var more bool
	for range 1 + w.rng.IntN(20) {
		if p.bytes, more = p.view.Next(p.bytes); !more {
			break
		}
	}
	if more && w.chance(98) {
		return
	}
	p.view.Release()
	sh.photo = nil
	if more {
		return // given up
	}
	restored, err := shard.Restore(bytes.NewReader(p.bytes), uint32(sh.index))
	if err != nil {
		w.failf("Restore: %v", err)
	}
	for slot, sum := range w.sums(restored) {
		if sum != p.sums[slot] {
			w.failf("Checksum(%d) after Restore = %x, want %x", slot, sum, p.sums[slot])
		}
	}
	w.catchUp(sh, restored, p.mark)
	if w.chance(50) {
		sh.leader, sh.follower = sh.follower, restored
	} else {
		sh.follower = restored
	}
}

// catchUp applies the batches from mark on and compares with the leader.
func (w *world) catchUp(sh *simShard, state *shard.State, mark int) {
	var out shard.Outcome
	for i, batch := range sh.log[mark:] {
		state.Apply(batch, &out)
		if want := sh.sums[mark+i]; !slices.Equal(out.Checksums, want) {
			w.failf("Checksums = %+v on a replica of shard %d, want %+v", out.Checksums, sh.index, want)
		}
	}
	w.compareReplicas(sh, state)
}

// replay builds a shard anew from its first batch.
func (w *world) replay(sh *simShard) {
	if w.spoil != nil {
		return // a log knows nothing of what spoils the state
	}
	w.catchUp(sh, shard.NewState(uint32(sh.index)), 0)
}

// sums are the checksums of all slots that users and groups live in.
func (w *world) sums(state *shard.State) map[uint16]uint64 {
	sums := make(map[uint16]uint64, len(w.owner))
	for slot := range w.owner {
		sums[slot] = state.Checksum(slot)
	}
	return sums
}

func (w *world) compareReplicas(sh *simShard, state *shard.State) {
	for _, user := range w.keys() {
		w.compareSlot(sh, state, user)
	}
	if state.Now() != sh.leader.Now() {
		w.failf("Now() = %d on a replica of shard %d, want %d", state.Now(), sh.index, sh.leader.Now())
	}
	if state.Cutoff() != sh.leader.Cutoff() {
		w.failf("Cutoff() = %d on a replica of shard %d, want %d", state.Cutoff(), sh.index, sh.leader.Cutoff())
	}
	if got, want := slices.Collect(state.HookRefsAfter(0)), slices.Collect(sh.leader.HookRefsAfter(0)); !slices.Equal(got, want) {
		w.failf("StoredAfter(0) = %v on a replica of shard %d, want %v", got, sh.index, want)
	}
	if got, want := state.ConfigVersion(), w.model.shards[sh.index].version; got != want {
		w.failf("ConfigVersion() = %d on a replica of shard %d, want %d", got, sh.index, want)
	}
	if got, want := state.MapEpoch(), w.model.shards[sh.index].mapEpoch; got != want {
		w.failf("MapEpoch() = %d on a replica of shard %d, want %d", got, sh.index, want)
	}
	w.checkServed(sh, state)
	if state.Limits() != sh.leader.Limits() {
		w.failf("Limits() = %+v on a replica of shard %d, want %+v", state.Limits(), sh.index, sh.leader.Limits())
	}
}

// checkServed walks the slots that a state serves.
func (w *world) checkServed(sh *simShard, state *shard.State) {
	served := 0
	some := 1 + w.rng.IntN(20)
	for from := 0; ; {
		r, ok := state.NextSlots(from, some)
		if !ok {
			break
		}
		if int(r.First) < from || !state.Owns(r.First) || !state.Owns(r.Last) {
			w.failf("NextSlots(%d, %d) = %v in shard %d", from, some, r, sh.index)
		}
		n := 0
		for slot := from; slot <= int(r.Last); slot++ {
			if w.model.shards[sh.index].slots[slot] == slotOwned {
				n++
			}
		}
		if n > some {
			w.failf("NextSlots(%d, %d) = %v in shard %d, which are %d", from, some, r, sh.index, n)
		}
		served += n
		from = int(r.Last) + 1
	}
	if served != state.Served() {
		w.failf("NextSlots finds %d slots in shard %d, Served() = %d", served, sh.index, state.Served())
	}
}

func (w *world) compareSlot(sh *simShard, state *shard.State, user command.UserID) {
	slot := command.SlotOf(string(user))
	if got, want := state.Checksum(slot), sh.leader.Checksum(slot); got != want {
		w.failf("Checksum(slot of %s) = %x on a replica of shard %d, want %x", user, got, sh.index, want)
	}
	got, _ := state.Arriving(slot)
	if want, _ := sh.leader.Arriving(slot); got != want {
		w.failf("Arriving(%d) = %+v on a replica of shard %d, want %+v", slot, got, sh.index, want)
	}
	leaving, _ := state.Leaving(slot)
	if want, _ := sh.leader.Leaving(slot); leaving != want {
		w.failf("Leaving(%d) = %+v on a replica of shard %d, want %+v", slot, leaving, sh.index, want)
	}
	if got, want := shard.ArrivingSum(state, slot), shard.ArrivingSum(sh.leader, slot); got != want {
		w.failf("the users of slot %d that have come add up to %x on a replica of shard %d, want %x", slot, got, sh.index, want)
	}
	if got, want := state.Owns(slot), sh.leader.Owns(slot); got != want {
		w.failf("Owns(slot of %s) = %v on a replica of shard %d, want %v", user, got, sh.index, want)
	}
}

// keepSums compares the checksums of the last batch between the replicas, and keeps them
// for those that will be made.
func (w *world) keepSums(sh *simShard) {
	if !slices.Equal(sh.outcome.Checksums, sh.second.Checksums) {
		w.failf("Checksums = %+v on the follower of shard %d, want %+v", sh.second.Checksums, sh.index, sh.outcome.Checksums)
	}
	for _, c := range sh.outcome.Checksums {
		switch {
		case c.Done:
			sh.sumFrom = command.Place{}
		case c.To.Slot < c.From.Slot, c.To == c.From:
			w.failf("a Checksum from %+v ends at %+v", c.From, c.To)
		default:
			sh.sumFrom = c.To
		}
		sh.sums[len(sh.log)-1] = append(sh.sums[len(sh.log)-1], c)
	}
}
