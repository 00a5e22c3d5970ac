package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// What walks over all that a user has is limited as logins are, whatever the
// request and whichever session of the user makes it.
func TestCostlyReadsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 1 })
		alice := e.online("alice", protocol.JSON)
		for range searchBurst - 4 {
			e.gateway.searches.take("alice")
		}
		alice.call("getRecents", nil)
		alice.call("getGroups", nil)
		alice.call("send", obj{"conv": "u:bob", "cid": "1", "body": 1, "retry": true})
		alice.call("getRecents", nil)
		alice.refused("getRecents", nil, protocol.CodeRateLimited)
		alice.refused("getGroups", nil, protocol.CodeRateLimited)
		alice.refused("send", obj{"conv": "u:bob", "cid": "2", "body": 1, "retry": true}, protocol.CodeRateLimited)
		alice.call("send", obj{"conv": "u:bob", "cid": "2", "body": 1})
	})
}

func TestChangesOfGroupsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.GroupChangeBurst = 10 })
		alice, bob := e.online("alice", protocol.JSON), e.online("bob", protocol.JSON)
		alice.call("createGroup", obj{"kind": "live", "group": "show"})
		for range 10 - 1 {
			if _, ok := e.gateway.changes.take("bob"); !ok {
				t.Fatal("no room for a burst")
			}
		}
		bob.call("joinGroup", obj{"group": "show"})
		for _, op := range []string{"joinGroup", "leaveGroup", "dismissGroup"} {
			bob.refused(op, obj{"group": "show"}, protocol.CodeRateLimited)
		}
		bob.refused("setGroup", obj{"group": "show", "name": "x"}, protocol.CodeRateLimited)
		bob.refused("setMember", obj{"group": "show", "user": "alice", "mutedUntil": 1}, protocol.CodeRateLimited)
		bob.refused("addMembers", obj{"group": "show", "users": []any{"carol"}}, protocol.CodeRateLimited)
		alice.call("dismissGroup", obj{"group": "show"}) // his limit is nobody else's
	})
}

func TestAddingStrangersIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.GroupChangeBurst = 10 })
		alice := e.online("alice", protocol.JSON)
		e.online("bob", protocol.JSON)
		alice.call("createGroup", obj{"kind": "private", "group": "team"})
		for range 10*strangerBurst - 1 {
			e.gateway.strangers.take("alice")
		}
		ok := alice.call("addMembers", obj{"group": "team", "users": []any{"x1", "x2", "bob"}})
		if got, want := fmt.Sprint(ok["added"], ok["failed"]), "[x1 bob] [map[code:rate_limited user:x2]]"; got != want {
			t.Errorf("addMembers = %s, want %s", got, want)
		}
	})
}
