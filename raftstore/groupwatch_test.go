package raftstore

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/prometheus/client_golang/prometheus"
)

// groupEar is a GroupWatcher that counts and keeps.
type groupEar struct {
	mu      sync.Mutex
	wakes   int
	members []command.UserID
	signals []*query.Message
}

func (e *groupEar) UpTo() uint64 { return 0 }

func (e *groupEar) Wake() { e.mu.Lock(); defer e.mu.Unlock(); e.wakes++ }
func (e *groupEar) WakeMember(user command.UserID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members = append(e.members, user)
}
func (e *groupEar) Signal(m *query.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.signals = append(e.signals, m)
}

func (e *groupEar) woken() int { e.mu.Lock(); defer e.mu.Unlock(); return e.wakes }

func (e *groupEar) heard() []*query.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.signals)
}

func TestGroupWatchers(t *testing.T) {
	h := newHub(newPresence(), prometheus.NewGauge(prometheus.GaugeOpts{}), func() int64 { return 0 })
	var first, second, other groupEar
	h.addGroup("team", &first)
	h.addGroup("team", &first) // is so already
	h.addGroup("team", &second)
	h.addGroup("else", &other)

	h.notify(&shard.Outcome{
		Groups:  []command.GroupID{"team", "team"},
		Members: []shard.MemberRef{{Group: "team", User: "bob"}, {Group: "team", User: "bob"}, {Group: "else", User: "carol"}},
	})
	if first.woken() != 1 || second.woken() != 1 || other.woken() != 0 {
		t.Errorf("wakes = %d, %d, %d; want 1, 1, 0", first.woken(), second.woken(), other.woken())
	}
	if !slices.Equal(second.members, []command.UserID{"bob"}) || !slices.Equal(other.members, []command.UserID{"carol"}) {
		t.Errorf("members = %v, %v; want bob, carol", second.members, other.members)
	}

	h.removeGroup("team", &first)
	h.removeGroup("team", &first)
	h.signalGroup(&query.Message{Group: "team"})
	if len(first.heard()) != 0 || len(second.heard()) != 1 {
		t.Errorf("signals = %d, %d; want 0, 1", len(first.heard()), len(second.heard()))
	}

	h.resume(func(key command.UserID) bool { return key == command.GroupID("else").Key() }, nil, false)
	if second.woken() != 1 || other.woken() != 1 {
		t.Errorf("wakes after a new reign = %d, %d; want 1, 1", second.woken(), other.woken())
	}
	h.removeGroup("team", &second)
	h.removeGroup("else", &other)
	for i := range h.stripes {
		if n := len(h.stripes[i].groups); n != 0 {
			t.Errorf("stripe %d holds %d groups that nobody watches", i, n)
		}
	}
}

func TestGroupRate(t *testing.T) {
	r := newKeyRate[command.GroupID](10, 3, time.Second)
	now := time.Now()
	for range 3 {
		if wait, ok := r.allow("team", now); !ok {
			t.Fatalf("within the burst: wait %v", wait)
		}
	}
	if wait, ok := r.allow("team", now); ok || wait != 100*time.Millisecond {
		t.Errorf("over the burst = %v, %v; want 100ms, false", wait, ok)
	}
	if _, ok := r.allow("else", now); !ok {
		t.Error("another group is refused")
	}
	if _, ok := r.allow("team", now.Add(100*time.Millisecond)); !ok {
		t.Error("refused after the time it was told")
	}
	off := command.Limits{GroupRate: -1}.WithDefaults()
	r = newKeyRate[command.GroupID](off.GroupRate, off.GroupBurst, time.Second)
	for range 1000 {
		if _, ok := r.allow("team", now); !ok {
			t.Fatal("refused without limit")
		}
	}
}

func TestGroupRatesAreBounded(t *testing.T) {
	r := newKeyRate[command.GroupID](10, 3, time.Second)
	now := time.Now()
	name := func(i int) command.GroupID { return command.GroupID([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) }
	for i := range maxRates + 10 {
		r.allow(name(i), now)
	}
	if n := len(r.free); n != maxRates {
		t.Errorf("%d groups are kept, want %d", n, maxRates)
	}
	r.allow("team", now.Add(time.Minute))
	if n := len(r.free); n != 1 {
		t.Errorf("%d groups are kept once all may send again, want 1", n)
	}
}
