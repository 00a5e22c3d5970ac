package raftstore

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// beatEvery is how often a node notes that it runs.
	beatEvery = 25 * time.Millisecond
	// frozenAfter is the time without such a note after which others may have elected
	// leaders that this node does not know of: less than an election takes.
	frozenAfter = 250 * time.Millisecond
	// doubtPause is the pause between two attempts to confirm a leadership.
	doubtPause = 20 * time.Millisecond
)

// A heart notes that the process runs. After it was stopped for a while, what it leads
// is in doubt until it has committed something again: a leader that was frozen would
// otherwise answer its first reads with the past.
type heart struct {
	base time.Time
	last atomic.Int64 // when it last beat, since base, ns
}

func newHeart() *heart { return &heart{base: time.Now()} }

// stood reports whether the process may have been stopped since the last beat.
func (h *heart) stood() bool {
	return time.Since(h.base)-time.Duration(h.last.Load()) > frozenAfter
}

// run beats until ctx ends. It calls thawed after the process has been stopped, before
// stood reports false again.
func (h *heart) run(ctx context.Context, thawed func()) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if h.stood() {
			thawed()
		}
		h.last.Store(int64(time.Since(h.base)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// thawed puts what this node leads in doubt, until a linearizable read has gone through.
func (s *Store) thawed() {
	for _, sh := range s.shards() {
		here := sh.here()
		if here == nil {
			continue
		}
		l := here.serving.Load()
		if l == nil {
			continue
		}
		l.doubts.Add(1)
		s.cluster.background.Go(func() {
			// The queue may be full, above all after a stop.
			for here.serving.Load() == l && s.cluster.ctx.Err() == nil {
				if here.local.ReadCommitted(s.cluster.ctx) == nil {
					l.doubts.Add(-1)
					return
				}
				time.Sleep(doubtPause)
			}
		})
	}
}
