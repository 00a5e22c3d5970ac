package raftstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Each slot has the owner that the map names, in whatever pieces a shard owns.
func TestOwners(t *testing.T) {
	s := open(t, testConfig(t))
	was := s.shards()[1]
	m := &placement.Map{Version: 2, Shards: []placement.Shard{{ID: 1}, {ID: 7}}, Slots: []placement.SlotRange{
		{First: 0, Last: 99, Shard: 7}, {First: 100, Last: 100, Shard: 1}, {First: 101, Last: command.Slots - 1, Shard: 7},
	}}
	s.setMap(m)
	for slot := range uint16(command.Slots) {
		if got, want := s.shardOfSlot(slot).id, m.Owner(slot).Shard; got != want {
			t.Fatalf("slot %d belongs to shard %d, want %d", slot, got, want)
		}
	}
	if s.shards()[0] != was {
		t.Error("shard 1 is another one after the change")
	}
}

// Commands that one goroutine submits for one key are applied in that order,
// many of them in one log entry.
func TestSubmitKeepsOrder(t *testing.T) {
	s := open(t, testConfig(t))
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	before := s.shards()[0].here().local.LastIndex()
	const messages = 2000
	var answered sync.WaitGroup
	answered.Add(messages)
	for n := range messages {
		s.Submit(message(alice, bob, n), func(r command.Result, err error) {
			defer answered.Done()
			if err != nil || r.Seq != uint64(n+1) {
				t.Errorf("message %d: seq %d, %v", n, r.Seq, err)
			}
		})
	}
	answered.Wait()
	if entries := s.shards()[0].here().local.LastIndex() - before; entries > messages/4 {
		t.Errorf("%d messages made %d log entries", messages, entries)
	}
	wantCIDs(t, s, bob, alice, messages)
}

func propose(t *testing.T, s *Store, id int, cmd command.Command) {
	t.Helper()
	done := make(chan error, 1)
	err := s.shards()[id].here().replica.Enqueue(0, command.AppendCommand(nil, cmd), replica.Waiter{Done: func(r command.Result, err error) {
		if err == nil {
			err = r.Err()
		}
		done <- err
	}})
	if err == nil {
		err = <-done
	}
	if err != nil {
		t.Fatalf("%T: %v", cmd, err)
	}
}

// A command for a slot that is frozen waits until it is served again; its
// client sees latency only.
func TestMovedCommandIsRetried(t *testing.T) {
	s := open(t, testConfig(t))
	alice := userIn(s, 0, 0)
	slot := command.SlotOf(string(alice))
	freeze := func(move command.Move) {
		propose(t, s, 0, &command.BeginMove{Slot: slot, Move: move})
		propose(t, s, 0, &command.FreezeSlot{Slot: slot, Move: move, Attempt: 1})
	}
	freeze(1)
	answers := make(chan answer, 1)
	s.Submit(message(alice, alice, 1), func(r command.Result, err error) { answers <- answer{result: r, err: err} })
	eventually(t, "the command waits", func() bool {
		s.deferred.mu.Lock()
		defer s.deferred.mu.Unlock()
		return len(s.deferred.waiting) > 0
	})
	propose(t, s, 0, &command.DropSlot{Slot: slot, Move: 1, MaxWork: 1000})
	propose(t, s, 0, &command.OpenSlots{Epoch: 2, Slots: []command.SlotRange{{First: slot, Last: slot}}})
	if o := <-answers; o.err != nil || o.result.Seq != 1 {
		t.Errorf("answer %+v, want seq 1", o)
	}
	freeze(2)
	if _, err := s.Propose(context.Background(), message(alice, alice, 2)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("slot that stays frozen: %v, want ErrUnavailable", err)
	}
	if err := s.History(query.HistoryQuery{User: alice, Peer: alice, Limit: 1}, new(query.Page)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("history of a slot that stays frozen: %v, want ErrUnavailable", err)
	}
	if _, err := s.Blocked(context.Background(), alice); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read of a slot that stays frozen: %v, want ErrUnavailable", err)
	}
}

func TestDeferredAnswersAllAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferred(func(*operation) { t.Error("routed") })
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { d.run(ctx) })
		answers := 0
		request := func() *operation {
			return &operation{done: func(a answer) {
				if !errors.Is(a.err, store.ErrUnavailable) {
					t.Errorf("done: %v", a.err)
				}
				answers++
			}}
		}
		for range maxDeferred + 5 { // the last ones are refused at once
			d.retry(request())
		}
		synctest.Wait()
		if answers != 5 {
			t.Errorf("%d refused past the bound, want 5", answers)
		}
		cancel()
		run.Wait()
		d.retry(request())
		if answers != maxDeferred+6 {
			t.Errorf("%d answered in all, want %d", answers, maxDeferred+6)
		}
	})
}

// What has expired is freed without a command of a client, and the clock of
// the process decides when.
func TestExpiredIsFreed(t *testing.T) {
	var mu sync.Mutex
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var passed time.Duration
	cfg := testConfig(t)
	cfg.ExpireEvery = 50 * time.Millisecond
	cfg.Clock = func() (time.Time, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		return began.Add(passed), passed
	}
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	if r := send(t, s, message(alice, bob, 0)); r.Time != began.UnixMilli() {
		t.Errorf("time %d, want %d", r.Time, began.UnixMilli())
	}
	for n := 1; n < 500; n++ {
		send(t, s, message(alice, bob, n))
	}
	wantCIDs(t, s, bob, alice, 500)
	size := func() (n int) {
		for _, sh := range s.shards() {
			n += stateSize(sh)
		}
		return n
	}
	eventually(t, "letters are forgotten", func() bool { return outboxEmpty(s) })
	before := size()
	mu.Lock()
	passed += 8 * 24 * time.Hour
	mu.Unlock()
	if got := cids(t, s, bob, alice); len(got) != 0 {
		t.Errorf("read after the history time: %v", got)
	}
	eventually(t, "memory is freed", func() bool { return size() < before/2 })
	if r := send(t, s, message(alice, bob, 500)); r.Seq != 501 {
		t.Errorf("seq %d after expiry, want 501", r.Seq)
	}
}

// The limits of a restart are in force from its first command on.
func TestLimitsAreConfigured(t *testing.T) {
	cfg := testConfig(t)
	s := open(t, cfg)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Limits.MaxDevices = 1
	s = open(t, cfg)
	alice := userIn(s, 0, 0)
	var first ear
	login(t, s, alice, "a", &first)
	login(t, s, alice, "b", &ear{})
	eventually(t, "the first device is kicked by policy", func() bool { return slices.Equal(first.kicked(), []string{"policy"}) })
}

// A store opens, serves and closes without leaving a goroutine behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range logKinds {
			cfg := testConfig(t)
			cfg.RaftLog = kind
			s, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
			for n := range 10 {
				send(t, s, message(alice, bob, n))
			}
			login(t, s, bob, "phone", &ear{})
			takeSnapshot(t, s, 0)
			time.Sleep(time.Minute)
			if err := s.stopShard(1); err != nil {
				t.Fatal(err)
			}
			send(t, s, message(alice, bob, 10))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Automatic reads are gathered, and a login that comes after them finds them
// done.
func TestAutomaticReadsAreGathered(t *testing.T) {
	cfg := testConfig(t)
	cfg.ExpireEvery = time.Hour
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	login(t, s, bob, "phone", &ear{})
	const messages = 10
	for n := range messages {
		send(t, s, message(alice, bob, n))
	}
	before, start := s.shards()[0].here().local.LastIndex(), time.Now()
	for n := range messages {
		cmd := &command.ReadReport{User: bob, Peer: alice, Seq: uint64(n + 1), Auto: true}
		s.Submit(cmd, func(r command.Result, err error) {
			if err != nil || r.Err() != nil || r.Unread != messages-n-1 {
				t.Errorf("read up to %d: %+v, %v", n+1, r, err)
			}
		})
	}
	if sync := login(t, s, bob, "laptop", &ear{}); sync.UnreadTotal != 0 {
		t.Errorf("a login after the reads finds %d unread", sync.UnreadTotal)
	}
	most := 1 + uint64(time.Since(start)/autoReadPatience)
	if got := s.shards()[0].here().local.LastIndex() - before; got > most {
		t.Errorf("%d reads and a login made %d entries, want %d", messages, got, most)
	}

	send(t, s, message(alice, bob, messages))
	start = time.Now()
	r, err := s.Propose(t.Context(), &command.ReadReport{User: bob, Peer: alice, Seq: messages + 1, Auto: true})
	if took := time.Since(start); err != nil || r.Unread != 0 || took < autoReadPatience {
		t.Errorf("read that nothing follows: %+v, %v after %v, want it after %v", r, err, took, autoReadPatience)
	}
}
