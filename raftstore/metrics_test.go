package raftstore

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/prometheus/client_golang/prometheus"
)

// sums returns the sum of each metric of reg over its labels, for counters and gauges.
func sums(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums
}

// What nodes do for each other is counted; docs/operations.md names only what there is.
func TestClusterMetrics(t *testing.T) {
	const nodes = 3
	var regs [nodes]*prometheus.Registry
	c := newTestCluster(t, nodes, 1, func(i int, cfg *Config) {
		regs[i] = prometheus.NewRegistry()
		cfg.Registerer = regs[i]
	})
	other := c.others(0)[0]
	s := c.store(other)
	before := sums(t, regs[other])
	send(t, s, message(userIn(s, 0, 0), userIn(s, 0, 1), 1))
	eventually(t, "one node leads, and what it did is counted", func() bool {
		leads := 0.0
		for _, reg := range regs {
			leads += sums(t, reg)["belfry_shard_leads"]
		}
		m := sums(t, regs[other])
		return leads == 1 && m["belfry_shard_leader_changes_total"] >= 1 && m["belfry_shard_operations_sent_total"] > before["belfry_shard_operations_sent_total"] &&
			m["belfry_node_watch_subscriptions_total"] >= 1 && m["belfry_shard_operations_parked"] == 0
	})
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	all := sums(t, regs[0])
	_, section, _ := strings.Cut(string(text), "\n## Watch\n")
	section, _, _ = strings.Cut(section, "\n## ")
	names := regexp.MustCompile("belfry_(shard|node)_[a-z_]+").FindAllString(section, -1)
	if len(names) < 5 {
		t.Errorf("docs/operations.md names %q, want more", names)
	}
	for _, name := range names {
		if _, is := all[name]; !is {
			t.Errorf("docs/operations.md names %s, which there is not", name)
		}
	}
}

// A keeper keeps what it is sent, and answers nothing.
type keeper struct{ sent int }

func (k *keeper) send(*operation, func(*peer.Answer)) (bool, error) { k.sent++; return true, nil }

// What waits for a leader counts as parked, and what is with one again as resent.
func TestLineCounts(t *testing.T) {
	var end leaderEnd
	ln := newLine(1<<20, func() leaderEnd { return end }, nil)
	ln.resent = prometheus.NewCounter(prometheus.CounterOpts{Name: "resent"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(ln.resent)
	defer ln.close()
	check := func(when string, parked int, resent float64) {
		t.Helper()
		if got, count := ln.parked(), sums(t, reg)["resent"]; got != parked || count != resent {
			t.Errorf("%s: %d parked, %v resent, want %d, %v", when, got, count, parked, resent)
		}
	}
	for range 2 {
		ln.add(&operation{done: func(answer) {}})
	}
	check("without a leader", 2, 0)
	k := new(keeper)
	end = k
	ln.wake(false)
	check("with a leader", 0, 0)
	ln.wake(true)
	check("with the next leader", 0, 2)
	if k.sent != 4 {
		t.Errorf("%d were sent, want 4", k.sent)
	}
}
