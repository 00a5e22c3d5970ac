package placement

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestLeaderDiskHangs hangs the disk of the leader: another one takes its place, changes
// that were asked for at any node are made, and the node that was left goes on with the
// others when its disk does.
func TestLeaderDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		w.eventually("made", func() bool { makeAll(all[0]); return len(Plan(all[0].Map(), NewUUID)) == 0 })
		leads := func() *process {
			for _, p := range all {
				if leader, voters := p.Leader(); leader == p.cfg.Node.ID && len(voters) == 3 {
					return p
				}
			}
			return nil
		}
		for round := range 6 {
			var slow *process
			w.eventually("somebody leads", func() bool { slow = leads(); return slow != nil })
			resume := w.disks[slow.cfg.Dir].hang()
			defer resume()
			began := time.Now()
			// At the leader itself, and at others.
			at, of := all[round%3], all[(round+1)%3].cfg.Node.ID
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			m, err := at.Propose(ctx, &Maintain{Node: of, On: !at.Map().Node(of).Maintenance})
			cancel()
			if err != nil {
				t.Fatalf("a change while the leader's disk hangs: %v", err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("a change while the leader's disk hangs took %v", took)
			}
			w.eventually("the node with that disk knows it too", func() bool { return slow.Map().Version >= m.Version })
			w.eventually("and who leads", func() bool {
				now := leads()
				leader, _ := slow.Leader()
				return now != nil && now != slow && leader == now.cfg.Node.ID
			})
			time.Sleep(time.Minute)
			resume()
			w.eventually("all have the same", func() bool {
				now := leads()
				return now != nil && all[0].Map().Version == all[1].Map().Version && all[1].Map().Version == all[2].Map().Version
			})
			w.eventually("also on the disk", func() bool {
				data, err := os.ReadFile(filepath.Join(slow.cfg.Dir, "map.json"))
				if err != nil {
					t.Fatal(err)
				}
				stored, err := DecodeMap(data)
				return err == nil && stored.Version == slow.Map().Version
			})
		}
	})
}

// TestProposalEndsWithItsContext has a change wait for a disk that hangs where nobody else
// could lead.
func TestProposalEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.run(w.config(0, 1))
		a.wait()
		resume := w.disks[a.cfg.Dir].hang()
		defer resume()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := a.Propose(ctx, &Maintain{Node: a.cfg.Node.ID, On: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Propose = %v, want the end of its context", err)
		}
		resume()
		w.eventually("it is made later", func() bool { n := a.Map().Node(a.cfg.Node.ID); return n.Maintenance })
	})
}

// A mirror is a Network of nodes that each take the other for the leader.
type mirror struct {
	Network
	calls int
}

func (n *mirror) Call(_ context.Context, node NodeID, _ string, _ []byte) ([]byte, error) {
	if n.calls++; n.calls > 1000 {
		return nil, errors.New("too many calls")
	}
	other := NodeID("x")
	if node == other {
		other = "y"
	}
	return json.Marshal(proposeAnswer{NotLeader: true, Leader: other})
}

// TestProposalIsNotSentToAndFro has two nodes name each other as the leader, as when one
// has been elected a moment ago and its disk hangs.
func TestProposalIsNotSentToAndFro(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(mirror)
		g := &Group{
			cfg: GroupConfig{Node: Node{ID: "self"}, Network: n}, ctx: t.Context(),
			m: &Map{Nodes: []Node{{ID: "x"}, {ID: "y"}}}, changed: make(chan struct{}),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := g.Propose(ctx, &Maintain{Node: "x", On: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Propose = %v, want the end of its context", err)
		}
		if n.calls > 200 {
			t.Errorf("%d calls in 10 s", n.calls)
		}
	})
}
