package raftstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
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

// A leadership in doubt is confirmed although the queue is full at first, and what is
// asked of it meanwhile leaves its queries alone once it has failed. Other nodes do not
// take a full queue for the end of the leadership.
func TestDoubtOutlivesAFullQueue(t *testing.T) {
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.QueueBytes = 16 << 10 })
	leader := c.leader(0)
	s := c.store(leader)
	sh := s.shards()[0]
	l := sh.leading()
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	login(t, s, alice, "phone", &ear{})
	held, release := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	defer open()                                           // before the cluster is stopped
	go sh.here().local.Inspect(func(*shard.State, int64) { // nothing is applied
		close(held)
		<-release
	})
	<-held
	var full atomic.Bool
	for i := 0; !full.Load(); i++ {
		if i == 1000 {
			t.Fatal("the queue is not full")
		}
		s.Submit(message(alice, bob, i), func(_ command.Result, err error) {
			if errors.Is(err, store.ErrUnavailable) {
				full.Store(true)
			}
		})
		time.Sleep(time.Millisecond)
	}
	l.doubts.Add(1)
	q := &query.Contact{User: alice}
	if err := sh.askWithin(100*time.Millisecond, peer.Read, []query.Query{q}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read that nothing confirms: %v, want ErrUnavailable", err)
	}
	l.doubts.Add(-1)
	s.thawed()
	if sh.memory() != nil {
		t.Error("the memory of a leader in doubt is read")
	}
	other := c.store(c.others(0)[0])
	_ = other.shards()[0].askWithin(100*time.Millisecond, peer.Read, []query.Query{&query.Contact{User: alice}})
	if node, number, _ := other.shards()[0].leads.get(); sh.leading() == l && (node == "" || number != l.number) {
		t.Errorf("another node knows leader %q in %d, want %d", node, number, l.number)
	}
	open()
	eventually(t, "the leadership is confirmed", func() bool { return sh.memory() != nil || sh.leading() != l })
	time.Sleep(50 * time.Millisecond)
	if q.Exists {
		t.Error("a query that has failed was answered later")
	}
}
