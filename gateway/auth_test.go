package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/auth/authtest"
	"github.com/belfry-im/belfry/gateway/protocol"
)

var testSecret = []byte("a secret of the tests, 32 bytes or more")

// testToken is a good token of user for an hour.
func testToken(user string) string {
	return authtest.Sign(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
}

// The client learns what is wrong with a token that is signed, and no more than that
// another one is not valid.
func TestRefusedToken(t *testing.T) {
	for err, want := range map[error]string{
		auth.TokenError("exp has passed"): "token: exp has passed",
		errors.New("no key fits"):         "token: is not valid",
	} {
		if got := refusedToken(err).message; got != want {
			t.Errorf("of %v the client is told %q, want %q", err, got, want)
		}
	}
}

// TestSetAuth: what a withdrawn key has signed is good no more, and ends sessions
// that are open; others notice nothing.
func TestSetAuth(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		first, second := []byte("the first secret, of 32 bytes or more"), []byte("the second secret, of 32 bytes or more")
		keys := authtest.NewKeys(t)
		token := func(secret []byte) string {
			return authtest.Sign(jwt.SigningMethodHS256, secret, "", jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"})
		}
		keyToken := func(kid string) string {
			claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"}
			if kid == "ec" {
				return authtest.Sign(jwt.SigningMethodES256, keys.EC, kid, claims)
			}
			return authtest.Sign(jwt.SigningMethodRS256, keys.RSA, kid, claims)
		}
		e := newEdge(t, func(c *Config) {
			c.Auth = auth.Config{Secrets: [][]byte{first}, JWKS: keys.JWKS, Audience: "chat", Issuer: "i"}
		})
		login := func(device, token string) *client {
			c := e.dial(codec)
			c.call("login", obj{"token": token, "device": device})
			c.push("onSynced")
			return c
		}
		refused := func(token string) {
			c := e.dial(codec)
			c.refused("login", obj{"token": token, "device": "other"}, "unauthorized")
			c.wantClosed(4401)
		}
		set := func(secrets [][]byte, jwks []byte) {
			t.Helper()
			if err := e.gateway.SetAuth(secrets, jwks); err != nil {
				t.Fatal(err)
			}
		}
		old, ec, rsa := login("old", token(first)), login("ec", keyToken("ec")), login("rsa", keyToken("rsa"))
		refused(token(second))

		// A bad one leaves all as it was.
		if err := e.gateway.SetAuth([][]byte{second[:10]}, keys.JWKS); err == nil {
			t.Error("a short secret was taken")
		}
		refused(token(second))

		// Beside each other for a while.
		set([][]byte{second, first}, keys.JWKS)
		renewed, recent := login("renewed", token(first)), login("recent", token(second))
		renewed.call("refreshToken", obj{"token": token(second)})

		// The first one goes, and so does the key rsa.
		set([][]byte{second}, authtest.Without(t, keys.JWKS, "rsa"))
		old.wantClosed(4401)
		rsa.wantClosed(4401)
		refused(token(first))
		refused(keyToken("rsa"))
		for _, c := range []*client{renewed, recent, ec} {
			c.call("ping", obj{})
		}
		// What comes back is good again, also for who logs in anew.
		set([][]byte{first}, keys.JWKS)
		renewed.wantClosed(4401)
		recent.wantClosed(4401)
		ec.call("ping", obj{})
		login("old", token(first)).call("ping", obj{})
		login("rsa", keyToken("rsa"))
	})
}
