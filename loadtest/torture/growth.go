//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// A footprint is what the server uses while no client is connected, beside what
// it stores: heap and memory without the state, descriptors without those of the
// log's files, which grow with the state.
type footprint struct {
	goroutines, files     int
	heap, resident, state int64 // bytes
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d files, heap %d MiB and resident %d MiB beyond a state of %d MiB",
		f.goroutines, f.files, f.heap>>20, f.resident>>20, f.state>>20)
}

// Tolerances of growth. That of the heap also has a part of the state, whose size
// is an estimate; the garbage collector lets the heap double before it runs.
const (
	moreGoroutines = 10
	moreFiles      = 12
	moreHeap       = 32 << 20
	moreResident   = 96 << 20
)

// growth names what f has too much of, compared with base; "" if nothing.
func (f footprint) growth(base footprint) string {
	state := max(0, f.state-base.state)
	switch {
	case f.goroutines > base.goroutines+moreGoroutines:
		return "goroutines"
	case f.files > base.files+moreFiles:
		return "files"
	case f.heap > base.heap+moreHeap+state/2:
		return "heap"
	case f.resident > base.resident+moreResident+2*state:
		return "resident memory"
	}
	return ""
}

// footprint makes the server collect its garbage, and returns its footprint.
func (s *server) footprint(ctx context.Context) (f footprint, err error) {
	if _, _, err := s.call(ctx, "GET", "/debug/pprof/heap?gc=1"); err != nil {
		return f, err
	}
	m, err := s.metrics(ctx)
	if err != nil {
		return f, err
	}
	segments, err := filepath.Glob(filepath.Join(s.data, "shard-*", "log", "*.wal"))
	if err != nil {
		return f, err
	}
	state := int64(m["belfry_shard_state_bytes"])
	return footprint{
		goroutines: int(m["go_goroutines"]), files: int(m["process_open_fds"]) - len(segments),
		heap: int64(m["go_memstats_heap_alloc_bytes"]) - state, resident: int64(m["process_resident_memory_bytes"]) - state,
		state: state,
	}, nil
}

// goneWithin bounds how long the server may keep connections whose peers are
// gone: its time-outs, and twice what a busy machine adds.
const goneWithin = idleTimeout + 20*time.Second

// awaitGone waits until the server has closed all connections.
func (s *server) awaitGone(ctx context.Context) error {
	return poll(ctx, goneWithin, func() (string, error) {
		m, err := s.metrics(ctx)
		if n := m["belfry_gateway_connections"]; err == nil && n > 0 {
			return fmt.Sprintf("the server still has %v connections whose peers are gone", n), nil
		}
		return "", err
	})
}

// poll calls ask until it returns "". If it still does not after within, what it
// returned is the error.
func poll(ctx context.Context, within time.Duration, ask func() (string, error)) error {
	until := time.Now().Add(within)
	for {
		what, err := ask()
		switch {
		case err != nil:
			return err
		case what == "":
			return nil
		case time.Now().After(until):
			return fmt.Errorf("%s after %v", what, within)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
