package raftstore

import (
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
)

// What one leadership has told Hooks of, the next at the same node does not tell again,
// whether they have finished with it or not, and there is no more open in all of them than
// in one.
func TestHooksHearOnceOverLeaderships(t *testing.T) {
	hooks := &hookLog{hold: true}
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks = 1, hooks
	s := open(t, cfg)
	const messages = store.MaxOpenQueued + 50
	for n := range messages {
		send(t, s, message("alice", "bob", n))
	}
	eventually(t, "the window is full", func() bool { return len(hooks.list()) == store.MaxOpenQueued })
	newTerm(t, s.shards()[0])
	hooks.mu.Lock()
	for _, done := range hooks.waiting[1:40] { // the first one keeps the queue as it is
		done(true)
	}
	hooks.waiting = append(hooks.waiting[:1:1], hooks.waiting[40:]...)
	hooks.mu.Unlock()
	eventually(t, "there is room for as many", func() bool { return len(hooks.list()) == store.MaxOpenQueued+39 })
	newTerm(t, s.shards()[0])
	hooks.answer(true)
	eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, "bob") == 0 })
	told := hooks.list()
	slices.Sort(told)
	if len(told) != messages || len(slices.Compact(told)) != messages {
		t.Errorf("hooks were told %d times, want %d, each once", len(told), messages)
	}
	if told := &s.shards()[0].here().told; told.open.Load() != 0 {
		t.Errorf("%d calls are open", told.open.Load())
	}
}

// A message that nobody acks is told in time, though no leadership lasts as long as it may
// wait for that.
func TestHooksHearInTimeOverLeaderships(t *testing.T) {
	hooks := &hookLog{}
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks, cfg.QueuedAfter = 1, hooks, 1500*time.Millisecond
	s := open(t, cfg)
	login(t, s, "bob", "phone", &ear{})
	start := time.Now()
	send(t, s, message("alice", "bob", 1))
	for deadline := start.Add(time.Minute); len(hooks.list()) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: hooks are told")
		}
		time.Sleep(cfg.QueuedAfter * 2 / 3) // how long this leadership lasts
		newTerm(t, s.shards()[0])
	}
	if took := time.Since(start); took < cfg.QueuedAfter {
		t.Errorf("told after %v, want at least %v", took, cfg.QueuedAfter)
	}
	hooks.await(t, "bob c1 1/1")
}

// What was told is forgotten once the queue does not have it any more, and bounded until
// then.
func TestToldHooks(t *testing.T) {
	var told toldHooks
	first, second := &hooker{wake: make(chan struct{}, 1)}, &hooker{wake: make(chan struct{}, 1)}
	key := func(n int) toldHook { return toldHook{number: uint64(n), user: "bob"} }
	told.begin(first, 0, true)
	for n := 1; n <= 3; n++ {
		if fresh, _ := told.add(key(n), first); !fresh {
			t.Errorf("message %d was told before", n)
		}
	}
	told.end(key(1), true)
	told.begin(second, 0, true)
	<-first.wake
	told.end(key(2), true)
	<-second.wake // there is room
	for n, want := range []string{1: "over", 2: "over", 3: "open", 4: "fresh"} {
		if want == "" {
			continue
		}
		got := "open"
		if fresh, over := told.add(key(n), second); fresh {
			got = "fresh"
		} else if over {
			got = "over"
		}
		if got != want {
			t.Errorf("message %d is %s, want %s", n, got, want)
		}
	}
	if lost := told.progress(2, 4); lost != 2 {
		t.Errorf("%d messages were lost, want the 2 that nobody has read", lost)
	}
	told.end(key(3), true)
	told.end(key(4), false) // Hooks are closed
	if len(told.calls) != 1 || told.calls[key(3)] == nil || told.open.Load() != 0 {
		t.Errorf("%d calls are remembered, %d open; want message 3 alone", len(told.calls), told.open.Load())
	}
	if want := []returnedHook{{number: 3, over: true}, {number: 4}}; !slices.Equal(second.returned, want) {
		t.Errorf("returned %v, want %v", second.returned, want)
	}
	for n := range 2 * maxTold {
		told.add(key(10+n), second)
		told.end(key(10+n), true)
	}
	if len(told.calls) > maxTold+1 {
		t.Errorf("%d calls are remembered, want at most %d", len(told.calls), maxTold+1)
	}
	told.begin(first, 1<<40, true)
	if lost := told.progress(1<<40, 1<<40); lost != 1<<40-4 {
		t.Errorf("%d messages were lost between leaderships, want all that were not read", lost)
	}
	told.begin(first, 1<<41, false)
	if lost := told.progress(1<<41, 1<<41); lost != 0 {
		t.Errorf("%d messages were lost, want none: another node has led", lost)
	}
	if len(told.calls) != 0 {
		t.Errorf("%d calls are remembered of what has been dealt with", len(told.calls))
	}
}
