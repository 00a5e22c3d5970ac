package replica

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// A trio is a shard with three voters, on the in-memory transport.
type trio struct {
	t        testing.TB
	replicas [3]*Replica
	stop     [3]func()
	cfg      [3]Config

	mu         sync.Mutex
	transports [3]*raft.InmemTransport // nil: closed
	apart      [3]bool                 // cut off from the others
}

// inBubble runs a test where time passes only when nothing else happens.
func inBubble(f func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

func trioID(i int) string { return fmt.Sprint("replica-", i) }

// newTrio starts the replicas. change may alter the configuration of each.
func newTrio(t testing.TB, change func(i int, cfg *Config)) *trio {
	t.Helper()
	g := &trio{t: t}
	dir := t.TempDir()
	for i := range g.replicas {
		cfg := testConfig(t, 0)
		cfg.ID = trioID(i)
		cfg.Dir = filepath.Join(dir, cfg.ID)
		cfg.ElectionTimeout = 200 * time.Millisecond
		cfg.ExpireEvery = time.Hour // the replicas come to rest
		for j := range g.replicas {
			cfg.Bootstrap = append(cfg.Bootstrap, Member{ID: trioID(j)})
		}
		cfg.Transport = func() (raft.ServerAddress, raft.Transport, io.Closer) {
			addr, transport := raft.NewInmemTransport(raft.ServerAddress(trioID(i)))
			g.connect(i, transport)
			return addr, transport, closer(func() error { g.connect(i, nil); return transport.Close() })
		}
		if change != nil {
			change(i, &cfg)
		}
		g.cfg[i] = cfg
	}
	for i := range g.replicas {
		g.start(i)
	}
	return g
}

type closer func() error

func (c closer) Close() error { return c() }

func (g *trio) start(i int) {
	g.t.Helper()
	g.replicas[i], g.stop[i] = start(g.t, g.cfg[i])
}

func (g *trio) connect(i int, transport *raft.InmemTransport) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.transports[i] = transport
	g.wire()
}

// cut takes a replica away from the others, or brings it back.
func (g *trio) cut(i int, apart bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apart[i] = apart
	g.wire()
}

// wire connects the transports as they are to be. The caller holds mu.
func (g *trio) wire() {
	for i, from := range g.transports {
		for j, to := range g.transports {
			addr := raft.ServerAddress(trioID(j))
			switch {
			case i == j || from == nil:
			case to == nil || g.apart[i] || g.apart[j]:
				from.Disconnect(addr)
			default:
				from.Connect(addr, to)
			}
		}
	}
}

// leader returns the index of the replica that serves, among those not apart.
func (g *trio) leader() int {
	g.t.Helper()
	found := -1
	eventually(g.t, "somebody leads", func() bool {
		for i, r := range g.replicas {
			g.mu.Lock()
			apart := g.apart[i] || g.transports[i] == nil
			g.mu.Unlock()
			if !apart && r.Leads() {
				found = i
			}
		}
		return found >= 0
	})
	return found
}

// send commits the nth message at whoever leads, again and again until it succeeds.
func (g *trio) send(n int) {
	g.t.Helper()
	var err error
	eventually(g.t, fmt.Sprintf("message %d is committed", n), func() bool {
		err = propose(g.replicas[g.leader()], message(n))
		return err == nil
	})
}

// agree waits until all replicas have applied the same entries, and compares their
// states.
func (g *trio) agree() {
	g.t.Helper()
	agreed := false
	defer func() {
		for i, r := range g.replicas {
			if in := r.instance.Load(); !agreed && in != nil {
				g.t.Logf("replica %d at %+v, leads: %t: %v", i, r.Stamp(), r.Leads(), in.raft.Stats())
			}
		}
	}()
	var l *Replica
	eventually(g.t, "all replicas have applied the same", func() bool {
		l = g.replicas[g.leader()]
		stamp := l.Stamp()
		for _, r := range g.replicas {
			if r.Stamp() != stamp {
				return false
			}
		}
		return true
	})
	agreed = true
	want := checksum(l)
	for i, r := range g.replicas {
		if got := checksum(r); got != want {
			g.t.Errorf("replica %d has checksum %x at %+v, want %x", i, got, r.Stamp(), want)
		}
	}
}

// Senders with many commands on their way, while the leadership changes. Who gets a
// refusal or no answer sends that and all behind it again. Each command is then applied
// once, and those of a sender in their order.
func TestTrioKeepsOrder(t *testing.T) { inBubble(testTrioKeepsOrder)(t) }

func testTrioKeepsOrder(t *testing.T) {
	g := newTrio(t, nil)
	const senders, each, window = 4, 300, 16
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			var seqs [each]uint64
			for next := 0; next < each; {
				next += g.sendInOrder(s<<10|next, seqs[next:min(next+window, each)])
			}
			for n := 1; n < each; n++ {
				if seqs[n] <= seqs[n-1] {
					t.Errorf("sender %d: message %d has seq %d, the one before %d", s, n, seqs[n], seqs[n-1])
				}
			}
		})
	}
	for range 3 {
		l := g.leader()
		g.cut(l, true)
		eventually(t, "the leader steps down", func() bool { return !g.replicas[l].Leads() })
		g.leader()
		g.cut(l, false)
	}
	all.Wait()
	g.agree()
}

// sendInOrder sends messages from the nth on to whoever leads, without waiting for
// answers between, and stores the seq of each. It returns how many of the first ones
// were committed.
func (g *trio) sendInOrder(n int, seqs []uint64) int {
	r := g.replicas[g.leader()]
	_, term := r.Leader()
	committed, failed := 0, false // answers come in order
	var answered sync.WaitGroup
	for i := range seqs {
		answered.Add(1)
		err := r.Enqueue(term, command.AppendCommand(nil, message(n+i)), Waiter{Done: func(result command.Result, err error) {
			defer answered.Done()
			if failed = failed || err != nil; !failed {
				seqs[i] = result.Seq
				committed++
			}
		}})
		if err != nil {
			answered.Done()
			break
		}
	}
	answered.Wait()
	return committed
}
