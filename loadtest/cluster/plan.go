//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A kind is a kind of fault.
type kind string

const (
	kindKill     kind = "kill"       // kill -9, start
	kindKillTwo  kind = "kill two"   // the same of two nodes at once: nobody is served meanwhile
	kindRestart  kind = "restart"    // SIGTERM, exit code 0, start
	kindFreeze   kind = "freeze"     // SIGSTOP, SIGCONT
	kindFull     kind = "full disk"  // room for n bytes, then for all again
	kindFullKill kind = "full kill"  // the same, killed and started while full
	kindHang     kind = "disk hangs" // its disk takes nothing
	kindJump     kind = "jump"       // its wall clock is set ahead or back, for a while
	kindCut      kind = "cut off"    // in both directions
	kindCutOut   kind = "cut out"    // what it sends is lost
	kindCutIn    kind = "cut in"     // what is sent to it is lost
	kindHalfOpen kind = "half-open"  // its connections vanish for the others alone
	kindDelay    kind = "delay"      // what it sends comes late
	kindReset    kind = "reset"      // all connections between nodes end
)

var allKinds = []kind{
	kindKill, kindKillTwo, kindRestart, kindFreeze, kindFull, kindFullKill, kindHang, kindJump,
	kindCut, kindCutOut, kindCutIn, kindHalfOpen, kindDelay, kindReset,
}

// An event is one fault of a plan.
type event struct {
	kind  kind
	after time.Duration // from the end of the event before
	hold  time.Duration // how long the fault stands
	shard int
	// leader: it happens to the leader of shard, else to a node that is not.
	leader bool
	n      int           // bytes
	by     time.Duration // of a clock, or a delay
}

func (e event) String() string {
	who := "another node than the leader"
	if e.leader {
		who = "the leader"
	}
	text := fmt.Sprintf("%s of shard %d: %s", who, e.shard, e.kind)
	switch e.kind {
	case kindFull, kindFullKill:
		text += fmt.Sprintf(", %d KiB left", e.n>>10)
	case kindJump, kindDelay:
		text += fmt.Sprintf(" by %v", e.by)
	case kindReset:
		return string(e.kind)
	}
	return fmt.Sprintf("%s, for %v", text, e.hold)
}

// plan returns events that together take about as long as total. Each kind comes
// once before any comes again; the same rng gives the same events.
func plan(rng *rand.Rand, total time.Duration, shards int) (events []event) {
	var bag []kind
	for elapsed := time.Duration(0); ; {
		if len(bag) == 0 {
			bag = append(bag, allKinds...)
			rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		e := draw(rng, bag[0], shards)
		bag = bag[1:]
		if elapsed += e.after + e.hold + recovery; elapsed > total {
			return events
		}
		events = append(events, e)
	}
}

// recovery is about how long it takes from the end of a fault until the next may
// happen.
const recovery = 500 * time.Millisecond

func draw(rng *rand.Rand, k kind, shards int) event {
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(time.Millisecond)
	}
	e := event{
		kind: k, after: between(100*time.Millisecond, time.Second), hold: between(500*time.Millisecond, 3*time.Second),
		shard: rng.IntN(shards), leader: rng.IntN(3) > 0,
	}
	switch k {
	case kindKill, kindKillTwo, kindRestart:
		e.hold = between(0, 2*time.Second)
	case kindFull, kindFullKill:
		e.n = []int{0, 4 << 10, 64 << 10, 1 << 20}[rng.IntN(4)]
	case kindJump:
		e.by = between(10*time.Second, 30*24*time.Hour).Round(time.Second)
		if rng.IntN(2) == 0 {
			e.by = -e.by
		}
	case kindDelay:
		e.by = between(time.Millisecond, 100*time.Millisecond)
	case kindReset:
		e.hold = 0
	}
	return e
}
