package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/webhook"
)

// A wayOut is a way for a user to be away. Its flags come after those that keep
// every other way shut.
type wayOut struct {
	name  string
	flags []string
	leave func(t *testing.T, s *server, bob *wsClient)
	down  bool // the server was restarted
	again bool // what was acked may be told, too: nobody knows of it any more
	stays bool // he does not go at all
}

var waysOut = []wayOut{
	{name: "logout", leave: func(_ *testing.T, _ *server, bob *wsClient) { bob.request("logout", nil) }},
	{name: "cut", leave: func(_ *testing.T, _ *server, bob *wsClient) { bob.drop() }},
	{name: "background", leave: func(_ *testing.T, _ *server, bob *wsClient) {
		bob.request("setState", obj{"background": true})
	}},
	{name: "kick", leave: func(t *testing.T, s *server, bob *wsClient) {
		s.login(t, "bob", "phone", obj{"autoRead": false}).request("setState", obj{"background": true})
		bob.expectClose(4403)
	}},
	{name: "token expiry", leave: func(t *testing.T, s *server, bob *wsClient) {
		bob.request("refreshToken", obj{"token": s.sign(jwt.MapClaims{"sub": "bob", "exp": time.Now().Add(2 * time.Second).Unix()})})
		bob.expectClose(4401)
	}},
	{name: "full window", flags: []string{"--window=2:64KiB", "--ack-timeout=200ms"}, leave: func(_ *testing.T, _ *server, bob *wsClient) {
		bob.expectClose(4413)
	}},
	{name: "no ack", stays: true, flags: []string{"--stall-timeout=200ms"}, leave: func(*testing.T, *server, *wsClient) {}},
	{name: "time", stays: true, flags: []string{"--webhook-queued-after=500ms"}, leave: func(*testing.T, *server, *wsClient) {}},
	{name: "drain", down: true, leave: func(_ *testing.T, s *server, _ *wsClient) {
		s.stop()
		s.restart()
	}},
	{name: "kill", down: true, again: true, leave: func(_ *testing.T, s *server, _ *wsClient) {
		s.kill()
		s.restart()
	}},
}

// TestMessagesOfWhoLeavesAreTold has a user ack one message and not the next, of
// another user and in a group, and then go in every way there is: he is told of
// what he has not acked, once.
func TestMessagesOfWhoLeavesAreTold(t *testing.T) {
	t.Parallel()
	for _, way := range waysOut {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := startHookReceiver(t)
			s := startServer(t, append([]string{
				"--webhook-url=" + r.url(), "--webhook-secret-file=" + writeSecret(t), "--webhook-events=message.queued",
				"--webhook-queued-after=1h", "--stall-timeout=1h",
			}, way.flags...)...)
			alice := s.login(t, "alice", "phone", nil)
			alice.request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
			bob := s.login(t, "bob", "phone", obj{"autoRead": false})
			bob.sync()
			for _, conv := range []string{"u:bob", "g:team"} {
				alice.say(conv, conv+" acked")
				if m := bob.message(); m.CID != conv+" acked" {
					t.Fatalf("bob got %q", m.CID)
				}
				bob.ackAll()
			}
			bob.request("ping", nil)
			for _, conv := range []string{"u:bob", "g:team"} {
				alice.say(conv, conv+" unacked")
				bob.message()
			}
			way.leave(t, s, bob)
			want := []string{"g:team unacked", "u:bob unacked"}
			awaitHooks(t, "told of what was not acked", func() bool { return containsAll(r.queued("bob"), want) })
			if way.down {
				alice.resume(nil)
			}
			if !way.stays {
				for _, conv := range []string{"u:bob", "g:team"} {
					alice.say(conv, conv+" last")
				}
				want = []string{"g:team last", "g:team unacked", "u:bob last", "u:bob unacked"}
				awaitHooks(t, "told of what came later", func() bool { return containsAll(r.queued("bob"), want) })
			}
			if got := r.queued("bob"); !slices.Equal(got, want) && !way.again {
				t.Errorf("told of %q, want %q", got, want)
			}
		})
	}
}

// queued lists the cids of the messages that a user was told of, each as often as it
// has webhook-ids.
func (r *hookReceiver) queued(user string) (cids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, data := range r.events[webhook.MessageQueued] {
		if data["user"] == user {
			cids = append(cids, data["message"].(obj)["cid"].(string))
		}
	}
	slices.Sort(cids)
	return cids
}

func containsAll(got, want []string) bool {
	for _, w := range want {
		if !slices.Contains(got, w) {
			return false
		}
	}
	return true
}

// hookFlags are those of a server that tells a receiver of events.
func hookFlags(t *testing.T, r *hookReceiver, events string, more ...string) []string {
	return append([]string{"--webhook-url=" + r.url(), "--webhook-secret-file=" + writeSecret(t), "--webhook-events=" + events}, more...)
}

// TestMessagesOfASilentLinkAreTold has a device whose link has died without a word:
// it acks nothing and answers no ping.
func TestMessagesOfASilentLinkAreTold(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	s := startServer(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h", "--stall-timeout=1h", "--idle-timeout=1s")...)
	alice := s.login(t, "alice", "phone", nil)
	alice.request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
	once := s.login(t, "bob", "once", nil)
	once.say("u:alice", "so that alice sees him")
	once.request("logout", nil)
	once.expectClose(1000)
	bob := s.device(t, "bob", "phone", nil)
	bob.connect(dialOptions{deaf: true})
	bob.sendRaw(fmt.Appendf(nil, `{"id":1,"op":"login","args":{"token":%q,"device":"phone"}}`, s.token("bob")))
	awaitHooks(t, "bob is online", func() bool {
		bob, _ := alice.request("getPresence", obj{"users": []any{"bob"}})["presence"].(obj)["bob"].(obj)
		return bob["online"] == true
	})
	alice.say("u:bob", "direct")
	alice.say("g:team", "group")
	awaitHooks(t, "told", func() bool { return slices.Equal(r.queued("bob"), []string{"direct", "group"}) })
}

// TestAckedInTheBackgroundIsTold has an app in the background that takes and acks
// all: its user has seen nothing.
func TestAckedInTheBackgroundIsTold(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	s := startServer(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h")...)
	alice := s.login(t, "alice", "phone", nil)
	bob := s.login(t, "bob", "phone", obj{"autoRead": false})
	bob.sync()
	r.become("away")
	bob.request("setState", obj{"background": true})
	alice.say("u:bob", "direct")
	bob.message()
	bob.ackAll()
	bob.request("ping", nil)
	r.become("")
	awaitHooks(t, "told", func() bool { return slices.Equal(r.queued("bob"), []string{"direct"}) })
}

// TestAttemptsReadAnew has the receiver fail until what it was to be told of has been
// recalled, deleted, has expired, was read or acked, or is nobody's to be told of.
func TestAttemptsReadAnew(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	r.become("error")
	s := startServer(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h", "--stall-timeout=1h")...)
	alice := s.login(t, "alice", "phone", nil)
	eve := s.login(t, "eve", "phone", nil)
	users := []any{"bob", "carol", "dave", "eve"}
	alice.request("createGroup", obj{"group": "team", "kind": "private", "members": users})
	seqs := make(map[string]int64)
	for _, text := range []string{"recalled", "deleted", "kept"} {
		seqs[text] = num(t, alice.say("u:bob", text), "seq")
	}
	alice.request("send", obj{"conv": "u:bob", "cid": "expired", "body": "x", "ttl": 1})
	alice.say("u:carol", "read")
	alice.say("u:dave", "suspended")
	eve.say("g:team", "blocked")
	alice.message()
	alice.ackAll()
	awaitHooks(t, "attempts", func() bool { return r.attempts() >= 7 })

	alice.request("recall", obj{"conv": "u:bob", "seq": seqs["recalled"]})
	bob := s.login(t, "bob", "phone", obj{"autoRead": false, "groupBacklog": 0})
	bob.request("setState", obj{"background": true})
	bob.request("deleteMessage", obj{"conv": "u:alice", "seqs": []any{seqs["deleted"]}})
	bob.request("block", obj{"user": "eve"})
	bob.request("logout", nil)
	carol := s.login(t, "carol", "phone", obj{"autoRead": false, "groupBacklog": 100})
	carol.request("readReport", obj{"conv": "u:alice", "seq": 1})
	if m := carol.sync().Messages; !slices.ContainsFunc(m, func(m wsMessage) bool { return m.CID == "blocked" }) {
		t.Fatalf("carol got %v, want the group's message", m)
	}
	carol.ackAll()
	carol.request("logout", nil)
	s.admin("PATCH", "/v1/users/dave", obj{"suspended": true})
	awaitHooks(t, "one is recalled and one has expired", func() bool { return len(alice.allHistory("u:bob")) == 2 })
	r.become("")
	awaitHooks(t, "all is over", func() bool { return s.metricOf("belfry_shard_hooks_waiting", "") == 0 })
	for user, want := range map[string][]string{"bob": {"kept"}, "carol": nil, "dave": nil, "alice": nil, "eve": nil} {
		if got := r.queued(user); !slices.Equal(got, want) {
			t.Errorf("%s was told of %q, want %q", user, got, want)
		}
	}
}
