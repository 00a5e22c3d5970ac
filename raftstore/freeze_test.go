package raftstore

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/shard/query"
)

func TestHeartNoticesAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeart()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var thaws atomic.Int32
		var run sync.WaitGroup
		run.Go(func() { h.run(ctx, func() { thaws.Add(1) }) })
		time.Sleep(10 * time.Second)
		if n := thaws.Load(); n != 0 || h.stood() {
			t.Fatalf("%d thaws while it ran", n)
		}
		h.last.Add(-int64(time.Second)) // as if it had not beaten for so long
		if !h.stood() {
			t.Error("a second without a beat is not noticed")
		}
		time.Sleep(2 * beatEvery)
		synctest.Wait()
		if n := thaws.Load(); n != 1 || h.stood() {
			t.Errorf("%d thaws after one stop, stood %v", n, h.stood())
		}
		cancel()
		run.Wait()
	})
}

// A node that was stopped reads its own memory again only once its leaderships are
// confirmed; one that cannot be confirmed is not believed.
func TestThawedLeaderIsInDoubt(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	leader := c.leader(0)
	s := c.store(leader)
	sh := s.shards()[0]
	user := userIn(s, 0, 0)
	s.thawed()
	if err := s.read(&query.Contact{User: user}); err != nil {
		t.Errorf("read after a stop: %v", err)
	}
	eventually(t, "the leadership is confirmed", func() bool { return sh.memory() != nil })
	for _, other := range c.others(0) {
		c.kill(other) // then nothing can be confirmed
	}
	s.thawed()
	if sh.memory() != nil {
		t.Error("the memory of a leader in doubt is read")
	}
}
