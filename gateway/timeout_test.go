package gateway

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth/authtest"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// bubble runs a test on fake time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// after gives how long a call took.
func after(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func TestNoLoginInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dial(protocol.JSON)
		if took := after(func() { c.wantClosed(4408) }); took != 10*time.Second {
			t.Errorf("closed after %v, want 10s", took)
		}
	})
}

func TestPingIsNoLogin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dial(protocol.JSON)
		time.Sleep(9 * time.Second)
		c.call("ping", nil)
		if took := after(func() { c.wantClosed(4408) }); took != time.Second {
			t.Errorf("closed after %v, want 1s", took)
		}
	})
}

// TestPongsKeepASessionAlive has a client that only answers pings.
func TestPongsKeepASessionAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dial(protocol.JSON)
		c.login("alice", "phone", obj{"token": tokenFor("alice", 2*time.Hour)})
		c.push("onSynced")
		time.Sleep(time.Hour)
		c.quiet()
	})
}

func TestNoPong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dialWith(protocol.JSON, dialOptions{noPongs: true})
		c.login("alice", "phone", nil)
		c.push("onSynced")
		if took := after(func() { c.wantClosed(4408) }); took != time.Minute {
			t.Errorf("closed after %v, want 1m", took)
		}
		synctest.Wait()
		if n := e.store.sessions("alice"); n != 0 {
			t.Errorf("the store has %d sessions, want none", n)
		}
	})
}

// TestAnyFrameIsLife has a client that answers no pings but sends frames.
func TestAnyFrameIsLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dialWith(protocol.JSON, dialOptions{noPongs: true})
		c.login("alice", "phone", nil)
		c.push("onSynced")
		for range 10 {
			time.Sleep(50 * time.Second)
			c.call("ping", nil)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dial(protocol.JSON)
		c.login("alice", "phone", obj{"token": tokenFor("alice", 90*time.Second)})
		c.push("onSynced")
		if took := after(func() { c.wantClosed(4401) }); took != 90*time.Second {
			t.Errorf("closed after %v, want 90s", took)
		}
	})
}

func TestRefreshTokenExtends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c := e.dial(protocol.JSON)
		c.login("alice", "phone", obj{"token": tokenFor("alice", 90*time.Second)})
		c.push("onSynced")
		c.refused("refreshToken", nil, "bad_request")
		ok := c.call("refreshToken", obj{"token": tokenFor("alice", 5*time.Minute)})
		if exp := number(t, ok, "exp"); exp != time.Now().Add(5*time.Minute).UnixMilli() {
			t.Errorf("exp = %d, want ms in five minutes", exp)
		}
		if took := after(func() { c.wantClosed(4401) }); took != 5*time.Minute {
			t.Errorf("closed after %v, want 5m", took)
		}
	})
}

func TestNoAckInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.Window = 3 })
		alice, _ := e.login("alice", "phone", nil)
		bob, _ := e.login("bob", "phone", nil)
		for i := range 5 {
			alice.say("u:bob", fmt.Sprint("m", i))
			synctest.Wait()
		}
		for range 3 {
			bob.push("onNewMessage")
		}
		bob.quiet()
		time.Sleep(20 * time.Second)
		bob.notice("ack", obj{"d": 1}) // starts the time anew
		bob.push("onNewMessage")
		bob.quiet()
		if took := after(func() { bob.wantClosed(4413) }); took != 30*time.Second {
			t.Errorf("closed after %v, want 30s", took)
		}
	})
}

// TestFullWindowResumes checks that what had no room comes once there is.
func TestFullWindowResumes(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"frames": func(c *Config) { c.Window = 2 },
		"bytes":  func(c *Config) { c.WindowBytes = 2000 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t, change)
				bob, _ := e.login("bob", "phone", nil)
				alice, _ := e.login("alice", "phone", nil)
				const n = 400
				for i := range n {
					alice.call("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": strings.Repeat("x", 700)})
				}
				for got := 0; got < n; {
					args := bob.push("onNewMessage")
					for _, m := range args["messages"].([]any) {
						if cid := m.(obj)["cid"]; cid != fmt.Sprint(got) {
							t.Fatalf("message %d is %v", got, cid)
						}
						got++
					}
					synctest.Wait()
					bob.notice("ack", obj{"d": number(t, args, "d")})
				}
				bob.quiet()
			})
		})
	}
}

// TestNoReader has a client that never reads: a write cannot finish.
func TestNoReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		bob := e.dialWith(protocol.JSON, dialOptions{silent: true})
		bob.request("login", obj{"token": testToken("bob"), "device": "phone"})
		synctest.Wait()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := e.store.sessions("bob"); n != 1 {
			t.Fatalf("after 9s the store has %d sessions of bob, want 1", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := e.store.sessions("bob"); n != 0 {
			t.Fatalf("after 11s the store has %d sessions of bob, want none", n)
		}
		if got := e.closes("4413", "write unfinished"); got != 1 {
			t.Errorf("%v closes are counted, want 1", got)
		}
	})
}

// TestNoReaderOfReplies has a client that asks and asks and never reads.
func TestNoReaderOfReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.FrameRate = -1 })
		alice := e.dialWith(protocol.JSON, dialOptions{silent: true})
		typ, frame := alice.encode(obj{"id": 1, "op": "ping"})
		start := time.Now()
		for alice.tryWrite(typ, frame) == nil {
			if time.Since(start) > time.Hour {
				t.Fatal("the server reads on without writing")
			}
		}
		synctest.Wait()
		if got := e.closes("4413", "write unfinished"); got != 1 {
			t.Errorf("%v closes are counted, want 1", got)
		}
	})
}

// TestCloseFrameIsNotWaitedFor has a client that does not answer the close.
func TestCloseFrameIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		e.dialWith(protocol.JSON, dialOptions{silent: true})
		synctest.Wait()
		took := after(func() {
			if err := e.gateway.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		if took > 2*time.Second {
			t.Errorf("Shutdown took %v, want at most 2s", took)
		}
	})
}

// TestStoreDownDuringSync checks that the pump comes back.
func TestStoreDownDuringSync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		alice, _ := e.login("alice", "phone", nil)
		alice.say("u:bob", "m0")
		alice.say("u:bob", "m1")
		bob := e.dial(protocol.JSON)
		bob.login("bob", "phone", nil)
		bob.push("onNewMessage")
		e.store.setDown(true)
		bob.notice("ack", obj{"d": 1})
		bob.refused("send", obj{"conv": "u:alice", "cid": "1", "body": 1}, "unavailable")
		bob.quiet()
		time.Sleep(5 * time.Second)
		e.store.setDown(false)
		bob.push("onNewMessage")
		bob.push("onSynced")
	})
}

func tokenFor(user string, ttl time.Duration) string {
	return authtest.Sign(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": user, "exp": time.Now().Add(ttl).Unix()})
}

// Connections without a login leave nothing in the log.
func TestUnauthenticatedAreNotLogged(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var log bytes.Buffer
		e := newEdge(t, func(c *Config) {
			c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		silent := e.dial(codec) // until the time to log in is over
		e.dial(codec).ws.CloseNow()
		c := e.dial(codec)
		c.refused("login", obj{"token": "x", "device": "phone"}, protocol.CodeUnauthorized)
		c.wantClosed(protocol.CloseUnauthorized)
		silent.wantClosed(protocol.CloseTimeout)
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("logged %s", log.String())
		}
		alice := e.online("alice", codec)
		alice.ws.CloseNow()
		synctest.Wait()
		if !strings.Contains(log.String(), "session ended") {
			t.Errorf("logged %q, want the end of a session", log.String())
		}
	})
}
