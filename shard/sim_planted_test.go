package shard_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// plantedSeeds is how many worlds may pass a planted bug unharmed.
const plantedSeeds = 60

// TestPlantedBugsAreCaught spoils states as mistakes in the package would, each
// in its way, on both replicas alike. A simulation that does not notice proves
// nothing by passing.
func TestPlantedBugsAreCaught(t *testing.T) {
	bugs := []struct {
		name    string
		percent int    // of the batches after which it strikes
		shows   string // what the simulation says then
		plant   func(w *world, s *shard.State, user, peer command.UserID)
	}{
		{"dedupe off", 100, `: Send.*(duplicate false, want .*duplicate true|code = 0 .*, want 4)`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.ForgetDedup(s, user) }},
		{"fences forgotten", 100, `: Send.* code = 0 .*, want 10`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.ForgetFences(s, user) }},
		{"messages before their time forgotten", 100, `: Send.*(duplicate false, want .*duplicate true|code = 0 .*, want 4)`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.ForgetRemovedDedup(s, user) }},
		{"wrong message leaves the queue", 5, `UnreadTotal|unread|queue|lost`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.UnqueueWrong(s, user, peer) }},
		{"wrong message evicted", 5, `Touched|History|Since|Recents|recents|UnreadTotal|unread|lost|not hold|code`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.EvictWrong(s, user, peer) }},
		{"unread drifts", 5, `UnreadTotal|unread`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.DriftUnread(s, user, peer) }},
		{"letters left behind by a move", 100, `letter|Letters`,
			func(w *world, s *shard.State, user, _ command.UserID) {
				if slices.Contains(w.arrived, command.SlotOf(string(user))) {
					shard.LoseLetters(s, user)
				}
			}},
		{"change missed by a cursor", 20, `does not know|read cursor of|receipt of|Since|Conversations`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.AgeChanges(s, user, peer) }},
		{"lost messages forgotten", 20, `lost`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.ForgetLost(s, user, peer) }},
		{"cutoff takes messages in silence", 100, `lost|History.*gaps`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.EvictSilently(s, user) }},
		{"cutoff falls", 20, `Cutoff|History|Since|Recents|recents|UnreadTotal|unread|queue|lost|code`,
			func(_ *world, s *shard.State, _, _ command.UserID) { shard.LowerCutoff(s) }},
		{"messages behind an idle conversation missed", 20, `Since|does not know|read cursor of|Import|Conversations|recents|receipt of`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.ForgetActivity(s, user, peer) }},
		{"imported messages pushed", 20, `StartSync|Since|Offline|does not know|not imported`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.ForgetImports(s, user) }},
		{"erased conversation begins anew", 20, `StartSync|hooks|History|Deliver|Send|letter|Touched|recents|queue|lost|unread|Since`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.ForgetStub(s, user, peer) }},
		{"settings lost", 20, `settings|Login|RefreshToken|code|Exists|History|unread|Unread|queue`,
			func(_ *world, s *shard.State, user, _ command.UserID) { shard.ForgetSettings(s, user) }},
		{"hook forgotten", 20, `StoredAfter`,
			func(_ *world, s *shard.State, _, _ command.UserID) { shard.ForgetHook(s) }},
		{"letter applied twice", 20, `Touched|letter .* is missing|History|StartSync|Deliver|Send`,
			func(_ *world, s *shard.State, user, peer command.UserID) { shard.ReapplyLetters(s, user, peer) }},
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			wantCaught(t, bug.shows, func(w *world) {
				if !w.chance(bug.percent) {
					return
				}
				peer := pick(w, w.users)
				for _, user := range w.users {
					if bug.percent < 100 && w.chance(70) {
						continue
					}
					for _, sh := range w.shards {
						bug.plant(w, sh.leader, user, peer)
						bug.plant(w, sh.follower, user, peer)
					}
				}
			})
		})
	}
}

// wantCaught lets worlds live with a bug until one of them notices.
func wantCaught(t *testing.T, shows string, spoil func(*world)) {
	t.Helper()
	for seed := range uint64(plantedSeeds) {
		_, err := simulate(seed+1, seedCommands, spoil)
		if err == nil {
			continue
		}
		if !regexp.MustCompile(shows).MatchString(err.Error()) {
			t.Errorf("caught as %q, want %s", err, shows)
		}
		t.Logf("caught: %v", err)
		return
	}
	t.Errorf("%d worlds passed with it", plantedSeeds)
}

// TestSoundWorldsPass is the other half: what plants nothing finds nothing.
func TestSoundWorldsPass(t *testing.T) {
	if _, err := simulate(1, seedCommands, func(*world) {}); err != nil {
		t.Error(err)
	}
}
