package replica

import (
	"errors"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A command is taken in the term that it names, or in any if it names none, and the
// replica tells in which one it leads.
func TestEnqueueInTerm(t *testing.T) {
	cfg := testConfig(t, 0)
	var mu sync.Mutex
	var told []uint64
	cfg.OnLeader = func(term uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, term)
	}
	r, stop := start(t, cfg)
	id, term := r.Leader()
	if id != cfg.ID || term == 0 {
		t.Fatalf("Leader() = %q in term %d, want %q in some term", id, term, cfg.ID)
	}
	send(t, r, 1)
	if s := r.Stamp(); s.Term != term || s.Applied == 0 || s.Applied != r.LastIndex() {
		t.Errorf("Stamp() = %+v, want term %d and index %d", s, term, r.LastIndex())
	}
	for _, other := range []uint64{term - 1, term + 1} {
		err := r.Enqueue(other, command.AppendCommand(nil, message(2)), Waiter{})
		if !errors.Is(err, store.ErrNotLeader) || !errors.Is(err, store.ErrUnavailable) || store.RetryAfter(err) <= 0 {
			t.Errorf("in term %d: %v, want ErrNotLeader", other, err)
		}
	}
	done := make(chan error, 1)
	if err := r.Enqueue(term, command.AppendCommand(nil, message(2)), Waiter{Done: func(_ command.Result, err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	stop()
	if err := r.Enqueue(0, nil, Waiter{Read: true}); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("closed: %v, want ErrNotLeader", err)
	}
	if len(told) != 2 || told[0] != term || told[1] != 0 {
		t.Errorf("told of terms %d, want %d, then 0", told, term)
	}
}
