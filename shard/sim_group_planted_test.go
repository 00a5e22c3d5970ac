package shard_test

import (
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// TestPlantedGroupBugsAreCaught is TestPlantedBugsAreCaught for groups.
func TestPlantedGroupBugsAreCaught(t *testing.T) {
	arrived := func(w *world, key command.UserID) bool {
		return slices.Contains(w.arrived, command.SlotOf(string(key)))
	}
	bugs := []struct {
		name    string
		percent int // of the batches after which it strikes
		shows   string
		plant   func(w *world, s *shard.State, id command.GroupID, user command.UserID)
	}{
		{"unread drifts", 5, `nread|Members?|Read`,
			func(_ *world, s *shard.State, id command.GroupID, user command.UserID) {
				shard.DriftGroupUnread(s, id, user)
			}},
		{"entry off recents counts again", 20, `nread|Hidden|Members`,
			func(_ *world, s *shard.State, id command.GroupID, user command.UserID) {
				shard.ForgetGroupFloor(s, id, user)
			}},
		{"past before the joining shown", 5, `History|Members?\(|GroupMessages|SyncGroups|code`,
			func(_ *world, s *shard.State, id command.GroupID, user command.UserID) {
				shard.ShowBeforeJoin(s, id, user)
			}},
		{"notice applied out of order", 100, `GroupsOf|Touched|StartSync|Since`,
			func(_ *world, s *shard.State, _ command.GroupID, user command.UserID) {
				shard.ForgetLetterVersions(s, user)
			}},
		{"hides left behind by a move", 100, `nread|History|GroupMessages|SyncGroups|MemberChanges`,
			func(w *world, s *shard.State, id command.GroupID, _ command.UserID) {
				if arrived(w, id.Key()) {
					shard.LoseHidden(s, id)
				}
			}},
		{"notices left behind by a move", 100, `etter|GroupsOf`,
			func(w *world, s *shard.State, id command.GroupID, _ command.UserID) {
				if arrived(w, id.Key()) {
					shard.LoseGroupLetters(s, id)
				}
			}},
		{"deletion by sender misses a message", 20, `nread|History|GroupMessages|SyncGroups|GroupSince|deleted`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.MissDeletion(s, id) }},
		{"event without arrival", 5, `events`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.AgeEvents(s, id) }},
		{"recall without arrival", 5, `recalls`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.AgeRecalls(s, id) }},
		{"missing events not said", 20, `Missed`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) {
				shard.ForgetEventsForgotten(s, id)
			}},
		{"cursor of another group accepted", 100, `SyncGroups`,
			func(w *world, _ *shard.State, _ command.GroupID, _ command.UserID) { w.blindToTags = true }},
		{"dedupe off", 100, `: SendGroup.*(duplicate false, want .*duplicate true|code = [0-9] .*, want [04])`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.ForgetDedup(s, id.Key()) }},
		{"fences forgotten", 100, `: SendGroup.* code = 0 .*, want 10`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.ForgetFences(s, id.Key()) }},
		{"messages before their time forgotten", 100, `: SendGroup.*(duplicate false, want .*duplicate true|code = [0-9] .*, want [04])`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) {
				shard.ForgetRemovedDedup(s, id.Key())
			}},
		{"settings of who left forgotten", 100, `SyncGroups|settings|Members|GroupSince|does not know|code|queued|uted`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.ForgetSavedSettings(s, id) }},
		{"rate off", 100, `: SendGroup.* code = 0 .*, want 6`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) { shard.RestGroup(s, id) }},
		{"joined again, told since the first time", 20, `JoinedAt|SyncGroups|when he was none|arrival`,
			func(_ *world, s *shard.State, id command.GroupID, user command.UserID) {
				shard.ReviveMember(s, id, user)
			}},
		{"wrong message evicted", 5, `nread|History|GroupMessages|SyncGroups|GroupSince|Bytes|code|not told`,
			func(_ *world, s *shard.State, id command.GroupID, _ command.UserID) {
				shard.EvictWrong(s, id.Key(), "")
			}},
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			wantCaught(t, bug.shows, func(w *world) {
				if !w.chance(bug.percent) {
					return
				}
				for _, id := range w.groups {
					for _, user := range w.users {
						if bug.percent < 100 && w.chance(70) {
							continue
						}
						for _, sh := range w.shards {
							bug.plant(w, sh.leader, id, user)
							bug.plant(w, sh.follower, id, user)
						}
					}
				}
			})
		})
	}
}
