package placement

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// founded returns three processes that have founded a cluster.
func (w *world) founded() (all []*process) {
	for i := range 3 {
		all = append(all, w.run(w.config(i, 3)))
	}
	w.sameCluster(all)
	return all
}

// sameCluster fails unless all processes are in one cluster, with the same founders and configuration.
func (w *world) sameCluster(all []*process) {
	w.t.Helper()
	first := all[0].wait()
	for _, p := range all {
		m := p.wait()
		if m.Cluster == "" || m.Cluster != first.Cluster || m.Epoch != first.Epoch {
			w.t.Fatalf("%s is in cluster %q with epoch %d, %s in %q with %d",
				p.cfg.Node.Name, m.Cluster, m.Epoch, all[0].cfg.Node.Name, first.Cluster, first.Epoch)
		}
	}
}

// TestFoundInAnyOrder starts three nodes in all orders, with pauses, restarts and
// partitions between, and expects one cluster of all three.
func TestFoundInAnyOrder(t *testing.T) {
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	for seed := range uint64(12) {
		order := orders[seed%6]
		t.Run(fmt.Sprintf("%v seed %d", order, seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				w := newWorld(t)
				all := make([]*process, 3)
				pause := func() { time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond) }
				for _, i := range order {
					all[i] = w.run(w.config(i, 3))
					pause()
					if rng.IntN(3) == 0 {
						w.separate(addr(rng.IntN(3)))
						pause()
						w.heal()
					}
					if rng.IntN(3) == 0 {
						all[i].stop()
						pause()
						all[i] = w.run(w.config(i, 3))
					}
				}
				w.sameCluster(all)
				m := all[0].wait()
				if len(m.Nodes) != 3 || len(m.Shards) != 4 || m.Config.HookBytes != 100 || m.Config.Limits.Recents != 7 {
					t.Errorf("map = %+v", m)
				}
				w.eventually("three replicas of each shard", func() bool {
					return !slices.ContainsFunc(all[0].Map().Shards, func(s Shard) bool { return len(s.Replicas) != 3 })
				})
			})
		})
	}
}

// TestNoClusterWithoutAll partitions three fresh nodes: no part may found a cluster,
// however long it waits.
func TestNoClusterWithoutAll(t *testing.T) {
	for _, apart := range [][]string{{addr(0)}, {addr(2)}, {addr(0), addr(1)}} {
		t.Run(fmt.Sprint(apart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.separate(apart...)
				var all []*process
				for i := range 3 {
					all = append(all, w.run(w.config(i, 3)))
				}
				time.Sleep(10 * time.Minute)
				for _, p := range all {
					if m := p.Map(); m.Cluster != "" || p.running() != nil {
						t.Fatalf("%s founded %q without the others", p.cfg.Node.Name, m.Cluster)
					}
					if !strings.Contains(p.Waiting(), "does not answer") {
						t.Errorf("Waiting = %q", p.Waiting())
					}
				}
				w.heal()
				w.sameCluster(all)
			})
		})
	}
}

// TestFounderAloneWaits cuts a node off as soon as it has founded: the others follow
// with the same set, or wait, but found no other cluster.
func TestFounderAloneWaits(t *testing.T) {
	for delay := range 12 {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var all []*process
				for i := range 3 {
					all = append(all, w.run(w.config(i, 3)))
				}
				time.Sleep(time.Duration(delay) * 50 * time.Millisecond)
				w.separate(addr(delay % 3))
				time.Sleep(time.Minute)
				clusters := map[string]bool{}
				for _, p := range all {
					if c := p.Map().Cluster; c != "" {
						clusters[c] = true
					}
				}
				if len(clusters) > 1 {
					t.Fatalf("%d clusters were founded", len(clusters))
				}
				w.heal()
				w.sameCluster(all)
			})
		})
	}
}

func TestStartRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*GroupConfig)
		want   string
	}{
		{"neither join nor expect", func(c *GroupConfig) { c.Join, c.Expect = nil, 0 }, "--join"},
		{"too few addresses", func(c *GroupConfig) { c.Join = c.Join[:2] }, "bootstrap-expect 3"},
		{"too many addresses", func(c *GroupConfig) { c.Join = append(c.Join, "x:1") }, "bootstrap-expect 3"},
		{"too many founders", func(c *GroupConfig) { c.Expect = 6 }, "1-5"},
		{"data and others", func(c *GroupConfig) { c.Solo = true }, "without --join"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cfg := w.config(0, 3)
				test.change(&cfg)
				if p, err := w.open(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Open = %v, %v; want an error with %q", p, err, test.want)
				}
			})
		})
	}
}

// TestJoinAndAdmit lets nodes join one that has shards of the time before the cluster.
func TestJoinAndAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(0, 0)
		cfg.Solo, cfg.Seed.Epoch = true, 77
		a := w.run(cfg)
		if m := a.wait(); m.Epoch != 77 || len(m.Shards) != 4 || m.Shards[3].On("uuid-a").ID != SoloReplica {
			t.Fatalf("map = %+v", m)
		}
		join := func(i int) *process {
			cfg := w.config(i, 0)
			cfg.Join = []string{addr(0)}
			return w.run(cfg)
		}
		b, c := join(1), join(2)
		time.Sleep(10 * time.Second)
		for _, p := range []*process{b, c} {
			if want := "belfry cluster admit " + p.cfg.Node.Name; !strings.Contains(p.Waiting(), want) {
				t.Errorf("Waiting = %q, want %q", p.Waiting(), want)
			}
			if n := a.Map().Node(p.cfg.Node.ID); n == nil || n.Admitted {
				t.Errorf("%s = %+v, want one that is not admitted", p.cfg.Node.Name, n)
			}
			// Neither lets the network connect it with the other.
			w.mu.Lock()
			own, others := w.up[addr(0)].nodes, w.up[p.cfg.Node.Address].nodes
			w.mu.Unlock()
			if len(own) != 1 || len(others) != 0 {
				t.Errorf("nodes at a: %v, at %s: %v", own, p.cfg.Node.Name, others)
			}
			// It cannot give another node its own name, or another address.
			as := joinRequest{Join: a.self(), Start: p.start}
			as.Name = p.cfg.Node.Name
			if answer, err := call[joinAnswer](t.Context(), p.Group, "", addr(0), methodJoin, as); err != nil || answer.Refusal == nil {
				t.Errorf("join as a: %+v, %v", answer, err)
			}
		}
		for _, p := range []*process{b, c} {
			admit := &Admit{Node: p.cfg.Node.ID}
			if err := p.propose(admit); err == nil {
				t.Errorf("%s admitted itself", p.cfg.Node.Name)
			}
			if err := a.propose(admit); err != nil {
				t.Fatal(err)
			}
			p.wait()
			w.eventually("it waits for nothing", func() bool { return p.Waiting() == "" })
		}
		w.eventually("three voters", func() bool { return len(voters(a)) == 3 })
		w.eventually("replicas everywhere", func() bool {
			return len(a.Map().Shards[0].Replicas) == 3 && len(a.Map().Shards[3].Replicas) == 3
		})
		// The first one goes, the others go on.
		a.stop()
		if err := c.propose(&SetConfig{Expect: 1, HookBytes: 5}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the change reaches b", func() bool { return b.Map().Config.Version == 2 })
	})
}

// voters returns the voters as the leader has them, none if p does not lead.
func voters(p *process) []NodeID {
	m := p.running()
	if m == nil {
		return nil
	}
	l := &leadership{g: p.Group, m: m}
	var list []NodeID
	for id, votes := range l.servers() {
		if votes {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

func TestAutoAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(0, 1)
		cfg.AutoAdmit = true
		a := w.run(cfg)
		a.wait()
		cfg = w.config(1, 0)
		cfg.Join, cfg.Node.Roles = []string{addr(0)}, RoleGateway
		b := w.run(cfg)
		if m := b.wait(); m.Cluster != a.Map().Cluster {
			t.Errorf("joined %q", m.Cluster)
		}
		// A node that has no vote follows.
		if err := a.propose(&SetConfig{Expect: 1, HookBytes: 5}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the change reaches b", func() bool { return b.Map().Config.Version == 2 })
		if b.running() != nil {
			t.Error("a gateway votes")
		}
		// It starts without the others from the map that it knows, at another address.
		a.stop()
		b.stop()
		cfg.Node.Address = addr(5)
		b = w.run(cfg)
		if m := b.wait(); m.Config.Version != 2 {
			t.Errorf("map = %+v", m)
		}
		a = w.run(w.config(0, 1))
		w.eventually("the new address is known", func() bool { return a.Map().Node("uuid-b").Address == addr(5) })
	})
}

// TestLostFolder replaces a node that comes back without its folder.
func TestLostFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		w.eventually("made", func() bool { makeAll(all[0]); return len(Plan(all[0].Map(), NewUUID)) == 0 })
		all[2].stop()
		cfg := w.config(2, 3)
		cfg.Dir += "-new"
		cfg.Node.ID = "uuid-new"
		all[2] = w.run(cfg)
		w.eventually("the refusal names the command", func() bool {
			return strings.Contains(all[2].Waiting(), "belfry cluster replace-node c uuid-new")
		})
		if err := all[0].propose(&ReplaceNode{Old: "uuid-c", New: "uuid-new"}); err != nil {
			t.Fatal(err)
		}
		all[2].wait()
		w.eventually("replicas on the new node", func() bool {
			makeAll(all[0])
			removeLeaving(all[0])
			return all[0].Map().Node("uuid-c") == nil && all[0].Map().Shards[3].On("uuid-new") != nil
		})
		w.eventually("the new node votes", func() bool {
			for _, p := range all {
				if p.running() != nil && slices.Equal(voters(p), []NodeID{"uuid-a", "uuid-b", "uuid-new"}) {
					return true
				}
			}
			return false
		})
	})
}

// makeAll and removeLeaving do the parts of the nodes that hold replicas.
func makeAll(p *process) {
	for _, sh := range p.Map().Shards {
		for _, r := range sh.Replicas {
			if !r.Made {
				p.propose(&ReplicaMade{Shard: sh.ID, ID: r.ID})
			}
		}
	}
}

func removeLeaving(p *process) {
	for _, sh := range p.Map().Shards {
		for _, r := range sh.Replicas {
			if r.Leaving {
				p.propose(&RemoveReplica{Shard: sh.ID, ID: r.ID})
			}
		}
	}
}

// TestCopiedFolder starts a second process with the files of one that runs.
func TestCopiedFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		cfg := w.config(1, 3)
		copied := cfg.Dir + "-copy"
		if err := os.CopyFS(copied, os.DirFS(cfg.Dir)); err != nil {
			t.Fatal(err)
		}
		w.disks[copied] = w.disks[cfg.Dir]
		cfg.Dir, cfg.Node.Address = copied, addr(7)
		p, err := w.open(cfg)
		if err == nil {
			<-p.Done()
			err = p.Err()
			p.stop()
		}
		if !errors.Is(err, ErrDuplicate) {
			t.Errorf("the copy ended with %v, want ErrDuplicate", err)
		}
		if n := all[0].Map().Node("uuid-b"); n.Address != addr(1) {
			t.Errorf("the copy changed the address to %s", n.Address)
		}
	})
}

// TestWithoutQuorum stops two of three nodes: the third one knows the map, and makes no
// change.
func TestWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		all[0].stop()
		all[1].stop()
		all[2].stop()
		all[2] = w.run(w.config(2, 3))
		if m := all[2].wait(); len(m.Nodes) != 3 {
			t.Errorf("map = %+v", m)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := all[2].Propose(ctx, &Maintain{Node: "uuid-c", On: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Propose = %v, want that no leader was found", err)
		}
		all[0] = w.run(w.config(0, 3))
		if err := all[2].propose(&Maintain{Node: "uuid-c", On: true}); err != nil {
			t.Errorf("Propose with two of three = %v", err)
		}
	})
}

// TestGrowToFiveAndShrink adds and removes voters while nodes fail.
func TestGrowToFiveAndShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := map[int]*process{}
		cfg := w.config(0, 1)
		cfg.AutoAdmit = true
		all[0] = w.run(cfg)
		all[0].wait()
		for i := 1; i < 6; i++ {
			cfg := w.config(i, 0)
			cfg.Join = []string{addr(0)}
			all[i] = w.run(cfg)
			all[i].wait()
		}
		leaderVoters := func() []NodeID {
			for _, p := range all {
				if m := p.running(); m != nil && m.raft.State().String() == "Leader" {
					return voters(p)
				}
			}
			return nil
		}
		w.eventually("five voters", func() bool { return len(leaderVoters()) == 5 })
		w.eventually("all is made", func() bool { makeAll(all[5]); return len(Plan(all[5].Map(), NewUUID)) == 0 })
		// The first node leaves for good: the sixth takes its place among the voters.
		if err := all[5].propose(&RemoveNode{Node: "uuid-a"}); err != nil {
			t.Fatal(err)
		}
		want := []NodeID{"uuid-b", "uuid-c", "uuid-d", "uuid-e", "uuid-f"}
		w.eventually("the sixth votes instead of the first", func() bool {
			makeAll(all[5])
			removeLeaving(all[5])
			return slices.Equal(leaderVoters(), want)
		})
		w.eventually("the first is gone", func() bool { return all[5].Map().Node("uuid-a") == nil })
	})
}

// TestFilesSurvive uses the real files of one node.
func TestFilesSurvive(t *testing.T) {
	w := newWorld(t)
	cfg := w.config(0, 1)
	cfg.Node.Address = "127.0.0.1:7946"
	cfg.Join = nil
	cfg.tick, cfg.timeout = 20*time.Millisecond, 50*time.Millisecond
	cluster := ""
	for version := uint64(1); version < 4; version++ {
		e := &endpoint{w: w, id: cfg.Node.ID, address: cfg.Node.Address}
		cfg.Network = e
		g, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		m, err := g.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if cluster != "" && m.Cluster != cluster {
			t.Errorf("cluster = %s after a restart, want %s", m.Cluster, cluster)
		}
		cluster = m.Cluster
		if m, err = g.Propose(ctx, &SetConfig{Expect: version, HookBytes: int(1000 + version)}); err != nil || m.Config.Version != version+1 {
			t.Fatalf("Propose = %+v, %v", m, err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(cfg.Dir, "raft.db")); err != nil {
			t.Error(err)
		}
	}
}
