package contract

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

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// kicked requires that the session is told why it ends, and ended.
func (c *device) kicked(reason string) {
	c.T.Helper()
	check(c.T, c.Name(), c.Next(), wstest.Push{Op: "onKicked", Args: obj{"reason": reason}})
	c.ExpectClose(4403)
	if left := c.Conn.Pending(); len(left) > 0 {
		c.T.Errorf("%s: pushes after onKicked: %v", c.Name(), left)
	}
}

func TestScenario17SameDevice(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		first := w.online(w.bob, "phone", nil)
		other := w.online(w.bob, "laptop", nil)
		alice := w.online(w.alice, "phone", nil) // another user's phone
		second := w.online(w.bob, "phone", nil)
		first.kicked("sameDevice")
		if second.Session <= first.Session {
			t.Errorf("session %d after %d", second.Session, first.Session)
		}
		m := alice.sends(w.bob, "m")
		check(t, "the new session", second.LiveMessage(), m[0].at(w.bob, 1))
		check(t, "the other device", other.LiveMessage(), m[0].at(w.bob, 1))
		alice.Idle()
	})
}

func TestScenario17PolicyMulti(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		const maxDevices = 16
		var devices []*device
		for i := range maxDevices + 1 {
			devices = append(devices, w.online(w.bob, fmt.Sprintf("device%d", i), obj{"platform": "web"}))
		}
		devices[0].kicked("policy") // the one that logged in first
		// A device that comes again is no further one, and now the newest.
		devices[1].Login(nil)
		devices[1].Sync()
		for _, c := range devices[1:] {
			c.Idle()
		}
		w.online(w.bob, "one more", nil)
		devices[2].kicked("policy")
		for _, c := range append(devices[1:2:2], devices[3:]...) {
			c.Idle()
		}
	})
}

func TestScenario17PolicyPlatform(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--session-policy=platform"), func(t *testing.T, w *world) {
		ios := w.online(w.bob, "phone", obj{"platform": "ios"})
		web := w.online(w.bob, "browser", obj{"platform": "web"})
		none := w.online(w.bob, "thing", nil)
		ios2 := w.online(w.bob, "tablet", obj{"platform": "ios"})
		ios.kicked("policy")
		none2 := w.online(w.bob, "gadget", nil) // none named counts as one
		none.kicked("policy")
		ios3 := w.online(w.bob, "tablet", obj{"platform": "ios"})
		ios2.kicked("sameDevice")
		for _, c := range []*device{web, none2, ios3} {
			c.Idle()
		}
	})
}

func TestScenario17PolicySingle(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--session-policy=single"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		phone := w.online(w.bob, "phone", obj{"platform": "ios"})
		laptop := w.online(w.bob, "laptop", obj{"platform": "web"})
		phone.kicked("policy")
		again := w.online(w.bob, "laptop", obj{"platform": "web"})
		laptop.kicked("sameDevice")
		again.Idle()
		alice.Idle()
	})
}

func TestScenario22BadTokens(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
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
			"expired":         s.Sign(jwt.MapClaims{"sub": w.bob, "exp": past}),
			"other key":       signed(jwt.SigningMethodHS256, []byte("another secret of the tests, as long"), bob),
			"alg none":        signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, bob),
			"no sub":          s.Sign(jwt.MapClaims{"exp": soon}),
			"empty sub":       s.Sign(jwt.MapClaims{"sub": "", "exp": soon}),
			"sub with space":  s.Sign(jwt.MapClaims{"sub": "bob smith", "exp": soon}),
			"sub too long":    s.Sign(jwt.MapClaims{"sub": strings.Repeat("b", 65), "exp": soon}),
			"sub not ASCII":   s.Sign(jwt.MapClaims{"sub": "bøb", "exp": soon}),
			"sub no text":     s.Sign(jwt.MapClaims{"sub": 7, "exp": soon}),
			"no exp":          s.Sign(jwt.MapClaims{"sub": w.bob}),
			"exp no number":   s.Sign(jwt.MapClaims{"sub": w.bob, "exp": "tomorrow"}),
			"not yet":         s.Sign(jwt.MapClaims{"sub": w.bob, "exp": soon, "nbf": soon}),
			"ES256":           signed(jwt.SigningMethodES256, private, bob),
			"no JWT":          "letmein",
			"no signature":    strings.Join(strings.Split(s.Sign(bob), ".")[:2], ".") + ".",
			"newline in key":  signed(jwt.SigningMethodHS256, append([]byte(nil), append(s.Secret, '\n')...), bob),
			"two dots":        "..",
			"empty":           "",
			"claims no JSON":  strings.Split(s.Sign(bob), ".")[0] + ".bm9wZQ." + strings.Split(s.Sign(bob), ".")[2],
			"header of other": strings.Split(signed(jwt.SigningMethodHS512, s.Secret, bob), ".")[0] + s.Sign(bob)[strings.Index(s.Sign(bob), "."):],
		}
		for name, token := range tokens {
			t.Run(name, func(t *testing.T) {
				c := w.device(t, w.bob, "phone", w.codec)
				c.Connect(wstest.DialOptions{})
				c.Refused("login", c.LoginArgs(obj{"token": token}), "unauthorized")
				c.ExpectClose(4401)
				if left := c.Conn.Pending(); len(left) > 0 {
					t.Errorf("pushes %v", left)
				}
			})
		}
		// The other two of the family are good.
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			c := w.online(w.bob, "phone", obj{"token": signed(method, s.Secret, bob)})
			c.Logout()
		}
	})
}
