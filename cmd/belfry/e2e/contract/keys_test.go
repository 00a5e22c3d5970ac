package contract

// The contract on tokens that are signed with a key of a JWKS file.

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractJWKS(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, strange, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	point, err := ecKey.PublicKey.Bytes() // 4, then both coordinates of 32 bytes
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(obj{"keys": []obj{
		{"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "n": text(rsaKey.N.Bytes()), "e": text(big.NewInt(int64(rsaKey.E)).Bytes())},
		{"kty": "EC", "kid": "e", "alg": "ES256", "use": "sig", "crv": "P-256", "x": text(point[1:33]), "y": text(point[33:])},
		{"kty": "OKP", "kid": "o", "alg": "EdDSA", "use": "sig", "crv": "Ed25519", "x": text(edPublic)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	jwks := t.TempDir() + "/jwks.json"
	if err := os.WriteFile(jwks, file, 0o600); err != nil {
		t.Fatal(err)
	}
	// The harness gives a secret file too; both kinds of token are good then.
	s := harness.Start(t, "--auth-jwks="+jwks, "--auth-audience=chat", "--auth-issuer=https://login.example.com")
	eachCodec(t, s, func(t *testing.T, w *world) {
		claims := jwt.MapClaims{
			"sub": w.bob, "aud": "chat", "iss": "https://login.example.com", "exp": time.Now().Add(time.Hour).Unix(),
		}
		signed := func(method jwt.SigningMethod, kid string, key any, change jwt.MapClaims) string {
			all := jwt.MapClaims{}
			for _, from := range []jwt.MapClaims{claims, change} {
				for k, v := range from {
					all[k] = v
				}
			}
			token := jwt.NewWithClaims(method, all)
			token.Header["kid"] = kid
			text, err := token.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		for name, token := range map[string]string{
			"RS256":        signed(jwt.SigningMethodRS256, "r", rsaKey, nil),
			"ES256":        signed(jwt.SigningMethodES256, "e", ecKey, nil),
			"EdDSA":        signed(jwt.SigningMethodEdDSA, "o", edKey, nil),
			"of audiences": signed(jwt.SigningMethodEdDSA, "o", edKey, jwt.MapClaims{"aud": []string{"mail", "chat"}}),
		} {
			c := w.online(w.bob, name, obj{"token": token})
			c.Idle()
		}
		for name, token := range map[string]string{
			"other audience": signed(jwt.SigningMethodRS256, "r", rsaKey, jwt.MapClaims{"aud": "mail"}),
			"no audience":    signed(jwt.SigningMethodRS256, "r", rsaKey, jwt.MapClaims{"aud": nil}),
			"other issuer":   signed(jwt.SigningMethodES256, "e", ecKey, jwt.MapClaims{"iss": "https://evil.example.com"}),
			"no issuer":      signed(jwt.SigningMethodES256, "e", ecKey, jwt.MapClaims{"iss": nil}),
			"no exp":         signed(jwt.SigningMethodEdDSA, "o", edKey, jwt.MapClaims{"exp": nil}),
			"expired":        signed(jwt.SigningMethodEdDSA, "o", edKey, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}),
			"unknown key":    signed(jwt.SigningMethodEdDSA, "x", strange, nil),
			"other key":      signed(jwt.SigningMethodEdDSA, "o", strange, nil),
			"public as HMAC": signed(jwt.SigningMethodHS256, "o", []byte(edPublic), nil),
			"file as HMAC":   signed(jwt.SigningMethodHS256, "r", file, nil),
			"alg none":       signed(jwt.SigningMethodNone, "o", jwt.UnsafeAllowNoneSignatureType, nil),
			"key of others":  signed(jwt.SigningMethodPS256, "e", rsaKey, nil),
		} {
			t.Run(name, func(t *testing.T) {
				c := w.device(t, w.bob, "phone", w.codec)
				c.Connect(wstest.DialOptions{})
				c.Refused("login", c.LoginArgs(obj{"token": token}), "unauthorized")
				c.ExpectClose(4401)
			})
		}
	})
}
