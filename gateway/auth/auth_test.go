package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth/authtest"
)

var testSecret = []byte("a secret of the tests, 32 bytes or more")

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

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestVerify(t *testing.T) {
	keys := authtest.NewKeys(t)
	now := time.Now()
	exp := now.Add(time.Hour).Unix()
	good := jwt.MapClaims{"sub": "alice", "exp": exp, "aud": "chat", "iss": "https://id.example"}
	without := func(key string) jwt.MapClaims { return with(good, key, nil) }

	secret := Config{Secrets: [][]byte{append(testSecret, '\n')}}
	jwks := Config{JWKS: keys.JWKS, Audience: "chat", Issuer: "https://id.example"}
	otherSecret := []byte("another secret, 32 bytes or more")
	secrets := Config{Secrets: [][]byte{otherSecret, testSecret}}
	both := Config{Secrets: [][]byte{testSecret}, JWKS: keys.JWKS, Audience: "chat", Issuer: "https://id.example"}

	for _, tc := range []struct {
		name   string
		config Config
		token  string
		ok     bool
	}{
		{"HS256", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", good), true},
		{"HS384", secret, authtest.Sign(jwt.SigningMethodHS384, testSecret, "", good), true},
		{"HS512", secret, authtest.Sign(jwt.SigningMethodHS512, testSecret, "", good), true},
		{"HS256 with the newline in the key", secret, authtest.Sign(jwt.SigningMethodHS256, append(testSecret, '\n'), "", good), false},
		{"RS256", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", good), true},
		{"RS512", jwks, authtest.Sign(jwt.SigningMethodRS512, keys.RSA, "rsa", good), true},
		{"ES256", jwks, authtest.Sign(jwt.SigningMethodES256, keys.EC, "ec", good), true},
		{"EdDSA", jwks, authtest.Sign(jwt.SigningMethodEdDSA, keys.Ed, "ed", good), true},
		{"RS256 without kid", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "", good), true},
		{"secret beside keys", both, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", good), true},
		{"keys beside secret", both, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", good), true},
		{"audience in a list", jwks, authtest.Sign(jwt.SigningMethodES256, keys.EC, "ec", with(good, "aud", []string{"x", "chat"})), true},

		{"empty", secret, "", false},
		{"no token", secret, "abc", false},
		{"three empty parts", secret, "..", false},
		{"alg none", secret, authtest.Sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good), false},
		{"alg none with keys", jwks, authtest.Sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa", good), false},
		{"signature stripped", secret, strip(authtest.Sign(jwt.SigningMethodHS256, testSecret, "", good)), false},
		{"other secret", secret, authtest.Sign(jwt.SigningMethodHS256, otherSecret, "", good), false},
		{"first of two secrets", secrets, authtest.Sign(jwt.SigningMethodHS256, otherSecret, "", good), true},
		{"second of two secrets", secrets, authtest.Sign(jwt.SigningMethodHS512, testSecret, "any kid", good), true},
		{"neither of two secrets", secrets, authtest.Sign(jwt.SigningMethodHS256, []byte("a third secret of 32 bytes or more"), "", good), false},
		{"other key", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.Foreign, "rsa", good), false},
		{"other key without kid", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.Foreign, "", good), false},
		{"unknown kid", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "none", good), false},
		{"kid of a key of another kind", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "ec", good), false},
		{"PS256", jwks, authtest.Sign(jwt.SigningMethodPS256, keys.RSA, "rsa", good), false},
		{"public key as secret", jwks, authtest.Sign(jwt.SigningMethodHS256, publicPEM(t, &keys.RSA.PublicKey), "rsa", good), false},
		{"public key as secret beside a secret", both, authtest.Sign(jwt.SigningMethodHS256, publicPEM(t, &keys.RSA.PublicKey), "rsa", good), false},
		{"RS256 without keys", secret, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", good), false},
		{"expired", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", now.Add(-time.Second).Unix())), false},
		{"no exp", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", without("exp")), false},
		{"exp is text", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", "tomorrow")), false},
		{"exp is text of digits", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", fmt.Sprint(exp))), false},
		{"nbf is text of digits", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "nbf", fmt.Sprint(exp-7200))), false},
		{"iat is text of digits", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "iat", fmt.Sprint(exp-7200))), false},
		{"critical header", secret, signedWith(jwt.MapClaims{"crit": []string{"x"}, "x": 1}, good), false},
		{"empty critical header", secret, signedWith(jwt.MapClaims{"crit": []string{}}, good), false},
		{"header of no concern", secret, signedWith(jwt.MapClaims{"x": 1}, good), true},
		{"exp is beyond all numbers", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "exp", 1e300)), false},
		{"not yet valid", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "nbf", exp)), false},
		{"names in another case", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"Sub": "alice", "exp": exp}), false},
		{"exp in another case", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"sub": "alice", "EXP": exp}), false},
		{"an own name in another case", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(with(good, "Sub", "mallory"), "Exp", 1)), true},
		{"aud in another case", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", with(without("aud"), "Aud", "chat")), false},
		{"iss in another case", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", with(without("iss"), "ISS", "https://id.example")), false},
		{"kid in another case", jwks, signedBy(keys.RSA, jwt.MapClaims{"KID": "ec"}, good), true},
		{"crit in another case", secret, signedWith(jwt.MapClaims{"Crit": []string{"x"}}, good), true},
		{"sub is a folder", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", "..")), false},
		{"sub is this folder", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", ".")), false},
		{"no sub", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", without("sub")), false},
		{"sub is a number", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", 7)), false},
		{"sub with a space", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", "al ice")), false},
		{"sub of 65 bytes", secret, authtest.Sign(jwt.SigningMethodHS256, testSecret, "", with(good, "sub", strings.Repeat("a", 65))), false},
		{"no audience", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", without("aud")), false},
		{"other audience", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", with(good, "aud", "mail")), false},
		{"no issuer", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", without("iss")), false},
		{"other issuer", jwks, authtest.Sign(jwt.SigningMethodRS256, keys.RSA, "rsa", with(good, "iss", "https://evil.example")), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := NewVerifier(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			id, err := v.Verify(tc.token)
			if (err == nil) != tc.ok {
				t.Fatalf("Verify = %v, want ok = %v", err, tc.ok)
			}
			if err == nil && !slices.Contains(v.keys, id.Key) {
				t.Error("Verify does not tell the key")
			}
			if tc.ok && (id.User != "alice" || id.Expires.Unix() != exp || id.Issued != 0) {
				t.Errorf("Verify = %s until %v, issued %d, want alice until %v, unknown", id.User, id.Expires.Unix(), id.Issued, exp)
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
			v, err := NewVerifier(Config{Secrets: [][]byte{testSecret}, Leeway: tc.leeway})
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{"sub": "alice", "exp": sec(time.Hour)}
			maps.Copy(claims, tc.change)
			token := signedWith(nil, claims)
			if tc.change == nil {
				token = signedWith(jwt.MapClaims{"crit": []string{"x"}}, claims)
			}
			id, err := v.Verify(token)
			if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || err.Error() != tc.wrong) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.wrong)
			}
			if err == nil && id.Issued != int64(tc.issued)*1000 {
				t.Errorf("%s: issued %d, want %v s", tc.name, id.Issued, tc.issued)
			}
			if _, told := errors.AsType[TokenError](err); err != nil && !told {
				t.Errorf("%s: the client is not told %v", tc.name, err)
			}
		}
		// Who cannot sign learns nothing.
		v, err := NewVerifier(Config{Secrets: [][]byte{testSecret}})
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"", "a.b.c", strip(signedWith(nil, jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix()})), authtest.Sign(jwt.SigningMethodHS256, []byte("of somebody else"), "", jwt.MapClaims{"sub": ".."})} {
			_, err := v.Verify(token)
			if _, told := errors.AsType[TokenError](err); err == nil || told {
				t.Errorf("token %q: %v, for the client to be told: %t", token, err, told)
			}
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	keys := authtest.NewKeys(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	rsaKey := func(more map[string]any) map[string]any {
		k := map[string]any{"kty": "RSA", "kid": "x", "n": b64(keys.RSA.N.Bytes()), "e": "AQAB"}
		maps.Copy(k, more)
		return k
	}
	set := func(keys ...map[string]any) Config {
		text, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		return Config{JWKS: text, Audience: "a", Issuer: "i"}
	}
	const none = "it holds no public key for signatures"
	for _, tc := range []struct {
		name   string
		config Config
		why    string // in the error
	}{
		{"nothing set", Config{}, "neither Secrets nor JWKS is set"},
		{"secret of one newline", Config{Secrets: [][]byte{[]byte("\n")}}, "a secret of 0 bytes, want 32 or more"},
		{"secret of 31 bytes and a newline", Config{Secrets: [][]byte{append(testSecret[:31:31], '\n')}}, "a secret of 31 bytes, want 32 or more"},
		{"second secret too short", Config{Secrets: [][]byte{testSecret, []byte("short")}}, "a secret of 5 bytes, want 32 or more"},
		{"keys without audience", Config{JWKS: keys.JWKS, Issuer: "i"}, "Audience"},
		{"keys without issuer", Config{JWKS: keys.JWKS, Audience: "a"}, "Issuer"},
		{"keys that are no JSON", Config{JWKS: []byte("{"), Audience: "a", Issuer: "i"}, "JSON"},
		{"no keys", set(), none},
		{"only a symmetric key", set(map[string]any{"kty": "oct", "k": b64(testSecret)}), "is a secret one"},
		{"a symmetric key beside a public one", set(rsaKey(nil), map[string]any{"kty": "oct", "k": b64(testSecret)}), "is a secret one"},
		{"an RSA private key", set(rsaKey(map[string]any{"d": b64(keys.RSA.D.Bytes())})), `the key with the kid "x" is a secret one`},
		{"a private key for encryption", set(rsaKey(nil), rsaKey(map[string]any{"kid": "y", "use": "enc", "d": b64(keys.RSA.D.Bytes())})), "is a secret one"},
		{"an Ed25519 private key", set(map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(keys.Ed.Public().(ed25519.PublicKey)), "d": b64(keys.Ed.Seed())}), "is a secret one"},
		{"RSA of 1024 bits", set(rsaKey(map[string]any{"n": b64(weak.N.Bytes())})), "RSA of 1024 bits, want 2048 or more"},
		{"key_ops of encryption", set(rsaKey(map[string]any{"key_ops": []string{"encrypt"}})), none},
		{"use of encryption", set(rsaKey(map[string]any{"use": "enc"})), none},
		{"another alg", set(rsaKey(map[string]any{"alg": "RSA-OAEP"})), none},
		{"two of a kid", set(rsaKey(nil), rsaKey(nil)), `two keys have the kid "x"`},
		{"a key that is incomplete", set(map[string]any{"kty": "RSA", "kid": "x"}), `the key with the kid "x"`},
	} {
		if _, err := NewVerifier(tc.config); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.why)
		}
	}
	for name, c := range map[string]Config{
		"key_ops to verify":          set(rsaKey(map[string]any{"key_ops": []string{"verify"}})),
		"use for signatures":         set(rsaKey(map[string]any{"use": "sig", "alg": "RS256"})),
		"beside a key to encrypt to": set(rsaKey(nil), rsaKey(map[string]any{"use": "enc", "alg": "RSA-OAEP"})),
		"the same secret twice":      {Secrets: [][]byte{testSecret, testSecret}},
	} {
		if _, err := NewVerifier(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
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
