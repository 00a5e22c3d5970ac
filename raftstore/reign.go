package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// sweepSteps is the number of commands that one sweep for what has expired is
// cut into, so that none holds the shard for long.
const sweepSteps = 64

// enqueueTimeout bounds the wait for Raft to take an entry. It does so at once,
// unless it is held by a disk that fails.
const enqueueTimeout = 2 * time.Second

// A reign is the time this node leads a shard: it proposes, carries letters,
// sweeps what has expired and logs out sessions that nobody claims.
type reign struct {
	group *group
	*node
	proposer *proposer
	courier  *courier
	hooker   *hooker // nil without Config.Hooks

	end        context.CancelFunc
	background sync.WaitGroup
}

// lead begins a reign once everything that was committed has been applied. It
// serves from the moment at which its letters and sessions have been taken from
// the state.
func (g *group) lead(n *node) (*reign, error) {
	if err := n.raft.Barrier(enqueueTimeout).Error(); err != nil {
		return nil, err
	}
	if err := g.stoppedErr(); err != nil {
		return nil, err
	}
	g.clock.raise(g.applied.Load())
	ctx, end := context.WithCancel(context.Background())
	r := &reign{group: g, node: n, end: end}
	r.proposer = newProposer(r.propose, g.store.moved, g.store.hub.notify, g.cfg.QueueBytes, g.metrics)
	r.courier = newCourier(g)
	if g.cfg.Hooks != nil {
		r.hooker = newHooker(g, r.proposer)
	}

	g.mu.RLock()
	limits, epoch, owns := g.state.Limits(), g.state.Epoch(), g.state.Owns(g.first)
	hookBytes := g.state.HookBytes()
	g.mu.RUnlock()
	begun := make(chan error, 1)
	if limits != g.cfg.Limits || epoch != g.store.epoch {
		configure := &command.Configure{Limits: g.cfg.Limits, Epoch: g.store.epoch}
		r.proposer.add(command.AppendCommand(nil, configure), waiter{})
	}
	if !owns {
		r.proposer.add(command.AppendCommand(nil, &command.OpenSlots{FirstSlot: g.first, LastSlot: g.last}), waiter{})
	}
	if want := g.cfg.hookBytes(); hookBytes != want {
		r.proposer.add(command.AppendCommand(nil, &command.ConfigureHooks{Bytes: want}), waiter{})
	}
	// A new proposer has room for these: add cannot fail.
	r.proposer.add(nil, waiter{read: true, step: r.begin, done: func(_ command.Result, err error) { begun <- err }})
	if err := <-begun; err != nil {
		r.close(false)
		return nil, err
	}
	r.background.Go(func() { r.courier.run(ctx) })
	r.background.Go(func() { r.sweep(ctx) })
	if r.hooker != nil {
		r.background.Go(func() { r.hooker.run(ctx) })
	}
	g.served()
	g.metrics.serving.Set(1)
	g.reign.Store(r)
	return r, nil
}

// begin runs in the apply step: from here on everything posted goes to the
// courier, and every session is known to have a watcher or to wait for one.
func (r *reign) begin(s *shard.State, _ *command.Result) {
	g := r.group
	for p := range s.Letters {
		r.courier.post([]shard.Posted{p})
	}
	g.courier = r.courier
	if g.hooker = r.hooker; g.hooker != nil {
		g.hooker.begin(s)
	}
	g.serving = true
	live := make(map[sessionKey]bool)
	for user, session := range s.AllSessions {
		live[sessionKey{user, session}] = true
	}
	g.orphans.reset(live, g.store.hub.resume(g.owns, live), time.Now())
}

// owns tells whether a user's slot belongs to this shard.
func (g *group) owns(user command.UserID) bool {
	slot := command.SlotOf(string(user))
	return g.first <= slot && slot <= g.last
}

// propose hands a batch to Raft.
func (r *reign) propose(b *batch) (wait func() error) {
	g := r.group
	b.seal(max(g.clock.now(), g.applied.Load()))
	g.proposed.Store(b)
	future := r.raft.Apply(b.entry, enqueueTimeout)
	return func() error {
		err := future.Error()
		if err != nil && g.proposed.CompareAndSwap(b, nil) {
			return proposeError(err) // not applied, and nobody will claim it now
		}
		// Applied, or about to be.
		<-b.applied
		return b.err
	}
}

// sweep proposes what time alone brings about: commands that free what has
// expired, a range of slots at a time, and the logout of sessions that nobody
// claims.
func (r *reign) sweep(ctx context.Context) {
	g := r.group
	steps := min(sweepSteps, int(g.last-g.first)+1)
	every := max(g.cfg.ExpireEvery/time.Duration(steps), time.Millisecond)
	expire := time.NewTicker(every)
	defer expire.Stop()
	claims := time.NewTicker(g.cfg.ClaimWithin / 10)
	defer claims.Stop()
	pending := make(chan struct{}, 1) // filled while an Expire is on its way
	for step := 0; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-claims.C:
			r.logoutOrphans(now)
		case <-expire.C:
			if g.empty() {
				continue
			}
			select {
			case pending <- struct{}{}:
			default:
				continue
			}
			width := int(g.last-g.first) + 1
			cmd := &command.PurgeExpired{
				FirstSlot: g.first + uint16(step*width/steps),
				LastSlot:  g.first + uint16((step+1)*width/steps) - 1,
			}
			done := func(command.Result, error) { <-pending }
			if r.proposer.add(command.AppendCommand(nil, cmd), waiter{patience: every / 2, done: done}) != nil {
				<-pending
			}
			step = (step + 1) % steps
		}
	}
}

func (g *group) empty() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.state.Size() == 0
}

// logoutOrphans ends the sessions that no watcher has claimed in time. What
// cannot be proposed now is tried again.
func (r *reign) logoutOrphans(now time.Time) {
	g := r.group
	due := g.orphans.due(now, g.cfg.ClaimWithin)
	left := make(map[command.UserID]int) // sessions of a user that are due
	for key := range due {
		left[key.user]++
	}
	for key, one := range due {
		if g.store.hub.watches(key) {
			g.orphans.remove(key)
			continue
		}
		alive := false
		err := g.read(func(st *shard.State, _ int64) {
			for _, info := range st.Sessions(key.user) {
				alive = alive || info.Number == key.session
			}
		})
		if err != nil {
			return
		}
		if !alive {
			g.orphans.remove(key)
			left[key.user]--
			continue
		}
		left[key.user]--
		tell := left[key.user] == 0 && !one.told
		done := func(result command.Result, err error) {
			if err == nil && result.Code == command.OK && tell {
				r.loggedOut(key.user)
			}
		}
		r.proposer.add(command.AppendCommand(nil, &command.Logout{User: key.user, Session: key.session}), waiter{done: done})
	}
}

// loggedOut tells that a user is no longer online whose last session was one that a
// process has left behind: nobody else does.
func (r *reign) loggedOut(user command.UserID) {
	last := false
	err := r.group.read(func(st *shard.State, _ int64) { last = len(st.Sessions(user)) == 0 })
	if err == nil && last {
		r.group.store.hub.gone(user)
	}
}

// close ends the reign: it answers all that waits, with drain after it has been
// proposed. A nil reign is closed already.
func (r *reign) close(drain bool) {
	if r == nil {
		return
	}
	g := r.group
	g.reign.CompareAndSwap(r, nil)
	g.metrics.serving.Set(0)
	r.end()
	r.background.Wait()
	r.proposer.close(drain)
	g.mu.Lock()
	g.courier, g.hooker = nil, nil
	g.serving = false
	g.mu.Unlock()
	r.courier.close()
}
