package raftstore

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// budgetEvery is the interval between two checks of memory; a check costs some 50 µs.
	// What fills up in one interval must be little beside the limit: large bodies fill
	// 250 MB a second.
	budgetEvery = 25 * time.Millisecond
	// leastRetention is the age below which no message is evicted for want of memory:
	// messages that are under way, or that a slow reader is being sent at the moment.
	leastRetention = 2 * time.Second
	// cutoffWork bounds the work of one RaiseCutoff: about 1 ms of the shard's time.
	// Above hurryPercent the bound is urgentCutoffWork, because each RaiseCutoff waits
	// for a commit, which takes many times as long under load.
	cutoffWork       = 12_000
	urgentCutoffWork = 4 * cutoffWork
	// memoryRetryAfter is the time after which senders are told to retry while memory is
	// full.
	memoryRetryAfter = time.Second
	// calmAfter is the time without a raised cutoff after which the log says that memory
	// suffices.
	calmAfter = time.Minute
)

// Parts of Config.MemoryLimit, in percent. The rest of the limit is room for garbage,
// for memory that a snapshot keeps from being freed, and for bursts.
const (
	softPercent  = 75 // used memory: above it, retention shortens
	hurryPercent = 80 // used memory: above it, retention shortens faster, at the cost of latency
	tightPercent = 90 // used memory and free parts of the arenas: above it, retention shortens too,
	leastPercent = 50 // unless less than this is used: eviction may then free parts of blocks alone
	fullPercent  = 92 // memory in use, half of the arenas' free parts included: at it, sends are refused

	// lastingPercent bounds what no shorter retention frees (users, dedupe windows,
	// letters), as a part of the room that messages could have. Above both this and
	// softPercent, sends are refused too.
	lastingPercent = 75

	calmPercent  = 3 // so far below the limits that refuse sends, they are accepted again
	slackPercent = 2 // evicted beyond the excess, so that it does not return at once
)

// A budget keeps the memory of the process below Config.MemoryLimit: it evicts the
// oldest messages of all shards that this node leads, and refuses sends while that
// does not suffice.
type budget struct {
	store      *Store
	limit      int64
	reserved   int64        // Config.ReservedMemory
	retentions []*retention // of current
	current    *[]*localShard

	replicas atomic.Pointer[[]*localShard] // of this node; current as of the next check
	reported time.Time                     // when other nodes were last told of this one's pressure

	replaced   int64  // replacements as of the last collection that read started
	collection uint64 // number of the last garbage collection seen
	other      int64  // live heap that is not the shards', as of that collection
	exceeded   bool   // memory that is not the shards' exceeds reserved

	work   atomic.Uint32 // MaxWork of the next RaiseCutoff
	sweeps sync.WaitGroup

	seeing sync.Mutex // held for seen
	seen   memorySeen
}

// A memorySeen is what the last check of the memory has found, in bytes.
type memorySeen struct {
	shards          shard.Usage
	other, resident int64
}

// A shardMemory tells what one shard takes of this node's memory. *replica.Replica
// implements it.
type shardMemory interface {
	// Inspect calls f with the state and the time as of which f is to read it.
	Inspect(f func(st *shard.State, now int64))
	Queued() int     // bytes of commands that wait to be proposed
	Restoring() bool // a state is being read from a snapshot; Inspect does not show it yet
	Replaced() int64 // times that the state was replaced
	Leads() bool     // this node leads the shard
}

// A retention shortens, when memory is short, how long one shard keeps messages.
type retention struct {
	shard  *localShard
	memory shardMemory
	busy   atomic.Bool  // a sweep is under way
	frees  bool         // busy when this check began: what the sweep frees may still count as used
	swept  atomic.Int64 // the cutoff of the last sweep that was completed
	last   time.Time    // when this budget last raised the cutoff; zero once memory suffices
	logged time.Duration

	heard   map[placement.NodeID]uint64 // newest report of each node that was acted on
	expires atomic.Bool                 // a PurgeExpired is under way
	expiry  replica.Expiry
}

// A memoryReading is what the runtime says about the process, in bytes.
type memoryReading struct {
	collections uint64 // completed
	live        int64  // heap that the last collection found in use
	beside      int64  // memory beside the heap: stacks, the runtime, the program
	resident    int64  // all memory, garbage included, except what was returned to the system
}

func newBudget(s *Store) *budget {
	b := &budget{store: s, limit: s.cfg.MemoryLimit, reserved: s.cfg.ReservedMemory}
	m := s.metrics.budget
	m.limit.Set(float64(b.limit))
	m.soft.Set(float64(b.percent(softPercent)))
	return b
}

// setReplicas says which replicas this node has from now on.
func (b *budget) setReplicas(replicas []*localShard) {
	replicas = slices.Clone(replicas)
	b.replicas.Store(&replicas)
}

// refresh makes retentions those of the replicas that this node has now.
func (b *budget) refresh() {
	replicas := b.replicas.Load()
	if replicas == b.current {
		return
	}
	b.current = replicas
	before := b.retentions
	b.retentions = nil
	for _, sh := range *replicas {
		i := slices.IndexFunc(before, func(c *retention) bool { return c.shard == sh })
		if i >= 0 {
			b.retentions = append(b.retentions, before[i])
			continue
		}
		b.retentions = append(b.retentions, &retention{shard: sh, memory: b.store.cfg.memoryOf(sh.local)})
	}
}

func (b *budget) percent(n int64) int64 { return percentOf(b.limit, n) }

func percentOf(whole, n int64) int64 { return whole / 100 * n }

// run checks the memory until ctx ends, and then waits for the sweeps.
func (b *budget) run(ctx context.Context) {
	defer b.sweeps.Wait()
	tick := time.NewTicker(budgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.check(now)
		}
	}
}

// check reads the memory once, shortens retentions if too much is in use, and refuses
// sends or accepts them again.
func (b *budget) check(now time.Time) {
	b.refresh()
	r, sure := b.read()
	usages := make([]shard.Usage, len(b.retentions))
	var all shard.Usage
	for i, c := range b.retentions {
		c.frees = c.busy.Load()
		u := c.usage()
		usages[i] = u
		all.Add(&u)
	}
	if !sure {
		return
	}
	if r.collections != b.collection {
		b.collection = r.collections
		b.other = max(0, r.live-int64(all.Held+all.Free+all.Deferred))
	}
	beside := b.beside(b.other + r.beside)
	used := beside + int64(all.Held)
	b.store.metrics.budget.show(&all, b.other+r.beside, r.resident)
	b.seeing.Lock()
	b.seen = memorySeen{all, b.other + r.beside, r.resident}
	b.seeing.Unlock()

	work, excess := uint32(cutoffWork), int64(0)
	// Commands that wait to be committed still become messages, in two views each, even
	// if sends are refused from now on.
	inUse := b.other + r.beside + reserved(&all) + 2*b.waiting()
	var full, stays bool
	if b.limit > 0 {
		if used > b.percent(hurryPercent) {
			work = urgentCutoffWork
		}
		// Once memory is short, what no shorter retention frees must leave room for
		// messages.
		room := max(0, b.percent(softPercent)-beside)
		lasting := int64(all.Held-all.Messages) - room/100*lastingPercent
		over := inUse - b.percent(fullPercent)
		full = over >= 0 || lasting >= 0 && used >= b.percent(softPercent)
		calm := b.percent(calmPercent)
		stays = over >= -calm || lasting >= -calm && used >= b.percent(softPercent)-calm
		tight := used + int64(all.Free) - b.percent(tightPercent)
		excess = max(used-b.percent(softPercent), min(tight, used-b.percent(leastPercent)))
	}
	if excess > 0 {
		excess += b.percent(slackPercent)
	}
	arena := b.store.cfg.arenaBytes
	for i := range usages {
		over := reserved(&usages[i]) - percentOf(arena, fullPercent)
		full = full || over >= 0
		stays = stays || over >= -percentOf(arena, calmPercent)
	}
	b.refuse(full || stays && b.store.memoryFull.Load(), &all, inUse)
	b.work.Store(work)
	part := 0.0 // of the messages that has to go
	if excess > 0 && all.Messages > 0 {
		part = float64(excess) / float64(all.Messages)
	}
	b.report(part, now)
	for i, c := range b.retentions {
		share := int(max(part, b.asked(c)) * float64(usages[i].Messages))
		if over := reserved(&usages[i]) - percentOf(arena, softPercent); over > 0 {
			share = max(share, int(over+percentOf(arena, slackPercent)))
		}
		b.shorten(c, share, now)
		if b.store.memoryFull.Load() {
			c.expire()
		}
	}
}

// beside returns how much memory to count for everything but the shards:
// Config.ReservedMemory if it is set, else taken, which is the actual amount. It logs
// when the actual amount rises above ReservedMemory, and when it falls below again.
func (b *budget) beside(taken int64) int64 {
	if b.reserved == 0 {
		return taken
	}
	if exceeded := taken > b.reserved; exceeded != b.exceeded {
		b.exceeded = exceeded
		log := b.store.cfg.Log
		if exceeded {
			log.Warn("what is not messages takes more memory than is reserved for it", "taken", taken, "reserved", b.reserved)
		} else {
			log.Info("what is not messages is within the memory that is reserved for it", "taken", taken, "reserved", b.reserved)
		}
	}
	return b.reserved
}

// read reads the meter. sure is false while a state is being restored: the heap holds
// that state already, but its shard does not report it yet. After a restore a reading
// counts only if a garbage collection has begun since, so read starts one.
func (b *budget) read() (r memoryReading, sure bool) {
	s := b.store
	replaced := b.replacements()
	if b.restoring() {
		return r, false
	}
	if replaced != b.replaced {
		s.cfg.collect()
		b.replaced = replaced
	}
	r = s.cfg.meter()
	return r, !b.restoring() && b.replacements() == replaced
}

// restoring reports whether the state of a shard is being read from a snapshot.
func (b *budget) restoring() bool {
	return slices.ContainsFunc(b.retentions, func(c *retention) bool { return c.memory.Restoring() })
}

// replacements returns how often states of this node's shards were replaced, in all.
func (b *budget) replacements() (n int64) {
	for _, c := range b.retentions {
		n += c.memory.Replaced()
	}
	return n
}

// waiting returns the bytes of commands that wait to be committed.
func (b *budget) waiting() (n int64) {
	for _, c := range b.retentions {
		n += int64(c.memory.Queued())
	}
	return n
}

// reserved returns the memory that shards have taken. Of their free memory it counts
// half: they use that again before they take more, but not every size fits.
func reserved(u *shard.Usage) int64 { return int64(u.Held + u.Deferred + u.Free/2) }

// usage returns what the shard's memory is used for.
func (c *retention) usage() (u shard.Usage) {
	c.memory.Inspect(func(st *shard.State, _ int64) { u = st.Usage() })
	return u
}

// refuse starts or stops the refusal of sends, and logs each change.
func (b *budget) refuse(full bool, all *shard.Usage, inUse int64) {
	s := b.store
	if s.memoryFull.Swap(full) == full {
		return
	}
	if !full {
		s.metrics.budget.full.Set(0)
		s.cfg.Log.Info("memory has room again: sends are taken", "in_use", inUse, "limit", b.limit)
		return
	}
	s.metrics.budget.full.Set(1)
	s.cfg.Log.Error("memory full: sends are refused", "in_use", inUse, "limit", b.limit, "of_it", parts(all, inUse))
}

// parts lists for the log what uses the memory, in bytes.
func parts(u *shard.Usage, inUse int64) slog.Value {
	return slog.GroupValue(
		slog.Int("messages", u.Messages), slog.Int("users", u.Views), slog.Int("dedupe", u.Dedupe), slog.Int("letters", u.Letters),
		slog.Int("free", u.Free), slog.Int("kept_for_snapshot", u.Deferred),
		slog.Int64("other", inUse-reserved(u)),
	)
}

// shorten raises a shard's cutoff so that about n bytes of its oldest messages are
// evicted, or continues an eviction that was not completed.
func (b *budget) shorten(c *retention, n int, now time.Time) {
	var at, inForce, cutoff int64
	var ttl time.Duration
	c.memory.Inspect(func(st *shard.State, now int64) {
		at, inForce, ttl = now, st.Cutoff(), time.Duration(st.LongestTTL())*time.Millisecond
		cutoff = inForce
		if n > 0 && !c.frees {
			cutoff = max(inForce, min(st.CutoffFor(n, at), at-leastRetention.Milliseconds()))
		}
	})

	retention := min(ttl, time.Duration(at-cutoff)*time.Millisecond)
	c.shard.metrics.retention.Set(retention.Seconds())
	b.log(c, cutoff > inForce && retention < ttl, retention, now)
	if !c.frees && cutoff > c.swept.Load() && c.memory.Leads() {
		c.busy.Store(true)
		b.sweeps.Go(func() {
			defer c.busy.Store(false)
			if c.shard.raiseCutoff(cutoff, &b.work) {
				c.swept.Store(cutoff)
			}
		})
	}
}

// expire proposes to purge what has expired, dedupe windows above all, in the next
// part of the slots. Repeated at each check while memory is full, it goes through all
// slots in seconds, for which the usual sweep takes Config.ExpireEvery.
func (c *retention) expire() {
	if !c.expires.CompareAndSwap(false, true) {
		return
	}
	var purge *command.PurgeExpired
	c.memory.Inspect(func(st *shard.State, _ int64) { purge = c.expiry.Next(st) })
	done := func(command.Result, error) { c.expires.Store(false) }
	if purge == nil || c.shard.replica.Enqueue(0, command.AppendCommand(nil, purge), replica.Waiter{Done: done}) != nil {
		c.expires.Store(false)
	}
}

// log logs when memory begins to shorten a shard's retention, when the retention
// has halved or doubled since it was last logged, and when it may grow again.
func (b *budget) log(c *retention, raised bool, retention time.Duration, now time.Time) {
	log := c.shard.log
	switch {
	case raised && c.last.IsZero():
		log.Warn("memory is short: messages are kept for less time", "retention", retention)
		c.logged = retention
	case raised && (retention < c.logged/2 || retention > 2*c.logged):
		log.Warn("memory is short: the time for which messages are kept has changed", "retention", retention, "before", c.logged)
		c.logged = retention
	case !c.last.IsZero() && now.Sub(c.last) > calmAfter:
		log.Info("memory suffices: messages are kept for longer again", "retention", retention)
		c.last = time.Time{}
	}
	if raised {
		c.last = now
	}
}

// raiseCutoff raises the cutoff of a shard and frees the messages that this evicts, in
// commands of at most work each. It reports whether it has been through all slots.
func (sh *localShard) raiseCutoff(cutoff int64, work *atomic.Uint32) bool {
	for first := uint16(0); first < command.Slots; {
		done := make(chan answer, 1)
		encoded := command.AppendCommand(nil, &command.RaiseCutoff{Cutoff: cutoff, FirstSlot: first, MaxWork: work.Load()})
		err := sh.replica.Enqueue(0, encoded, replica.Waiter{Done: func(r command.Result, err error) { done <- answer{result: r, err: err} }})
		if err != nil {
			return false // the next check tries again
		}
		o := <-done
		if o.err != nil {
			return false
		}
		first = o.result.NextSlot
	}
	return true
}
