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
	// maxFeedBytes is the size of one feed's cache, maxCached that of all together.
	// Sessions that are further behind read from the store for themselves.
	maxFeedBytes = 256 << 10
	maxCached    = 64 << 20
)

// A feed distributes what is new in a group to the sessions of its members on this
// node. It exists while there are such sessions, and is the group's only watcher. It
// reads and encodes everything once, for all, and caches it until all have it.
//
// Subscriptions whose session has everything wait in the feed. When there is something
// new, all are taken out and their sessions woken; each session's pump pushes what its
// window allows, and parks the subscription again once it has everything.
//
// Lock order: no other lock is taken with a feed's mu held, and the store, sessions and
// pumpers are not called with it.
type feed struct {
	gateway     *Gateway
	group       command.GroupID
	nextInQueue *feed // of the pumpers

	subscribers int // guarded by feeds.mu

	mu         sync.Mutex
	stopped    bool
	started    bool   // readTo is known
	readTo     uint64 // arrival number up to which the group was read
	dirty      bool   // there may be more
	reading    bool   // queued for a pumper, or being read by one
	retry      *time.Timer
	wokenAt    time.Time       // first Wake since the last read, zero for none
	codecs     [codecs]int     // subscriptions by codec
	waiting    []*subscription // those of them whose sessions have everything
	chunks     []*chunk        // ascending; everything after cachedFrom, up to readTo
	cachedFrom uint64
	bytes      int        // of chunks and signals
	signals    signalRing // waiting subscriptions have all that are due

	// Owned by the pumper that reads.
	unparked []*subscription
}

// feeds are the feeds of a gateway. The store and feeds may be called with mu held: a
// watcher's methods do not take it.
type feeds struct {
	mu     sync.Mutex
	all    map[command.GroupID]*feed
	cached atomic.Int64 // bytes in all caches
	max    int64        // of cached
}

// subscribe returns a new subscription to a group's feed, which starts the feed if it
// is the first. It has no position yet: see setPosition. live and joined are those of
// the subscription.
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

// unsubscribe ends a subscription, and the feed if it was the last.
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

// Wake is called by the store when there is something new.
func (f *feed) Wake() { f.schedule(time.Now()) }

// schedule has a pumper read on for the feed. since is the time of the store's Wake,
// zero for none.
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

// tryStart reports whether the caller has to queue the feed for a pumper. The caller
// holds mu.
func (f *feed) tryStart() bool {
	if f.reading || f.stopped || !f.started {
		return false
	}
	f.reading = true
	return true
}

// WakeMember is called by the store when a member's own view of the group
// changed.
func (f *feed) WakeMember(user command.UserID) {
	for _, s := range f.gateway.sessionsOf(user) {
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

// read reads on from the store, and distributes what is new, until there is no more.
// It runs on a pumper.
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
			if err := f.gateway.backend.GroupSince(f.group, after, &p.batch, protocol.MaxMessages, readBytes); err != nil {
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

// retryLater has the feed read again when the store may be available.
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

// advance notes that there is nothing new up to a point in the order. It reports
// whether signals are due.
func (f *feed) advance(to uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readTo = max(f.readTo, to)
	return f.signals.hasDue(f.readTo)
}

// publish caches a chunk, nil for none, makes signals due, and moves all waiting
// subscriptions to unparked.
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

// wake wakes the sessions of unparked.
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

// A cacheState says what a feed has for a subscription.
type cacheState uint8

const (
	upToDate cacheState = iota // nothing new
	cached                     // the next chunk
	behind                     // nothing: the next chunk is not cached any more
)

// next returns the chunk that comes next for a subscription, if it is cached; the point
// in the order up to which it has everything, if it is upToDate; and the point of its
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
		return nil, behind // no session had this codec then
	}
	return f.chunks[i], cached
}

// setPosition sets the point in the group's order from which a subscription goes on. A
// feed that has not read yet starts there; with unread it does so at once, else at the
// next Wake.
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

// park makes a subscription wait. It reports false if there is something new for it.
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
	// Unlike a chunk, a signal that is not due yet cannot be read again.
	if f.signals.due == f.signals.next {
		f.grow(-f.signals.clear())
	}
}

// unpark ends the waiting of a subscription. It reports false if it did not wait: then
// its session is about to look after it, or it is closed.
func (f *feed) unpark(sub *subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removeWaiting(sub)
}

// removeWaiting is unpark for a caller that holds mu.
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

// remove closes a subscription.
func (f *feed) remove(sub *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub.closed.Store(true)
	f.removeWaiting(sub)
	f.codecs[sub.session.codec]--
	f.dropIfUnused()
}

// stop ends a feed without subscriptions.
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
