package raftstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// What is counted in a leader's memory is forgotten with it: these tests need one leader.
func (c *testCluster) oneLeader() {
	for _, n := range c.nodes {
		n.settle()
	}
	c.ready()
}

// Whoever joins groups through several nodes at once is counted by all of them.
func TestReservationsAreSharedByNodes(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	c.oneLeader()
	users := []command.UserID{userIn(c.store(0), 0, 0), userIn(c.store(0), 1, 0)}
	const each = 5
	var mu sync.Mutex
	joined := make(map[command.UserID][]int)
	made := make(map[*Store][]store.Reservation)
	var running sync.WaitGroup
	for i := range c.nodes {
		s := c.store(i)
		running.Go(func() {
			for k := range each {
				var list []store.Reservation
				for u, user := range users {
					list = append(list, store.Reservation{ID: uint64(100*u + 10*i + k + 1), User: user, Joins: true})
				}
				for u, r := range s.Reserve(list) {
					if r.Err != nil {
						t.Errorf("a reservation at node %d: %v", i, r.Err)
					}
					mu.Lock()
					joined[users[u]] = append(joined[users[u]], r.Joined)
					mu.Unlock()
				}
				mu.Lock()
				made[s] = append(made[s], list...)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	for _, user := range users {
		slices.Sort(joined[user])
		for i, n := range joined[user] {
			if n != i {
				t.Fatalf("reservations for %s had %v others, want each number once", user, joined[user])
			}
		}
	}

	for s, list := range made {
		s.Unreserve(list)
	}
	for i := range c.nodes {
		asked := store.Reservation{ID: uint64(1000 + i), User: users[i%2], Joins: true}
		eventually(t, "all reservations have ended", func() bool {
			others := c.store(i).Reserve([]store.Reservation{asked})[0]
			c.store(i).Unreserve([]store.Reservation{asked})
			return others == store.Reserved{}
		})
	}
}

// Logins of a user at all nodes together are limited; those of sessions that nodes bring
// back are not.
func TestLoginRateIsSharedByNodes(t *testing.T) {
	const burst = 12
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.LoginRate, cfg.LoginBurst = 1, burst })
	c.oneLeader()
	user := userIn(c.store(0), 0, 0)
	start := time.Now()
	var session command.SessionID
	n := 0
	for ; ; n++ {
		sync, err := c.store(n%3).Login(t.Context(), &command.Login{User: user, Device: "phone"}, query.RecentsOff, &ear{})
		if refused, ok := errors.AsType[*command.RefusedError](err); ok && refused.Code == command.CodeRateLimited {
			if refused.RetryAfterMS <= 0 || refused.RetryAfterMS > 1000 {
				t.Errorf("to be tried again after %d ms, want up to a second", refused.RetryAfterMS)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		session = sync.Session
		if most := burst + int(time.Since(start).Seconds()) + 1; n >= most {
			t.Fatalf("%d logins, want %d at most", n+1, most)
		}
	}
	if n < burst {
		t.Errorf("%d logins, want %d at least", n, burst)
	}
	for i := range 3 {
		sync, err := c.store(i).Login(context.Background(), &command.Login{User: user, Device: "phone", Instead: session}, query.RecentsOff, &ear{})
		if err != nil {
			t.Fatalf("a session that comes back: %v", err)
		}
		session = sync.Session
	}
}
