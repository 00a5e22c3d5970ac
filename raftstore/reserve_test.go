package raftstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	dto "github.com/prometheus/client_model/go"
)

// inOneLeadership has try look at what leaders count in memory. A change of leader forgets
// that: then try, which returns what is wrong, is called anew.
func (c *testCluster) inOneLeadership(try func(attempt int) error) {
	c.t.Helper()
	c.settle()
	c.ready()
	for attempt := range 20 {
		before := c.leaderships()
		err := try(attempt)
		if slices.Equal(c.leaderships(), before) {
			if err != nil {
				c.t.Error(err)
			}
			return
		}
	}
	c.t.Error("the leaders change all the time")
}

// leaderships returns the newest leadership of each shard that some node knows of, and how
// often something was sent to leaders again.
func (c *testCluster) leaderships() (numbers []uint64) {
	for shard := range c.m.Shards {
		newest, resent := uint64(0), 0.0
		for i := range c.nodes {
			sh := c.store(i).shards()[shard]
			newest = max(newest, sh.leads.highest.Load())
			var m dto.Metric
			if err := sh.metrics.resent.Write(&m); err != nil {
				c.t.Fatal(err)
			}
			resent += m.GetCounter().GetValue()
		}
		numbers = append(numbers, newest, uint64(resent))
	}
	return numbers
}

// Whoever joins groups through several nodes at once is counted by all of them.
func TestReservationsAreSharedByNodes(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	c.inOneLeadership(c.reserveAtAll)
}

// reserveAtAll makes reservations for two users at all nodes at once, and ends them.
func (c *testCluster) reserveAtAll(attempt int) error {
	users := []command.UserID{userIn(c.store(0), 0, attempt), userIn(c.store(0), 1, attempt)}
	const each = 5
	var mu sync.Mutex
	var failed error
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
				results := s.Reserve(list)
				mu.Lock()
				for u, r := range results {
					failed = errors.Join(failed, r.Err)
					joined[users[u]] = append(joined[users[u]], r.Joined)
				}
				made[s] = append(made[s], list...)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	for _, user := range users {
		slices.Sort(joined[user])
		for i, n := range joined[user] {
			if n != i && failed == nil {
				failed = fmt.Errorf("reservations for %s had %v others, want each number once", user, joined[user])
			}
		}
	}
	for s, list := range made {
		s.Unreserve(list)
	}
	if failed != nil {
		return failed
	}
	for i := range c.nodes {
		asked := store.Reservation{ID: uint64(1000 + i), User: users[i%2], Joins: true}
		eventually(c.t, "all reservations have ended", func() bool {
			others := c.store(i).Reserve([]store.Reservation{asked})[0]
			c.store(i).Unreserve([]store.Reservation{asked})
			return others == store.Reserved{}
		})
	}
	return nil
}

// A reservation that ends before it is made, as when the node that asks has given up,
// does not count.
func TestReservationEndsBeforeItIsMade(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	c.inOneLeadership(func(attempt int) error {
		user := userIn(c.store(0), 0, attempt)
		leader, asking := c.leader(0), c.others(0)[0]
		late := []store.Reservation{{ID: uint64(3*attempt + 1), User: user, Joins: true}}
		c.store(asking).Unreserve(late)
		eventually(t, "the reservation has ended", func() bool { return c.store(leader).Reserve(late)[0].Err != nil })
		next := store.Reservation{ID: uint64(3*attempt + 2), User: user, Joins: true}
		if got := c.store(asking).Reserve([]store.Reservation{next})[0]; got != (store.Reserved{}) {
			return fmt.Errorf("others of the next reservation: %+v, want none", got)
		}
		return nil
	})
}

// A login counts once against the rate of its user, whichever leaders it is sent to.
func TestLoginIsCountedOnce(t *testing.T) {
	c := newTestCluster(t, 3, 1, nil)
	for i := range c.nodes {
		c.store(i).loginRate = newKeyRate[command.UserID](1, 2, time.Hour)
	}
	submit := func(s *Store, user command.UserID, counted bool) (*operation, answer) {
		answers := make(chan answer, 1)
		op := &operation{
			kind: peer.Login, key: user, encoded: command.AppendCommand(nil, &command.Login{User: user, Device: "phone"}),
			asked: time.Now(), counted: counted,
			begin: func(command.UserID, *query.Sync) {}, done: func(a answer) { answers <- a },
		}
		s.submit(op)
		return op, <-answers
	}
	c.inOneLeadership(func(attempt int) error {
		for i := range c.nodes {
			user := userIn(c.store(0), 0, 3*attempt+i)
			op, a := submit(c.store(i), user, false)
			for a.err == nil && a.result.Code == command.OK {
				if !op.counted {
					return fmt.Errorf("node %d: a login is not counted", i)
				}
				_, a = submit(c.store(i), user, false)
			}
			if refused, ok := errors.AsType[*command.RefusedError](errors.Join(a.err, a.result.Err())); !ok || refused.Code != command.CodeRateLimited {
				return fmt.Errorf("node %d: %v, %v; want a login too many", i, a.err, a.result.Err())
			}
			if _, a := submit(c.store(i), user, true); a.err != nil || a.result.Code != command.OK {
				return fmt.Errorf("node %d: a login that is sent again: %v, %v", i, a.err, a.result.Err())
			}
		}
		return nil
	})
}

// Logins of a user at all nodes together are limited; those of sessions that nodes bring
// back are not.
func TestLoginRateIsSharedByNodes(t *testing.T) {
	const burst = 12
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.LoginRate, cfg.LoginBurst = 1, burst })
	c.inOneLeadership(func(attempt int) error { return c.logInAtAll(userIn(c.store(0), 0, attempt), burst) })
}

// logInAtAll logs a user in at one node after the other, until they are refused at a rate
// of one a second.
func (c *testCluster) logInAtAll(user command.UserID, burst int) error {
	start := time.Now()
	var session command.SessionID
	n := 0
	for ; ; n++ {
		sync, err := c.store(n%3).Login(c.t.Context(), &command.Login{User: user, Device: "phone"}, query.RecentsOff, &ear{})
		if refused, ok := errors.AsType[*command.RefusedError](err); ok && refused.Code == command.CodeRateLimited {
			if refused.RetryAfterMS <= 0 || refused.RetryAfterMS > 1000 {
				return fmt.Errorf("to be tried again after %d ms, want up to a second", refused.RetryAfterMS)
			}
			break
		}
		if err != nil {
			return err
		}
		session = sync.Session
		if most := burst + int(time.Since(start).Seconds()) + 1; n >= most {
			return fmt.Errorf("%d logins, want %d at most", n+1, most)
		}
	}
	if n < burst {
		return fmt.Errorf("%d logins, want %d at least", n, burst)
	}
	for i := range 3 {
		sync, err := c.store(i).Login(c.t.Context(), &command.Login{User: user, Device: "phone", Instead: session}, query.RecentsOff, &ear{})
		if err != nil {
			return fmt.Errorf("a session that comes back: %w", err)
		}
		session = sync.Session
	}
	return nil
}
