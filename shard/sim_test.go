package shard_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/belfry-im/belfry/shard"
)

// seedCommands is about how many commands a world executes, with those that
// bring it to rest. Many short lives find more than a few long ones, and are
// quick to reproduce.
const seedCommands = 5000

const seedVariable = "BELFRY_SIM_SEED"

// simulate runs one world and reports where it went wrong.
func simulate(seed uint64, commands int, spoil func(*world)) (executed int, err error) {
	w := newWorld(seed)
	w.spoil = spoil
	return w.live(commands)
}

// live runs a world and reports where it went wrong.
func (w *world) live(commands int) (executed int, err error) {
	defer func() {
		executed = w.commands
		switch v := recover().(type) {
		case nil:
			return
		case *failure:
			err = v
		case *shard.InvariantError:
			err = v
		default:
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		err = fmt.Errorf("seed %d, step %d, command %d: %w", w.seed, w.step, w.commands, err)
		if os.Getenv(seedVariable) != "" {
			err = fmt.Errorf("%w%s", err, w.recent())
		}
	}()
	w.run(commands * 17 / 20)
	return w.commands, nil
}

// TestSimulation lets many worlds live, each from its seed. BELFRY_SIM_SEED
// runs one alone, BELFRY_SIM_COMMANDS says how many commands there are in all,
// BELFRY_SIM_FIRST with which seed they begin.
func TestSimulation(t *testing.T) {
	total := envNumber(t, "BELFRY_SIM_COMMANDS", 1_000_000)
	if testing.Short() {
		total = min(total, 100_000)
	}
	first, seeds := uint64(envNumber(t, "BELFRY_SIM_FIRST", 1)), uint64(total/seedCommands+1)
	if seed := envNumber(t, seedVariable, 0); seed != 0 {
		first, seeds = uint64(seed), 1
	}
	var executed atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d commands over %d seeds", executed.Load(), seeds)
		if n := executed.Load(); n < int64(total) && seeds > 1 && !t.Failed() {
			t.Errorf("%d commands, want %d", n, total)
		}
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			n, err := simulate(seed, seedCommands, nil)
			executed.Add(int64(n))
			if err != nil {
				t.Errorf("%v\nagain, with what led to it: BELFRY_SIM_SEED=%d go test -run TestSimulation ./shard", err, seed)
			}
		})
	}
}

func envNumber(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s = %q, want a number above 0", name, text)
	}
	return n
}

// moveSeeds is how many worlds TestMovesSimulation lets live.
const moveSeeds = 20

// TestMovesSimulation is TestSimulation with slots that move all the time. A third of the
// moves is aborted at some step; steps come twice, late and from drivers that do not know
// of each other, replicas are made from snapshots meanwhile.
func TestMovesSimulation(t *testing.T) {
	first, seeds := uint64(1), uint64(moveSeeds)
	if testing.Short() {
		seeds = 5
	}
	if seed := envNumber(t, seedVariable, 0); seed != 0 {
		first, seeds = uint64(seed), 1
	}
	var over, given atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d moves were finished, %d aborted", over.Load(), given.Load())
		if seeds == moveSeeds && !t.Failed() && (over.Load() < 200 || given.Load() < 100) {
			t.Errorf("%d moves were finished and %d aborted, want 200 and 100", over.Load(), given.Load())
		}
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seed)
			w.restless = true
			_, err := w.live(seedCommands)
			over.Add(int64(w.moved[taken]))
			given.Add(int64(w.moved[aborted]))
			if err != nil {
				t.Errorf("%v\nagain, with what led to it: BELFRY_SIM_SEED=%d go test -run TestMovesSimulation ./shard", err, seed)
			}
		})
	}
}
