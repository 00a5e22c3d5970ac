// Package authtest makes keys and tokens for tests.
package authtest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Sign returns a signed token. With kid "" it has no kid.
func Sign(method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
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

// Keys are private keys for tests, and a JWKS of their public keys.
type Keys struct {
	RSA     *rsa.PrivateKey    // kid "rsa"
	EC      *ecdsa.PrivateKey  // kid "ec"
	Ed      ed25519.PrivateKey // kid "ed"
	Foreign *rsa.PrivateKey    // not in the JWKS
	JWKS    []byte
}

// NewKeys returns new random keys.
func NewKeys(t *testing.T) *Keys {
	t.Helper()
	var k Keys
	var err error
	must := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	k.RSA, err = rsa.GenerateKey(rand.Reader, 2048)
	must()
	k.Foreign, err = rsa.GenerateKey(rand.Reader, 2048)
	must()
	k.EC, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must()
	_, k.Ed, err = ed25519.GenerateKey(rand.Reader)
	must()
	point, err := k.EC.PublicKey.Bytes() // 0x04, then x, then y
	must()
	b64 := base64.RawURLEncoding.EncodeToString
	k.JWKS, err = json.Marshal(map[string]any{"keys": []map[string]any{
		{"kty": "RSA", "kid": "rsa", "n": b64(k.RSA.N.Bytes()), "e": "AQAB"},
		{"kty": "EC", "kid": "ec", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(k.Ed.Public().(ed25519.PublicKey))},
	}})
	must()
	return &k
}

// Without returns the key set without the key of a kid.
func Without(t *testing.T, jwks []byte, kid string) []byte {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(k map[string]any) bool { return k["kid"] == kid })
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
