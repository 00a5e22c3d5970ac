package shard_test

import (
	"regexp"
	"testing"

	"github.com/belfry-im/belfry/shard"
)

// TestPlantedMoveBugsAreCaught is TestPlantedBugsAreCaught for moves of slots.
func TestPlantedMoveBugsAreCaught(t *testing.T) {
	both := func(plant func(*shard.State)) func(*world) {
		return func(w *world) {
			for _, sh := range w.shards {
				plant(sh.leader)
				plant(sh.follower)
			}
		}
	}
	bugs := []struct {
		name    string
		percent int // of the batches after which it strikes
		shows   string
		plant   func(*world)
	}{
		{"changes during the copy missed", 100, `Taken`, both(shard.ForgetChanges)},
		{"user who has come lost", 100, `Taken|Send|code|hooks|StartSync`, func(w *world) {
			user := pick(w, w.users)
			both(func(s *shard.State) { shard.LoseArrived(s, user) })(w)
		}},
		{"records for webhooks lost", 100, `StoredAfter|newest number`, both(shard.LoseMovedHooks)},
		{"slot taken that is served again", 100, `CopySlot.*code = 4|Taken|Owns`, both(shard.ForgetReopen)},
		{"late step of a move that is over taken", 100, `code = |Taken`, both(shard.ForgetEnded)},
		{"unfinished move visible", 100, `code = |Owns|knows of|NextSlots|Served`, both(shard.ShowArriving)},
		{"one replica loses its part", 20, `follower|replica`, func(w *world) {
			for _, sh := range w.shards {
				shard.ForgetArriving(sh.follower)
			}
		}},
		{"thawed by itself", 20, `code = |Owns|want`, both(func(s *shard.State) { shard.FreezeAlone(s, false) })},
		{"frozen too early", 20, `code = |Owns|want`, both(func(s *shard.State) { shard.FreezeAlone(s, true) })},
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			shows := regexp.MustCompile(bug.shows)
			for seed := range uint64(plantedSeeds) {
				w := newWorld(seed + 1)
				w.restless = true
				w.spoil = func(w *world) {
					if w.chance(bug.percent) {
						bug.plant(w)
					}
				}
				_, err := w.live(seedCommands)
				if err == nil {
					continue
				}
				if !shows.MatchString(err.Error()) {
					t.Errorf("caught as %q, want %s", err, bug.shows)
				}
				t.Logf("caught: %v", err)
				return
			}
			t.Errorf("%d worlds passed with it", plantedSeeds)
		})
	}
}
