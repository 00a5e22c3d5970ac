package raftstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// Reads run some at a time, those that have no room are refused, and close waits for all.
func TestReadQueueIsBounded(t *testing.T) {
	var q readQueue
	var running, ran atomic.Int32
	release := make(chan struct{})
	read := func() {
		if n := running.Add(1); n > maxReads {
			t.Errorf("%d reads run at a time", n)
		}
		<-release
		running.Add(-1)
		ran.Add(1)
	}
	const all = maxReads + maxReadsWaiting
	for range all {
		if err := q.run(read); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.run(read); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a read too many: %v, want an ErrUnavailable", err)
	}
	close(release)
	q.close()
	if n := ran.Load(); n != all || q.running != 0 || len(q.waiting) != 0 {
		t.Errorf("%d reads have run, %d run and %d wait; want %d, 0, 0", n, q.running, len(q.waiting), all)
	}
	if err := q.run(read); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a closed queue: %v, want ErrNotLeader", err)
	}
}

// A command is executed although reads wait that were asked for before it, and those are
// answered when it is their turn.
func TestCommandsDoNotWaitForReads(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	leader, s := c.store(c.leader(0)), c.store(c.others(0)[0])
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	send(t, s, message(alice, bob, 0))

	release := make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	t.Cleanup(end)
	for range maxReads {
		if err := leader.reads.run(func() { <-release }); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	go func() { answered <- s.Read(&query.SeqOf{User: alice, Peer: bob}) }()
	eventually(t, "the read waits, unless another node leads by now", func() bool {
		leader.reads.mu.Lock()
		defer leader.reads.mu.Unlock()
		return len(leader.reads.waiting) > 0 || len(answered) > 0
	})
	send(t, s, message(alice, bob, 1))
	end()
	if err := <-answered; err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}
