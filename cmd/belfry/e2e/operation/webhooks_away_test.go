package operation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/gateway/webhook"
)

// A wayOut is a way for a user to be away. Its flags come after those that keep
// every other way shut.
type wayOut struct {
	name  string
	flags []string
	leave func(t *testing.T, s *harness.Server, bob *wstest.Client)
	down  bool // the server was restarted
	again bool // what was acked may be told, too: nobody knows of it any more
	stays bool // the user does not leave at all
}

var waysOut = []wayOut{
	{name: "logout", leave: func(_ *testing.T, _ *harness.Server, bob *wstest.Client) { bob.Request("logout", nil) }},
	{name: "cut", leave: func(_ *testing.T, _ *harness.Server, bob *wstest.Client) { bob.Drop() }},
	{name: "background", leave: func(_ *testing.T, _ *harness.Server, bob *wstest.Client) {
		bob.Request("setState", obj{"background": true})
	}},
	{name: "kick", leave: func(t *testing.T, s *harness.Server, bob *wstest.Client) {
		s.Login(t, "bob", "phone", obj{"autoRead": false}).Request("setState", obj{"background": true})
		bob.ExpectClose(4403)
	}},
	{name: "token expiry", leave: func(t *testing.T, s *harness.Server, bob *wstest.Client) {
		bob.Request("refreshToken", obj{"token": s.Sign(jwt.MapClaims{"sub": "bob", "exp": time.Now().Add(16 * time.Second).Unix()})})
		bob.ExpectClose(4401)
	}},
	{name: "full window", flags: []string{"--window=2:64KiB", "--ack-timeout=200ms"}, leave: func(_ *testing.T, _ *harness.Server, bob *wstest.Client) {
		bob.ExpectClose(4413)
	}},
	{name: "no ack", stays: true, flags: []string{"--stall-timeout=5s"}, leave: func(*testing.T, *harness.Server, *wstest.Client) {}},
	{name: "time", stays: true, flags: []string{"--webhook-queued-after=5s"}, leave: func(*testing.T, *harness.Server, *wstest.Client) {}},
	{name: "drain", down: true, leave: func(_ *testing.T, s *harness.Server, _ *wstest.Client) {
		s.Stop()
		s.Restart()
	}},
	{name: "kill", down: true, again: true, leave: func(_ *testing.T, s *harness.Server, _ *wstest.Client) {
		s.Kill()
		s.Restart()
	}},
}

// TestMessagesOfWhoLeavesAreTold has a user ack one message and not the next, of
// another user and in a group, and then leave in every way there is: events
// report what was not acked, once.
func TestMessagesOfWhoLeavesAreTold(t *testing.T) {
	t.Parallel()
	for _, way := range waysOut {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := startHookReceiver(t)
			s := harness.Start(t, append([]string{
				"--webhook-url=" + r.url(), "--webhook-secret-file=" + writeSecret(t), "--webhook-events=message.queued",
				"--webhook-queued-after=1h", "--stall-timeout=1h",
			}, way.flags...)...)
			alice := s.Login(t, "alice", "phone", nil)
			alice.Request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
			bob := s.Login(t, "bob", "phone", obj{"autoRead": false})
			bob.Sync()
			for _, conv := range []string{"u:bob", "g:team"} {
				alice.Say(conv, conv+" acked")
				if m := bob.Message(); m.CID != conv+" acked" {
					t.Fatalf("bob got %q", m.CID)
				}
				bob.AckAll()
			}
			bob.Request("ping", nil)
			for _, conv := range []string{"u:bob", "g:team"} {
				alice.Say(conv, conv+" unacked")
				bob.Message()
			}
			way.leave(t, s, bob)
			want := []string{"g:team unacked", "u:bob unacked"}
			awaitHooks(t, "told of what was not acked", func() bool { return containsAll(r.queued("bob"), want) })
			if way.down {
				alice.Resume(nil)
			}
			if !way.stays {
				for _, conv := range []string{"u:bob", "g:team"} {
					alice.Say(conv, conv+" last")
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
	s := harness.Start(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h", "--stall-timeout=1h", "--idle-timeout=6s")...)
	alice := s.Login(t, "alice", "phone", nil)
	alice.Request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
	once := s.Login(t, "bob", "once", nil)
	once.Say("u:alice", "so that alice sees him")
	once.Request("logout", nil)
	once.ExpectClose(1000)
	bob := s.Device(t, "bob", "phone", nil)
	bob.Connect(wstest.DialOptions{Deaf: true})
	bob.SendRaw(fmt.Appendf(nil, `{"id":1,"op":"login","args":{"token":%q,"device":"phone"}}`, s.Token("bob")))
	awaitHooks(t, "bob is online", func() bool {
		bob, _ := alice.Request("getPresence", obj{"users": []any{"bob"}})["presence"].(obj)["bob"].(obj)
		return bob["online"] == true
	})
	alice.Say("u:bob", "direct")
	alice.Say("g:team", "group")
	awaitHooks(t, "told", func() bool { return slices.Equal(r.queued("bob"), []string{"direct", "group"}) })
}

// TestAckedInTheBackgroundIsTold has an app in the background that takes and acks
// all: its user has seen nothing.
func TestAckedInTheBackgroundIsTold(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	s := harness.Start(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h")...)
	alice := s.Login(t, "alice", "phone", nil)
	bob := s.Login(t, "bob", "phone", obj{"autoRead": false})
	bob.Sync()
	r.become("away")
	bob.Request("setState", obj{"background": true})
	alice.Say("u:bob", "direct")
	bob.Message()
	bob.AckAll()
	bob.Request("ping", nil)
	r.become("")
	awaitHooks(t, "told", func() bool { return slices.Equal(r.queued("bob"), []string{"direct"}) })
}

// TestAttemptsReadAnew has the receiver fail until what it was to be told of has been
// recalled, deleted, has expired, was read or acked, or is nobody's to be told of.
func TestAttemptsReadAnew(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	r.become("error")
	s := harness.Start(t, hookFlags(t, r, "message.queued", "--webhook-queued-after=1h", "--stall-timeout=1h")...)
	alice := s.Login(t, "alice", "phone", nil)
	eve := s.Login(t, "eve", "phone", nil)
	users := []any{"bob", "carol", "dave", "eve"}
	alice.Request("createGroup", obj{"group": "team", "kind": "private", "members": users})
	seqs := make(map[string]int64)
	for _, text := range []string{"recalled", "deleted", "kept"} {
		seqs[text] = wstest.Num(t, alice.Say("u:bob", text), "seq")
	}
	alice.Request("send", obj{"conv": "u:bob", "cid": "expired", "body": "x", "ttl": 1})
	alice.Say("u:carol", "read")
	alice.Say("u:dave", "suspended")
	eve.Say("g:team", "blocked")
	alice.Message()
	alice.AckAll()
	awaitHooks(t, "attempts", func() bool { return r.attempts() >= 7 })

	alice.Request("recall", obj{"conv": "u:bob", "seq": seqs["recalled"]})
	bob := s.Login(t, "bob", "phone", obj{"autoRead": false, "groupBacklog": 0})
	bob.Request("setState", obj{"background": true})
	bob.Request("deleteMessage", obj{"conv": "u:alice", "seqs": []any{seqs["deleted"]}})
	bob.Request("block", obj{"user": "eve"})
	bob.Request("logout", nil)
	carol := s.Login(t, "carol", "phone", obj{"autoRead": false, "groupBacklog": 100})
	carol.Request("readReport", obj{"conv": "u:alice", "seq": 1})
	if m := carol.Sync().Messages; !slices.ContainsFunc(m, func(m wstest.Message) bool { return m.CID == "blocked" }) {
		t.Fatalf("carol got %v, want the group's message", m)
	}
	carol.AckAll()
	carol.Request("logout", nil)
	s.Admin("PATCH", "/v1/users/dave", obj{"suspended": true})
	awaitHooks(t, "one is recalled and one has expired", func() bool { return len(alice.AllHistory("u:bob")) == 2 })
	r.become("")
	awaitHooks(t, "all is over", func() bool { return s.MetricOf("belfry_shard_hooks_waiting", "") == 0 })
	for user, want := range map[string][]string{"bob": {"kept"}, "carol": nil, "dave": nil, "alice": nil, "eve": nil} {
		if got := r.queued(user); !slices.Equal(got, want) {
			t.Errorf("%s was told of %q, want %q", user, got, want)
		}
	}
}
