package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

const (
	// gcSlack is the least that the heap may grow between two garbage
	// collections: with less, a small store is marked many times a second.
	gcSlack = 64 << 20
	// gcSlackShare is what a large heap may grow by, one part in this many. It
	// is little because nearly all of it is blocks of messages, which cost
	// nothing to mark: GOGC's 100 would double the memory for no less work.
	gcSlackShare = 6
)

// paceGC sets the garbage collector's percentage after each of its cycles, so
// that the heap grows by gcSlack or a gcSlackShare before the next one, until
// ctx ends. A percentage that GOGC names stays. A memory limit is unaffected:
// the runtime collects as soon as either asks for it.
func paceGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []runtimemetrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for percent := 100; ; {
		cycle := nextCycle()
		runtimemetrics.Read(samples)
		live, roots := samples[0].Value.Uint64(), samples[1].Value.Uint64()+samples[2].Value.Uint64()
		// To set it stops the world for a moment.
		if next := gcPercent(live, roots); next != percent {
			debug.SetGCPercent(next)
			percent = next
		}
		select {
		case <-cycle:
		case <-ctx.Done():
			return
		}
	}
}

// gcPercent is the percentage at which the next cycle ends with the slack
// beside a live heap and roots of so many bytes.
func gcPercent(live, roots uint64) int {
	slack := max(gcSlack, live/gcSlackShare)
	// The runtime takes no heap for smaller than 4 MiB.
	return int(max(1, slack*100/max(live+roots, 4<<20)))
}

// nextCycle is closed after the next garbage collection.
func nextCycle() <-chan struct{} {
	done := make(chan struct{})
	// The finalizer of something unreachable runs after the next collection.
	sentinel := new([64]byte)
	runtime.SetFinalizer(sentinel, func(*[64]byte) { close(done) })
	return done
}
