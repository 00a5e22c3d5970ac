package placement

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestLostVotes takes from a voter what it has of its votes, and keeps its UUID: whether it
// has founded the cluster or joined it, it must not start, and names the command that
// mends it.
func TestLostVotes(t *testing.T) {
	for name, test := range map[string]struct {
		voter int // 0 and 1 have founded the cluster; 2 has joined it
		lose  func(w *world, dir string) error
	}{
		"raft.db of a founder": {1, func(w *world, dir string) error { delete(w.disks, dir); return nil }},
		"raft.db of another":   {2, func(w *world, dir string) error { delete(w.disks, dir); return nil }},
		"raft.db, with snapshots there": {2, func(w *world, dir string) error {
			w.disks[dir].store = raft.NewInmemStore()
			return takeSnapshot(w.disks[dir].snapshots)
		}},
		"all of a founder": {1, func(w *world, dir string) error { delete(w.disks, dir); return os.RemoveAll(dir) }},
		"all of another":   {2, func(w *world, dir string) error { delete(w.disks, dir); return os.RemoveAll(dir) }},
		"all of another, with its mark": {2, func(w *world, dir string) error {
			delete(w.disks, dir)
			return errors.Join(os.RemoveAll(dir), os.Remove(dir+".voter"))
		}},
		"raft.db of another, with its mark":   {2, loseVotes},
		"raft.db of a founder, with its mark": {1, loseVotes},
		"all of a founder but the map": {1, func(w *world, dir string) error {
			return errors.Join(loseVotes(w, dir), os.Remove(filepath.Join(dir, "founders.json")))
		}},
		"raft.db is one of another node": {1, func(w *world, dir string) error {
			w.disks[dir] = w.disks[filepath.Join(filepath.Dir(dir), "a")]
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				all := w.threeAndOne()
				p := all[test.voter]
				cfg := p.cfg
				p.stop()
				if err := test.lose(w, cfg.Dir); err != nil {
					t.Fatal(err)
				}
				p, err := w.open(cfg)
				if err == nil { // until the leader says that it votes
					<-p.Done()
					err = p.Err()
					if p.running() != nil {
						t.Error("Raft runs")
					}
					p.stop()
				}
				if !errors.Is(err, errVotesLost) || !strings.Contains(err.Error(), "belfry cluster replace-node "+cfg.Node.Name) {
					t.Errorf("the node ended with %v, want errVotesLost and the command", err)
				}
			})
		})
	}
}

// loseVotes takes away raft.db and its mark, and leaves the map.
func loseVotes(w *world, dir string) error {
	delete(w.disks, dir)
	return os.Remove(dir + ".voter")
}

// TestLostVotesWithoutLeader has a voter whose votes are lost make up a majority with one
// that has them, where no leader can tell that they are: it must not vote before one does.
func TestLostVotesWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.threeAndOne()
		for _, p := range all {
			p.stop()
		}
		if err := loseVotes(w, all[2].cfg.Dir); err != nil {
			t.Fatal(err)
		}
		lost, has := w.run(all[2].cfg), w.run(all[0].cfg)
		time.Sleep(5 * time.Minute)
		if leader, _ := has.Leader(); leader != "" || lost.running() != nil {
			t.Fatalf("%q leads, or the node without votes runs Raft: %v", leader, lost.running() != nil)
		}
		w.run(all[1].cfg)
		<-lost.Done()
		if err := lost.Err(); !errors.Is(err, errVotesLost) || !strings.Contains(err.Error(), "belfry cluster replace-node") {
			t.Errorf("the node ended with %v, want errVotesLost and the command", err)
		}
		lost.stop()
	})
}

// TestVotesKept restarts voters that have all they had, and one that died before it noted
// that its raft.db is marked.
func TestVotesKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.threeAndOne()
		for i, p := range all {
			p.stop()
			if i == 2 {
				if err := os.Remove(p.markPath()); err != nil {
					t.Fatal(err)
				}
			}
			all[i] = w.run(p.cfg)
			w.eventually("it votes again", func() bool { return all[i].running() != nil })
			if _, err := os.Stat(p.markPath()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestMarkIsTriedAgain has a node become a voter while its mark cannot be stored.
func TestMarkIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		noRoom := w.config(3, 0).Dir + ".voter.tmp"
		if err := os.MkdirAll(noRoom, 0o700); err != nil {
			t.Fatal(err)
		}
		all := w.founded()
		cfg := w.config(3, 0)
		cfg.Join = []string{addr(0), addr(1)}
		d := w.run(cfg)
		w.eventually("it has joined", func() bool { return all[0].Map().Node(cfg.Node.ID) != nil })
		if err := all[1].propose(&ReplaceNode{Old: "uuid-c", New: cfg.Node.ID}); err != nil {
			t.Fatal(err)
		}
		w.eventually("its Raft is to be opened", func() bool {
			m := w.disks[cfg.Dir]
			has, err := m.store.Get(markKey)
			return err == nil && len(has) > 0
		})
		time.Sleep(10 * time.Second)
		if d.running() != nil || d.Err() != nil {
			t.Fatalf("without a mark Raft runs: %v, or the node has ended: %v", d.running() != nil, d.Err())
		}
		if err := os.Remove(noRoom); err != nil {
			t.Fatal(err)
		}
		w.eventually("it votes", func() bool { return d.running() != nil })
	})
}

// threeAndOne runs three founders, the third of which another one replaces: the
// last is a voter that has founded nothing.
func (w *world) threeAndOne() []*process {
	w.t.Helper()
	all := w.founded()
	w.eventually("made", func() bool { makeAll(all[0]); return len(Plan(all[0].Map(), NewUUID)) == 0 })
	cfg := w.config(3, 0)
	cfg.Join = []string{addr(0), addr(1)}
	all = append(all, w.run(cfg))
	w.eventually("it has joined", func() bool { return all[0].Map().Node(cfg.Node.ID) != nil })
	if err := all[1].propose(&ReplaceNode{Old: "uuid-c", New: cfg.Node.ID}); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("it votes instead of the third", func() bool {
		makeAll(all[1])
		removeLeaving(all[1])
		return all[1].Map().Node("uuid-c") == nil
	})
	all[2].stop()
	return []*process{all[0], all[1], all[3]}
}

func takeSnapshot(s raft.SnapshotStore) error {
	sink, err := s.Create(raft.SnapshotVersionMax, 1, 1, raft.Configuration{}, 0, nil)
	if err != nil {
		return err
	}
	return sink.Close()
}

// TestFoundingCutShort kills a founder after Raft has stored the first term, and before the
// first entry: it begins again.
func TestFoundingCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(0, 1)
		p := w.run(cfg)
		p.wait()
		p.stop()
		mark, err := w.disks[cfg.Dir].store.Get(markKey)
		if err != nil {
			t.Fatal(err)
		}
		cut := raft.NewInmemStore()
		if err := errors.Join(cut.Set(markKey, mark), cut.SetUint64(termKey, 1), os.Remove(filepath.Join(cfg.Dir, "map.json"))); err != nil {
			t.Fatal(err)
		}
		w.disks[cfg.Dir].store, w.disks[cfg.Dir].snapshots = cut, raft.NewInmemSnapshotStore()
		p = w.run(cfg)
		p.wait()
		if err := p.propose(&Maintain{Node: cfg.Node.ID, On: true}); err != nil {
			t.Error(err)
		}
	})
}
