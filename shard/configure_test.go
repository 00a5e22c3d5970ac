package shard

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// A configuration that is not newer comes from a leader that knows an old one.
func TestConfigureByVersion(t *testing.T) {
	b := newBench(t, command.Limits{})
	first := command.Configure{Version: 5, Limits: command.Limits{Recents: 7}, Epoch: 70, HookBytes: 1000}
	b.do(&first)
	check := func(what string, want command.Configure) {
		t.Helper()
		got := command.Configure{Version: b.s.ConfigVersion(), Limits: b.s.Limits(), Epoch: b.s.Epoch(), HookBytes: b.s.HookBytes()}
		if want.Limits = want.Limits.WithDefaults(); got != want {
			t.Errorf("%s: the configuration is %+v, want %+v", what, got, want)
		}
	}
	check("the first", first)
	b.send("alice", "bob", "hello")
	if n := len(slices.Collect(b.s.HookRefsAfter(0))); n != 1 {
		t.Fatalf("%d messages wait for webhooks, want 1", n)
	}
	for _, version := range []uint64{0, 4, 5} {
		b.do(&command.Configure{Version: version, Limits: command.Limits{UserBytes: 1, OfflineTTL: time.Second}, Epoch: 71})
		check("an old version", first)
	}
	if n := len(slices.Collect(b.s.HookRefsAfter(0))); n != 1 {
		t.Errorf("%d messages wait for webhooks after old configurations, want 1", n)
	}
	second := command.Configure{Version: 6, Limits: command.Limits{Recents: 8}, Epoch: 69, HookBytes: 0}
	b.do(&second)
	second.Epoch = 70 // never falls
	check("the second", second)
	if n := len(slices.Collect(b.s.HookRefsAfter(0))); n != 0 {
		t.Errorf("%d messages wait for webhooks that are off, want 0", n)
	}
}

// After the times have changed, readers must not see the totals of before, of users that
// have changed since, of others, and of those that came with a snapshot or a slot.
func TestQueuesAfterNewTimes(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after time.Duration // of the offline queue
		unread        int
	}{
		{"longer", time.Minute, time.Hour, 3},
		{"shorter", time.Hour, time.Minute, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, command.Limits{OfflineTTL: c.before, OfflineMaxMessages: 3})
			b.send("alice", "bob", "1")
			b.send("alice", "bob", "2")
			b.now += 120_000
			b.send("alice", "bob", "3")
			b.do(&command.PurgeExpired{LastSlot: command.Slots - 1})
			b.do(&command.Configure{Version: 2, Limits: command.Limits{OfflineTTL: c.after, OfflineMaxMessages: 3}})
			check := func(what string, s *State) {
				t.Helper()
				info, _ := s.User("bob", b.now)
				if n := s.UnreadTotal("bob", b.now).Total; n != c.unread || info.Unread != c.unread {
					t.Errorf("%s: UnreadTotal = %d, User.Unread = %d, want %d", what, n, info.Unread, c.unread)
				}
				if seqs := s.UnreadSeqs("bob", "alice", b.now); len(seqs) != c.unread {
					t.Errorf("%s: UnreadSeqs = %v, want %d", what, seqs, c.unread)
				}
				if counts := s.Unread("bob", b.now); len(counts) != 1 || counts[0].Unread != c.unread {
					t.Errorf("%s: Unread = %v, want %d", what, counts, c.unread)
				}
				sync := s.StartSync("bob", &command.Result{}, 0, b.now)
				if len(sync.Refs) != c.unread || sync.UnreadTotal != c.unread {
					t.Errorf("%s: a login pushes %d, unread %d, want %d", what, len(sync.Refs), sync.UnreadTotal, c.unread)
				}
			}
			u := b.s.lookup("bob")
			if !b.s.outdated(u) {
				t.Fatal("bob was counted at once")
			}
			check("not counted yet", b.s)
			restored, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
			if err != nil {
				t.Fatal(err)
			}
			if !restored.outdated(restored.lookup("bob")) {
				t.Error("a snapshot does not say that bob has to be counted")
			}
			check("restored", restored)
			moved := newBench(t, command.Limits{OfflineTTL: c.after, OfflineMaxMessages: 3})
			moved.now = b.now
			slot := command.SlotOf("bob")
			moved.drop(slot, 1)
			b.copyTo(moved, slot, 2, command.MaxCopy)
			check("moved", moved.s)

			b.do(&command.PurgeExpired{LastSlot: command.Slots - 1})
			if b.s.outdated(u) || u.queued != c.unread {
				t.Errorf("PurgeExpired left %d in the queue, outdated: %v; want %d", u.queued, b.s.outdated(u), c.unread)
			}
			check("counted", b.s)
			for _, bench := range []*bench{b, moved} {
				bench.send("zoe", "bob", "4")
				if n, want := bench.s.lookup("bob").queued, min(c.unread+1, 3); n != want {
					t.Errorf("%d in the queue after a send, want %d", n, want)
				}
			}
		})
	}
}
