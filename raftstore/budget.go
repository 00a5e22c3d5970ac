package raftstore

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// budgetEvery is how often memory is looked at, which costs some 50 µs. What
	// comes in meanwhile must be little beside the limit: large bodies fill 250 MB
	// a second.
	budgetEvery = 25 * time.Millisecond
	// leastRetention is what memory alone never takes: messages under way, and
	// those that a slow reader is just being sent.
	leastRetention = 2 * time.Second
	// cutoffWork bounds one RaiseCutoff: about 1 ms of the shard's time. Commits under
	// load take many times that, so if memory is short it is urgentCutoffWork.
	cutoffWork       = 12_000
	urgentCutoffWork = 4 * cutoffWork
	// memoryRetryAfter is told to senders while memory is full.
	memoryRetryAfter = time.Second
	// calmAfter is how long nothing must have been taken before that is logged.
	calmAfter = time.Minute
)

// Parts of Config.MemoryLimit, in percent. What is above them is room for
// garbage, for what a snapshot keeps from being freed, and for bursts.
const (
	softPercent  = 75 // used: past it, retention shortens
	hurryPercent = 80 // used: past it, at the cost of latency
	tightPercent = 90 // used, and reserved for use: past it retention shortens too,
	leastPercent = 50 // but not below that much used, for it may free pieces and no blocks
	fullPercent  = 92 // used, and half of what is reserved: past it, sends are refused

	// lastingPercent is the part of what messages could have that may be taken by
	// what no shorter retention frees: users, dedupe windows, letters. Past both it
	// and softPercent, sends are refused too.
	lastingPercent = 75

	calmPercent  = 3 // below what has sends refused, they are taken again
	slackPercent = 2 // taken beyond what must go, not to come back at once
)

// A budget keeps the memory of the process below Config.MemoryLimit: it takes
// the oldest messages of all shards that this node leads, and while that does
// not help, it has sends refused.
type budget struct {
	store      *Store
	limit      int64
	reserved   int64        // Config.ReservedMemory
	retentions []*retention // by shard

	replaced   int64  // states that gave way, as of the last collection asked for
	collection uint64 // the last one seen
	other      int64  // live heap beside the shards', as of that collection
	exceeded   bool   // all that is not the shards' takes more than is reserved

	work   atomic.Uint32 // of a RaiseCutoff
	sweeps sync.WaitGroup
}

// A shardMemory is what one shard takes of this node's memory; a *replica.Replica
// is one.
type shardMemory interface {
	// Inspect runs f on the state, and with the time as of which to read it.
	Inspect(f func(st *shard.State, now int64))
	Queued() int     // bytes of commands that wait to be proposed
	Restoring() bool // a state is being read, which Inspect does not show yet
	Replaced() int64 // times that the state gave way to another one
	Leads() bool     // this node leads the shard
}

// A retention is how long one shard keeps messages, and how that is shortened.
type retention struct {
	shard  *localShard
	memory shardMemory
	busy   atomic.Bool  // a sweep is under way
	frees  bool         // it was when this check began: what it frees may count as used
	swept  atomic.Int64 // the cutoff that the last sweep brought to its end
	last   time.Time    // when the cutoff was last raised here; zero after calm
	logged time.Duration

	expires atomic.Bool // a PurgeExpired is under way
	expiry  replica.Expiry
}

// A memoryReading is what the runtime says about the process, in bytes.
type memoryReading struct {
	collections uint64 // completed
	live        int64  // heap that the last of them found in use
	beside      int64  // taken by other things than the heap: stacks, the runtime, the program
	resident    int64  // in all, garbage included, without what was given back to the system
}

func newBudget(s *Store) *budget {
	b := &budget{store: s, limit: s.cfg.MemoryLimit, reserved: s.cfg.ReservedMemory}
	for _, sh := range s.shards {
		b.retentions = append(b.retentions, &retention{shard: sh, memory: s.cfg.memoryOf(sh.local), expiry: replica.NewExpiry(sh.first, sh.last)})
	}
	m := s.metrics.budget
	m.limit.Set(float64(b.limit))
	m.soft.Set(float64(b.percent(softPercent)))
	return b
}

func (b *budget) percent(n int64) int64 { return percentOf(b.limit, n) }

func percentOf(whole, n int64) int64 { return whole / 100 * n }

// run keeps the budget until ctx ends.
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

// check looks at the memory once, and does what has to be done.
func (b *budget) check(now time.Time) {
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

	work, excess := uint32(cutoffWork), int64(0)
	// What waits to be committed becomes messages in two views, whether or not
	// sends are refused from now on.
	inUse := b.other + r.beside + reserved(&all) + 2*b.waiting()
	var full, stays bool
	if b.limit > 0 {
		if used > b.percent(hurryPercent) {
			work = urgentCutoffWork
		}
		// Once memory is short, what no shorter retention frees must not take the
		// place of all messages.
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
	for i, c := range b.retentions {
		share := 0
		if excess > 0 && all.Messages > 0 {
			share = int(float64(excess) * float64(usages[i].Messages) / float64(all.Messages))
		}
		if over := reserved(&usages[i]) - percentOf(arena, softPercent); over > 0 {
			share = max(share, int(over+percentOf(arena, slackPercent)))
		}
		b.shorten(c, share, now)
		if b.store.memoryFull.Load() {
			c.expire()
		}
	}
}

// beside returns what memory counts as taken beside the shards, of which taken is.
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

// read reads the meter. It is not sure while a state is being restored: the heap
// holds it already, and the shard does not. What the last collection found
// counts only when it began after that; so one is asked for.
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

// replacements returns how often a shard's state gave way to another one.
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

// reserved returns what is taken for shards. What is free in them is used again before
// more is taken, but not for every size.
func reserved(u *shard.Usage) int64 { return int64(u.Held + u.Deferred + u.Free/2) }

// usage returns what takes the shard's memory.
func (c *retention) usage() (u shard.Usage) {
	c.memory.Inspect(func(st *shard.State, _ int64) { u = st.Usage() })
	return u
}

// refuse has sends refused while the memory is full.
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

// parts returns what takes the memory, for the log.
func parts(u *shard.Usage, inUse int64) slog.Value {
	return slog.GroupValue(
		slog.Int("messages", u.Messages), slog.Int("users", u.Views), slog.Int("dedupe", u.Dedupe), slog.Int("letters", u.Letters),
		slog.Int("free", u.Free), slog.Int("kept_for_snapshot", u.Deferred),
		slog.Int64("other", inUse-reserved(u)),
	)
}

// shorten takes about n bytes of a shard's oldest messages, or goes on with
// what it began.
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
	b.report(c, cutoff > inForce && retention < ttl, retention, now)
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

// expire frees what has run out of time in a part of the slots, dedupe windows
// above all: the sweep takes a minute for its round, this some seconds.
func (c *retention) expire() {
	if !c.expires.CompareAndSwap(false, true) {
		return
	}
	done := func(command.Result, error) { c.expires.Store(false) }
	if c.shard.replica.Enqueue(command.AppendCommand(nil, c.expiry.Next()), replica.Waiter{Done: done}) != nil {
		c.expires.Store(false)
	}
}

// report logs that a shard's retention begins to shrink, has halved or doubled
// since, or is left to grow again.
func (b *budget) report(c *retention, raised bool, retention time.Duration, now time.Time) {
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

// raiseCutoff raises the cutoff of a shard and frees what it takes, so much work at a
// time. It reports whether it came to the end.
func (sh *localShard) raiseCutoff(cutoff int64, work *atomic.Uint32) bool {
	for first := sh.first; first < command.Slots; {
		answer := make(chan outcome, 1)
		encoded := command.AppendCommand(nil, &command.RaiseCutoff{Cutoff: cutoff, FirstSlot: first, MaxWork: work.Load()})
		err := sh.replica.Enqueue(encoded, replica.Waiter{Done: func(r command.Result, err error) { answer <- outcome{r, err} }})
		if err != nil {
			return false // tried again at the next look
		}
		o := <-answer
		if o.err != nil {
			return false
		}
		first = o.result.NextSlot
	}
	return true
}
