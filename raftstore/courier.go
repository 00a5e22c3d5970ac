package raftstore

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// routeWindow bounds the bytes of letters from one shard to another that have no
	// outcome yet.
	routeWindow = 1 << 20
	// laneBurst is how many letters of one direction are sent before other directions
	// have their turn.
	laneBurst = 64
	// letterBytes is what a waiting letter counts for in addition to its encoding.
	letterBytes = 128
	// trimEvery is how long lanes with confirmed letters are gathered before TrimOutbox
	// commands remove these letters from the state; trimMost lanes end the gathering
	// early. trimPatience is how long such a command may wait for others to share its
	// log entry. To wait costs memory, not to wait costs an fsync.
	trimEvery    = 50 * time.Millisecond
	trimMost     = 1024
	trimPatience = 200 * time.Millisecond
	// courierFirst and courierMost bound the pause of a destination that fails, and of a
	// direction that its receiver refuses.
	courierFirst = 20 * time.Millisecond
	courierMost  = 2 * time.Second
	// expectPatience is how long the answer to a command waits at most for the command's
	// letters to reach their receivers. It does not wait for a shard that is down.
	expectPatience = 2 * time.Second
)

// A courier carries the letters of one shard to the shards of their receivers, for as
// long as this node leads the shard they come from. Letters of one direction arrive
// in order; a destination that is down, or a direction that is refused, delays no
// others.
//
// A courier holds the same letters as the outbox in the state, which is bounded: see
// Store.admit.
type courier struct {
	shard *localShard
	wake  chan struct{}

	mu       sync.Mutex // guards the fields below, in which others leave work for run
	posted   []shard.Posted
	returned []letterOutcome
	trimmed  []trimming
	expected []*expectation
	closed   bool
	waiting  map[*shardRef]int64 // bytes that this courier has added to shardRef.outbox

	// Owned by run.
	lanes        map[direction]*lane
	routes       map[*shardRef]*route
	waitingLanes []*lane // lanes that pause until their retryAt
	trims        []*lane // lanes with confirmed letters to trim
	trimAt       time.Time

	encoder encoder // of the letter being sent
}

type direction struct{ from, to command.UserID }

// A lane holds the letters of one direction of a conversation that are not confirmed,
// the oldest first.
type lane struct {
	direction
	route    *route
	letters  []shard.Posted
	next     int // index of the next letter to send
	inFlight int // letters sent that have no outcome yet

	resend  bool // send again from letters[0] once inFlight is 0
	queued  bool // in route.ready or courier.waitingLanes
	pause   time.Duration
	retryAt time.Time

	confirmed uint64 // number of the newest letter that the receiver has
	forgotten uint64 // number up to which a committed TrimOutbox has removed letters
	trimming  bool   // in trims, or a TrimOutbox is on its way

	expected []laneExpectation // ascending
}

// An expectation waits for the letters from one sender to some receivers, and calls
// done once: when all of them have arrived, or after Config.expectPatience.
type expectation struct {
	from command.UserID
	to   []command.UserID
	left int // lanes that it waits for
	once sync.Once
	over atomic.Bool
	done func()
}

func (r *expectation) fire() {
	r.over.Store(true)
	r.once.Do(r.done)
}

// A laneExpectation is the part of an expectation that waits for one lane: until its
// letters up to a number are confirmed.
type laneExpectation struct {
	upTo uint64
	*expectation
}

// A route holds what is on its way to one destination shard.
type route struct {
	dest    *shardRef
	ready   []*lane
	bytes   int // of letters sent that have no outcome yet
	pause   time.Duration
	retryAt time.Time // zero unless the shard was unavailable
}

// A letterOutcome is what became of a letter that was sent.
type letterOutcome struct {
	lane   *lane
	route  *route
	number uint64
	bytes  int
	result command.Result
	err    error
}

type trimming struct {
	lane *lane
	upTo uint64
	err  error
}

func newCourier(sh *localShard) *courier {
	return &courier{
		shard: sh, wake: make(chan struct{}, 1),
		waiting: make(map[*shardRef]int64),
		lanes:   make(map[direction]*lane), routes: make(map[*shardRef]*route),
	}
}

func letterSize(p *shard.Posted) int { return len(p.Bytes) + letterBytes }

// post queues letters to be carried, in the order in which they were written. It does
// not block.
func (c *courier) post(letters []shard.Posted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.posted = append(c.posted, letters...)
	for i := range letters {
		c.account(c.shard.store.shardOf(letters[i].To), letterSize(&letters[i]))
	}
	c.signal()
}

// whenDelivered calls done once all letters posted so far from one sender to some
// users have arrived, or after Config.expectPatience. It does not wait for shards
// that are down. done must not block.
func (c *courier) whenDelivered(from command.UserID, to []command.UserID, done func()) {
	r := &expectation{from: from, to: to, done: done}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.expected = append(c.expected, r)
		c.signal()
	}
	c.mu.Unlock()
	if closed {
		r.fire()
		return
	}
	time.AfterFunc(c.shard.store.cfg.expectPatience, r.fire)
}

// account adds n, which may be negative, to the bytes that wait for a shard. The
// caller holds mu.
func (c *courier) account(dest *shardRef, n int) {
	c.waiting[dest] += int64(n)
	dest.metrics.outbox.Set(float64(dest.outbox.Add(int64(n))))
}

func (c *courier) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run carries letters until ctx ends.
func (c *courier) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		c.mu.Lock()
		posted, returned, trimmed, expected := c.posted, c.returned, c.trimmed, c.expected
		c.posted, c.returned, c.trimmed, c.expected = nil, nil, nil, nil
		c.mu.Unlock()

		now := time.Now()
		for i := range returned {
			c.delivered(&returned[i], now)
		}
		for _, t := range trimmed {
			c.handleTrimmed(t, now)
		}
		for i := range posted {
			c.accept(&posted[i], now)
		}
		for _, r := range expected {
			c.expect(r)
		}
		if next := c.work(now); next > 0 {
			timer.Reset(next)
		}
	}
}

// accept adds a letter to its lane.
func (c *courier) accept(p *shard.Posted, now time.Time) {
	key := direction{p.From, p.To}
	l := c.lanes[key]
	if l == nil {
		rt := c.routeTo(c.shard.store.shardOf(p.To))
		l = &lane{direction: key, route: rt, confirmed: p.Number - 1, forgotten: p.Number - 1}
		c.lanes[key] = l
	}
	l.letters = append(l.letters, *p)
	c.ready(l, now)
}

func (c *courier) routeTo(dest *shardRef) *route {
	rt := c.routes[dest]
	if rt == nil {
		rt = &route{dest: dest}
		c.routes[dest] = rt
	}
	return rt
}

// reroute gives a lane, none of whose letters is in flight, the route to the shard that
// owns its receiver's slot now.
func (c *courier) reroute(l *lane) {
	dest := c.shard.store.shardOf(l.to)
	if l.route.dest == dest {
		return
	}
	bytes := 0
	for i := range l.letters {
		bytes += letterSize(&l.letters[i])
	}
	c.mu.Lock()
	c.account(l.route.dest, -bytes)
	c.account(dest, bytes)
	c.mu.Unlock()
	l.route = c.routeTo(dest)
}

// expect registers an expectation with the lanes that it has to wait for, and fires
// it if there are none.
func (c *courier) expect(r *expectation) {
	for _, to := range r.to {
		l := c.lanes[direction{r.from, to}]
		if l == nil || len(l.letters) == 0 || l.pause > 0 {
			continue // nothing is on its way, or the receiver refuses it
		}
		if rt := l.route; rt.pause > 0 {
			if rt.dest.ready() != nil {
				continue
			}
			rt.retryAt = time.Time{} // the shard is back: end the pause
		}
		l.expected = slices.DeleteFunc(l.expected, func(r laneExpectation) bool { return r.over.Load() })
		l.expected = append(l.expected, laneExpectation{l.letters[len(l.letters)-1].Number, r})
		r.left++
	}
	if r.left == 0 {
		r.fire()
	}
}

// ready queues a lane if it has something to send: in its route, or in waitingLanes
// until its pause ends.
func (c *courier) ready(l *lane, now time.Time) {
	if l.queued || l.resend || l.next >= len(l.letters) {
		return
	}
	l.queued = true
	if now.Before(l.retryAt) {
		c.waitingLanes = append(c.waitingLanes, l)
	} else {
		l.route.ready = append(l.route.ready, l)
	}
}

// work sends and trims what is due, and returns the time until more is due, or 0 if
// nothing is scheduled.
func (c *courier) work(now time.Time) (next time.Duration) {
	sooner := func(at time.Time) {
		if wait := max(at.Sub(now), time.Millisecond); next == 0 || wait < next {
			next = wait
		}
	}
	asleep := c.waitingLanes
	c.waitingLanes = nil
	for _, l := range asleep {
		l.queued = false
		c.ready(l, now) // or back to waitingLanes
	}
	for _, l := range c.waitingLanes {
		sooner(l.retryAt)
	}

	for _, rt := range c.routes {
		if !now.Before(rt.retryAt) {
			c.send(rt, now)
		}
		if len(rt.ready) > 0 && now.Before(rt.retryAt) {
			sooner(rt.retryAt)
		}
	}

	switch {
	case len(c.trims) == 0:
	case len(c.trims) < trimMost && now.Before(c.trimAt):
		sooner(c.trimAt)
	default:
		c.trim()
	}
	return next
}

// send sends letters of a route's lanes in turn, until its window is full or the
// destination takes no more.
func (c *courier) send(rt *route, now time.Time) {
	for len(rt.ready) > 0 && rt.bytes < routeWindow {
		l := rt.ready[0]
		rt.ready[0] = nil
		rt.ready = rt.ready[1:]
		l.queued = false
		for range laneBurst {
			if l.resend || l.next >= len(l.letters) || rt.bytes >= routeWindow {
				break
			}
			if err := c.sendOne(l, &l.letters[l.next]); err != nil {
				c.backOff(rt, now, err)
				c.ready(l, now)
				return
			}
			l.next++
		}
		c.ready(l, now)
	}
}

// sendOne proposes one letter to the shard of its receiver.
func (c *courier) sendOne(l *lane, p *shard.Posted) error {
	e := &c.encoder
	e.command = command.AppendDeliver(e.command[:0], p.Bytes)
	if err := e.Check(e.command); err != nil {
		return c.shard.local.Stop("its outbox", err)
	}
	number, bytes, rt := p.Number, letterSize(p), l.route
	done := func(r command.Result, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.returned = append(c.returned, letterOutcome{lane: l, route: rt, number: number, bytes: bytes, result: r, err: err})
		c.signal()
	}
	dest := rt.dest
	lead, err := dest.direct()
	if err == nil {
		err = lead.enqueue(e.command, replica.Waiter{Done: done})
	}
	switch {
	case dest.waits(err):
		dest.line.add(&operation{
			kind: peer.Command, key: l.to, encoded: slices.Clone(e.command), letter: true,
			done: func(a answer) { done(a.result, a.err) },
		})
	case err != nil:
		return err
	}
	l.inFlight++
	rt.bytes += bytes
	return nil
}

// backOff pauses a route after a failure and fires the expectations of its lanes.
// Each pause of a series is twice as long as the one before.
func (c *courier) backOff(rt *route, now time.Time, err error) {
	if rt.pause == 0 {
		c.shard.log.Info("letters wait", "for", rt.dest.id, "because", err)
	}
	if now.Before(rt.retryAt) {
		return // the letter was sent before the pause
	}
	rt.pause = min(max(courierFirst, 2*rt.pause), courierMost)
	rt.retryAt = now.Add(rt.pause)
	for _, l := range c.lanes {
		if l.route == rt {
			l.releaseWaiters()
		}
	}
}

// delivered handles the outcome of a letter: it confirms the letter, or pauses its
// route or lane and sends again.
func (c *courier) delivered(d *letterOutcome, now time.Time) {
	l, rt := d.lane, d.route
	l.inFlight--
	rt.bytes -= d.bytes
	switch {
	case d.err != nil:
		l.resend = true
		c.backOff(rt, now, d.err)
	case d.result.Code == command.OK:
		rt.pause, l.pause = 0, 0
		c.confirm(l, d.number, now)
	case d.result.Code == command.CodeMoved: // the others of the route go on
		l.resend = true
		l.backOff(now)
	case d.result.Code == command.CodeGap:
		rt.dest.metrics.gaps.Inc()
		l.resend = true
		if d.result.Seq <= l.confirmed {
			// The receiver's shard has lost letters that it had confirmed.
			c.shard.log.Error("letters are missing at their receiver", "from", l.from, "to", l.to,
				"confirmed", l.confirmed, "expected", d.result.Seq)
			l.backOff(now)
			break
		}
		c.confirm(l, d.result.Seq-1, now)
	default:
		rt.dest.metrics.undelivered.Inc()
		c.shard.log.Error("letter refused", "from", l.from, "to", l.to, "number", d.number, "err", d.result.Err())
		l.resend = true
		l.backOff(now)
	}
	if l.resend && l.inFlight == 0 {
		l.resend, l.next = false, 0
		c.reroute(l)
	}
	c.ready(l, now)
}

// releaseWaiters fires the expectations of a lane although its letters have not arrived.
func (l *lane) releaseWaiters() {
	for _, r := range l.expected {
		r.fire()
	}
	l.expected = nil
}

// backOff pauses one lane after a refusal and fires its expectations. Each pause of a
// series is twice as long as the one before.
func (l *lane) backOff(now time.Time) {
	l.releaseWaiters()
	l.pause = min(max(courierFirst, 2*l.pause), courierMost)
	l.retryAt = now.Add(l.pause)
}

// confirm records that the receiver has all letters up to a number.
func (c *courier) confirm(l *lane, upTo uint64, now time.Time) {
	n, bytes := 0, 0
	for n < len(l.letters) && l.letters[n].Number <= upTo {
		bytes += letterSize(&l.letters[n])
		n++
	}
	if n == 0 {
		return
	}
	l.confirmed = l.letters[n-1].Number
	clear(l.letters[:n])
	l.letters = l.letters[n:]
	l.next = max(0, l.next-n)
	c.mu.Lock()
	c.account(l.route.dest, -bytes)
	c.mu.Unlock()
	for len(l.expected) > 0 && l.expected[0].upTo <= l.confirmed {
		r := l.expected[0].expectation
		l.expected = l.expected[1:]
		if r.left--; r.left == 0 {
			r.fire()
		}
	}
	c.wantTrim(l, now)
}

func (c *courier) wantTrim(l *lane, now time.Time) {
	if l.trimming || l.confirmed == l.forgotten {
		return
	}
	l.trimming = true
	if len(c.trims) == 0 {
		c.trimAt = now.Add(trimEvery)
	}
	c.trims = append(c.trims, l)
}

// trim proposes to trim confirmed letters from the outbox.
func (c *courier) trim() {
	trims := c.trims
	c.trims = nil
	for _, l := range trims {
		t := trimming{lane: l, upTo: l.confirmed}
		done := func(_ command.Result, err error) {
			t.err = err
			c.mu.Lock()
			defer c.mu.Unlock()
			c.trimmed = append(c.trimmed, t)
			c.signal()
		}
		encoded := command.AppendCommand(nil, &command.TrimOutbox{From: l.from, To: l.to, UpTo: t.upTo})
		if err := c.shard.replica.Enqueue(0, encoded, replica.Waiter{Patience: trimPatience, Done: done}); err != nil {
			done(command.Result{}, err)
		}
	}
}

// handleTrimmed handles the outcome of a TrimOutbox. It removes the lane if nothing of it is
// left.
func (c *courier) handleTrimmed(t trimming, now time.Time) {
	l := t.lane
	l.trimming = false
	if t.err == nil {
		l.forgotten = max(l.forgotten, t.upTo)
	}
	c.wantTrim(l, now)
	if len(l.letters) == 0 && l.inFlight == 0 && !l.trimming {
		delete(c.lanes, l.direction)
	}
}

// close subtracts the bytes that this courier has counted and fires all expectations.
// It is called after run has ended.
func (c *courier) close() {
	c.mu.Lock()
	expected := c.expected
	c.closed = true
	c.posted, c.returned, c.trimmed, c.expected = nil, nil, nil, nil
	for dest, n := range c.waiting {
		c.account(dest, -int(n))
	}
	c.mu.Unlock()
	for _, r := range expected {
		r.fire()
	}
	for _, l := range c.lanes {
		l.releaseWaiters()
	}
}
