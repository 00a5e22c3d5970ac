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
	// gcSlack is how much the heap may grow between two garbage collections under load: with
	// less, the runtime would mark a small store many times a second.
	gcSlack = 64 << 20
	// gcQuietSlack is the same for a process that hardly allocates. The runtime keeps as
	// much memory from the system as the heap may grow, so after a burst the slack falls to
	// this, and the memory of the burst's garbage goes back.
	gcQuietSlack = 8 << 20
	// gcInterval is the time between two collections that the slack should allow for, as far
	// as gcSlack permits; gcEvery is how often the slack is set anew.
	gcInterval = 4 * time.Second
	gcEvery    = 2 * time.Second
	// gcSlackShare is the part by which a large heap may grow, one in this many. It is
	// little because nearly all of the heap is blocks of messages, which cost nothing to
	// mark: GOGC's 100 would double the memory for no less work.
	gcSlackShare = 6
	// gcTightSlack and gcTightShare are the same while this node gets a state that it
	// lacks: whether there is memory for that matters more than what collections cost.
	gcTightSlack = 16 << 20
	gcTightShare = 32
)

// paceGC sets the garbage collector's percentage, until ctx ends, so that the heap grows
// by a slack of some bytes between two collections: after each collection, and when the
// rate of allocation or tight has changed, which reports whether memory is worth more than
// time. It does nothing if GOGC is set. A memory limit stays in force: the runtime collects
// as soon as either asks for it.
func paceGC(ctx context.Context, tight func() bool) {
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
		most := mostGCSlack(live, tight())
		if ticked {
			slack = gcSlackFor(slack, most, samples[3].Value.Uint64()-allocated)
			allocated = samples[3].Value.Uint64()
		}
		slack = min(slack, most)
		// A call stops the world for a moment.
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

// mostGCSlack returns the largest slack beside a live heap of so many bytes.
func mostGCSlack(live uint64, tight bool) uint64 {
	if tight {
		return max(gcTightSlack, live/gcTightShare)
	}
	return max(gcSlack, live/gcSlackShare)
}

// gcSlackFor returns the slack to use next, after slack was used and so many bytes were
// allocated in gcEvery. It rises at once and falls by halves.
func gcSlackFor(slack, most, allocated uint64) uint64 {
	wanted := allocated * uint64(gcInterval/gcEvery)
	return max(gcQuietSlack, min(max(wanted, slack/2), most))
}

// gcPercent returns the percentage for debug.SetGCPercent with which the heap grows by
// slack bytes, beside a live heap and roots of so many bytes.
func gcPercent(live, roots, slack uint64) int {
	// The runtime treats a smaller heap as one of 4 MiB.
	return int(max(1, slack*100/max(live+roots, 4<<20)))
}

// nextCycle returns a channel that is closed after the next garbage collection.
func nextCycle() <-chan struct{} {
	done := make(chan struct{})
	// The finalizer of something unreachable runs after the next collection.
	sentinel := new([64]byte)
	runtime.SetFinalizer(sentinel, func(*[64]byte) { close(done) })
	return done
}
