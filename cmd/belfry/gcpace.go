package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// gcSlack is what the heap may grow between two garbage collections under
	// load: with less, a small store is marked many times a second.
	gcSlack = 64 << 20
	// gcQuietSlack is that of a process that hardly allocates. The runtime keeps
	// as much from the system as the next collection allows for, so after a burst
	// it goes down to this, and its garbage goes back.
	gcQuietSlack = 8 << 20
	// gcInterval is how long what is allocated is to last until the next
	// collection, as far as gcSlack goes, and gcEvery how often it is looked at.
	gcInterval = 4 * time.Second
	gcEvery    = 2 * time.Second
	// gcSlackShare is what a large heap may grow by, one part in this many. It
	// is little because nearly all of it is blocks of messages, which cost
	// nothing to mark: GOGC's 100 would double the memory for no less work.
	gcSlackShare = 6
)

// paceGC sets the garbage collector's percentage after each of its cycles, and
// when the rate of allocation has changed, so that the heap grows by a slack of
// some bytes before the next one, until ctx ends. A percentage that GOGC names stays. A memory limit is unaffected:
// the runtime collects as soon as either asks for it.
func paceGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []runtimemetrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	tick := time.NewTicker(gcEvery)
	defer tick.Stop()
	cycle := nextCycle()
	slack, allocated := uint64(gcSlack), uint64(0)
	for percent, ticked := 100, false; ; {
		runtimemetrics.Read(samples)
		live, roots := samples[0].Value.Uint64(), samples[1].Value.Uint64()+samples[2].Value.Uint64()
		if ticked {
			slack = gcSlackFor(slack, live, samples[3].Value.Uint64()-allocated)
			allocated = samples[3].Value.Uint64()
		}
		// To set it stops the world for a moment.
		if next := gcPercent(live, roots, slack); next != percent {
			debug.SetGCPercent(next)
			percent = next
		}
		select {
		case <-cycle:
			cycle, ticked = nextCycle(), false
		case <-tick.C:
			ticked = true
		case <-ctx.Done():
			return
		}
	}
}

// gcSlackFor is the slack after gcEvery in which so much was allocated. It rises
// at once and falls by halves.
func gcSlackFor(slack, live, allocated uint64) uint64 {
	wanted := allocated * uint64(gcInterval/gcEvery)
	return max(gcQuietSlack, min(max(wanted, slack/2), max(gcSlack, live/gcSlackShare)))
}

// gcPercent is the percentage at which the next cycle ends with the slack
// beside a live heap and roots of so many bytes.
func gcPercent(live, roots, slack uint64) int {
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
