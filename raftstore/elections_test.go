package raftstore

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// electionsEvery is how often leaderships are to change in all tests that open a store:
// BELFRY_TEST_ELECTIONS; 0 = they stay.
func electionsEvery(t testing.TB) time.Duration {
	text := os.Getenv("BELFRY_TEST_ELECTIONS")
	if text == "" {
		return 0
	}
	every, err := time.ParseDuration(text)
	if err != nil || every <= 0 {
		t.Fatalf("BELFRY_TEST_ELECTIONS: %q is no time above 0", text)
	}
	return every
}

// changeLeaders makes the leaders that s has hand over, or begin a new term where there is
// nobody else, as often as BELFRY_TEST_ELECTIONS says, until the returned function is
// called.
func changeLeaders(t testing.TB, s *Store) (stop func()) {
	every := electionsEvery(t)
	if every == 0 {
		return func() {}
	}
	end := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			for _, sh := range s.shards() {
				here := sh.here()
				switch {
				case here == nil || !here.local.Leads():
				case s.cluster != nil:
					_ = here.local.Transfer(context.Background(), "") // there may be nobody to take it
				default:
					_ = here.local.Campaign() // it may have closed
				}
			}
		}
	})
	return sync.OnceFunc(func() { close(end); loop.Wait() })
}

// newTerm has the replica of a shard on this node, which leads, begin another leadership.
func newTerm(t testing.TB, sh *shardRef) {
	t.Helper()
	before := sh.leading()
	eventually(t, "a new leadership", func() bool {
		now := sh.leading()
		if now == before && now != nil {
			_ = sh.here().local.Campaign() // again if it came to nothing
		}
		return now != nil && now != before
	})
}
