package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	dto "github.com/prometheus/client_model/go"
)

// A fakeMeter reads as much memory as a test says.
type fakeMeter struct{ beside, live, collections, reads atomic.Int64 }

func (m *fakeMeter) read() memoryReading {
	m.reads.Add(1)
	return memoryReading{beside: m.beside.Load(), live: m.live.Load(), collections: uint64(m.collections.Load())}
}

// collect finds live bytes in use on the heap.
func (m *fakeMeter) collect(live int64) {
	m.live.Store(live)
	m.collections.Add(1)
}

// A testClock stands still but for what a test lets pass.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) read() (time.Time, time.Duration) {
	d := time.Duration(c.passed.Load())
	return time.UnixMilli(1_700_000_000_000).Add(d), d
}

func (c *testClock) pass(d time.Duration) { c.passed.Add(int64(d)) }

// budgetStore is a store with a limit, whose clock the test moves on.
func budgetStore(t *testing.T, limit int64) (*Store, *fakeMeter, *testClock) {
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.MemoryLimit, cfg.meter, cfg.Clock = limit, m.read, clock.read
	cfg.Limits.OfflineMaxBytes, cfg.Limits.OfflineMaxMessages, cfg.Limits.UserBytes = -1, -1, -1
	cfg.ExpireEvery = time.Hour // only the budget sweeps
	return open(t, cfg), m, clock
}

// usageOf returns what takes a shard's memory.
func usageOf(sh *shardRef) (u shard.Usage) {
	sh.here().local.Inspect(func(st *shard.State, _ int64) { u = st.Usage() })
	return u
}

// held sums up what the shards say they hold.
func held(s *Store) (n int64) {
	for _, sh := range s.shards() {
		u := usageOf(sh)
		n += int64(u.Held)
	}
	return n
}

// settled waits until the budget, whose meter is m, has nothing to take any more.
func settled(t *testing.T, s *Store, m *fakeMeter) {
	t.Helper()
	sweeps := func() bool {
		return slices.ContainsFunc(s.budget.retentions, func(c *retention) bool { return c.busy.Load() })
	}
	eventually(t, "nothing is taken any more", func() bool {
		idle, before, reads := !sweeps(), held(s), m.reads.Load()
		eventually(t, "a whole look", func() bool { return m.reads.Load() >= reads+3 })
		return idle && !sweeps() && held(s) == before
	})
}

// messageBytes sums up what messages take in the shards.
func messageBytes(s *Store) (n int) {
	for _, sh := range s.shards() {
		u := usageOf(sh)
		n += u.Messages
	}
	return n
}

// fill sends n messages of 4 kB, of which each shard keeps a half, and
// lets a second pass for each 100.
func fill(t *testing.T, s *Store, clock *testClock, from, n int) {
	t.Helper()
	limit := s.cfg.MemoryLimit
	for i := range n {
		user := userIn(s, i%2, 0)
		cmd := message(user, userIn(s, i%2, 1), from+i)
		cmd.Body = make([]byte, 4000)
		cmd.Body[0] = 0xc0
		send(t, s, cmd)
		if i%100 == 99 {
			clock.pass(time.Second)
			// However slow this machine is just now, the budget keeps up.
			eventually(t, "old messages gone", func() bool { return held(s) <= limit/100*hurryPercent })
		}
	}
}

func TestRetentionShortensAtTheSoftLimit(t *testing.T) {
	const limit = 32 << 20
	s, _, clock := budgetStore(t, limit)
	const n = 6000 // twice 4 kB each
	fill(t, s, clock, 0, n)
	eventually(t, "memory within the soft limit", func() bool { return held(s) <= limit/100*softPercent })
	if s.memoryFull.Load() {
		t.Error("sends are refused although retention could shorten")
	}
	for id, g := range s.shards() {
		alice, bob := userIn(s, id, 0), userIn(s, id, 1)
		var page query.Page
		var sync *query.Sync
		cutoff := int64(-1)
		eventually(t, "a cutoff that stands while all is read", func() bool {
			before := cutoff
			q := query.HistoryQuery{User: bob, Peer: alice, HasAfter: true, Limit: n, MaxBytes: 1 << 30}
			if err := s.History(q, &page); err != nil {
				t.Fatal(err)
			}
			sync = login(t, s, bob, "phone", &ear{})
			if err := g.here().local.ReadLocal(func(st *shard.State, _ int64) { cutoff = st.Cutoff() }); err != nil {
				t.Fatal(err)
			}
			return cutoff == before
		})
		// Nothing younger than that is missing, and all else is named.
		got := page.Updates.Messages
		if len(got) == 0 || len(got) == n/2 || got[0].Time <= cutoff || got[len(got)-1].Seq != n/2 {
			t.Fatalf("shard %d: history holds %d of %d messages", id, len(got), n/2)
		}
		if oldest := got[0].Time; oldest > cutoff+1000 {
			t.Errorf("shard %d: the oldest message is %d ms younger than the cutoff, want at most 1000", id, oldest-cutoff)
		}
		want := query.Gap{From: 1, To: got[0].Seq - 1, Reason: query.GapEvicted}
		if len(page.Gaps) != 1 || page.Gaps[0] != want {
			t.Errorf("shard %d: gaps = %v, want %v", id, page.Gaps, want)
		}
		if len(sync.Lost) != 1 || sync.Lost[0].From != 1 || sync.Lost[0].To != want.To || sync.Lost[0].Count != int(want.To) {
			t.Errorf("shard %d: lost = %v, want 1 to %d", id, sync.Lost, want.To)
		}
		if sync.Offline != len(got) {
			t.Errorf("shard %d: offline = %d, want %d", id, sync.Offline, len(got))
		}
	}
}

func TestSendsAreRefusedWhenMemoryIsFull(t *testing.T) {
	const limit = 1 << 30
	s, meter, clock := budgetStore(t, limit)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	send(t, s, message(alice, bob, 1))
	clock.pass(time.Hour)

	meter.beside.Store(limit / 100 * (fullPercent + 1))
	eventually(t, "sends refused", func() bool { return s.memoryFull.Load() })
	_, err := s.Propose(context.Background(), message(alice, bob, 2))
	if !errors.Is(err, store.ErrUnavailable) || store.RetryAfter(err) != memoryRetryAfter {
		t.Errorf("send = %v, retry after %v; want ErrUnavailable after %v", err, store.RetryAfter(err), memoryRetryAfter)
	}
	// All else goes on, even what makes a little more to keep.
	login(t, s, bob, "phone", &ear{})
	for _, cmd := range []command.Command{
		&command.ReadReport{User: alice, Peer: bob, Seq: 1},
		&command.DeleteConversation{User: alice, Peer: bob, Messages: true},
		&command.Block{User: alice, Target: bob},
	} {
		if r, err := s.Propose(context.Background(), cmd); err != nil || r.Code != command.OK {
			t.Errorf("%T = %v, %v", cmd, r, err)
		}
	}

	meter.beside.Store(limit / 100 * (fullPercent - 1)) // not enough room yet
	time.Sleep(3 * budgetEvery)
	if !s.memoryFull.Load() {
		t.Error("sends are taken again at once")
	}
	meter.beside.Store(limit / 2)
	eventually(t, "sends taken again", func() bool { return !s.memoryFull.Load() })
	send(t, s, message(bob, bob, 3))
}

// TestFullMemoryForgetsRepeats has dedupe windows that are over freed at once.
func TestFullMemoryForgetsRepeats(t *testing.T) {
	s, meter, clock := budgetStore(t, 1<<30)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	send(t, s, message(alice, bob, 1))
	clock.pass(time.Hour) // more than the window, and less than messages live
	dedupe := func() int { u := usageOf(s.shards()[0]); return u.Dedupe }
	if dedupe() == 0 {
		t.Fatal("nothing is remembered")
	}
	meter.beside.Store(1 << 30)
	eventually(t, "repeats forgotten", func() bool { return dedupe() == 0 })
}

// TestYoungMessagesStay fills beyond the limit within the time that nothing is
// taken from: then sends are refused, and time helps.
func TestYoungMessagesStay(t *testing.T) {
	const limit = 16 << 20
	s, _, clock := budgetStore(t, limit)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	sent := 0
	for ; !s.memoryFull.Load(); sent++ {
		cmd := message(alice, bob, sent)
		cmd.Body = append([]byte{0xc0}, make([]byte, 4000)...)
		if _, err := proposeAgain(t, s, cmd); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		} else if err != nil {
			break
		}
		if sent > limit/4000 {
			t.Fatal("sends are taken beyond the limit")
		}
	}
	if got := len(cids(t, s, bob, alice)); got != sent {
		t.Errorf("%d messages of the last moment are held, want %d", got, sent)
	}
	clock.pass(time.Minute)
	eventually(t, "sends taken again", func() bool { return !s.memoryFull.Load() })
	if got := len(cids(t, s, bob, alice)); got >= sent {
		t.Errorf("%d messages are held, want less than %d", got, sent)
	}
	send(t, s, message(alice, bob, 1_000_000))
}

// TestRetentionOfGroups has messages of groups be kept longer than those of users:
// that time is what is left of when memory is short.
func TestRetentionOfGroups(t *testing.T) {
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.Shards, cfg.MemoryLimit, cfg.meter, cfg.Clock = 1, 64<<20, m.read, clock.read
	cfg.Limits.HistoryTTL, cfg.Limits.GroupTTL = time.Minute, 2*time.Hour
	s := open(t, cfg)
	retention := func() time.Duration {
		var metric dto.Metric
		if err := s.shards()[0].metrics.retention.Write(&metric); err != nil {
			t.Fatal(err)
		}
		return time.Duration(metric.GetGauge().GetValue() * float64(time.Second))
	}
	eventually(t, "2 h while there is memory", func() bool { return retention() == 2*time.Hour })
	alice, group := userIn(s, 0, 0), groupIn(s, 0, 0)
	createGroup(t, s, group, command.GroupPrivate, alice)
	for n := range 90 {
		do(t, s, groupMessage(group, alice, n))
		clock.pass(time.Minute)
	}
	var work atomic.Uint32
	work.Store(eraseWork)
	if !s.shards()[0].here().raiseCutoff(s.Now()-30*time.Minute.Milliseconds(), &work) {
		t.Fatal("the cutoff is not raised")
	}
	eventually(t, "30 min once the cutoff is that far back", func() bool { return retention() == 30*time.Minute })
	clock.pass(2 * time.Hour)
	eventually(t, "2 h again once that time has passed", func() bool { return retention() == 2*time.Hour })
}

// TestCutoffOutlivesRestart finds the same messages gone, and no more of them.
func TestCutoffOutlivesRestart(t *testing.T) {
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.Shards, cfg.MemoryLimit, cfg.meter, cfg.Clock = 1, 64<<20, m.read, clock.read
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	for n := range 10 {
		send(t, s, message(alice, bob, n))
		clock.pass(10 * time.Second)
	}
	m.beside.Store(64 << 20)
	var left []string
	eventually(t, "messages taken", func() bool { left = cids(t, s, bob, alice); return len(left) < 10 })
	m.beside.Store(0)
	eventually(t, "sends taken again", func() bool { return !s.memoryFull.Load() })
	settled(t, s, m)
	left = cids(t, s, bob, alice)
	sums := checksums(s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.MemoryLimit = 0
	s = open(t, cfg)
	if got := cids(t, s, bob, alice); fmt.Sprint(got) != fmt.Sprint(left) {
		t.Errorf("after a restart %v are held, want %v", got, left)
	}
	if !equalSums(checksums(s, 0), sums) {
		t.Error("the shard differs after a restart")
	}
}

// A restoredMemory is that of a shard whose state is read from a snapshot while it
// is away.
type restoredMemory struct {
	shardMemory
	away     atomic.Bool
	replaced atomic.Int64
}

func (m *restoredMemory) Restoring() bool { return m.away.Load() || m.shardMemory.Restoring() }
func (m *restoredMemory) Replaced() int64 { return m.replaced.Load() + m.shardMemory.Replaced() }

func (m *restoredMemory) Inspect(f func(*shard.State, int64)) {
	if m.away.Load() {
		f(shard.NewState(0), 0)
		return
	}
	m.shardMemory.Inspect(f)
}

// TestNothingIsTakenWhileRestoring has a collection fall into a restore: the heap
// holds the state by then, the shard does not, and soon both do.
func TestNothingIsTakenWhileRestoring(t *testing.T) {
	const limit = 32 << 20
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.Shards, cfg.MemoryLimit, cfg.meter, cfg.Clock = 1, limit, m.read, clock.read
	cfg.Limits.OfflineMaxBytes, cfg.Limits.UserBytes = -1, -1
	memory := &restoredMemory{}
	cfg.memoryOf = func(m shardMemory) shardMemory { memory.shardMemory = m; return memory }
	var opened atomic.Pointer[Store]
	cfg.collect = func() {
		if s := opened.Load(); s != nil {
			m.collect(held(s))
		}
	}
	s := open(t, cfg)
	opened.Store(s)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	sent := 0
	for ; held(s) < limit/100*softPercent*3/4; sent++ {
		cmd := message(alice, bob, sent)
		cmd.Body = append([]byte{0xc0}, make([]byte, 4000)...)
		send(t, s, cmd)
	}
	clock.pass(time.Hour)

	memory.away.Store(true)
	memory.replaced.Add(1)
	m.collect(held(s))
	time.Sleep(3 * budgetEvery)
	memory.replaced.Add(1)
	memory.away.Store(false)
	time.Sleep(3 * budgetEvery)
	if s.memoryFull.Load() {
		t.Error("sends are refused")
	}
	if got := len(cids(t, s, bob, alice)); got != sent {
		t.Errorf("%d messages are held, want %d", got, sent)
	}
}

// TestSendsComeBackAfterABurst fills a store with users until they alone would
// nearly have sends refused, if memory were short, which it is for a moment.
func TestSendsComeBackAfterABurst(t *testing.T) {
	const limit = 16 << 20
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.Shards, cfg.MemoryLimit, cfg.meter, cfg.Clock = 1, limit, m.read, clock.read
	s := open(t, cfg)
	lasting := func() int {
		u := usageOf(s.shards()[0])
		return u.Held - u.Messages
	}
	for n := 0; lasting() < limit/100*softPercent/100*lastingPercent-limit/100; {
		var sends sync.WaitGroup
		for range 200 {
			n++
			user := command.UserID(fmt.Sprint("user", n))
			cmd := message(user, user, n)
			sends.Go(func() {
				if r, err := proposeAgain(t, s, cmd); err != nil || r.Code != command.OK {
					t.Errorf("send of %s = %v, %v", user, r, err)
				}
			})
		}
		sends.Wait()
	}
	if s.memoryFull.Load() {
		t.Fatal("sends are refused before memory is short")
	}
	m.beside.Store(limit / 100 * 40)
	eventually(t, "sends refused", func() bool { return s.memoryFull.Load() })
	m.beside.Store(0)
	eventually(t, "sends taken again", func() bool { return !s.memoryFull.Load() })
}

// TestArenaHasAnEnd fills a shard until its arena could address no more, with
// memory to spare.
func TestArenaHasAnEnd(t *testing.T) {
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.Shards, cfg.MemoryLimit, cfg.meter, cfg.Clock, cfg.arenaBytes = 1, 0, m.read, clock.read, 16<<20
	cfg.Limits.OfflineMaxBytes, cfg.Limits.OfflineMaxMessages, cfg.Limits.UserBytes = -1, -1, -1
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	big := func(n int) *command.Send {
		cmd := message(alice, bob, n)
		cmd.Body = append([]byte{0xc0}, make([]byte, 4000)...)
		return cmd
	}
	sent := 0
	for ; !s.memoryFull.Load(); sent++ {
		if _, err := proposeAgain(t, s, big(sent)); errors.Is(err, store.ErrUnavailable) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if held(s) > cfg.arenaBytes {
			t.Fatalf("the shard holds %d bytes", held(s))
		}
	}
	clock.pass(time.Minute)
	eventually(t, "sends taken again", func() bool { return !s.memoryFull.Load() })
	if got := len(cids(t, s, bob, alice)); got >= sent {
		t.Errorf("%d messages are held, want less than %d", got, sent)
	}
	send(t, s, big(sent))
}

func TestReadMemory(t *testing.T) {
	r := readMemory()
	if r.resident <= 0 || r.beside <= 0 || r.beside >= r.resident || r.live < 0 {
		t.Errorf("readMemory() = %+v", r)
	}
}

// What is not messages never shortens retention where memory is set aside for
// it: neither when it takes that, nor when it takes more. Sends are refused then.
func TestOtherMemoryTakesNoMessages(t *testing.T) {
	const limit, reserved = 64 << 20, 24 << 20
	m, clock := &fakeMeter{}, &testClock{}
	cfg := testConfig(t)
	cfg.MemoryLimit, cfg.ReservedMemory, cfg.meter, cfg.Clock = limit, reserved, m.read, clock.read
	cfg.Limits.OfflineMaxBytes, cfg.Limits.OfflineMaxMessages, cfg.Limits.UserBytes = -1, -1, -1
	cfg.ExpireEvery = time.Hour
	s := open(t, cfg)
	fill(t, s, clock, 0, 4000) // about what there is room for, and more
	room := int64(limit/100*softPercent - reserved)
	eventually(t, "messages within what is not reserved", func() bool { return held(s) <= room })
	if held(s) < room/2 {
		t.Fatalf("%d bytes are held of %d that there is room for", held(s), room)
	}
	settled(t, s, m)
	clock.pass(time.Hour)
	before := messageBytes(s)
	for _, taken := range []int64{reserved, limit / 2, limit} {
		m.beside.Store(taken)
		eventually(t, "the memory looked at", func() bool { return s.metricOther() >= taken })
		eventually(t, "sends refused when there is no more", func() bool { return taken < limit || s.memoryFull.Load() })
		if after := messageBytes(s); after != before {
			t.Errorf("with %d bytes taken beside messages %d of them are held, want %d as before", taken, after, before)
		}
	}
}

// metricOther is what the last look found beside messages.
func (s *Store) metricOther() int64 {
	var m dto.Metric
	if err := s.metrics.budget.used.WithLabelValues("other").Write(&m); err != nil {
		panic(err)
	}
	return int64(m.GetGauge().GetValue())
}
