package contract

// The contract on sessions and on what concerns who is connected: tokens,
// time-outs, limits, block, typing, presence, operation.

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// tokenUntil is a token of user that runs out at a time.
func (w *world) tokenUntil(user string, exp time.Time) string {
	return w.Sign(jwt.MapClaims{"sub": user, "exp": exp.Unix()})
}

func TestContractTokenExpiry(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		// exp has whole seconds: these are good for 15 to 16.
		soon := time.Now().Add(16 * time.Second)
		lapses := w.online(w.bob, "phone", obj{"token": w.tokenUntil(w.bob, soon)})
		lasts := w.online(w.alice, "phone", obj{"token": w.tokenUntil(w.alice, soon)})
		later := time.Now().Add(time.Hour).Truncate(time.Second)
		check(t, "refreshToken", lasts.Request("refreshToken", obj{"token": w.tokenUntil(w.alice, later)}),
			obj{"exp": later.UnixMilli()})
		lapses.ExpectClose(4401)
		if early := time.Until(soon.Truncate(time.Second)); early > 0 {
			t.Errorf("closed %v before exp", early)
		}
		lasts.Request("ping", nil)
		lapses.Login(nil) // a new token lets the device in again
		lapses.Sync()
	})
}

func TestContractRefreshRefused(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		for name, token := range map[string]string{
			"another user": w.Token(w.alice),
			"expired":      w.tokenUntil(w.bob, time.Now().Add(-time.Minute)),
			"garbage":      "garbage",
		} {
			bob := w.online(w.bob, "phone", nil)
			if err := bob.Refused("refreshToken", obj{"token": token}, "unauthorized"); err.Message == "" {
				t.Errorf("%s: no message", name)
			}
			bob.ExpectClose(4401)
		}
	})
}

func TestContractLogoutAndState(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		for _, background := range []bool{true, false} {
			check(t, "setState", bob.Request("setState", obj{"background": background}), obj{})
		}
		check(t, "logout", bob.Request("logout", nil), obj{})
		bob.ExpectClose(1000)
	})
}

func TestContractTimeouts(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "--login-timeout=4s", "--idle-timeout=4s")
	eachCodec(t, s, func(t *testing.T, w *world) {
		silent := w.device(t, w.bob, "phone", w.codec)
		silent.Connect(wstest.DialOptions{})
		silent.ExpectClose(4408)
		// A frame that is no login buys no time.
		pings := w.device(t, w.bob, "phone", w.codec)
		pings.Connect(wstest.DialOptions{})
		pings.Request("ping", nil)
		pings.ExpectClose(4408)

		lives := w.online(w.alice, "phone", nil) // its library answers pings
		once := w.online(w.bob, "once", nil)
		m := once.sends(w.alice, "hello") // presence is for whom one has written to
		check(t, "live", lives.LiveMessage(), m[0].at(w.alice, 1))
		once.Drop()
		wstest.Eventually(t, "nobody is there", func() bool { return !w.sees(lives, w.bob) })
		dead := w.deaf(w.bob, "dead") // reads nothing, so answers none
		wstest.Eventually(t, "the deaf device is there", func() bool { return w.sees(lives, w.bob) })
		wstest.Eventually(t, "the deaf device is gone", func() bool { return !w.sees(lives, w.bob) })
		w.hangsUp(dead)
		if n := closes(t, w, "4408"); n < 3 {
			t.Errorf("%d sessions closed as 4408, want those three", n)
		}
		lives.Idle()
	})
}

// sees reports whether user is online as asker sees it.
func (w *world) sees(asker *device, user string) bool {
	w.t.Helper()
	presence, _ := asker.Request("getPresence", obj{"users": []any{user}})["presence"].(obj)
	of, _ := presence[user].(obj)
	return of["online"] == true
}

func TestContractFrameRate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--frame-rate=5:50"), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		limited := 0
		for n := 0; n < 1000 && limited < 5; n++ { // one burst, and a little more
			_, err := bob.Try("ping", nil)
			if err == nil {
				continue
			}
			limited++
			if err.Code != "rate_limited" || err.RetryAfterMS <= 0 {
				t.Fatalf("over the frame rate: %v, retry after %d ms", err, err.RetryAfterMS)
			}
		}
		if limited == 0 {
			t.Fatal("1,000 frames in a row under a burst of 50: none is refused")
		}
		wstest.Eventually(t, "it may go on after a while", func() bool {
			_, err := bob.Try("ping", nil)
			return err == nil
		})
		// A notice has no reply to refuse it with.
		ctx, cancel := bob.Context()
		defer cancel()
		for range 100 {
			if bob.Conn.Notice(ctx, "ack", obj{"d": 0}) != nil {
				break // closed already
			}
		}
		bob.ExpectClose(4429)

		// An excess that lasts ends as well.
		bob = w.online(w.carol, "phone", nil)
		for range 200 {
			if _, err := bob.Conn.Start(ctx, "ping", nil); err != nil {
				break
			}
		}
		bob.ExpectClose(4429)
	})
}

func TestContractLoginRate(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--login-rate=1:3"), func(t *testing.T, w *world) {
		bob := w.device(t, w.bob, "phone", w.codec)
		var refusal *wstest.Error
		for i := 0; refusal == nil; i++ {
			if i > 20 {
				t.Fatal("20 logins at once under a burst of 3: none is refused")
			}
			bob.Connect(wstest.DialOptions{})
			_, refusal = bob.Try("login", bob.LoginArgs(nil))
		}
		if refusal.Code != "rate_limited" || refusal.RetryAfterMS <= 0 {
			t.Errorf("over the login rate: %v, retry after %d ms", refusal, refusal.RetryAfterMS)
		}
		w.online(w.alice, "phone", nil).Idle() // each user has their own
		wstest.Eventually(t, "the same connection may log in after a while", func() bool {
			_, err := bob.Try("login", bob.LoginArgs(nil))
			return err == nil
		})
	})
}

func TestContractAddressConnections(t *testing.T) {
	t.Parallel()
	// A server for each: the one's connections count for the other.
	for _, c := range wstest.Codecs {
		w := newWorld(t, harness.Start(t, "--address-connections=2"), c)
		first := w.online(w.bob, "phone", nil)
		second := w.online(w.bob, "laptop", nil)
		third := w.device(t, w.bob, "tablet", w.codec)
		third.Connect(wstest.DialOptions{})
		third.ExpectClose(4429)
		second.Logout()
		wstest.Eventually(t, "there is room again", func() bool {
			third.Connect(wstest.DialOptions{})
			ctx, cancel := third.Context()
			defer cancel()
			_, err := third.Conn.Call(ctx, "ping", nil)
			return err == nil
		})
		first.Idle()
	}
}

func TestContractNewConversations(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--new-conversations=3"), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		// Being written to costs nothing.
		for i := range 4 {
			from := w.online(w.user(fmt.Sprintf("from%d", i)), "phone", nil)
			m := from.sends(w.bob, "hello")
			check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))
			bob.sends(from.User, "an answer opens nothing")
		}
		for i := range 3 {
			bob.sends(w.user(fmt.Sprintf("to%d", i)), "hello")
		}
		args := obj{"conv": "u:" + w.user("to3"), "cid": "c", "body": "x"}
		if err := bob.Refused("send", args, "rate_limited"); err.RetryAfterMS <= 0 {
			t.Errorf("rate_limited without retryAfterMs: %v", err)
		}
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": args["conv"]}), page(0, 0, false, []any{}))
		bob.sends(w.user("to0"), "one that is open")
		bob.Refused("block", obj{"user": w.user("stranger")}, "rate_limited") // something would be kept of it
		bob.Request("block", obj{"user": w.user("to0")})
		// What nobody stores counts for itself, each time, to strangers.
		for i := range 5 {
			bob.Request("send", obj{"conv": "u:" + w.user("to1"), "cid": fmt.Sprint("e", i), "body": "x", "ttl": 0})
		}
		for i := range 3 {
			bob.Request("send", obj{"conv": "u:" + w.user("to3"), "cid": fmt.Sprint("e", i), "body": "x", "ttl": 0})
		}
		bob.Refused("send", obj{"conv": "u:" + w.user("to4"), "cid": "e", "body": "x", "ttl": 0}, "rate_limited")
	})
}

func TestContractKnownUsersOnly(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--open-users=false"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		args := obj{"conv": "u:" + w.bob, "cid": "c", "body": "x"}
		alice.Refused("send", args, "not_found")
		alice.Refused("send", with(args, obj{"ttl": 0}), "not_found")
		w.online(w.bob, "phone", nil).Logout()
		check(t, "send", alice.Request("send", args), obj{"id": someText, "seq": 1, "time": someInt})
	})
}

func TestContractBlock(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		first := alice.sends(w.bob, "before")[0]
		check(t, "live", bob.LiveMessage(), first.at(w.bob, 1))
		check(t, "getBlocked", bob.Request("getBlocked", nil), obj{"users": []any{}})

		for range 2 {
			check(t, "block", bob.Request("block", obj{"user": w.alice}), obj{})
		}
		check(t, "onBlocked", bob.Expect("onBlocked"), obj{"user": w.alice, "blocked": true})
		check(t, "getBlocked", bob.Request("getBlocked", nil), obj{"users": []any{w.alice}})
		// Until alice's shard knows, sends are acknowledged, and shown to nobody
		// but her.
		shown := 1
		wstest.Eventually(t, "alice is forbidden to write", func() bool {
			_, err := alice.Try("send", obj{"conv": "u:" + w.bob, "cid": fmt.Sprint("hidden", shown), "body": "x"})
			if err == nil {
				shown++
				return false
			}
			check(t, "code", err.Code, "forbidden")
			return true
		})
		for _, more := range []obj{{"ttl": 0}, {"ttl": 5}, {"retry": true}} {
			alice.Refused("send", with(obj{"conv": "u:" + w.bob, "cid": "no", "body": "x"}, more), "forbidden")
		}
		check(t, "what alice keeps", wstest.Num(t, alice.Request("getMessage", obj{"conv": "u:" + w.bob}), "to"), shown)
		alice.Notice("typing", obj{"conv": "u:" + w.bob})
		check(t, "presence of who blocks", alice.Request("getPresence", obj{"users": []any{w.bob}}), obj{"presence": obj{}})
		check(t, "subscription to who blocks", alice.Request("subscribePresence", obj{"users": []any{w.bob}}), obj{"presence": obj{}})
		// A repeat of what was sent before is answered as it was.
		check(t, "repeat", alice.Request("send", first.args), with(first.reply, obj{"duplicate": true}))
		// The blocker may write.
		reply := bob.sends(w.alice, "from the blocker")[0]
		check(t, "live", alice.LiveMessage(), reply.at(w.alice, shown+1))

		for range 2 {
			check(t, "unblock", bob.Request("unblock", obj{"user": w.alice}), obj{})
		}
		check(t, "onBlocked", bob.Expect("onBlocked"), obj{"user": w.alice, "blocked": false})
		check(t, "getBlocked", bob.Request("getBlocked", nil), obj{"users": []any{}})
		var again sentMessage
		wstest.Eventually(t, "alice may write again", func() bool {
			args := obj{"conv": "u:" + w.bob, "cid": "again", "body": "again"}
			reply, err := alice.Try("send", args)
			again = sentMessage{w.alice, w.bob, args, reply}
			return err == nil
		})
		// What was hidden took no seq: 1 before, 2 bob's own, 3 this one. And no
		// typing came in between.
		check(t, "live", bob.LiveMessage(), again.at(w.bob, 3))
		check(t, "history", bob.Request("getMessage", obj{"conv": "u:" + w.alice}), page(1, 3, false,
			[]any{first.at(w.bob, 1), reply.at(w.bob, 2), again.at(w.bob, 3)}))
		bob.Idle()
	})
}

func TestContractTypingAndPresence(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		carol := w.online(w.carol, "phone", nil) // a stranger to both
		asked := obj{"users": []any{w.bob, w.carol, "nobody"}}
		check(t, "getPresence of strangers", alice.Request("getPresence", asked), obj{"presence": obj{}})
		m := alice.sends(w.bob, "hello")
		check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))

		bob.Notice("typing", obj{"conv": "u:" + w.alice})
		check(t, "onTyping", alice.Expect("onTyping"), obj{"user": w.bob, "conv": "u:" + w.bob, "time": someInt})
		carol.Notice("typing", obj{"conv": "u:" + w.alice}) // there is no conversation

		check(t, "getPresence of who has not answered", alice.Request("getPresence", asked), obj{"presence": obj{}})
		check(t, "subscribePresence", alice.Request("subscribePresence", asked), obj{"presence": obj{}})
		reply := bob.sends(w.alice, "hi")[0]
		check(t, "live", alice.LiveMessage(), reply.at(w.alice, 2))
		online := alice.Request("subscribePresence", asked)["presence"].(obj)
		check(t, "subscribePresence", online, obj{w.bob: obj{"online": true, "lastSeen": someInt}})
		laptop := w.online(w.bob, "laptop", nil)
		laptop.Logout() // the user is still there
		bob.Logout()
		gone := alice.Expect("onPresence")
		check(t, "onPresence", gone, obj{"user": w.bob, "status": "offline", "time": someInt})
		check(t, "getPresence", alice.Request("getPresence", asked),
			obj{"presence": obj{w.bob: obj{"online": false, "lastSeen": someInt}}})
		bob.Login(nil)
		bob.Sync()
		check(t, "onPresence", alice.Expect("onPresence"), obj{"user": w.bob, "status": "online", "time": someInt})
		alice.Idle()
		carol.Idle()
	})
}

func TestContractDrain(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		m := alice.sends(w.bob, "m1")
		check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))
		bob.AckAll()
		bob.Request("ping", nil)
		early := w.device(t, w.carol, "phone", w.codec)
		early.Connect(wstest.DialOptions{}) // and nothing more: it may not be read yet
		w.Stop()                            // SIGTERM, and exit code 0
		for _, c := range []*device{alice, bob, early} {
			c.ExpectClose(1001)
		}
		w.Restart()
		bob.Login(nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...)) // through recents
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[0], 1, 1, 0)))
	})
}

func TestContractOperations(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	w := newWorld(t, s, wstest.JSON)
	alice := w.online(w.alice, "phone", nil)
	bob := w.online(w.bob, "phone", nil)
	m := alice.sends(w.bob, "m1")
	check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))
	for path, open := range map[string]bool{
		"/healthz": true, "/readyz": true, "/metrics": false, "/debug/pprof/": false, "/debug/pprof/goroutine?debug=1": false,
	} {
		for token, good := range map[string]bool{"": false, "wrong": false, s.AdminToken: true} {
			want := http.StatusUnauthorized
			if open || good {
				want = http.StatusOK
			}
			status, text := s.Call(t, "GET", path, token)
			if status != want {
				t.Errorf("GET %s with token %q: status %d, want %d", path, token, status, want)
			}
			if status == http.StatusUnauthorized && !strings.Contains(text, `"code":"unauthorized"`) {
				t.Errorf("GET %s: %s, want code and message", path, text)
			}
		}
	}
	// The hooks of the test build are in no other.
	if status, _ := s.Call(t, "POST", "/faults/shards/0/stop", s.AdminToken); status != http.StatusNotFound {
		t.Errorf("a fault hook in the normal build: status %d", status)
	}
	bob.Logout()
	wstest.Eventually(t, "the logout is counted", func() bool { return closes(t, w, "1000") == 1 })
	text := s.Metrics(t)
	for _, name := range []string{"sessions", "messages_in", "messages_out", "bytes", "commit", "push", "closes"} {
		if !strings.Contains(text, "belfry_") || !strings.Contains(text, name) {
			t.Errorf("/metrics has nothing of %s", name)
		}
	}
}

// The server answers WebSocket pings of its client, before a login too.
func TestContractWebSocketPing(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		c := w.device(t, w.bob, "phone", w.codec)
		c.Connect(wstest.DialOptions{})
		ctx, cancel := c.Context()
		defer cancel()
		c.Must(c.Conn.WS.Ping(ctx), "ping")
		c.Login(nil)
		c.Sync()
		c.Must(c.Conn.WS.Ping(ctx), "ping")
		c.Must(c.Conn.WS.Close(websocket.StatusNormalClosure, ""), "close")
	})
}
