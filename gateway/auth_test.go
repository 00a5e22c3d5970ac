package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/protocol"
)

var testSecret = []byte("a secret of the tests, 32 bytes or more")

// testToken is a good token of user for an hour.
func testToken(user string) string {
	return signed(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
}

func signed(method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		panic(err)
	}
	return text
}

// signedWith is a token with more in its header.
func signedWith(header map[string]any, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(testSecret)
	if err != nil {
		panic(err)
	}
	return text
}

// testKeys are the key pairs of the tests, and their public halves as a JWKS.
type testKeys struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	foreign *rsa.PrivateKey // not in the set
	jwks    []byte
}

func newTestKeys(t *testing.T) *testKeys {
	t.Helper()
	var k testKeys
	var err error
	must := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must()
	k.foreign, err = rsa.GenerateKey(rand.Reader, 2048)
	must()
	k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must()
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must()
	point, err := k.ec.PublicKey.Bytes() // 4, x, y
	must()
	b64 := base64.RawURLEncoding.EncodeToString
	k.jwks, err = json.Marshal(map[string]any{"keys": []map[string]any{
		{"kty": "RSA", "kid": "rsa", "n": b64(k.rsa.N.Bytes()), "e": "AQAB"},
		{"kty": "EC", "kid": "ec", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(k.ed.Public().(ed25519.PublicKey))},
	}})
	must()
	return &k
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestVerify(t *testing.T) {
	keys := newTestKeys(t)
	now := time.Now()
	exp := now.Add(time.Hour).Unix()
	good := jwt.MapClaims{"sub": "alice", "exp": exp, "aud": "chat", "iss": "https://id.example"}
	without := func(key string) jwt.MapClaims { return with(good, key, nil) }

	secret := AuthConfig{Secrets: [][]byte{append(testSecret, '\n')}}
	jwks := AuthConfig{JWKS: keys.jwks, Audience: "chat", Issuer: "https://id.example"}
	otherSecret := []byte("another secret, 32 bytes or more")
	secrets := AuthConfig{Secrets: [][]byte{otherSecret, testSecret}}
	both := AuthConfig{Secrets: [][]byte{testSecret}, JWKS: keys.jwks, Audience: "chat", Issuer: "https://id.example"}

	for _, tc := range []struct {
		name   string
		config AuthConfig
		token  string
		ok     bool
	}{
		{"HS256", secret, signed(jwt.SigningMethodHS256, testSecret, "", good), true},
		{"HS384", secret, signed(jwt.SigningMethodHS384, testSecret, "", good), true},
		{"HS512", secret, signed(jwt.SigningMethodHS512, testSecret, "", good), true},
		{"HS256 with the newline in the key", secret, signed(jwt.SigningMethodHS256, append(testSecret, '\n'), "", good), false},
		{"RS256", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", good), true},
		{"RS512", jwks, signed(jwt.SigningMethodRS512, keys.rsa, "rsa", good), true},
		{"ES256", jwks, signed(jwt.SigningMethodES256, keys.ec, "ec", good), true},
		{"EdDSA", jwks, signed(jwt.SigningMethodEdDSA, keys.ed, "ed", good), true},
		{"RS256 without kid", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "", good), true},
		{"secret beside keys", both, signed(jwt.SigningMethodHS256, testSecret, "", good), true},
		{"keys beside secret", both, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", good), true},
		{"audience in a list", jwks, signed(jwt.SigningMethodES256, keys.ec, "ec", with(good, "aud", []string{"x", "chat"})), true},

		{"empty", secret, "", false},
		{"no token", secret, "abc", false},
		{"three empty parts", secret, "..", false},
		{"alg none", secret, signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good), false},
		{"alg none with keys", jwks, signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa", good), false},
		{"signature stripped", secret, strip(signed(jwt.SigningMethodHS256, testSecret, "", good)), false},
		{"other secret", secret, signed(jwt.SigningMethodHS256, otherSecret, "", good), false},
		{"first of two secrets", secrets, signed(jwt.SigningMethodHS256, otherSecret, "", good), true},
		{"second of two secrets", secrets, signed(jwt.SigningMethodHS512, testSecret, "any kid", good), true},
		{"neither of two secrets", secrets, signed(jwt.SigningMethodHS256, []byte("a third secret of 32 bytes or more"), "", good), false},
		{"other key", jwks, signed(jwt.SigningMethodRS256, keys.foreign, "rsa", good), false},
		{"other key without kid", jwks, signed(jwt.SigningMethodRS256, keys.foreign, "", good), false},
		{"unknown kid", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "none", good), false},
		{"kid of a key of another kind", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "ec", good), false},
		{"PS256", jwks, signed(jwt.SigningMethodPS256, keys.rsa, "rsa", good), false},
		{"public key as secret", jwks, signed(jwt.SigningMethodHS256, publicPEM(t, &keys.rsa.PublicKey), "rsa", good), false},
		{"public key as secret beside a secret", both, signed(jwt.SigningMethodHS256, publicPEM(t, &keys.rsa.PublicKey), "rsa", good), false},
		{"RS256 without keys", secret, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", good), false},
		{"expired", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", now.Add(-time.Second).Unix())), false},
		{"no exp", secret, signed(jwt.SigningMethodHS256, testSecret, "", without("exp")), false},
		{"exp is text", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", "tomorrow")), false},
		{"exp is text of digits", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", fmt.Sprint(exp))), false},
		{"nbf is text of digits", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "nbf", fmt.Sprint(exp-7200))), false},
		{"iat is text of digits", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "iat", fmt.Sprint(exp-7200))), false},
		{"critical header", secret, signedWith(jwt.MapClaims{"crit": []string{"x"}, "x": 1}, good), false},
		{"empty critical header", secret, signedWith(jwt.MapClaims{"crit": []string{}}, good), false},
		{"header of no concern", secret, signedWith(jwt.MapClaims{"x": 1}, good), true},
		{"exp is beyond all numbers", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", 1e300)), false},
		{"not yet valid", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "nbf", exp)), false},
		{"names in another case", secret, signed(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"Sub": "alice", "exp": exp}), false},
		{"exp in another case", secret, signed(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": "alice", "EXP": exp}), false},
		{"an own name in another case", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(with(good, "Sub", "mallory"), "Exp", 1)), true},
		{"aud in another case", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", with(without("aud"), "Aud", "chat")), false},
		{"iss in another case", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", with(without("iss"), "ISS", "https://id.example")), false},
		{"kid in another case", jwks, signedBy(keys.rsa, jwt.MapClaims{"KID": "ec"}, good), true},
		{"crit in another case", secret, signedWith(jwt.MapClaims{"Crit": []string{"x"}}, good), true},
		{"sub is a folder", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", "..")), false},
		{"sub is this folder", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", ".")), false},
		{"no sub", secret, signed(jwt.SigningMethodHS256, testSecret, "", without("sub")), false},
		{"sub is a number", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", 7)), false},
		{"sub with a space", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", "al ice")), false},
		{"sub of 65 bytes", secret, signed(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", strings.Repeat("a", 65))), false},
		{"no audience", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", without("aud")), false},
		{"other audience", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", with(good, "aud", "mail")), false},
		{"no issuer", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", without("iss")), false},
		{"other issuer", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "rsa", with(good, "iss", "https://evil.example")), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := newAuthenticator(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			id, err := a.verify(tc.token)
			if (err == nil) != tc.ok {
				t.Fatalf("verify = %v, want ok = %v", err, tc.ok)
			}
			if err == nil && !slices.Contains(a.keys, id.key) {
				t.Error("verify does not tell the key")
			}
			if tc.ok && (id.user != "alice" || id.expires.Unix() != exp || id.issued != 0) {
				t.Errorf("verify = %s until %v, issued %d, want alice until %v, unknown", id.user, id.expires.Unix(), id.issued, exp)
			}
		})
	}
}

// TestTimesOfTokens: the clocks of those who make tokens are a little off, and
// some count in milliseconds.
func TestTimesOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(123 * time.Millisecond) // not a whole second
		now := time.Now()
		sec := func(d time.Duration) float64 { return float64(now.Add(d).UnixMilli()) / 1000 }
		for _, tc := range []struct {
			name   string
			leeway time.Duration
			change jwt.MapClaims
			wrong  string // "" = good
			issued float64
		}{
			{"nbf a little ahead", 0, jwt.MapClaims{"nbf": sec(5 * time.Second)}, "", 0},
			{"nbf too far ahead", 0, jwt.MapClaims{"nbf": sec(7 * time.Second)}, "nbf lies ahead", 0},
			{"iat a little ahead", 0, jwt.MapClaims{"iat": sec(4 * time.Second)}, "", sec(4 * time.Second)},
			{"iat too far ahead", 0, jwt.MapClaims{"iat": sec(7 * time.Second)}, "iat lies ahead", 0},
			{"no leeway", -1, jwt.MapClaims{"nbf": sec(2 * time.Second)}, "nbf lies ahead", 0},
			{"more leeway", time.Minute, jwt.MapClaims{"nbf": sec(50 * time.Second), "iat": sec(50 * time.Second)}, "", sec(50 * time.Second)},
			{"none for exp", time.Minute, jwt.MapClaims{"exp": sec(-time.Second)}, "exp has passed", 0},
			{"exp in milliseconds", 0, jwt.MapClaims{"exp": now.Add(time.Hour).UnixMilli()}, "exp is past the year 2200: want seconds since 1970; these look like milliseconds", 0},
			{"iat in milliseconds", 0, jwt.MapClaims{"iat": now.UnixMilli()}, "iat is past the year 2200: want seconds since 1970; these look like milliseconds", 0},
			{"nbf in milliseconds", 0, jwt.MapClaims{"nbf": now.UnixMilli()}, "nbf is past the year 2200: want seconds since 1970; these look like milliseconds", 0},
			{"exp in the year 2199", 0, jwt.MapClaims{"exp": latestClaim.Unix() - 1}, "", 0},
			{"exp in the year 2200", 0, jwt.MapClaims{"exp": latestClaim.Unix()}, "exp is past the year 2200: want seconds since 1970; these look like milliseconds", 0},
			{"exp of zero", 0, jwt.MapClaims{"exp": 0}, "exp has passed", 0},
			{"exp of null", 0, jwt.MapClaims{"exp": nil}, "exp must be a number", 0},
			{"iat with a fraction", 0, jwt.MapClaims{"iat": 600_000_000.75}, "", 600_000_000},
			{"iat before 1970", 0, jwt.MapClaims{"iat": -5}, "", 0},
			{"no sub", 0, jwt.MapClaims{"sub": nil}, "sub must be 1-64 bytes of printable ASCII without spaces, neither . nor ..", 0},
			{"crit", 0, nil, "crit names what this server does not know (RFC 7515, 4.1.11)", 0},
		} {
			a, err := newAuthenticator(AuthConfig{Secrets: [][]byte{testSecret}, Leeway: tc.leeway})
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{"sub": "alice", "exp": sec(time.Hour)}
			maps.Copy(claims, tc.change)
			token := signedWith(nil, claims)
			if tc.change == nil {
				token = signedWith(jwt.MapClaims{"crit": []string{"x"}}, claims)
			}
			id, err := a.verify(token)
			if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || err.Error() != tc.wrong) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.wrong)
			}
			if err == nil && id.issued != int64(tc.issued)*1000 {
				t.Errorf("%s: issued %d, want %v s", tc.name, id.issued, tc.issued)
			}
			if err != nil && refusedToken(err).message != "token: "+tc.wrong {
				t.Errorf("%s: the client is told %q", tc.name, refusedToken(err).message)
			}
		}
		// Who cannot sign learns nothing.
		a, err := newAuthenticator(AuthConfig{Secrets: [][]byte{testSecret}})
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"", "a.b.c", strip(testToken("alice")), signed(jwt.SigningMethodHS256, []byte("of somebody else"), "", jwt.MapClaims{"sub": ".."})} {
			if _, err := a.verify(token); err == nil || refusedToken(err).message != "token: is not valid" {
				t.Errorf("token %q: %v", token, err)
			}
		}
	})
}

func TestAuthConfigIsRefused(t *testing.T) {
	keys := newTestKeys(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	rsaKey := func(more obj) obj {
		k := obj{"kty": "RSA", "kid": "x", "n": b64(keys.rsa.N.Bytes()), "e": "AQAB"}
		maps.Copy(k, more)
		return k
	}
	set := func(keys ...obj) AuthConfig {
		text, err := json.Marshal(obj{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		return AuthConfig{JWKS: text, Audience: "a", Issuer: "i"}
	}
	const none = "it holds no public key for signatures"
	for _, tc := range []struct {
		name   string
		config AuthConfig
		why    string // in the error
	}{
		{"nothing set", AuthConfig{}, "neither Auth.Secrets nor Auth.JWKS is set"},
		{"secret of one newline", AuthConfig{Secrets: [][]byte{[]byte("\n")}}, "a secret of 0 bytes, want 32 or more"},
		{"secret of 31 bytes and a newline", AuthConfig{Secrets: [][]byte{append(testSecret[:31:31], '\n')}}, "a secret of 31 bytes, want 32 or more"},
		{"second secret too short", AuthConfig{Secrets: [][]byte{testSecret, []byte("short")}}, "a secret of 5 bytes, want 32 or more"},
		{"keys without audience", AuthConfig{JWKS: keys.jwks, Issuer: "i"}, "Audience"},
		{"keys without issuer", AuthConfig{JWKS: keys.jwks, Audience: "a"}, "Issuer"},
		{"keys that are no JSON", AuthConfig{JWKS: []byte("{"), Audience: "a", Issuer: "i"}, "JSON"},
		{"no keys", set(), none},
		{"only a symmetric key", set(obj{"kty": "oct", "k": b64(testSecret)}), "is a secret one"},
		{"a symmetric key beside a public one", set(rsaKey(nil), obj{"kty": "oct", "k": b64(testSecret)}), "is a secret one"},
		{"an RSA private key", set(rsaKey(obj{"d": b64(keys.rsa.D.Bytes())})), `the key with the kid "x" is a secret one`},
		{"a private key for encryption", set(rsaKey(nil), rsaKey(obj{"kid": "y", "use": "enc", "d": b64(keys.rsa.D.Bytes())})), "is a secret one"},
		{"an Ed25519 private key", set(obj{"kty": "OKP", "crv": "Ed25519", "x": b64(keys.ed.Public().(ed25519.PublicKey)), "d": b64(keys.ed.Seed())}), "is a secret one"},
		{"RSA of 1024 bits", set(rsaKey(obj{"n": b64(weak.N.Bytes())})), "RSA of 1024 bits, want 2048 or more"},
		{"key_ops of encryption", set(rsaKey(obj{"key_ops": []string{"encrypt"}})), none},
		{"use of encryption", set(rsaKey(obj{"use": "enc"})), none},
		{"another alg", set(rsaKey(obj{"alg": "RSA-OAEP"})), none},
		{"two of a kid", set(rsaKey(nil), rsaKey(nil)), `two keys have the kid "x"`},
		{"a key that is incomplete", set(obj{"kty": "RSA", "kid": "x"}), `the key with the kid "x"`},
	} {
		if _, err := newAuthenticator(tc.config); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.why)
		}
	}
	for name, c := range map[string]AuthConfig{
		"key_ops to verify":          set(rsaKey(obj{"key_ops": []string{"verify"}})),
		"use for signatures":         set(rsaKey(obj{"use": "sig", "alg": "RS256"})),
		"beside a key to encrypt to": set(rsaKey(nil), rsaKey(obj{"use": "enc", "alg": "RSA-OAEP"})),
		"the same secret twice":      {Secrets: [][]byte{testSecret, testSecret}},
	} {
		if _, err := newAuthenticator(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSetAuth: what a withdrawn key has signed is good no more, and ends sessions
// that are open; others notice nothing.
func TestSetAuth(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		first, second := []byte("the first secret, of 32 bytes or more"), []byte("the second secret, of 32 bytes or more")
		keys := newTestKeys(t)
		token := func(secret []byte) string {
			return signed(jwt.SigningMethodHS256, secret, "", jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"})
		}
		keyToken := func(kid string) string {
			claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"}
			if kid == "ec" {
				return signed(jwt.SigningMethodES256, keys.ec, kid, claims)
			}
			return signed(jwt.SigningMethodRS256, keys.rsa, kid, claims)
		}
		e := newEdge(t, func(c *Config) {
			c.Auth = AuthConfig{Secrets: [][]byte{first}, JWKS: keys.jwks, Audience: "chat", Issuer: "i"}
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
		if err := e.gateway.SetAuth([][]byte{second[:10]}, keys.jwks); err == nil {
			t.Error("a short secret was taken")
		}
		refused(token(second))

		// Beside each other for a while.
		set([][]byte{second, first}, keys.jwks)
		renewed, recent := login("renewed", token(first)), login("recent", token(second))
		renewed.call("refreshToken", obj{"token": token(second)})

		// The first one goes, and so does the key rsa.
		set([][]byte{second}, without(t, keys.jwks, "rsa"))
		old.wantClosed(4401)
		rsa.wantClosed(4401)
		refused(token(first))
		refused(keyToken("rsa"))
		for _, c := range []*client{renewed, recent, ec} {
			c.call("ping", obj{})
		}
		// What comes back is good again, also for who logs in anew.
		set([][]byte{first}, keys.jwks)
		renewed.wantClosed(4401)
		recent.wantClosed(4401)
		ec.call("ping", obj{})
		login("old", token(first)).call("ping", obj{})
		login("rsa", keyToken("rsa"))
	})
}

// without takes a key out of a set.
func without(t *testing.T, jwks []byte, kid string) []byte {
	t.Helper()
	var set struct {
		Keys []obj `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(k obj) bool { return k["kid"] == kid })
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// signedBy is a token of an RSA key with a header of its own.
func signedBy(key *rsa.PrivateKey, header map[string]any, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		panic(err)
	}
	return text
}

// with copies claims and sets or, with nil, deletes one.
func with(claims jwt.MapClaims, key string, value any) jwt.MapClaims {
	c := jwt.MapClaims{}
	for k, v := range claims {
		c[k] = v
	}
	if c[key] = value; value == nil {
		delete(c, key)
	}
	return c
}

func strip(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }
