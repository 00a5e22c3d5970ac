package placement

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOutsiders has a node that is not admitted, and one that the cluster does not know,
// ask for all there is.
func TestOutsiders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		w.eventually("placement has a leader", func() bool { leader, _ := all[0].Leader(); return leader != "" })
		cfg := w.config(3, 0)
		cfg.Join = []string{addr(0)}
		d := w.run(cfg)
		w.eventually("it has joined", func() bool { return strings.Contains(d.Waiting(), "admit d") })
		if m := d.Map(); m.Cluster != all[0].Map().Cluster || len(m.Nodes) != 1 || m.Nodes[0].ID != d.cfg.Node.ID || len(m.Shards) != 1 || len(m.Shards[0].Replicas) > 0 {
			t.Errorf("a node that is not admitted knows %+v", m)
		}
		stranger := &endpoint{w: w, id: "uuid-x", address: addr(8)}
		g := func(e *endpoint) *Group { return &Group{cfg: GroupConfig{Network: e}} }
		for name, from := range map[string]*Group{"not admitted": d.Group, "unknown": g(stranger)} {
			if _, err := call[probeAnswer](t.Context(), from, "", addr(0), methodProbe, probe{Member: true, Votes: true, Leader: "uuid-x"}); !errors.Is(err, errOutsider) {
				t.Errorf("%s: probe = %v, want errOutsider", name, err)
			}
			h, err := call[hello](t.Context(), from, "", addr(0), methodHello, hello{})
			if err != nil || h.Founders != nil || !h.Founded || h.Cluster == "" {
				t.Errorf("%s: hello = %+v, %v, want one without founders", name, h, err)
			}
		}
		if leader, _ := all[0].Leader(); leader == "uuid-x" {
			t.Error("an outsider passed for the leader")
		}
		if _, err := call[joinAnswer](t.Context(), g(stranger), "", addr(0), methodMap, mapRequest{}); !errors.Is(err, errOutsider) {
			t.Errorf("map for a node that is not known = %v, want errOutsider", err)
		}
		// A crowd is told to come later, and does not keep members out.
		busy := 0
		for range 10 * outsiderBurst {
			if _, err := call[joinAnswer](t.Context(), g(stranger), "", addr(0), methodJoin, joinRequest{Join: Join{ID: "uuid-x"}, Look: true}); errors.Is(err, errBusy) {
				busy++
			}
		}
		if busy < 8*outsiderBurst {
			t.Errorf("%d of %d joins were refused as too many", busy, 10*outsiderBurst)
		}
		if a, err := call[joinAnswer](t.Context(), all[1].Group, "", addr(0), methodJoin, joinRequest{Join: all[1].self(), Start: all[1].start}); err != nil || len(a.Map) == 0 {
			t.Errorf("join of a member = %+v, %v", a, err)
		}
		time.Sleep(10 * time.Second)
		if _, err := call[joinAnswer](t.Context(), g(stranger), "", addr(0), methodJoin, joinRequest{Join: Join{ID: "uuid-x"}, Look: true}); err != nil {
			t.Errorf("join after the crowd = %v", err)
		}
		if err := all[0].propose(&Admit{Node: d.cfg.Node.ID}); err != nil {
			t.Fatal(err)
		}
		d.wait()
		w.eventually("it knows all once it is admitted", func() bool { return len(d.Map().Nodes) == 4 && len(d.Map().Shards) == 4 })
	})
}

// TestNodesThatWait bounds the nodes that have joined and are not admitted.
func TestNodesThatWait(t *testing.T) {
	b := newBench(t)
	b.cluster(3, 1)
	for i := range maxWaiting {
		b.do(new(store(fmt.Sprint("w", i))))
	}
	if err := b.apply(new(store("more"))); err == nil || !strings.Contains(err.Error(), "wait to be admitted") {
		t.Errorf("Join = %v, want a refusal", err)
	}
	b.do(&Admit{Node: "w3"})
	b.do(new(store("more")))
}
