package main

// Scenarios 17 and 22: who may have a session, and for how long.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// kicked requires that the session is told why it ends, and ended.
func (c *wsClient) kicked(reason string) {
	c.t.Helper()
	check(c.t, c.name(), c.next(), push{"onKicked", obj{"reason": reason}})
	c.expectClose(4403)
	if n := len(c.conn.pushes); n > 0 {
		c.t.Errorf("%s: pushes after onKicked: %v", c.name(), c.conn.pushes)
	}
}

func TestScenario17SameDevice(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t), func(t *testing.T, w *world) {
		first := w.online(w.bob, "phone", nil)
		other := w.online(w.bob, "laptop", nil)
		alice := w.online(w.alice, "phone", nil) // another user's phone
		second := w.online(w.bob, "phone", nil)
		first.kicked("sameDevice")
		if second.Session <= first.Session {
			t.Errorf("session %d after %d", second.Session, first.Session)
		}
		m := alice.sends(w.bob, "m")
		check(t, "the new session", second.liveMessage(), m[0].at(w.bob, 1))
		check(t, "the other device", other.liveMessage(), m[0].at(w.bob, 1))
		alice.idle()
	})
}

func TestScenario17PolicyMulti(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t), func(t *testing.T, w *world) {
		const maxDevices = 16
		var devices []*wsClient
		for i := range maxDevices + 1 {
			devices = append(devices, w.online(w.bob, fmt.Sprintf("device%d", i), obj{"platform": "web"}))
		}
		devices[0].kicked("policy") // the one that logged in first
		// A device that comes again is no further one, and now the newest.
		devices[1].login(nil)
		devices[1].sync()
		for _, c := range devices[1:] {
			c.idle()
		}
		w.online(w.bob, "one more", nil)
		devices[2].kicked("policy")
		for _, c := range append(devices[1:2:2], devices[3:]...) {
			c.idle()
		}
	})
}

func TestScenario17PolicyPlatform(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t, "--session-policy=platform"), func(t *testing.T, w *world) {
		ios := w.online(w.bob, "phone", obj{"platform": "ios"})
		web := w.online(w.bob, "browser", obj{"platform": "web"})
		none := w.online(w.bob, "thing", nil)
		ios2 := w.online(w.bob, "tablet", obj{"platform": "ios"})
		ios.kicked("policy")
		none2 := w.online(w.bob, "gadget", nil) // none named counts as one
		none.kicked("policy")
		ios3 := w.online(w.bob, "tablet", obj{"platform": "ios"})
		ios2.kicked("sameDevice")
		for _, c := range []*wsClient{web, none2, ios3} {
			c.idle()
		}
	})
}

func TestScenario17PolicySingle(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t, "--session-policy=single"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", obj{"platform": "ios"})
		laptop := w.online(w.bob, "laptop", obj{"platform": "web"})
		phone.kicked("policy")
		again := w.online(w.bob, "laptop", obj{"platform": "web"})
		laptop.kicked("sameDevice")
		again.idle()
		alice.idle()
	})
}

func TestScenario22BadTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Minute).Unix()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	eachCodec(t, s, func(t *testing.T, w *world) {
		bob := jwt.MapClaims{"sub": w.bob, "exp": soon}
		tokens := map[string]string{
			"expired":         s.sign(jwt.MapClaims{"sub": w.bob, "exp": past}),
			"other key":       signed(jwt.SigningMethodHS256, []byte("another secret of the tests, as long"), bob),
			"alg none":        signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, bob),
			"no sub":          s.sign(jwt.MapClaims{"exp": soon}),
			"empty sub":       s.sign(jwt.MapClaims{"sub": "", "exp": soon}),
			"sub with space":  s.sign(jwt.MapClaims{"sub": "bob smith", "exp": soon}),
			"sub too long":    s.sign(jwt.MapClaims{"sub": strings.Repeat("b", 65), "exp": soon}),
			"sub not ASCII":   s.sign(jwt.MapClaims{"sub": "bøb", "exp": soon}),
			"sub no text":     s.sign(jwt.MapClaims{"sub": 7, "exp": soon}),
			"no exp":          s.sign(jwt.MapClaims{"sub": w.bob}),
			"exp no number":   s.sign(jwt.MapClaims{"sub": w.bob, "exp": "tomorrow"}),
			"not yet":         s.sign(jwt.MapClaims{"sub": w.bob, "exp": soon, "nbf": soon}),
			"ES256":           signed(jwt.SigningMethodES256, private, bob),
			"no JWT":          "letmein",
			"no signature":    strings.Join(strings.Split(s.sign(bob), ".")[:2], ".") + ".",
			"newline in key":  signed(jwt.SigningMethodHS256, append([]byte(nil), append(s.secret, '\n')...), bob),
			"two dots":        "..",
			"empty":           "",
			"claims no JSON":  strings.Split(s.sign(bob), ".")[0] + ".bm9wZQ." + strings.Split(s.sign(bob), ".")[2],
			"header of other": strings.Split(signed(jwt.SigningMethodHS512, s.secret, bob), ".")[0] + s.sign(bob)[strings.Index(s.sign(bob), "."):],
		}
		for name, token := range tokens {
			t.Run(name, func(t *testing.T) {
				c := w.device(t, w.bob, "phone", w.codec)
				c.connect(dialOptions{})
				c.refused("login", c.loginArgs(obj{"token": token}), "unauthorized")
				c.expectClose(4401)
				if len(c.conn.pushes) > 0 {
					t.Errorf("pushes %v", c.conn.pushes)
				}
			})
		}
		// The other two of the family are good.
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			c := w.online(w.bob, "phone", obj{"token": signed(method, s.secret, bob)})
			c.logout()
		}
	})
}
