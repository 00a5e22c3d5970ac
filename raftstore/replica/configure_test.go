package replica

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// configured returns the configuration of a replica's state, and the number of messages
// that wait for webhooks.
func configured(r *Replica) (c command.Configure, hooks int) {
	r.Inspect(func(s *shard.State, _ int64) {
		c = command.Configure{Version: s.ConfigVersion(), Limits: s.Limits(), Epoch: s.Epoch(), HookBytes: s.HookBytes()}
		hooks = len(slices.Collect(s.HookRefsAfter(0)))
	})
	return c, hooks
}

// Three nodes of a shard know configurations of differing age and with other values.
// Whichever leads, the newest stays: no cursor becomes void, nothing is evicted, and no
// name of a message is lost to webhooks.
func TestLeadersWithDifferingConfigurations(t *testing.T) {
	newest := command.Configure{Version: 3, Limits: command.Limits{NewConversations: -1}.WithDefaults(), Epoch: 30, HookBytes: 1 << 20}
	older := func(version uint64) command.Configure {
		return command.Configure{Version: version, Limits: command.Limits{UserBytes: 1, OfflineMaxMessages: 1, HistoryTTL: time.Millisecond}.WithDefaults(), Epoch: 40 + version}
	}
	known := []command.Configure{newest, older(2), older(3)}
	confs := make([]atomic.Pointer[command.Configure], len(known))
	var members []Member
	transports := make([]*raft.InmemTransport, len(confs))
	for i := range confs {
		members = append(members, Member{ID: fmt.Sprint("replica", i)})
		_, transports[i] = raft.NewInmemTransport(raft.ServerAddress(members[i].ID))
	}
	dir := t.TempDir()
	replicas, stops := make([]*Replica, len(confs)), make([]func(), len(confs))
	open := func(i int) {
		for _, other := range transports {
			transports[i].Connect(other.LocalAddr(), other)
		}
		cfg := testConfig(t, 0)
		cfg.Dir, cfg.ID = filepath.Join(dir, members[i].ID), members[i].ID
		cfg.Configuration = func() command.Configure { return *confs[i].Load() }
		cfg.Bootstrap = members
		cfg.Transport = func() (raft.ServerAddress, raft.Transport, io.Closer) {
			return transports[i].LocalAddr(), transports[i], nil
		}
		replicas[i] = New(cfg)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); replicas[i].Run(ctx) }()
		stops[i] = func() { cancel(); <-ended }
	}
	for i := range confs {
		confs[i].Store(&newest) // the first leader may be any
		open(i)
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	leader := func() (at int) {
		eventually(t, "a replica leads", func() bool {
			at = slices.IndexFunc(replicas, (*Replica).Leads)
			return at >= 0
		})
		return at
	}
	send(t, replicas[leader()], 1)
	for i := range confs {
		confs[i].Store(&known[i])
	}

	led := map[int]bool{}
	for n := 2; len(led) < len(confs); n++ {
		if n > 60 {
			t.Fatalf("after %d changes only %v have led", n, led)
		}
		at := leader()
		led[at] = true
		send(t, replicas[at], n)
		if c, hooks := configured(replicas[at]); c != newest || hooks != n {
			t.Fatalf("under %s the configuration is %+v with %d messages for webhooks, want %+v with %d", members[at].ID, c, hooks, newest, n)
		}
		stops[at]()
		other := leader()
		if other == at {
			t.Fatalf("%s leads after its end", members[at].ID)
		}
		open(at)
	}
}

// A newer configuration is committed by a replica that begins to lead, and by one that
// leads already.
func TestNewerConfiguration(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.ExpireEvery = 100 * time.Millisecond
	var conf atomic.Pointer[command.Configure]
	cfg.Configuration = func() command.Configure { return *conf.Load() }
	set := func(version uint64, recents int) command.Configure {
		c := command.Configure{Version: version, Limits: command.Limits{Recents: recents}.WithDefaults(), Epoch: 5, HookBytes: recents}
		conf.Store(&c)
		return c
	}
	first := set(1, 10)
	r, stop := start(t, cfg)
	eventually(t, "the replica leads", r.Leads)
	if c, _ := configured(r); c != first {
		t.Errorf("the configuration is %+v, want %+v", c, first)
	}
	second := set(2, 20)
	eventually(t, "the newer configuration is in force", func() bool { c, _ := configured(r); return c == second })
	stop()
	set(2, 30) // other values under the same version
	r, stop = start(t, cfg)
	eventually(t, "the replica leads again", r.Leads)
	if c, _ := configured(r); c != second {
		t.Errorf("the configuration is %+v, want %+v", c, second)
	}
	stop()
	third := set(3, 30)
	r, _ = start(t, cfg)
	eventually(t, "the replica leads once more", r.Leads)
	if c, _ := configured(r); c != third {
		t.Errorf("the configuration is %+v, want %+v", c, third)
	}
}
