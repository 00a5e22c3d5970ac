package replica

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// stuckAfter is how long a follower that answers heartbeats may get nothing further
	// of the log.
	stuckAfter = 5 * time.Second
	// watchEvery is how often a leader looks for such followers.
	watchEvery = 500 * time.Millisecond
	// rescueEvery is the least time between two attempts of a replica to help such a
	// follower: if the first did not, the next one will hardly.
	rescueEvery = 10 * time.Minute
)

var errFollowerStuck = errors.New("raftstore: no follower gets on, though they answer")

// A watchdog finds followers that are in contact and yet get nothing of the log, for a
// reason that is not theirs: they refuse nothing.
type watchdog struct {
	leadership *leadership
	behind     map[raft.ServerID]standstill
	last       uint64 // index of the leader's log at the check before
}

// A standstill is how long a follower that lacks something has had just this much.
type standstill struct {
	matched, committed uint64
	since              time.Time
}

// watchFollowers runs a watchdog until ctx ends.
func (l *leadership) watchFollowers(ctx context.Context) {
	dog := watchdog{leadership: l, behind: make(map[raft.ServerID]standstill)}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			dog.check(ctx)
		}
	}
}

// check hands the leadership over if a follower is stuck: the next leader replicates
// anew. If nobody can take it, and nothing is committed either, the replica is opened
// again.
func (w *watchdog) check(ctx context.Context) {
	l := w.leadership
	in, r := l.instance, l.replica
	committed, last, now := in.raft.CommitIndex(), in.raft.LastIndex(), time.Now()
	defer func() { w.last = last }()
	for _, s := range in.servers() {
		if s.ID == raft.ServerID(r.cfg.ID) {
			continue
		}
		f := in.peers.follower(l.term, s.ID)
		if f.current.IsZero() || f.matched >= w.last {
			in.peers.change(l.term, s.ID, func(f *follower) { f.current = now })
		}
		was, known := w.behind[s.ID]
		switch {
		case f.matched >= last || f.refused > 0 || f.installing > 0 || in.peers.gated.Load() || !l.inContact(string(s.ID)):
			delete(w.behind, s.ID)
		case !known || f.matched != was.matched:
			w.behind[s.ID] = standstill{f.matched, committed, now}
		case now.Sub(was.since) >= stuckAfter && now.Sub(r.rescued) >= rescueEvery:
			r.rescued = now
			r.metrics.rescues.Inc()
			r.log.Warn("follower gets nothing of the log", "replica", string(s.ID), "matched", f.matched, "last", last)
			err := l.transfer(ctx, "")
			if err == nil {
				return
			}
			r.log.Warn("leadership not handed over", "err", err)
			if committed == was.committed {
				in.fail(errFollowerStuck)
			}
			return
		}
	}
}
