package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// A probe commits messages at whoever leads, one at a time at each, and measures for how
// long none is committed.
type probe struct {
	c   *testCluster
	end chan struct{}
	run sync.WaitGroup

	mu      sync.Mutex
	every   time.Duration
	waiting map[*Replica]bool
	last    time.Time     // of a commit, or of mark
	longest time.Duration // between two of these, since mark
}

func (c *testCluster) probe() *probe {
	p := &probe{c: c, end: make(chan struct{}), waiting: make(map[*Replica]bool)}
	p.mark(10 * time.Millisecond)
	p.run.Go(p.loop)
	return p
}

func (p *probe) stop() {
	close(p.end)
	p.run.Wait()
}

func (p *probe) loop() {
	for n := 0; ; n++ {
		p.mu.Lock()
		every := p.every
		p.mu.Unlock()
		select {
		case <-p.end:
			return
		case <-time.After(every):
		}
		for _, r := range p.c.leaders() {
			p.send(r, n)
		}
	}
}

func (p *probe) send(r *Replica, n int) {
	p.mu.Lock()
	waits := p.waiting[r]
	p.waiting[r] = true
	p.mu.Unlock()
	if waits {
		return
	}
	err := r.Enqueue(0, command.AppendCommand(nil, message(n)), Waiter{Done: func(_ command.Result, err error) { p.answered(r, err) }})
	if err != nil {
		p.answered(r, err)
	}
}

func (p *probe) answered(r *Replica, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[r] = false
	if err == nil {
		now := time.Now()
		p.longest = max(p.longest, now.Sub(p.last))
		p.last = now
	}
}

// mark begins to measure anew, and to send as often as every says.
func (p *probe) mark(every time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every, p.last, p.longest = every, time.Now(), 0
}

// since waits for a commit after a time, and returns the longest time without one.
func (p *probe) since(at time.Time) time.Duration {
	p.c.t.Helper()
	eventually(p.c.t, "something is committed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.last.After(at)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest
}

// waysToFail are those of a leader.
var waysToFail = []string{"cut off", "mute", "frozen", "killed", deaf}

// deaf: it goes on to send. In the network of the test it is told late that no answer
// comes, and its followers hear of it at very different times.
const deaf = "deaf"

// fail lets a leader fail. With uneven, one of its followers may get more than the other.
func (c *testCluster) fail(p *probe, rng *rand.Rand, leader, how string, uneven bool) {
	cut := func(from []string) { c.net.isolate(leader, from, how != deaf, how != "mute") }
	switch how {
	case "frozen":
		c.net.freeze(leader)
	case "killed":
		c.kill(leader)
	default:
		if uneven { // the logs of the followers come to differ
			p.mark(time.Millisecond)
			cut(c.others(leader)[rng.IntN(2):][:1])
			time.Sleep(time.Duration(2+rng.IntN(20)) * time.Millisecond)
			p.mark(10 * time.Millisecond)
		}
		cut(c.ids())
	}
}

// whole ends all failures, and returns the leader once all replicas follow it and have its
// log. latency is the most that a message takes from then on.
func (c *testCluster) whole(latency time.Duration) (leader string) {
	c.t.Helper()
	c.net.heal()
	c.net.set(func(n *testNet) { n.delay, n.loseVotes = latency, 0 })
	eventually(c.t, "all replicas follow one leader", func() bool {
		leader = c.leader()
		lead := c.replica(leader)
		for _, id := range c.ids() {
			r := c.replica(id)
			if known, _ := r.Leader(); known != leader || r.Stamp().Term != lead.Stamp().Term || r.Stamp().Applied+20 < lead.Stamp().Applied {
				return false
			}
		}
		return true
	})
	return leader
}

func (c *testCluster) term() uint64 {
	_, term := c.replica(c.leader()).Leader()
	return term
}

// However a leader fails, the next one has committed something within a second; and
// within 1.8 if the first election fails, since its votes get lost. It does not fail
// because two replicas stand at once, also where messages take so long that they would.
func TestFailover(t *testing.T) {
	const faults = 20
	for seed := range uint64(2 * clusterSeeds(t)) {
		latency, lost, ways := 2*time.Millisecond, seed%4 == 3, waysToFail
		if seed%4 == 2 {
			latency, ways = 20*time.Millisecond, ways[:len(ways)-1]
		}
		within, again := 960*time.Millisecond+20*latency, 2*groupTimeout
		bubble(t, fmt.Sprintf("seed=%d,latency=%v,lost=%t", seed, latency, lost), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			c := newTestCluster(t, seed, nil, "a", "b", "c")
			p := c.probe()
			defer p.stop()
			var took []time.Duration
			for i := range faults {
				leader := c.whole(latency)
				time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
				term, how, uneven := c.term(), ways[i%len(ways)], rng.IntN(3) == 0
				if lost {
					c.net.set(func(n *testNet) { n.loseVotes = 2 })
				}
				p.mark(10 * time.Millisecond)
				start := time.Now()
				c.fail(p, rng, leader, how, uneven)
				d := p.since(start.Add(within / 5)) // none by the old leader
				took = append(took, d)
				elections := int(c.term() - term)
				least, most := 1, 1
				if lost {
					least, most = 2, 3 // the other one may stand, too, before the first tries again
				}
				if how == deaf {
					most++
				}
				if elections < least || elections > most {
					t.Errorf("the leader is %s, uneven %t: %d elections, want %d to %d", how, uneven, elections, least, most)
				}
				if limit := within + again*time.Duration(elections-1); d > limit {
					t.Errorf("the leader is %s, uneven %t: nothing is committed for %v, in %d elections, want %v at most", how, uneven, d, elections, limit)
				}
				if how == "killed" {
					c.start(leader)
				}
			}
			c.whole(latency)
			slices.Sort(took)
			t.Logf("without a commit: half of the times %v, at most %v", took[faults/2], took[faults-1])
		})
	}
}

// A leader that is late, or does nothing for a while, is not replaced: its machine is
// busy.
func TestLateLeaderStays(t *testing.T) {
	bubble(t, "late", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		c.whole(0)
		term := c.term()
		// A heartbeat goes at most T/5 after the answer to the one before.
		c.net.set(func(n *testNet) { n.delay = groupTimeout * 3 / 8 })
		time.Sleep(2 * time.Minute)
		if now := c.term(); now != term {
			t.Errorf("%d elections, since messages are late", now-term)
		}
	})
	bubble(t, "stalls", func(t *testing.T) {
		c := newTestCluster(t, 2, nil, "a", "b", "c")
		leader := c.whole(0)
		term := c.term()
		for range 50 {
			c.net.freeze(leader)
			time.Sleep(groupTimeout * 3 / 4)
			c.whole(0)
			time.Sleep(groupTimeout / 3)
		}
		if now := c.term(); now != term {
			t.Errorf("%d elections, since the leader stalls", now-term)
		}
	})
}
