package shard_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/belfry-im/belfry/shard"
)

// simShards is how many shards a world has; each has a leader and a follower.
const simShards = 3

// A world is a small cluster without wires: shards with two replicas each, users
// with devices, letters on their way, slots on the move, beside the model that
// says what should come of it. One seed decides everything.
type world struct {
	seed     uint64
	rng      *rand.Rand
	model    *model
	shards   []*simShard
	users    []shard.UserID
	owner    map[uint16]int // shard of each user's slot
	moves    []*slotMove
	mail     []flight
	trims    []shard.Trim
	devices  []*device
	clock    int64 // ms, of an ideal clock
	sent     []simSend
	requests []order // to be repeated
	acked    map[[2]shard.UserID]int
	nextID   uint64
	step     int
	commands int          // executed
	spoil    func(*world) // plants a bug after a batch; nil in a sound world
	arrived  []uint16     // slots that the last batch imported
	trail    []trace
	batch    shard.Batch // used again for each read, as is page
	page     shard.Page

	limits    shard.Limits
	bodyBytes int // of a usual body, at most
}

// strangers are users that only others' blocks know of.
var strangers = []shard.UserID{"stranger0", "stranger1", "stranger2"}

type simShard struct {
	index    int
	leader   *shard.State
	follower *shard.State
	log      [][]byte // all batches since the beginning
	pending  []order
	skew     int64 // ms, of its proposer's clock
	photo    *photo
	outcome  shard.Outcome
	second   shard.Outcome // of the follower
}

// An order is a command that waits for the next batch of its shard.
type order struct {
	cmd  shard.Command
	done func(*shard.Result)
}

// A photo is a snapshot that is being taken while commands go on.
type photo struct {
	view  *shard.View
	state *shard.State
	bytes []byte
	mark  int // batches it covers
	sums  map[uint16]uint64
}

// A flight is a letter on its way between shards.
type flight struct {
	to    shard.UserID
	bytes []byte
}

// A simSend is what a repeat needs to know of a send.
type simSend struct {
	cmd *shard.Send
}

// A slotMove brings a slot from one shard to another: freeze, copy, drop.
type slotMove struct {
	slot     uint16
	from, to int
	phase    int
	busy     bool // a command of it is pending
	data     []byte
}

// A trace is a command that was executed, for the report of a failure.
type trace struct {
	step  int
	shard int
	now   int64
	cmd   shard.Command
	code  shard.Code
}

// trailLen is how many commands a report shows.
const trailLen = 40

func (w *world) recent() string {
	var b strings.Builder
	for _, t := range w.trail[max(0, len(w.trail)-trailLen):] {
		fmt.Fprintf(&b, "\n  step %d, shard %d at %d: %s: code %d", t.step, t.shard, t.now, describe(t.cmd), t.code)
	}
	return b.String()
}

// failure is what a world panics with when state and model differ.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func (w *world) failf(format string, args ...any) {
	panic(&failure{fmt.Sprintf(format, args...)})
}

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0xbe1f)), model: newModel(simShards),
		owner: map[uint16]int{}, acked: map[[2]shard.UserID]int{}, clock: 1_700_000_000_000,
	}
	users := 4 + w.rng.IntN(5)
	switch w.rng.IntN(20) {
	case 0:
		users = 2 // long conversations
	case 1:
		users = 40 // many
	}
	for i := range users {
		name := []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"}[i%8]
		id := shard.UserID(fmt.Sprintf("%s%d", name, 100*i+w.rng.IntN(100)))
		w.users = append(w.users, id)
		w.owner[shard.SlotOf(string(id))] = firstOwner(shard.SlotOf(string(id)))
	}
	w.limits = w.randomLimits()
	w.bodyBytes = []int{20, 60, 200}[w.rng.IntN(3)]
	if w.chance(10) { // much to keep, so that snapshots come in several pieces
		w.bodyBytes, w.limits.UserBytes = 1500, 1<<20
	}
	for i := range simShards {
		sh := &simShard{
			index: i, leader: shard.NewState(uint32(i)), follower: shard.NewState(uint32(i)),
			skew: int64(w.rng.IntN(4000)) - 2000,
		}
		w.shards = append(w.shards, sh)
		w.openSlots(i)
		w.order(i, &shard.Configure{Limits: w.limits}, nil)
		w.flush(sh)
	}
	w.makeDevices()
	return w
}

// openSlots gives a shard its share of the slots: all, or, since walks over
// thousands of empty slots take most of the time of a run, those that are used.
func (w *world) openSlots(index int) {
	if w.seed%16 == 0 {
		first := func(i int) int { return (i*shard.Slots + simShards - 1) / simShards }
		w.order(index, &shard.OpenSlots{FirstSlot: uint16(first(index)), LastSlot: uint16(first(index+1) - 1)}, nil)
		return
	}
	for _, user := range slices.Concat(w.users, strangers) {
		if slot := shard.SlotOf(string(user)); firstOwner(slot) == index {
			w.order(index, &shard.OpenSlots{FirstSlot: slot, LastSlot: slot}, nil)
		}
	}
}

// randomLimits are small, so that all of them are reached. Times are the same
// for the whole run: what is gone must not come back.
func (w *world) randomLimits() shard.Limits {
	l := shard.Limits{
		OfflineTTL:  time.Duration(20+w.rng.IntN(300)) * time.Second,
		HistoryTTL:  time.Duration(30+w.rng.IntN(600)) * time.Second,
		DedupWindow: time.Duration(5+w.rng.IntN(30)) * time.Second,

		RecallWindow: time.Duration(5+w.rng.IntN(30)) * time.Second,
	}
	w.randomBounds(&l)
	return l
}

func (w *world) randomBounds(l *shard.Limits) {
	l.OfflineMaxMessages = 3 + w.rng.IntN(20)
	l.OfflineMaxBytes = 300 + w.rng.IntN(4000)
	l.UserBytes = 1000 + w.rng.IntN(10000)
	l.Recents = 1 + w.rng.IntN(8)
	l.MaxDevices = 1 + w.rng.IntN(4)
	l.NewConversations = 1 + w.rng.IntN(8)
	l.MaxConversations = 4 + w.rng.IntN(8)
	l.MaxBlocked = 1 + w.rng.IntN(3)
	if w.chance(10) {
		l.OfflineMaxMessages, l.NewConversations = -1, -1
	}
	if w.chance(10) {
		l.UserBytes = 200_000
	}
}

// chance is true in percent of the cases.
func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func pick[T any](w *world, from []T) T { return from[w.rng.IntN(len(from))] }

// shardOf is the shard that owns a user.
func (w *world) shardOf(user shard.UserID) *simShard {
	slot := shard.SlotOf(string(user))
	if index, ok := w.owner[slot]; ok {
		return w.shards[index]
	}
	return w.shards[firstOwner(slot)]
}

// firstOwner is the shard that a slot is in at the beginning.
func firstOwner(slot uint16) int { return int(slot) * simShards / shard.Slots }

// order queues a command for the next batch of a shard.
func (w *world) order(index int, cmd shard.Command, done func(*shard.Result)) {
	sh := w.shards[index]
	sh.pending = append(sh.pending, order{cmd, done})
}

// send orders a command where its key lives, or now and then where it does not.
func (w *world) send(cmd shard.Command, done func(*shard.Result)) {
	index := w.shardOf(shard.UserID(cmd.Key())).index
	if w.rng.IntN(300) == 0 {
		index = w.rng.IntN(simShards)
	}
	w.order(index, cmd, done)
}

// alone executes a command in a batch of its own, after what waits.
func (w *world) alone(cmd shard.Command, done func(*shard.Result)) {
	sh := w.shardOf(shard.UserID(cmd.Key()))
	w.flush(sh)
	w.order(sh.index, cmd, done)
	w.flush(sh)
}

// flush executes what waits at a shard as one batch.
func (w *world) flush(sh *simShard) {
	if len(sh.pending) == 0 {
		return
	}
	at := w.clock + sh.skew
	if w.chance(10) {
		at -= int64(w.rng.IntN(3000)) // a new leader whose clock is behind
	}
	orders := sh.pending
	sh.pending = nil
	batch := shard.AppendBatchHeader(nil, at)
	for _, o := range orders {
		batch = shard.AppendCommand(batch, o.cmd)
	}
	sh.log = append(sh.log, batch)
	sh.leader.Apply(batch, &sh.outcome)
	sh.follower.Apply(batch, &sh.second)
	w.commands += len(orders)

	ms := w.model.shards[sh.index]
	w.model.begin()
	ms.now = max(ms.now, at)
	if len(orders) == 1 {
		w.model.adopt = &adoption{
			readSeq:   func(user, peer shard.UserID) uint64 { return shard.ReadSeq(sh.leader, user, peer) },
			receipted: func(user, peer shard.UserID) uint64 { return shard.Receipted(sh.leader, user, peer) },
		}
	}
	if len(sh.outcome.Results) != len(orders) {
		w.failf("Apply gave %d results, want %d", len(sh.outcome.Results), len(orders))
	}
	for i, o := range orders {
		want := w.model.apply(ms, o.cmd)
		if diff := diffResult(&sh.outcome.Results[i], &want); diff != "" {
			w.failf("%s: %s", describe(o.cmd), diff)
		}
		if diff := diffResult(&sh.second.Results[i], &sh.outcome.Results[i]); diff != "" {
			w.failf("follower: %s: %s", describe(o.cmd), diff)
		}
	}
	w.model.adopt = nil
	w.arrived = w.arrived[:0]
	for i, o := range orders {
		w.trail = append(w.trail, trace{w.step, sh.index, ms.now, o.cmd, sh.outcome.Results[i].Code})
		if c, ok := o.cmd.(*shard.ImportSlot); ok && sh.outcome.Results[i].Code == shard.OK {
			w.arrived = append(w.arrived, c.Slot)
		}
	}
	if n := len(w.trail); n > 2*trailLen {
		w.trail = slices.Delete(w.trail, 0, n-trailLen)
	}
	w.checkOutcome(sh)
	for i, o := range orders {
		if o.done != nil {
			o.done(&sh.outcome.Results[i])
		}
	}
	w.launch(sh)
	w.checkTouched(sh)
	if w.spoil != nil {
		w.spoil(w)
	}
}

// launch puts what was posted on its way; some of it is lost.
func (w *world) launch(sh *simShard) {
	for _, p := range sh.outcome.Posted {
		if !w.chance(10) {
			w.mail = append(w.mail, flight{p.To, p.Bytes})
		}
	}
}

// readAhead is how far, in ms, the clock of reads may be ahead of what was applied.
const readAhead = 20_000

// readTime is a time at which to read a shard: what was applied last, or later.
func (w *world) readTime(sh *simShard) int64 {
	now := sh.leader.Now()
	if w.chance(30) {
		now += int64(w.rng.IntN(readAhead))
	}
	return now
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
		return
	}
	var more bool
	p.bytes, more = p.view.Next(p.bytes)
	if more {
		return
	}
	p.view.Release()
	sh.photo = nil
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
	for _, batch := range sh.log[mark:] {
		state.Apply(batch, &out)
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

// sums are the checksums of all slots that users live in.
func (w *world) sums(state *shard.State) map[uint16]uint64 {
	sums := make(map[uint16]uint64, len(w.owner))
	for slot := range w.owner {
		sums[slot] = state.Checksum(slot)
	}
	return sums
}

func (w *world) compareReplicas(sh *simShard, state *shard.State) {
	for _, user := range w.users {
		w.compareSlot(sh, state, user)
	}
	if state.Now() != sh.leader.Now() {
		w.failf("Now() = %d on a replica of shard %d, want %d", state.Now(), sh.index, sh.leader.Now())
	}
	if state.Limits() != sh.leader.Limits() {
		w.failf("Limits() = %+v on a replica of shard %d, want %+v", state.Limits(), sh.index, sh.leader.Limits())
	}
}

func (w *world) compareSlot(sh *simShard, state *shard.State, user shard.UserID) {
	slot := shard.SlotOf(string(user))
	if got, want := state.Checksum(slot), sh.leader.Checksum(slot); got != want {
		w.failf("Checksum(slot of %s) = %x on a replica of shard %d, want %x", user, got, sh.index, want)
	}
	if got, want := state.Owns(slot), sh.leader.Owns(slot); got != want {
		w.failf("Owns(slot of %s) = %v on a replica of shard %d, want %v", user, got, sh.index, want)
	}
}

// startMove begins to move a user's slot elsewhere.
func (w *world) startMove() {
	slot := shard.SlotOf(string(pick(w, w.users)))
	if slices.ContainsFunc(w.moves, func(m *slotMove) bool { return m.slot == slot }) {
		return
	}
	from := w.owner[slot]
	to := (from + 1 + w.rng.IntN(simShards-1)) % simShards
	w.moves = append(w.moves, &slotMove{slot: slot, from: from, to: to})
}

// goOnMoving takes the next step of a move. Each may be repeated: whoever
// leads placement resumes where he cannot tell whether it happened.
func (w *world) goOnMoving(m *slotMove) {
	if m.busy {
		return
	}
	m.busy = true
	again := 1
	if w.chance(20) {
		again = 2
	}
	next := func(*shard.Result) { m.busy, m.phase = false, m.phase+1 }
	source := w.shards[m.from]
	switch m.phase {
	case 0:
		for range again - 1 {
			w.order(m.from, &shard.FreezeSlot{Slot: m.slot}, nil)
		}
		w.order(m.from, &shard.FreezeSlot{Slot: m.slot}, next)
	case 1:
		data, err := source.leader.AppendSlot(nil, m.slot)
		if err != nil {
			w.failf("AppendSlot(%d): %v", m.slot, err)
		}
		other, err := source.follower.AppendSlot(nil, m.slot)
		if err != nil || !bytes.Equal(data, other) {
			w.failf("AppendSlot(%d) differs between replicas: %v", m.slot, err)
		}
		m.data = data
		next(nil)
	case 2:
		w.order(m.to, &shard.ImportSlot{Slot: m.slot, Data: m.data}, func(r *shard.Result) {
			got, want := w.shards[m.to].leader.Checksum(m.slot), source.leader.Checksum(m.slot)
			if got != want && again == 1 {
				w.failf("Checksum(%d) after the move = %x, want %x", m.slot, got, want)
			}
			w.owner[m.slot] = m.to
			next(r)
		})
		if again > 1 {
			w.order(m.to, &shard.ImportSlot{Slot: m.slot, Data: m.data}, nil)
		}
		w.flush(w.shards[m.to]) // so that the checksums are of one moment
	case 3:
		for range again - 1 {
			w.order(m.from, &shard.DropSlot{Slot: m.slot}, nil)
		}
		w.order(m.from, &shard.DropSlot{Slot: m.slot}, next)
	default:
		w.moves = slices.DeleteFunc(w.moves, func(o *slotMove) bool { return o == m })
	}
}
