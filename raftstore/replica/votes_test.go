package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// A ballot is a vote that a replica may give once.
type ballot struct {
	replica string
	term    uint64
}

// voted notes a vote, whether or not the candidate learns of it.
func (n *testNet) voted(replica string, term uint64, candidate string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.votes == nil {
		return
	}
	b := ballot{replica, term}
	if first, ok := n.votes[b]; ok && first != candidate {
		n.twice = append(n.twice, fmt.Sprintf("%s voted for %s and for %s in term %d", replica, first, candidate, term))
		return
	}
	n.votes[b] = candidate
}

func (n *testNet) votedTwice() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.twice)
}

// make makes the files of a replica that is to be started, as a store does it.
func (c *testCluster) make(id string) {
	c.t.Helper()
	cfg := c.base
	cfg.Dir = filepath.Join(c.base.Dir, id)
	if err := errors.Join(os.MkdirAll(cfg.Dir, DirMode), MakeFiles(&cfg)); err != nil {
		c.t.Fatal(err)
	}
}

// refuses starts a replica that has lost files, and fails unless it is not opened.
func (c *testCluster) refuses(id string) {
	c.t.Helper()
	c.mu.Lock()
	cfg := c.nodes[id].cfg
	c.mu.Unlock()
	r := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	if err := r.Opened(); !errors.Is(err, ErrFilesLost) {
		c.t.Errorf("%s was opened without its files: %v", id, err)
	}
	cancel()
	run.Wait()
}

// TestNoVoteTwice kills, wipes, cuts off and restarts replicas at random, and mends those
// that are refused as rebuild-replica does. In no run may a replica vote twice in a term.
func TestNoVoteTwice(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), inBubble(func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			ids := []string{"r1", "r2", "r3"}
			c := newTestCluster(t, seed, func(cfg *Config) { cfg.Made = true })
			c.net.set(func(n *testNet) { n.votes = map[ballot]string{} })
			var first []Member
			for _, id := range ids {
				first = append(first, Member{ID: id})
				c.make(id)
			}
			for _, id := range ids {
				c.add(id, first)
			}
			made := len(ids)
			for range 2 {
				c.leader()
				victim := ids[rng.IntN(len(ids))]
				other := ids[rng.IntN(len(ids))]
				c.net.isolate(other, ids, rng.IntN(2) == 0, rng.IntN(2) == 0)
				c.net.set(func(n *testNet) { n.drop, n.delay = 0.1, 30*time.Millisecond })
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
				if r := c.replica(ids[rng.IntN(len(ids))]); rng.IntN(2) == 0 {
					_ = r.Campaign() // it may be down, or lead
				}
				c.kill(victim)
				what := []string{"", "stable.db", "log", "."}[rng.IntN(4)]
				if what == "" {
					c.start(victim)
				} else {
					if err := os.RemoveAll(filepath.Join(c.base.Dir, victim, what)); err != nil {
						t.Fatal(err)
					}
					c.refuses(victim)
				}
				time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
				c.net.heal()
				if what == "" {
					continue
				}
				made++
				fresh := fmt.Sprint("r", made)
				ids[slices.Index(ids, victim)] = fresh
				var want []Member
				for _, id := range ids {
					want = append(want, Member{ID: id})
				}
				c.setDesired(want...)
				c.make(fresh)
				c.add(fresh, nil)
				c.mu.Lock()
				delete(c.nodes, victim)
				c.mu.Unlock()
				eventually(t, "the new replica votes instead", func() bool { return sameMembers(c, ids) })
			}
			if twice := c.net.votedTwice(); len(twice) > 0 {
				t.Errorf("%v", twice)
			}
			c.net.set(func(n *testNet) {
				if len(n.votes) < len(ids) {
					t.Errorf("votes given were %v, want some of each election", n.votes)
				}
			})
		}))
	}
}

// sameMembers reports whether the leader's voters are those.
func sameMembers(c *testCluster, ids []string) bool {
	leaders := c.leaders()
	if len(leaders) == 0 {
		return false
	}
	var voters []string
	for _, m := range leaders[len(leaders)-1].Members() {
		if !m.Voter {
			return false
		}
		voters = append(voters, m.ID)
	}
	slices.Sort(voters)
	return slices.Equal(voters, slices.Sorted(slices.Values(ids)))
}

// TestVoteTwiceIsSeen lets a replica that has lost everything begin anew under its ID: it
// votes twice, and that is seen.
func TestVoteTwiceIsSeen(t *testing.T) {
	inBubble(func(t *testing.T) {
		ids := []string{"r1", "r2", "r3"}
		c := newTestCluster(t, 1, nil, ids...)
		c.net.set(func(n *testNet) { n.votes = map[ballot]string{} })
		old := c.leader()
		others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == old })
		away, wiped := others[0], others[1]
		// In a term of which one replica does not know, another one votes for itself.
		c.net.isolate(away, ids, true, true)
		if err := c.replica(wiped).Campaign(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it leads", func() bool { return c.replica(wiped).Leads() })
		c.kill(wiped)
		c.kill(old)
		if err := os.RemoveAll(filepath.Join(c.base.Dir, wiped)); err != nil {
			t.Fatal(err)
		}
		c.start(wiped)
		c.net.heal()
		eventually(t, "the second vote is seen", func() bool { return len(c.net.votedTwice()) > 0 })
	})(t)
}
