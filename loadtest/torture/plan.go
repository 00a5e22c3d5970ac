//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A kind is a kind of fault.
type kind string

// Faults of the process and its disk.
const (
	kindKill     kind = "kill"      // kill -9, start
	kindRestart  kind = "restart"   // SIGTERM, exit code 0, start
	kindFreeze   kind = "freeze"    // SIGSTOP, SIGCONT
	kindFull     kind = "full disk" // room for n bytes, then for all again
	kindFullKill kind = "full kill" // the same, killed and started while full
	kindShard    kind = "shard"     // shard n has no leader for a while
)

// Faults of connections and clocks.
const (
	kindStorm    kind = "storm"     // all connections are cut at once
	kindHalfOpen kind = "half-open" // n peers vanish without a word
	kindDeaf     kind = "deaf"      // n peers read nothing
	kindMute     kind = "mute"      // n peers are not heard: no acks, no pongs
	kindJump     kind = "jump"      // the wall clock is set ahead or back, for a while
	kindPass     kind = "pass"      // time passes at once
)

// Rounds take turns: processKinds has faults that end the process, steadyKinds
// has none. A kind that is listed more than once comes more often.
var (
	processKinds = []kind{kindKill, kindRestart, kindFreeze, kindFull, kindFullKill, kindShard, kindKill, kindFull, kindKill}
	steadyKinds  = []kind{kindFreeze, kindFull, kindShard, kindFull}
	networkKinds = []kind{kindStorm, kindHalfOpen, kindDeaf, kindMute, kindJump, kindPass}
)

var allKinds = []kind{
	kindKill, kindRestart, kindFreeze, kindFull, kindFullKill, kindShard,
	kindStorm, kindHalfOpen, kindDeaf, kindMute, kindJump, kindPass,
}

// An event is one fault of a plan.
type event struct {
	kind  kind
	after time.Duration // from the end of the event before
	hold  time.Duration // how long the fault stands
	n     int           // bytes, peers, or the shard
	by    time.Duration // of a clock
}

func (e event) String() string {
	switch e.kind {
	case kindFull, kindFullKill:
		return fmt.Sprintf("%s: %d KiB left for %v", e.kind, e.n>>10, e.hold)
	case kindShard:
		return fmt.Sprintf("%s %d without leader for %v", e.kind, e.n, e.hold)
	case kindHalfOpen, kindDeaf, kindMute:
		return fmt.Sprintf("%s: %d peers for %v", e.kind, e.n, e.hold)
	case kindJump:
		return fmt.Sprintf("%s: clock set by %v for %v", e.kind, e.by, e.hold)
	case kindPass:
		return fmt.Sprintf("%s: %v at once", e.kind, e.by)
	case kindFreeze:
		return fmt.Sprintf("%s for %v", e.kind, e.hold)
	case kindKill, kindRestart:
		return fmt.Sprintf("%s, down for %v", e.kind, e.hold)
	}
	return string(e.kind)
}

// plan returns events that together take about as long as total. Each kind comes
// once before any comes again; the same rng gives the same events.
func plan(rng *rand.Rand, kinds []kind, total time.Duration) (events []event) {
	bag := shuffled(rng, slices.Compact(slices.Sorted(slices.Values(kinds))))
	for elapsed := time.Duration(0); ; {
		if len(bag) == 0 {
			bag = shuffled(rng, kinds)
		}
		e := draw(rng, bag[0])
		bag = bag[1:]
		if elapsed += e.after + e.hold; elapsed > total {
			return events
		}
		events = append(events, e)
	}
}

func shuffled(rng *rand.Rand, kinds []kind) []kind {
	bag := slices.Clone(kinds)
	rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
	return bag
}

func draw(rng *rand.Rand, k kind) event {
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(time.Millisecond)
	}
	e := event{kind: k, after: between(200*time.Millisecond, 1500*time.Millisecond)}
	switch k {
	case kindKill, kindRestart:
		e.hold = between(0, 500*time.Millisecond)
	case kindFreeze:
		e.hold = between(200*time.Millisecond, 3*time.Second)
	case kindFull, kindFullKill:
		e.hold = between(500*time.Millisecond, 3*time.Second)
		e.n = []int{0, 4 << 10, 64 << 10, 1 << 20}[rng.IntN(4)]
	case kindShard:
		e.hold = between(100*time.Millisecond, 2*time.Second)
		e.n = rng.IntN(shards)
	case kindHalfOpen, kindDeaf, kindMute:
		e.hold = between(500*time.Millisecond, 3*time.Second)
		e.n = 1 + rng.IntN(5)
	case kindJump:
		e.hold = between(500*time.Millisecond, 3*time.Second)
		e.by = between(time.Hour, 30*24*time.Hour).Round(time.Minute)
		if rng.IntN(2) == 0 {
			e.by = -e.by
		}
	case kindPass:
		e.by = between(time.Second, time.Minute)
	}
	return e
}
