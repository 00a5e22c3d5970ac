package main

// The contract on groups whose shard, or whose members' shards, have no leader.

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// groupOn makes an id whose group is on shard n: the key of a group has a prefix
// that no user has.
func (w *world) groupOn(name string, n int) string {
	for i := 0; ; i++ {
		id := w.user(fmt.Sprintf("%s%d", name, i))
		if int(xxhash.Sum64String("group "+id)%16384)/(16384/shards) == n {
			return id
		}
	}
}

func TestContractGroupsShardIsDown(t *testing.T) {
	t.Parallel()
	s := startFaultServer(t, fmt.Sprintf("--shards=%d", shards))
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
		w.stopShard(down)
		args := obj{"conv": "g:" + id, "cid": "m3", "body": obj{"text": "m3"}}
		if err := alice.refused("send", args, "unavailable"); err.RetryAfterMS <= 0 {
			t.Errorf("unavailable without retryAfterMs: %v", err)
		}
		alice.refused("getGroup", obj{"group": id}, "unavailable")
		// Other groups, and logins, are not concerned.
		o := alice.tells(other, "o1")
		watch.hears(o...)
		phone := w.login(bob, "phone", nil)
		all := phone.pushes()
		check(t, "messages", messagesIn(all), objs(o...))
		check(t, "unreadTotal", syncedIn(all)["unreadTotal"], 1)

		w.resumeShard(down)
		var reply obj
		eventually(t, "the group takes messages again", func() (ok bool) {
			var err *wireError
			reply, err = alice.try("send", args)
			return err == nil
		})
		m = append(m, groupMessage{id, alice.User, args, reply})
		check(t, "seq", reply["seq"], 3)
		phone.hears(m...) // what its login could not ask for, too
		watch.hears(m[2])
		for _, c := range []*wsClient{phone, watch} {
			c.idle()
		}
	})
}

func TestContractMembersShardIsDown(t *testing.T) {
	t.Parallel()
	s := startFaultServer(t, fmt.Sprintf("--shards=%d", shards))
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
		w.stopShard(down)
		m := alice.tells(id, "m1", "m2")
		carol.hears(m...)
		alice.refusedAtLogin(dave, "unavailable")
		check(t, "removeMembers", alice.request("removeMembers", obj{"group": id, "users": []any{dave}}), removed(dave))
		w.resumeShard(down)
		m = append(m, alice.tells(id, "m3")...)
		bob.hears(m...)
		carol.hears(m[2])
		bob.event(id, "removed", alice.User, dave)
		bob.idle()
		// The group's shard has decided, whenever his hears of it.
		eventually(t, "his shard is back", func() bool {
			back := w.device(t, dave, "back", w.codec)
			back.connect(dialOptions{})
			_, err := back.try("login", back.loginArgs(nil))
			return err == nil
		})
		w.listed(dave, id, false)
		late := w.login(dave, "phone", nil)
		all := late.pushes()
		check(t, "messages of who was removed", messagesIn(all), []any{})
		check(t, "onSynced of who was removed", syncedIn(all), syncedArgs(0, 0))
		late.outside(id)
	})
}
