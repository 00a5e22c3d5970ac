package raftstore

import (
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/shard/command"
)

// A farLink is the link of a node whose clock is off.
type farLink struct {
	Link
	offset time.Duration
}

func (l *farLink) Offset() (time.Duration, int) { return l.offset, 2 }

// What is wrong with a node is in its report.
func TestCondition(t *testing.T) {
	cfg, err := testConfig(t).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l := new(farLink)
	m := &placement.Map{Cluster: testClusterID, Config: placement.Config{Limits: cfg.Limits}, Nodes: []placement.Node{{ID: "a", Roles: placement.RoleStore}}}
	s := &Store{cfg: cfg, cluster: &cluster{Cluster: Cluster{Node: "a", Link: l}, m: m}}
	if c := s.condition(m); c.LeadsNothing != "" || c.Draining || c.SlowDisk || c.DiskLow || c.MemoryFull || c.ClockOffset != 0 || len(c.FlagsDiffer) > 0 {
		t.Errorf("of a node that is well: %+v", c)
	}
	l.offset = 2 * time.Second
	if c := s.condition(m); c.ClockOffset != l.offset || c.LeadsNothing != "" {
		t.Errorf("with a clock 2 s off: %+v", c)
	}
	l.offset = -6 * time.Second
	if c := s.condition(m); c.ClockOffset != l.offset || c.LeadsNothing == "" {
		t.Errorf("with a clock 6 s off: %+v", c)
	}
	l.offset = 0
	s.slowDisk()
	if c := s.condition(m); !c.SlowDisk || c.LeadsNothing == "" {
		t.Errorf("after the disk hung: %+v", c)
	}
	s.cluster.draining = true
	s.diskLow.Store(true)
	s.memoryFull.Store(true)
	if c := s.condition(m); !c.Draining || !c.DiskLow || !c.MemoryFull {
		t.Errorf("in need: %+v", c)
	}
}

// Flags that set something else than the cluster's configuration are named.
func TestFlagsDiffer(t *testing.T) {
	defaults := command.Limits{}.WithDefaults()
	for _, test := range []struct {
		name   string
		change func(own, all *command.Limits, hookBytes *int, roles *placement.Roles)
		want   []string
	}{
		{"alike", func(own, all *command.Limits, _ *int, _ *placement.Roles) {}, nil},
		{"changed together", func(own, all *command.Limits, _ *int, _ *placement.Roles) { own.Recents, all.Recents = 7, 7 }, nil},
		{"default", func(own, all *command.Limits, _ *int, _ *placement.Roles) { all.Recents = 7 }, nil},
		{"flags", func(own, all *command.Limits, _ *int, _ *placement.Roles) {
			own.OfflineTTL, own.Recents, own.GroupBurst, all.Recents = time.Hour, 8, 9, 7
		}, []string{"offline-ttl", "recents", "group-rate"}},
		{"no limit", func(own, all *command.Limits, _ *int, _ *placement.Roles) {
			own.GroupRate, all.GroupRate = command.Limits{GroupRate: -1}.WithDefaults().GroupRate, -1
		}, nil},
		{"no webhooks", func(_, _ *command.Limits, hookBytes *int, _ *placement.Roles) { *hookBytes = 1 << 20 }, []string{"webhook-url"}},
		{"gateway", func(_, _ *command.Limits, hookBytes *int, roles *placement.Roles) {
			*hookBytes, *roles = 1<<20, placement.RoleGateway
		}, nil},
	} {
		own, all, hookBytes, roles := defaults, defaults, 0, placement.RoleStore
		test.change(&own, &all, &hookBytes, &roles)
		m := &placement.Map{Cluster: testClusterID, Config: placement.Config{Limits: all, HookBytes: hookBytes}, Nodes: []placement.Node{{ID: "a", Roles: roles}}}
		s := &Store{cfg: Config{Limits: own}, cluster: &cluster{Cluster: Cluster{Node: "a"}}}
		if got := s.flagsDiffer(m); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
