package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth/authtest"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// set does what an administrator sets of alice.
func (e *edge) set(cmd command.SetUser) {
	cmd.User = "alice"
	e.store.mu.Lock()
	defer e.store.mu.Unlock()
	if r := e.store.apply(&cmd); r.Code != command.OK {
		e.t.Fatalf("SetUser: %v", r.Err())
	}
}

// issuedToken is a token of alice with iat.
func issuedToken(at time.Time) string {
	return authtest.Sign(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{
		"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iat": at.Unix(),
	})
}

func TestSuspendedUser(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		e.set(command.SetUser{Suspended: new(true)})
		if args := c.push("onKicked"); args["reason"] != "admin" {
			t.Errorf("reason = %v, want admin", args["reason"])
		}
		c.wantClosed(4403)

		c = e.dial(codec)
		c.refused("login", obj{"token": testToken("alice"), "device": "phone"}, "forbidden")
		c.wantClosed(4403)
		e.set(command.SetUser{Suspended: new(false)})
		c = e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		c.quiet()
	})
}

func TestTokensFrom(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		old, recent := issuedToken(time.Now().Add(-time.Hour)), issuedToken(time.Now().Add(-time.Minute))
		connect := func(token, device string) *client {
			c := e.dial(codec)
			c.login("alice", device, obj{"token": token})
			c.push("onSynced")
			return c
		}
		first, second, third := connect(old, "a"), connect(recent, "b"), connect(old, "c")
		third.call("refreshToken", obj{"token": recent})
		e.set(command.SetUser{TokensFrom: new(time.Now().Add(-30 * time.Minute).UnixMilli())})
		if frame, err := first.read(); websocket.CloseStatus(err) != 4401 {
			t.Fatalf("got %v, %v, want the connection closed with 4401 and no onKicked", frame, err)
		}
		second.quiet()
		third.quiet()
		for _, token := range []string{old, testToken("alice")} { // of the latter it is not known when
			c := e.dial(codec)
			c.refused("login", obj{"token": token, "device": "a"}, "unauthorized")
			c.wantClosed(4401)
		}
		second.refused("refreshToken", obj{"token": old}, "unauthorized")
		second.wantClosed(4401)
		synctest.Wait()
		if n := e.store.sessions("alice"); n != 1 {
			t.Errorf("the store has %d sessions, want that of the refreshed token", n)
		}

		// A token of a clock that is ahead was not issued later than now.
		connect(issuedToken(time.Now().Add(4*time.Second)), "d")
		time.Sleep(2 * time.Second)
		e.set(command.SetUser{TokensFrom: new(time.Now().UnixMilli())})
		synctest.Wait()
		if n := e.store.sessions("alice"); n != 0 {
			t.Errorf("the store has %d sessions, want none", n)
		}

		// A token tells the second in which it was made.
		time.Sleep(700 * time.Millisecond)
		e.set(command.SetUser{TokensFrom: new(time.Now().UnixMilli())})
		time.Sleep(100 * time.Millisecond)
		connect(issuedToken(time.Now()), "e")
	})
}
