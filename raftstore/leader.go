package raftstore

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An enqueueFunc is Replica.Enqueue for one leadership.
type enqueueFunc = func(command []byte, w replica.Waiter) error

// A leader is what this node does as leader of a shard, for one leadership: it
// carries letters, tells hooks, and logs out sessions that nobody claims.
type leader struct {
	shard   *localShard
	enqueue enqueueFunc // of this leadership
	// number rises from one leadership of the shard to the next, on whatever node: it is
	// the term of Raft and, in the low 16 bits, how often this node had begun to serve in
	// that term before. Set before the leader is in localShard.serving.
	number  uint64
	doubts  atomic.Int32 // above 0: others may have a newer leader, see Store.thawed
	courier *courier
	hooker  *hooker // nil without Config.Hooks
}

var _ replica.Leader = (*leader)(nil)

func newLeader(sh *localShard, enqueue enqueueFunc) *leader {
	l := &leader{shard: sh, enqueue: enqueue, courier: newCourier(sh)}
	if sh.store.cfg.Hooks != nil {
		l.hooker = newHooker(sh, enqueue)
	}
	return l
}

// Begin takes over the letters of the outbox; later ones come with Applied. It
// divides the sessions of the state into those with a watcher here and orphans.
func (l *leader) Begin(s *shard.State) {
	sh := l.shard
	for p := range s.Letters {
		l.courier.post([]shard.Posted{p})
	}
	if l.hooker != nil {
		l.hooker.begin(s)
	}
	// What other nodes watched when this node led before may have come after its end.
	sh.store.hub.release(sh.owns)
	sh.store.hub.presence.release(sh.owns)
	live := make(map[sessionKey]bool)
	for user, session := range s.AllSessions {
		live[sessionKey{user, session}] = true
	}
	sh.orphans.reset(live, sh.store.hub.resume(sh.owns, live, sh.store.cluster != nil), time.Now(), sh.store.cfg.ClaimWithin)
	if sh.store.cluster != nil {
		sh.store.hub.presence.begin(sh.owns, sh.store.hub.online)
	}
	sh.leader.Store(l)
}

// Wanted returns the kinds of changes that Hooks want to be told of.
func (l *leader) Wanted() shard.ChangeKinds {
	if l.hooker == nil {
		return 0
	}
	return l.hooker.wanted
}

// Applied passes what an entry did to the courier and the hooker.
func (l *leader) Applied(out *shard.Outcome) {
	if len(out.Posted) > 0 {
		l.courier.post(out.Posted)
	}
	if l.hooker != nil {
		l.hooker.applied(out)
	}
}

func (l *leader) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { l.courier.run(ctx) })
	loops.Go(func() { l.watchOrphans(ctx) })
	if l.hooker != nil {
		loops.Go(func() { l.hooker.run(ctx) })
	}
	loops.Wait()
}

func (l *leader) Close() {
	l.shard.leader.CompareAndSwap(l, nil)
	l.shard.serving.CompareAndSwap(l, nil)
	l.courier.close()
	l.shard.orphans.clear(time.Now())
	l.shard.store.hub.release(l.shard.owns)
	l.shard.store.hub.presence.release(l.shard.owns)
	if l.shard.store.cluster != nil {
		l.shard.store.reservations.Release(l.shard.owns)
	}
	l.shard.line.ended(l)
}

// watchOrphans logs out sessions that nobody claims, until ctx ends.
func (l *leader) watchOrphans(ctx context.Context) {
	tick := time.NewTicker(l.shard.store.cfg.ClaimWithin / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.logoutOrphans(now)
		}
	}
}

// logoutOrphans logs out the sessions that no watcher has claimed within
// Config.ClaimWithin. Those whose logout cannot be proposed now are due again after
// as long.
func (l *leader) logoutOrphans(now time.Time) {
	sh := l.shard
	due := sh.orphans.due(now, sh.store.cfg.ClaimWithin)
	left := make(map[command.UserID]int) // sessions of a user that are due
	for key := range due {
		left[key.user]++
	}
	for key, one := range due {
		if sh.store.hub.watches(key) {
			sh.orphans.remove(key)
			continue
		}
		q := query.Sessions{User: key.user}
		if err := sh.read(&q); err != nil {
			return
		}
		alive := slices.ContainsFunc(q.Sessions, func(info query.SessionInfo) bool { return info.Number == key.session })
		if !alive {
			sh.orphans.remove(key)
			sh.store.hub.removeAbsent(key)
			left[key.user]--
			continue
		}
		left[key.user]--
		tell := left[key.user] == 0 && !one.told
		done := func(result command.Result, err error) {
			switch {
			case err != nil || result.Code != command.OK:
			case sh.store.hub.removeAbsent(key): // which tells if the user is offline now
			case tell:
				l.loggedOut(key.user)
			}
		}
		l.enqueue(command.AppendCommand(nil, &command.Logout{User: key.user, Session: key.session}), replica.Waiter{Done: done})
	}
}

// loggedOut reports that a user is offline if they have no session left. Nothing
// else reports it if their last session was left behind by a process that died.
func (l *leader) loggedOut(user command.UserID) {
	q := query.Sessions{User: user}
	if err := l.shard.read(&q); err == nil && len(q.Sessions) == 0 {
		l.shard.store.hub.reportOffline(user)
	}
}
