package gateway

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// maxFeedBytes limits the cache of one feed, maxCached the caches of all feeds
	// together. Sessions that are further behind read from the store themselves.
	maxFeedBytes = 256 << 10
	maxCached    = 64 << 20
)

// A feed distributes what is new in a group to the sessions of its members on this
// node. It exists while there are such sessions, and is the only watcher of the group
// on this node. It reads and encodes everything once for all sessions, and caches it
// until all have it.
//
// Subscriptions whose sessions have everything wait in the feed. When something new
// comes, the feed unparks all of them and wakes their sessions. Each session's pump
// pushes what its window allows, and parks the subscription again once the session has
// everything.
//
// Lock order: with a feed's mu held no other lock is taken, and neither the store nor
// sessions nor pumpers are called.
type feed struct {
	gateway     *Gateway
	group       command.GroupID
	nextInQueue *feed // in the pumpers' queue

	subscribers int // guarded by feeds.mu

	mu         sync.Mutex
	stopped    bool
	started    bool   // readTo is set
	readTo     uint64 // arrival number up to which the group was read
	dirty      bool   // the store may have more
	reading    bool   // queued for a pumper, or being read by one
	retry      *time.Timer
	wokenAt    time.Time       // time of the first Wake since the last read, zero for none
	codecs     [codecs]int     // number of subscriptions, by codec
	waiting    []*subscription // subscriptions whose sessions have everything
	chunks     []*chunk        // ascending; they hold everything after cachedFrom, up to readTo
	cachedFrom uint64
	bytes      int        // of chunks and signals
	signals    signalRing // those that are due have been pushed to the sessions in waiting

	// Owned by the pumper that reads for the feed.
	unparked []*subscription
}

// feeds are the feeds of a gateway. With mu held, the store and feeds may be called:
// the methods of a watcher do not lock it.
type feeds struct {
	mu     sync.Mutex
	all    map[command.GroupID]*feed
	cached atomic.Int64 // bytes in all caches
	max    int64        // limit of cached
}

// subscribe returns a new subscription of s to a group, and creates the group's feed if
// there is none. The subscription has no position until setPosition. live and joined
// are its fields live and joinedAt.
func (g *Gateway) subscribe(s *session, group command.GroupID, live bool, joined uint64) *subscription {
	fs := &g.feeds
	fs.mu.Lock()
	f := fs.all[group]
	if f == nil {
		f = &feed{gateway: g, group: group}
		fs.all[group] = f
		g.backend.WatchGroup(group, f)
		g.metrics.feeds.Inc()
	}
	f.subscribers++
	fs.mu.Unlock()
	sub := &subscription{session: s, feed: f, live: live, joinedAt: joined, index: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.codecs[s.codec]++
	sub.nextSignal = f.signals.next
	return sub
}

// unsubscribe closes a subscription, and stops the feed if it has no other.
func (g *Gateway) unsubscribe(sub *subscription) {
	f := sub.feed
	f.remove(sub)
	fs := &g.feeds
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.subscribers--; f.subscribers > 0 {
		return
	}
	delete(fs.all, f.group)
	g.backend.UnwatchGroup(f.group, f)
	g.metrics.feeds.Dec()
	f.stop()
}

// UpTo implements store.GroupWatcher.
func (f *feed) UpTo() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readTo
}

// Wake notes that there is something new in the group. The store calls it.
func (f *feed) Wake() { f.schedule(time.Now()) }

// schedule queues the feed for a pumper, which reads on from the store. since is the
// time of the store's Wake, zero for none.
func (f *feed) schedule(since time.Time) {
	f.mu.Lock()
	f.dirty = true
	if f.wokenAt.IsZero() {
		f.wokenAt = since
	}
	start := f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// tryStart reports whether the caller has to queue the feed for a pumper, and notes
// that it does. The caller holds mu.
func (f *feed) tryStart() bool {
	if f.reading || f.stopped || !f.started {
		return false
	}
	f.reading = true
	return true
}

// WakeMember notes that a member's own view of the group has changed; user "": that those
// of any members have. The store calls it.
func (f *feed) WakeMember(user command.UserID) {
	sessions := f.gateway.sessionsOf(user)
	if user == "" {
		sessions = f.gateway.allSessions()
	}
	for _, s := range sessions {
		sub := s.subscription(f.group)
		if sub == nil {
			continue
		}
		sub.changed.Store(true)
		if f.unpark(sub) {
			s.wakeFor(sub)
		}
	}
}

// read reads from the store and distributes what is new, until there is nothing more. A
// pumper calls it.
func (f *feed) read(p *pumpState) {
	for {
		f.mu.Lock()
		fresh, signalled := f.dirty, f.signals.hasDue(f.readTo)
		if f.stopped || !fresh && !signalled {
			f.reading = false
			f.mu.Unlock()
			return
		}
		after, woken := f.readTo, f.wokenAt
		var in [codecs]bool
		for codec, n := range f.codecs {
			in[codec] = n > 0
		}
		if fresh {
			f.dirty, f.wokenAt = false, time.Time{}
		}
		f.mu.Unlock()
		var c *chunk
		if fresh {
			if err := f.gateway.reads.GroupSince(f.group, after, &p.batch, protocol.MaxMessages, readBytes); err != nil {
				f.retryLater(err, woken)
			} else if len(p.batch.Items) > 0 || p.batch.MissedEvents {
				p.chunk.fill(&p.batch, in)
				c = p.chunk.clone()
				c.cursor = query.Cursor(c.epoch, f.group.Key(), c.through)
				f.gateway.metrics.feedReads.Inc()
			} else {
				signalled = f.advance(p.batch.Through)
			}
		}
		if c == nil && !signalled {
			continue
		}
		f.publish(c, p.batch.More)
		f.wake(p, woken)
	}
}

// retryLater schedules another read for the time when the store may be available again.
func (f *feed) retryLater(err error, woken time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	if f.retry != nil {
		f.retry.Stop()
	}
	f.retry = time.AfterFunc(max(store.RetryAfter(err), minRetry), func() { f.schedule(woken) })
}

// advance notes that nothing new lies before a point in the order. It reports whether
// signals are due.
func (f *feed) advance(to uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readTo = max(f.readTo, to)
	return f.signals.hasDue(f.readTo)
}

// publish adds a chunk (nil for none) to the cache, makes signals due that it is time
// for, and moves all waiting subscriptions to unparked.
func (f *feed) publish(c *chunk, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c != nil && !f.stopped {
		f.readTo, f.dirty = c.through, f.dirty || more
		f.chunks = append(f.chunks, c)
		f.grow(c.size())
		for f.bytes > maxFeedBytes && len(f.chunks) > 1 {
			f.dropOldest()
		}
		if f.gateway.feeds.cached.Load() > f.gateway.feeds.max {
			f.dropAll()
		}
	}
	f.signals.makeDue(f.readTo)
	for _, sub := range f.waiting {
		sub.index = -1
	}
	f.unparked, f.waiting = f.waiting, f.unparked[:0]
}

// wake wakes the sessions of the subscriptions in unparked.
func (f *feed) wake(p *pumpState, since time.Time) {
	for _, sub := range f.unparked {
		sub.session.wakeForFeed(sub, since, &p.woken)
	}
	clear(f.unparked)
	f.gateway.pumpers.startAll(&p.woken)
}

func (f *feed) grow(n int) {
	f.bytes += n
	f.gateway.feeds.cached.Add(int64(n))
}

// dropOldest drops the oldest chunk. The caller holds mu.
func (f *feed) dropOldest() {
	c := f.chunks[0]
	f.cachedFrom = c.through
	f.grow(-c.size())
	n := copy(f.chunks, f.chunks[1:])
	f.chunks[n] = nil
	f.chunks = f.chunks[:n]
}

// dropAll drops all chunks. The caller holds mu.
func (f *feed) dropAll() {
	for _, c := range f.chunks {
		f.cachedFrom = c.through
		f.grow(-c.size())
	}
	clear(f.chunks)
	f.chunks = f.chunks[:0]
}

// A cacheState says what a feed has in its cache for a subscription.
type cacheState uint8

const (
	upToDate cacheState = iota // there is nothing new
	cached                     // the next chunk is in the cache
	behind                     // the next chunk is not in the cache any more
)

// next returns what a subscription has to push next: the next chunk, if it is cached;
// at, the point up to which it has everything, if it is upToDate; and the point of its
// next signal.
func (f *feed) next(sub *subscription) (c *chunk, st cacheState, at, signal uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, st = f.chunkAfter(sub.pushedTo, sub.session.codec)
	return c, st, max(f.readTo, sub.pushedTo), f.signals.nextAt(sub.nextSignal)
}

// chunkAfter returns the chunk that follows a point in the order. The caller holds mu.
func (f *feed) chunkAfter(arrival uint64, codec protocol.Codec) (*chunk, cacheState) {
	if arrival < f.cachedFrom {
		return nil, behind
	}
	i := len(f.chunks)
	if i > 0 && f.chunks[i-1].through > arrival {
		i = sort.Search(i, func(i int) bool { return f.chunks[i].through > arrival })
	}
	switch {
	case i == len(f.chunks):
		return nil, upToDate
	case !f.chunks[i].encoded[codec]:
		return nil, behind // no session had this codec when it was encoded
	}
	return f.chunks[i], cached
}

// setPosition sets the point in the group's order from which a subscription goes on. If
// it is the feed's first, the feed starts there: with unread it reads at once, else at
// the next Wake.
func (f *feed) setPosition(sub *subscription, arrival uint64, unread bool) {
	sub.positioned, sub.pushedTo, sub.changesTo = true, arrival, arrival
	f.mu.Lock()
	if !f.started {
		f.started, f.readTo, f.cachedFrom = true, arrival, arrival
		f.dirty = f.dirty || unread
	}
	start := f.dirty && f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// park adds a subscription to those that wait. It reports false, and does not add it,
// if there is something new for it.
func (f *feed) park(sub *subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sub.closed.Load() {
		return true
	}
	if _, st := f.chunkAfter(sub.pushedTo, sub.session.codec); st != upToDate || sub.nextSignal < f.signals.due || sub.changed.Load() {
		return false
	}
	sub.index = len(f.waiting)
	f.waiting = append(f.waiting, sub)
	f.dropIfUnused()
	return true
}

// dropIfUnused empties the cache if all subscriptions wait. The caller holds mu.
func (f *feed) dropIfUnused() {
	all := 0
	for _, n := range f.codecs {
		all += n
	}
	if len(f.waiting) != all {
		return
	}
	f.dropAll()
	// A signal that is not due yet stays: unlike a chunk, it cannot be read again.
	if f.signals.due == f.signals.next {
		f.grow(-f.signals.clear())
	}
}

// unpark takes a subscription out of those that wait. It reports false if it did not
// wait: then it is closed, or its session has it in a queue or at the pump.
func (f *feed) unpark(sub *subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removeWaiting(sub)
}

// removeWaiting is unpark for callers that hold mu.
func (f *feed) removeWaiting(sub *subscription) bool {
	i := sub.index
	if i < 0 {
		return false
	}
	last := len(f.waiting) - 1
	f.waiting[i] = f.waiting[last]
	f.waiting[i].index = i
	f.waiting[last] = nil
	f.waiting = f.waiting[:last]
	sub.index = -1
	return true
}

// remove closes a subscription and removes it from the feed.
func (f *feed) remove(sub *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub.closed.Store(true)
	f.removeWaiting(sub)
	f.codecs[sub.session.codec]--
	f.dropIfUnused()
}

// stop stops a feed that has no subscriptions.
func (f *feed) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.dropAll()
	f.grow(-f.signals.clear())
	f.waiting = nil
	if f.retry != nil {
		f.retry.Stop()
	}
}
