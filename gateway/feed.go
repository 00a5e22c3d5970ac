package gateway

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// maxFeedBytes is what the cache of one feed holds, maxCached what all hold
	// together. Who is further behind reads from the store for himself.
	maxFeedBytes = 256 << 10
	maxCached    = 64 << 20
)

// A feed hands what comes in a group to the sessions of this node that are to be
// told. It is there while there is one, and is the group's only watcher. What it
// reads it encodes once, for all, and keeps until nobody is behind.
//
// Subscriptions that were told all wait in the feed. What is new takes them all
// out and wakes their sessions; the pump of each comes for it, as far as its
// window allows, and puts the subscription back. So whoever has not come yet
// costs nothing until he does.
//
// Lock order: a feed's mu comes alone. What the store calls takes it, and nothing
// calls the store, a session or a pumper with it held.
type feed struct {
	gateway     *Gateway
	group       command.GroupID
	nextInQueue *feed // in the pumpers' line

	subscribers int // guarded by feeds.mu

	mu      sync.Mutex
	stopped bool
	started bool   // at is known
	at      uint64 // arrival number up to which the group was read
	dirty   bool   // there may be more
	reading bool   // in the pumpers' line, or in work
	retry   *time.Timer
	woken   time.Time       // first Wake that nobody has looked into
	codecs  [codecs]int     // subscriptions by codec
	waiting []*subscription // those of them that were told all
	chunks  []*chunk        // ascending; all that came after from
	from    uint64
	bytes   int        // of chunks and signals
	signals signalRing // those who wait have heard all that are due

	// Owned by whoever reads.
	unparked []*subscription
}

// feeds are those of a gateway, by group. Its mu may be held when the store or a
// feed is called; a watcher's methods do not take it.
type feeds struct {
	mu     sync.Mutex
	all    map[command.GroupID]*feed
	cached atomic.Int64 // bytes in all caches
	max    int64        // of cached
}

// subscribe makes a session one that a group's feed serves. It has no place in
// the group's order yet: see place. joined is that of who joins a group without
// storage, live.
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

// unsubscribe undoes subscribe. The last one ends the feed.
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

// Wake is called by the store when something came.
func (f *feed) Wake() { f.schedule(time.Now()) }

// schedule has the feed read on. since is when the store said so, zero for nobody
// has.
func (f *feed) schedule(since time.Time) {
	f.mu.Lock()
	f.dirty = true
	if f.woken.IsZero() {
		f.woken = since
	}
	start := f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// tryStart tells whether the feed has to be put into the pumpers' line. The
// caller holds mu.
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

// read is a pumper's work for the feed.
func (f *feed) read(p *pumpState) {
	for {
		f.mu.Lock()
		fresh, signalled := f.dirty, f.signals.hasDue(f.at)
		if f.stopped || !fresh && !signalled {
			f.reading = false
			f.mu.Unlock()
			return
		}
		after, woken := f.at, f.woken
		var in [codecs]bool
		for codec, n := range f.codecs {
			in[codec] = n > 0
		}
		if fresh {
			f.dirty, f.woken = false, time.Time{}
		}
		f.mu.Unlock()
		var c *chunk
		if fresh {
			if err := f.gateway.backend.GroupSince(f.group, after, &p.batch, protocol.MaxMessages, readBytes); err != nil {
				f.retryLater(err, woken)
			} else if len(p.batch.Items) > 0 || p.batch.MissedEvents {
				p.chunk.fill(&p.batch, in)
				c = p.chunk.clone()
				c.cursor = f.gateway.backend.GroupCursor(f.group, c.to)
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

// retryLater has the feed read again when the store may serve.
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

// advance notes that up to a point there was nothing to tell. It tells whether there
// are signals to hand out.
func (f *feed) advance(to uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = max(f.at, to)
	return f.signals.hasDue(f.at)
}

// publish takes a chunk, nil for none, into the cache, makes signals due, and takes
// all who wait out of the feed: into roused.
func (f *feed) publish(c *chunk, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c != nil && !f.stopped {
		f.at, f.dirty = c.to, f.dirty || more
		f.chunks = append(f.chunks, c)
		f.grow(c.size())
		for f.bytes > maxFeedBytes && len(f.chunks) > 1 {
			f.dropOldest()
		}
		if f.gateway.feeds.cached.Load() > f.gateway.feeds.max {
			f.dropAll()
		}
	}
	f.signals.makeDue(f.at)
	for _, sub := range f.waiting {
		sub.index = -1
	}
	f.unparked, f.waiting = f.waiting, f.unparked[:0]
}

// wake wakes the sessions of roused.
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
	f.from = c.to
	f.grow(-c.size())
	n := copy(f.chunks, f.chunks[1:])
	f.chunks[n] = nil
	f.chunks = f.chunks[:n]
}

// dropAll empties the cache, but for signals. The caller holds mu.
func (f *feed) dropAll() {
	for _, c := range f.chunks {
		f.from = c.to
		f.grow(-c.size())
	}
	clear(f.chunks)
	f.chunks = f.chunks[:0]
}

// A cacheState is what a feed has for a subscription.
type cacheState uint8

const (
	upToDate cacheState = iota // nothing new
	cached                     // a chunk
	behind                     // nothing: the cache does not reach back so far
)

// next gives the chunk that goes on from a subscription's place in the order,
// and the places that it has come to with told, and of the next signal for it.
func (f *feed) next(sub *subscription) (c *chunk, st cacheState, at, signal uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, st = f.chunkAfter(sub.pushedTo, sub.session.codec)
	return c, st, max(f.at, sub.pushedTo), f.signals.nextAt(sub.nextSignal)
}

// chunkAfter gives the chunk that goes on from a point in the order. The caller
// holds mu.
func (f *feed) chunkAfter(arrival uint64, codec protocol.Codec) (*chunk, cacheState) {
	if arrival < f.from {
		return nil, behind
	}
	i := len(f.chunks)
	if i > 0 && f.chunks[i-1].to > arrival {
		i = sort.Search(i, func(i int) bool { return f.chunks[i].to > arrival })
	}
	switch {
	case i == len(f.chunks):
		return nil, upToDate
	case !f.chunks[i].encoded[codec]:
		return nil, behind // nobody had this codec then
	}
	return f.chunks[i], cached
}

// setPosition gives a subscription its place in the group's order: it was told all up
// to arrival. What came until the feed was there is still to be read if unread.
func (f *feed) setPosition(sub *subscription, arrival uint64, unread bool) {
	sub.positioned, sub.pushedTo, sub.changesTo = true, arrival, arrival
	f.mu.Lock()
	if !f.started {
		f.started, f.at, f.from = true, arrival, arrival
		f.dirty = f.dirty || unread
	}
	start := f.dirty && f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// park puts a subscription among those that wait. It reports false when there is
// something for it by now.
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

// dropIfUnused empties the cache when nobody is behind. The caller holds mu.
func (f *feed) dropIfUnused() {
	all := 0
	for _, n := range f.codecs {
		all += n
	}
	if len(f.waiting) != all {
		return
	}
	f.dropAll()
	// Unlike chunks, signals cannot be read again by who was to be woken for one.
	if f.signals.due == f.signals.next {
		f.grow(-f.signals.clear())
	}
}

// unpark takes a subscription out of those that wait. It reports false when it is
// not among them: then somebody is about to look after it, or it has left.
func (f *feed) unpark(sub *subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removeWaiting(sub)
}

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

// remove forgets a subscription.
func (f *feed) remove(sub *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub.closed.Store(true)
	f.removeWaiting(sub)
	f.codecs[sub.session.codec]--
	f.dropIfUnused()
}

// stop ends the feed: nobody is left.
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
