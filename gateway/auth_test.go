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
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
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
		{"kty": "oct", "kid": "oct", "k": b64(testSecret)},
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

	secret := AuthConfig{Secret: append(testSecret, '\n')}
	jwks := AuthConfig{JWKS: keys.jwks, Audience: "chat", Issuer: "https://id.example"}
	both := AuthConfig{Secret: testSecret, JWKS: keys.jwks, Audience: "chat", Issuer: "https://id.example"}

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
		{"other secret", secret, signed(jwt.SigningMethodHS256, []byte("another secret"), "", good), false},
		{"other key", jwks, signed(jwt.SigningMethodRS256, keys.foreign, "rsa", good), false},
		{"other key without kid", jwks, signed(jwt.SigningMethodRS256, keys.foreign, "", good), false},
		{"unknown kid", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "none", good), false},
		{"kid of a key of another kind", jwks, signed(jwt.SigningMethodRS256, keys.rsa, "ec", good), false},
		{"PS256", jwks, signed(jwt.SigningMethodPS256, keys.rsa, "rsa", good), false},
		{"public key as secret", jwks, signed(jwt.SigningMethodHS256, publicPEM(t, &keys.rsa.PublicKey), "rsa", good), false},
		{"public key as secret beside a secret", both, signed(jwt.SigningMethodHS256, publicPEM(t, &keys.rsa.PublicKey), "rsa", good), false},
		{"symmetric key of the set", jwks, signed(jwt.SigningMethodHS256, testSecret, "oct", good), false},
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
			if tc.ok && (id.user != "alice" || id.expires.Unix() != exp || id.issued != 0) {
				t.Errorf("verify = %s until %v, issued %d, want alice until %v, unknown", id.user, id.expires.Unix(), id.issued, exp)
			}
		})
	}
}

func TestVerifyBoundsExpiry(t *testing.T) {
	a, err := newAuthenticator(AuthConfig{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.verify(signed(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": "alice", "exp": int64(1e15)}))
	if err != nil || !id.expires.Equal(endOfTime) {
		t.Errorf("verify = until %v, %v, want until %v", id.expires, err, endOfTime)
	}
}

func TestVerifyTellsWhenItWasIssued(t *testing.T) {
	a, err := newAuthenticator(AuthConfig{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	for iat, want := range map[any]int64{1_600_000_000: 1_600_000_000_000, 1_600_000_000.75: 1_600_000_000_000, -5: 0} {
		id, err := a.verify(signed(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": "alice", "exp": int64(1e15), "iat": iat}))
		if err != nil || id.issued != want {
			t.Errorf("iat %v: issued %d, %v, want %d", iat, id.issued, err, want)
		}
	}
}

func TestAuthConfigIsRefused(t *testing.T) {
	keys := newTestKeys(t)
	for name, c := range map[string]AuthConfig{
		"nothing set":              {},
		"secret of one newline":    {Secret: []byte("\n")},
		"keys without audience":    {JWKS: keys.jwks, Issuer: "i"},
		"keys without issuer":      {JWKS: keys.jwks, Audience: "a"},
		"keys that are no JSON":    {JWKS: []byte("{"), Audience: "a", Issuer: "i"},
		"no keys":                  {JWKS: []byte(`{"keys": []}`), Audience: "a", Issuer: "i"},
		"only a symmetric key":     {JWKS: []byte(`{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}`), Audience: "a", Issuer: "i"},
		"a key that is incomplete": {JWKS: []byte(`{"keys": [{"kty": "RSA", "kid": "x"}]}`), Audience: "a", Issuer: "i"},
	} {
		if _, err := newAuthenticator(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
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
