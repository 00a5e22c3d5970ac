package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// TestMembershipThatEndsBeforeItIsPushed has a user join and leave a group before their
// session reads on: what came in between is pushed all the same.
func TestMembershipThatEndsBeforeItIsPushed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.group("team", command.GroupPrivate, "alice", "bob")
		bob, carol := e.online("bob", codec), e.online("carol", codec)
		stay := func(cid string) {
			e.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"carol"}})
			e.do(&command.SendGroup{Group: "team", User: "alice", CID: cid, Body: []byte{0xc0}})
			e.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"carol"}})
			e.do(&command.SendGroup{Group: "team", User: "alice", CID: "after " + cid, Body: []byte{0xc0}})
		}
		e.store.mu.Lock() // carol cannot look
		for _, cmd := range []command.Command{
			&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"carol"}},
			&command.SendGroup{Group: "team", User: "alice", CID: "one", Body: []byte{0xc0}},
			&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"carol"}},
			&command.SendGroup{Group: "team", User: "alice", CID: "after one", Body: []byte{0xc0}},
		} {
			e.store.apply(cmd)
		}
		e.store.mu.Unlock()
		carol.event("joined")
		carol.wantCIDs("one")
		carol.event("removed")
		synctest.Wait()
		carol.quiet()

		stay("two") // whether she looked in between or not
		carol.event("joined")
		carol.wantCIDs("two")
		carol.event("removed")
		synctest.Wait()
		carol.quiet()
		if s := e.session("carol"); len(s.groups) != 0 {
			t.Errorf("carol is subscribed to %d groups, want none", len(s.groups))
		}

		bob.event("joined")
		bob.wantCIDs("one")
		bob.event("removed")
		bob.wantCIDs("after one")

		// Nothing of a membership that has ended is pushed after a later login.
		time.Sleep(2 * time.Millisecond)
		late := e.dial(codec)
		late.login("carol", "tablet", nil)
		late.push("onSynced")
		synctest.Wait()
		late.quiet()
	})
}
