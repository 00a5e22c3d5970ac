package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// What walks over all that a user has is limited as logins are, whatever the
// request and whichever session of the user makes it.
func TestCostlyReadsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 1 })
		alice := e.online("alice", protocol.JSON)
		for range scanBurst - 4 {
			e.gateway.scans.Allow("alice")
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

// Pages of history are limited for all sessions of a user together.
func TestPagesOfHistoryAreLimited(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 2 })
		phone, tablet := e.dial(codec), e.dial(codec)
		phone.login("alice", "phone", nil)
		tablet.login("alice", "tablet", nil)
		for range historyBurst {
			phone.call("getMessage", obj{"conv": "u:bob"})
			tablet.call("getMessage", obj{"conv": "u:bob"})
		}
		if err := phone.refused("getMessage", obj{"conv": "u:bob"}, protocol.CodeRateLimited); err["retryAfterMs"] == nil {
			t.Error("it does not say when to come again")
		}
		tablet.refused("getMessage", obj{"conv": "u:bob"}, protocol.CodeRateLimited)
		time.Sleep(time.Second / historyRate)
		tablet.call("getMessage", obj{"conv": "u:bob"})
		e.online("bob", codec).call("getMessage", obj{"conv": "u:alice"})
	})
}

func TestChangesOfGroupsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.GroupChangeBurst = 10 })
		alice, bob := e.online("alice", protocol.JSON), e.online("bob", protocol.JSON)
		alice.call("createGroup", obj{"kind": "live", "group": "show"})
		for range 10 - 1 {
			if _, ok := e.gateway.groupChanges.Allow("bob"); !ok {
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
		alice.call("dismissGroup", obj{"group": "show"}) // the limit is per user
	})
}

func TestAddingNewUsersIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.GroupChangeBurst = 10 })
		alice := e.online("alice", protocol.JSON)
		e.online("bob", protocol.JSON)
		alice.call("createGroup", obj{"kind": "private", "group": "team"})
		for range 10*newUserBurst - 1 {
			e.gateway.newUsers.Allow("alice")
		}
		ok := alice.call("addMembers", obj{"group": "team", "users": []any{"x1", "x2", "bob"}})
		if got, want := fmt.Sprint(ok["added"], ok["failed"]), "[x1 bob] [map[code:rate_limited user:x2]]"; got != want {
			t.Errorf("addMembers = %s, want %s", got, want)
		}
	})
}

// Sends count for the user, in whichever session and to whomever they go.
func TestSendsAreLimited(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.SendRate, c.SendBurst = 1, 4 })
		phone, bob := e.online("alice", codec), e.online("bob", codec)
		laptop := e.dial(codec)
		laptop.login("alice", "laptop", nil)
		laptop.push("onSynced")
		phone.call("createGroup", obj{"group": "team", "kind": "private"})
		phone.push("onGroupEvent")
		phone.call("send", obj{"conv": "u:bob", "cid": "1", "body": 1})
		laptop.call("send", obj{"conv": "g:team", "cid": "2", "body": 1})
		laptop.call("send", obj{"conv": "u:bob", "cid": "3", "body": 1, "ttl": 0})
		phone.refused("send", obj{"conv": "u:bob"}, protocol.CodeBadRequest) // costs nothing
		phone.call("send", obj{"conv": "u:alice", "cid": "4", "body": 1})
		for _, c := range []*client{phone, laptop} {
			for _, args := range []obj{{"conv": "u:bob"}, {"conv": "g:team"}, {"conv": "u:bob", "ttl": 0}, {"conv": "u:bob", "retry": true}} {
				args["cid"], args["body"] = "5", 1
				if e := c.refused("send", args, protocol.CodeRateLimited); number(t, e, "retryAfterMs") != 1000 {
					t.Errorf("refused with %v, want to be told of one second", e)
				}
			}
		}
		bob.call("send", obj{"conv": "u:alice", "cid": "1", "body": 1}) // the limit is per user
		time.Sleep(time.Second)
		phone.call("send", obj{"conv": "u:bob", "cid": "5", "body": 1})
	})
}

func TestPresenceQuestionsAreLimited(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 4 })
		alice := e.online("alice", codec)
		users := make([]any, protocol.MaxUsers)
		for i := range users {
			users[i] = fmt.Sprint("user", i)
		}
		alice.call("getPresence", obj{"users": users})
		alice.call("subscribePresence", obj{"users": users[:presenceBurst*4-len(users)]})
		alice.refused("getPresence", obj{"users": users[:1]}, protocol.CodeRateLimited)
		alice.refused("subscribePresence", obj{"users": users}, protocol.CodeRateLimited)
		time.Sleep(time.Second)
		alice.call("getPresence", obj{"users": users[:presenceRate]})
	})
}

// Who does not exist can be found out by trying: some names, and then neither
// those that do nor those that do not are told apart.
func TestGuessingUsersIsLimited(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.KnownUsersOnly = true })
		alice := e.online("alice", codec)
		e.online("bob", codec)
		e.online("carol", codec)
		alice.call("createGroup", obj{"group": "team", "kind": "private"})
		alice.push("onGroupEvent")
		names := make([]any, 0, unknownUserBurst)
		for i := range unknownUserBurst - 2 {
			names = append(names, fmt.Sprint("nobody", i))
		}
		alice.call("addMembers", obj{"group": "team", "users": names})
		alice.refused("send", obj{"conv": "u:nobody", "cid": "1", "body": 1}, protocol.CodeNotFound)
		alice.call("send", obj{"conv": "u:bob", "cid": "2", "body": 1})
		alice.refused("send", obj{"conv": "u:nobody", "cid": "1", "body": 1}, protocol.CodeNotFound)
		for _, user := range []string{"carol", "nobody"} {
			alice.refused("send", obj{"conv": "u:" + user, "cid": "3", "body": 1}, protocol.CodeRateLimited)
			alice.refused("send", obj{"conv": "u:" + user, "cid": "3", "body": 1, "ttl": 0}, protocol.CodeRateLimited)
			ok := alice.call("addMembers", obj{"group": "team", "users": []any{user}})
			if got, want := fmt.Sprint(ok["failed"]), "[map[code:rate_limited user:"+user+"]]"; got != want {
				t.Errorf("addMembers = %s, want %s", got, want)
			}
		}
		alice.call("send", obj{"conv": "u:bob", "cid": "3", "body": 1}) // whom she knows
		time.Sleep(time.Minute)
		alice.call("send", obj{"conv": "u:carol", "cid": "3", "body": 1})
	})
}

// The more groups getRecents looks at, the more it counts.
func TestRecentsCountByGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 1 })
		alice := e.online("alice", protocol.JSON)
		e.store.mu.Lock()
		for i := range 5 * groupsPerScan {
			e.store.apply(&command.CreateGroup{
				Group: command.GroupID(fmt.Sprint("g", i)), Owner: "alice", By: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(),
			})
		}
		e.store.mu.Unlock()
		for range scanBurst / 6 {
			alice.call("getRecents", nil)
		}
		alice.call("getRecents", nil) // on credit
		if e := alice.refused("getRecents", nil, protocol.CodeRateLimited); number(t, e, "retryAfterMs") < 200 {
			t.Errorf("refused with %v, want to wait for what was charged", e)
		}
	})
}
