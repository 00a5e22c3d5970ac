package shard_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// simShards is how many shards a world has; each has a leader and a follower.
const simShards = 3

// A world is a small cluster without wires: shards with two replicas each, users
// with devices, letters on their way, slots on the move, beside the model that
// says what should come of it. One seed decides everything.
type world struct {
	seed     uint64
	rng      *rand.Rand
	hookRng  *rand.Rand // of what concerns hooks alone, which changes nothing else
	model    *model
	shards   []*simShard
	users    []command.UserID
	groups   []command.GroupID
	owner    map[uint16]int // shard of each user's and group's slot
	mapEpoch uint64         // of the slots' map
	moves    []*slotMove
	moved    map[moveEnd]int // moves that are over
	lastMove command.Move
	steps    []moveStep // of moves, to be repeated
	mail     [][]byte   // encoded letters on their way
	trims    []command.TrimOutbox
	devices  []*device
	clock    int64           // ms, of an ideal clock
	sent     []*command.Send // to be repeated, as are requests
	late     []func()        // messages on their way from a device
	requests []order
	acked    map[[2]command.UserID]int
	imported map[[2]command.UserID]int // rows in the first one's view of the second
	streams  []*simStream
	nextID   uint64
	talk     []*command.SendGroup   // to groups, to be repeated
	asked    []command.GroupCommand // likewise
	feeds    []*feed
	restless bool // slots move all the time
	busy     bool // there is one group, in which much happens at a time
	pace     int  // ms, that a step takes at most
	// newTimes has configurations change how long messages stay in the queue; other times
	// stay, since what is gone from history must not come back. There is no cutoff then:
	// what it took from no queue would have to be lost once the queue reaches further back.
	newTimes bool
	step     int
	commands int          // executed
	spoil    func(*world) // plants a bug after a batch; nil in a sound world
	arrived  []uint16     // slots that the last batch imported
	// blindToTags is a bug that lies in reading: cursors of other groups pass for
	// those of the group asked for.
	blindToTags bool
	trail       []trace
	batch       query.Updates // used again for each read, as is page
	page        query.Page

	limits    command.Limits
	bodyBytes int // of a usual body, at most
}

// strangers are users that only others' blocks know of.
var strangers = []command.UserID{"stranger0", "stranger1", "stranger2"}

// ghosts are users that only groups know of, into which others put them.
var ghosts = []command.UserID{"ghost0", "ghost1"}

type simShard struct {
	index    int
	leader   *shard.State
	follower *shard.State
	log      [][]byte                 // all batches since the beginning
	sums     map[int][]shard.Checksum // by index in log
	version  uint64                   // of the newest configuration that was ordered
	sumFrom  command.Place            // where the next Checksum begins
	pending  []order
	skew     int64 // ms, of its proposer's clock
	photo    *photo
	outcome  shard.Outcome
	second   shard.Outcome // of the follower
}

// An order is a command that waits for the next batch of its shard.
type order struct {
	cmd  command.Command
	done func(*command.Result)
}

// A trace is a command that was executed, for the report of a failure.
type trace struct {
	step  int
	shard int
	now   int64
	cmd   command.Command
	code  command.Code
}

// trailLen is how many commands a report shows.
const trailLen = 40

func (w *world) remember(t trace) {
	w.trail = append(w.trail, t)
	if n := len(w.trail); n == 2*trailLen {
		w.trail = slices.Delete(w.trail, 0, n-trailLen)
	}
}

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
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0xbe1f)), hookRng: rand.New(rand.NewPCG(seed, 0x400c)), model: newModel(simShards),
		owner: map[uint16]int{}, acked: map[[2]command.UserID]int{}, moved: map[moveEnd]int{}, imported: map[[2]command.UserID]int{}, mapEpoch: 1, clock: 1_700_000_000_000,
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
		id := command.UserID(fmt.Sprintf("%s%d", name, 100*i+w.rng.IntN(100)))
		w.users = append(w.users, id)
		w.owner[command.SlotOf(string(id))] = firstOwner(command.SlotOf(string(id)))
	}
	w.busy, w.pace = w.chance(8), 300
	w.newTimes = w.chance(30)
	w.makeGroups()
	w.limits = w.randomLimits()
	if w.busy {
		w.pace = 3
		w.limits.GroupTTL, w.limits.GroupBytes, w.limits.GroupRate = time.Hour, 1<<20, -1
	}
	w.bodyBytes = []int{20, 60, 200}[w.rng.IntN(3)]
	if w.chance(10) { // much to keep, so that snapshots come in several pieces
		w.bodyBytes, w.limits.UserBytes = 1500, 1<<20
		w.limits.GroupBytes = 1 << 19
	}
	for i := range simShards {
		sh := &simShard{
			index: i, leader: shard.NewState(uint32(i)), follower: shard.NewState(uint32(i)),
			skew: int64(w.rng.IntN(4000)) - 2000, sums: map[int][]shard.Checksum{},
		}
		w.shards = append(w.shards, sh)
		w.openSlots(i)
		w.order(i, w.configuration(sh, w.limits, 0), nil)
		w.flush(sh)
	}
	w.makeDevices()
	return w
}

// openSlots returns a shard its share of the slots: all, or, since walks over
// thousands of empty slots take most of the time of a run, those that are used.
func (w *world) openSlots(index int) {
	w.order(index, w.firstSlots(index), nil)
}

// firstSlots opens what a shard begins with.
func (w *world) firstSlots(index int) *command.OpenSlots {
	open := &command.OpenSlots{Epoch: 1}
	if w.seed%16 == 0 {
		first := func(i int) int { return (i*command.Slots + simShards - 1) / simShards }
		open.Slots = []command.SlotRange{{First: uint16(first(index)), Last: uint16(first(index+1) - 1)}}
		return open
	}
	for _, user := range slices.Concat(w.keys(), strangers, ghosts) {
		if slot := command.SlotOf(string(user)); firstOwner(slot) == index {
			open.Slots = append(open.Slots, command.SlotRange{First: slot, Last: slot})
		}
	}
	return open
}

// randomLimits are small, so that all of them are reached. Times are the same
// for the whole run: what is gone must not come back.
func (w *world) randomLimits() command.Limits {
	l := command.Limits{
		OfflineTTL:  time.Duration(20+w.rng.IntN(300)) * time.Second,
		HistoryTTL:  time.Duration(30+w.rng.IntN(600)) * time.Second,
		DedupWindow: time.Duration(5+w.rng.IntN(30)) * time.Second,
	}
	l.RecallWindow = time.Duration(5+w.rng.IntN(30)) * time.Second
	l.GroupTTL = time.Duration(30+w.rng.IntN(600)) * time.Second
	l.GroupRate = []int{-1, -1, 1, 2, 5}[w.rng.IntN(5)]
	w.randomBounds(&l)
	return l
}

func (w *world) randomBounds(l *command.Limits) {
	l.OfflineMaxMessages = 3 + w.rng.IntN(20)
	l.OfflineMaxBytes = 300 + w.rng.IntN(4000)
	l.UserBytes = 1000 + w.rng.IntN(10000)
	l.Recents = 1 + w.rng.IntN(8)
	l.MaxDevices = 1 + w.rng.IntN(4)
	l.NewConversations = 1 + w.rng.IntN(8)
	l.MaxConversations = 4 + w.rng.IntN(8)
	l.MaxBlocked = 1 + w.rng.IntN(3)
	l.GroupBytes = 500 + w.rng.IntN(8000)
	l.GroupBurst = 2 + w.rng.IntN(20)
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

// shardOf is the shard that owns a user, or a group by its key.
func (w *world) shardOf(user command.UserID) *simShard {
	slot := command.SlotOf(string(user))
	if index, ok := w.owner[slot]; ok {
		return w.shards[index]
	}
	return w.shards[firstOwner(slot)]
}

// firstOwner is the shard that a slot is in at the beginning.
func firstOwner(slot uint16) int { return int(slot) * simShards / command.Slots }

// order queues a command for the next batch of a shard.
func (w *world) order(index int, cmd command.Command, done func(*command.Result)) {
	sh := w.shards[index]
	sh.pending = append(sh.pending, order{cmd, done})
}

// send orders a command where its key lives, or now and then where it does not.
func (w *world) send(cmd command.Command, done func(*command.Result)) {
	index := w.shardOf(command.UserID(cmd.Key())).index
	if w.rng.IntN(300) == 0 {
		index = w.rng.IntN(simShards)
	}
	w.order(index, cmd, done)
}

// alone executes a command in a batch of its own, after what waits.
func (w *world) alone(cmd command.Command, done func(*command.Result)) {
	sh := w.shardOf(command.UserID(cmd.Key()))
	w.flush(sh)
	w.order(sh.index, cmd, done)
	w.flush(sh)
}

// flush executes what waits at a shard as one batch, on both replicas, and
// compares what comes of it.
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
	batch := command.AppendBatchHeader(nil, at)
	for _, o := range orders {
		batch = command.AppendCommand(batch, o.cmd)
	}
	sh.log = append(sh.log, batch)
	sh.leader.Apply(batch, &sh.outcome)
	sh.second.WantedChanges = allChanges // replicas have to stay alike nevertheless
	sh.follower.Apply(batch, &sh.second)
	w.commands += len(orders)
	w.keepSums(sh)

	w.follow(sh, orders, at)
	w.checkOutcome(sh)
	w.checkNeeds(sh, orders)
	for i, o := range orders {
		if o.done != nil {
			o.done(&sh.outcome.Results[i])
		}
	}
	w.launch(sh)
	w.checkTouched(sh)
	w.checkTouchedGroups(sh, orders)
	w.checkHooks(sh)
	if w.spoil != nil {
		w.spoil(w)
	}
}

// follow lets the model execute a batch and compares the results.
func (w *world) follow(sh *simShard, orders []order, at int64) {
	if len(sh.outcome.Results) != len(orders) || len(sh.second.Results) != len(orders) {
		w.failf("Apply gave %d and %d results, want %d", len(sh.outcome.Results), len(sh.second.Results), len(orders))
	}
	ms := w.model.shards[sh.index]
	ms.now = max(ms.now, at)
	w.model.begin()
	if len(orders) == 1 {
		w.model.adopt = &adoption{
			readSeq:          func(user, peer command.UserID) uint64 { return shard.ReadSeq(sh.leader, user, peer) },
			receipted:        func(user, peer command.UserID) uint64 { return shard.Receipted(sh.leader, user, peer) },
			looksErased:      func(user, peer command.UserID) (uint64, bool) { return shard.LooksErased(sh.leader, user, peer) },
			next:             func() uint64 { return sh.outcome.Results[0].Seq },
			holdsBelowCutoff: func(user command.UserID) bool { return shard.HoldsBelowCutoff(sh.leader, user) },
		}
	}
	w.arrived = w.arrived[:0]
	for i, o := range orders {
		got := &sh.outcome.Results[i]
		w.remember(trace{w.step, sh.index, ms.now, o.cmd, got.Code})
		w.model.left = got.Seq
		want := w.model.apply(ms, o.cmd)
		if diff := diffResult(got, &want); diff != "" {
			w.failf("%s: %s", describe(o.cmd), diff)
		}
		if diff := diffResult(&sh.second.Results[i], got); diff != "" {
			w.failf("follower: %s: %s", describe(o.cmd), diff)
		}
		if c, ok := o.cmd.(*command.FlipSlot); ok && got.Code == command.OK {
			w.arrived = append(w.arrived, c.Slot)
		}
	}
	w.model.adopt = nil
}

// launch puts what was posted on its way; some of it is lost.
func (w *world) launch(sh *simShard) {
	for _, p := range sh.outcome.Posted {
		if !w.chance(10) {
			w.mail = append(w.mail, p.Bytes)
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
