package raftstore

import (
	"strings"
	"testing"
	"time"
)

// The time-out of elections that a node is given is that of its replicas, unless it is
// alone: then there is nobody to wait for.
func TestElectionTimeout(t *testing.T) {
	const want = 1234 * time.Millisecond
	cfg := testConfig(t)
	cfg.ElectionTimeout = want
	alone := open(t, cfg).shards()[0].here()
	if got := alone.config(nil).ElectionTimeout; got != 0 {
		t.Errorf("alone: %v, want the default", got)
	}
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ElectionTimeout = want })
	for i := range c.nodes {
		if got := c.store(i).shards()[0].here().config(&c.m.Shards[0]).ElectionTimeout; got != want {
			t.Errorf("node %d: %v, want %v", i, got, want)
		}
	}
	cfg.Dir, cfg.ElectionTimeout = t.TempDir(), time.Millisecond
	if s, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "ElectionTimeout: 1ms") {
		t.Errorf("Open with 1 ms = %v, %v, want a refusal that names the field", s, err)
	}
}
