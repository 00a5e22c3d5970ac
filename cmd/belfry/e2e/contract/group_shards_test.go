package contract

// The contract on groups whose shard, or whose members' shards, have no leader.

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// groupOn makes an id whose group is on shard n: the key of a group has a prefix
// that no user has.
func (w *world) groupOn(name string, n int) string {
	for i := 0; ; i++ {
		id := w.user(fmt.Sprintf("%s%d", name, i))
		if int(xxhash.Sum64String("group "+id)%16384)/(16384/harness.Shards) == n {
			return id
		}
	}
}

func TestContractGroupsShardIsDown(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t, fmt.Sprintf("--shards=%d", harness.Shards))
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const down = 1
		elsewhere := func(shard int) bool { return shard != down }
		alice := w.online(w.userOn("alice", elsewhere), "phone", nil)
		bob := w.userOn("bob", elsewhere)
		id, other := w.groupOn("team", down), w.groupOn("other", 0)
		for _, group := range []string{id, other} {
			alice.group("private", obj{"group": group, "members": []any{bob}})
			w.listed(bob, group, true)
		}
		m := alice.tells(id, "m1", "m2")
		watch := w.online(bob, "watch", nil) // is there all the time
		w.StopShard(down)
		args := obj{"conv": "g:" + id, "cid": "m3", "body": obj{"text": "m3"}}
		if err := alice.Refused("send", args, "unavailable"); err.RetryAfterMS <= 0 {
			t.Errorf("unavailable without retryAfterMs: %v", err)
		}
		alice.Refused("getGroup", obj{"group": id}, "unavailable")
		// Other groups, and logins, are not concerned.
		o := alice.tells(other, "o1")
		watch.hears(o...)
		phone := w.login(bob, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), objs(o...))
		check(t, "unreadTotal", syncedIn(all)["unreadTotal"], 1)

		w.ResumeShard(down)
		var reply obj
		wstest.Eventually(t, "the group takes messages again", func() (ok bool) {
			var err *wstest.Error
			reply, err = alice.Try("send", args)
			return err == nil
		})
		m = append(m, groupMessage{id, alice.User, args, reply})
		check(t, "seq", reply["seq"], 3)
		phone.hears(m...) // what its login could not ask for, too
		watch.hears(m[2])
		for _, c := range []*device{phone, watch} {
			c.Idle()
		}
	})
}

func TestContractMembersShardIsDown(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t, fmt.Sprintf("--shards=%d", harness.Shards))
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const down = 2
		elsewhere := func(shard int) bool { return shard != down }
		there := func(shard int) bool { return shard == down }
		alice := w.online(w.userOn("alice", elsewhere), "phone", nil)
		carol := w.online(w.userOn("carol", elsewhere), "phone", nil)
		bob, dave := w.online(w.userOn("bob", there), "phone", nil), w.userOn("dave", there)
		id := w.groupOn("team", 0)
		alice.group("private", obj{"group": id, "members": texts(bob.User, carol.User, dave)})
		w.listed(dave, id, true)
		bob.event(id, "created", alice.User)
		w.StopShard(down)
		m := alice.tells(id, "m1", "m2")
		carol.hears(m...)
		alice.refusedAtLogin(dave, "unavailable")
		check(t, "removeMembers", alice.Request("removeMembers", obj{"group": id, "users": []any{dave}}), removed(dave))
		w.ResumeShard(down)
		m = append(m, alice.tells(id, "m3")...)
		bob.hears(m...)
		carol.hears(m[2])
		bob.event(id, "removed", alice.User, dave)
		bob.Idle()
		// The group's shard decides, whenever the user's shard learns of it.
		wstest.Eventually(t, "his shard is back", func() bool {
			back := w.device(t, dave, "back", w.codec)
			back.Connect(wstest.DialOptions{})
			_, err := back.Try("login", back.LoginArgs(nil))
			return err == nil
		})
		w.listed(dave, id, false)
		late := w.login(dave, "phone", nil)
		all := late.Pushes()
		check(t, "messages of who was removed", messagesIn(all), []any{})
		check(t, "onSynced of who was removed", syncedIn(all), syncedArgs(0, 0))
		late.outside(id)
	})
}
