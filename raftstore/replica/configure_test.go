package replica

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
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
	known := [3]command.Configure{newest, older(2), older(3)}
	var confs [3]atomic.Pointer[command.Configure]
	g := newTrio(t, func(i int, cfg *Config) {
		confs[i].Store(&newest) // the first leader may be any
		cfg.Configuration = func() command.Configure { return *confs[i].Load() }
	})
	send(t, g.replicas[g.leader()], 1)
	for i := range confs {
		confs[i].Store(&known[i])
	}
	led := map[int]bool{}
	for n := 2; len(led) < len(confs); n++ {
		if n > 60 {
			t.Fatalf("after %d changes only %v have led", n, led)
		}
		at := g.leader()
		led[at] = true
		send(t, g.replicas[at], n)
		if c, hooks := configured(g.replicas[at]); c != newest || hooks != n {
			t.Fatalf("under replica %d the configuration is %+v with %d messages for webhooks, want %+v with %d", at, c, hooks, newest, n)
		}
		g.depose(at)
	}
	g.agree()
}

// depose has another replica lead.
func (g *trio) depose(at int) {
	g.t.Helper()
	g.cut(at, true)
	eventually(g.t, "the leader steps down", func() bool { return !g.replicas[at].Leads() })
	g.leader()
	g.cut(at, false)
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
