// Package auth checks the tokens that users log in with, and holds the rules for
// the origins of browsers.
package auth

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A Config says which tokens are valid. At least one of Secrets and JWKS is
// required; with both, the token's algorithm decides which one verifies it.
type Config struct {
	// Secrets verify HS256, HS384 and HS512: a token is signed with one of them.
	// Each is the content of a secret file; one newline at its end is dropped, and
	// MinSecret bytes or more have to be left.
	Secrets [][]byte
	// JWKS is a JSON Web Key Set whose public keys verify RS, ES and EdDSA
	// signatures. Keys that are for something else by their use or key_ops are
	// skipped; one that is not public, or too weak, is an error.
	JWKS []byte
	// Audience and Issuer are required of every token when set. They must be
	// set with JWKS: its keys may sign tokens for other services too.
	Audience string
	Issuer   string
	// Leeway is how far nbf and iat may lie ahead of this node's clock; default 5 s,
	// negative = not at all.
	Leeway time.Duration
}

const (
	// MinSecret is the least length of a secret, in bytes: that of the hash of HS256
	// (RFC 7518, 3.2).
	MinSecret     = 32
	defaultLeeway = 5 * time.Second
	// minRSA is the least size of an RSA key, in bits (RFC 7518, 3.3).
	minRSA = 2048
)

// TrimSecret returns the content of a secret file without the newline that editors
// put at its end.
func TrimSecret(file []byte) []byte { return bytes.TrimSuffix(file, []byte("\n")) }

var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	keyAlgorithms    = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// A Key verifies signatures: a secret, or a public key.
type Key struct {
	digest    [sha256.Size]byte // of the key itself, its kid and its algorithms
	withdrawn atomic.Bool

	kid        string // "" = none
	algorithms []string
	key        any
}

// Withdrawn reports whether a Verifier has replaced the one that k is of, and does
// not know k any more.
func (k *Key) Withdrawn() bool { return k.withdrawn.Load() }

// A Verifier verifies tokens. It does not change and is safe for concurrent use.
type Verifier struct {
	config Config
	keys   []*Key
}

// Check returns what is wrong with c, or nil.
func (c Config) Check() error {
	_, err := NewVerifier(c)
	return err
}

// NewVerifier returns the verifier of a valid config.
func NewVerifier(c Config) (*Verifier, error) {
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	c.Leeway = max(c.Leeway, 0)
	v := &Verifier{config: c}
	for _, secret := range c.Secrets {
		if secret = TrimSecret(secret); len(secret) < MinSecret {
			return nil, fmt.Errorf("auth: Secrets: a secret of %d bytes, want %d or more", len(secret), MinSecret)
		}
		v.keys = append(v.keys, &Key{
			digest: sha256.Sum256(append([]byte("secret "), secret...)), algorithms: secretAlgorithms, key: bytes.Clone(secret),
		})
	}
	if len(c.JWKS) > 0 {
		if c.Audience == "" || c.Issuer == "" {
			return nil, errors.New("auth: JWKS needs Audience and Issuer")
		}
		keys, err := publicKeys(c.JWKS)
		if err != nil {
			return nil, fmt.Errorf("auth: JWKS: %w", err)
		}
		v.keys = append(v.keys, keys...)
	}
	if len(v.keys) == 0 {
		return nil, errors.New("auth: neither Secrets nor JWKS is set")
	}
	return v, nil
}

// Replace returns a verifier of other secrets and keys, with the same Audience and
// Issuer. Keys that v has too are the same ones in it; the others of v are
// withdrawn. After an error, v is unchanged.
func (v *Verifier) Replace(secrets [][]byte, jwks []byte) (*Verifier, error) {
	c := v.config
	c.Secrets, c.JWKS = secrets, jwks
	next, err := NewVerifier(c)
	if err != nil {
		return nil, err
	}
	for _, old := range v.keys {
		i := slices.IndexFunc(next.keys, func(k *Key) bool { return k.digest == old.digest })
		if i < 0 {
			old.withdrawn.Store(true)
		} else {
			next.keys[i] = old
		}
	}
	return next, nil
}

// publicKeys returns the keys of a key set that verify signatures, at least one.
func publicKeys(set []byte) (keys []*Key, err error) {
	var parsed struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(set, &parsed); err != nil {
		return nil, err
	}
	for _, k := range parsed.Keys {
		// The set is meant to be public: anybody who reads it could sign with these.
		if k.KTY == jwkset.KtyOct || k.D != "" || k.P != "" || k.Q != "" || k.K != "" {
			return nil, fmt.Errorf("the key with the kid %q is a secret one: want public keys alone", k.KID)
		}
		if k.USE != "" && k.USE != jwkset.UseSig || len(k.KEYOPS) > 0 && !slices.Contains(k.KEYOPS, jwkset.KeyOpsVerify) ||
			k.ALG != "" && !slices.Contains(keyAlgorithms, string(k.ALG)) {
			continue
		}
		key, err := publicKey(k)
		if err != nil {
			return nil, fmt.Errorf("the key with the kid %q: %w", k.KID, err)
		}
		if slices.ContainsFunc(keys, func(other *Key) bool { return other.kid == key.kid }) {
			return nil, fmt.Errorf("two keys have the kid %q", k.KID)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no public key for signatures")
	}
	return keys, nil
}

func publicKey(k jwkset.JWKMarshal) (*Key, error) {
	text, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	parsed, err := jwkset.NewJWKFromMarshal(k, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, err
	}
	if public, ok := parsed.Key().(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
		return nil, fmt.Errorf("RSA of %d bits, want %d or more", public.N.BitLen(), minRSA)
	}
	algorithms := keyAlgorithms
	if k.ALG != "" {
		algorithms = []string{string(k.ALG)}
	}
	return &Key{digest: sha256.Sum256(text), kid: k.KID, algorithms: algorithms, key: parsed.Key()}, nil
}

// An Identity is what a valid token says.
type Identity struct {
	User    string
	Expires time.Time
	Issued  int64 // ms; 0 = unknown
	Key     *Key  // that signed it
}

// A TokenError says what is wrong with a token whose signature is valid: who made
// it should learn that. Other errors would only help to forge tokens.
type TokenError string

func (e TokenError) Error() string { return string(e) }

// Verify returns what a token says. Its error is for the log; the client may be told
// a TokenError.
func (v *Verifier) Verify(token string) (Identity, error) {
	// The names in a map are exact; a struct would also read Sub into sub.
	claims := jwt.MapClaims{}
	parsed, parts, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		return Identity{}, err
	}
	key, err := v.signer(parsed, parts[0]+"."+parts[1])
	if err != nil {
		return Identity{}, err
	}
	if _, critical := parsed.Header["crit"]; critical {
		return Identity{}, TokenError("crit names what this server does not know (RFC 7515, 4.1.11)")
	}
	id, err := v.identity(claims, time.Now())
	id.Key = key
	return id, err
}

// signer returns the key that signed a token: the one that its kid names, or any
// that fits if it has no kid.
func (v *Verifier) signer(t *jwt.Token, text string) (*Key, error) {
	kid, hasKID := t.Header["kid"]
	_, symmetric := t.Method.(*jwt.SigningMethodHMAC)
	err := errors.New("no key fits its alg and kid")
	for _, k := range v.keys {
		// The kind of the algorithm picks the keys, so that a public key never serves
		// as a secret.
		if !slices.Contains(k.algorithms, t.Method.Alg()) || hasKID && !symmetric && kid != k.kid {
			continue
		}
		if err = t.Method.Verify(text, t.Signature, k.key); err == nil {
			return k, nil
		}
	}
	return nil, err
}

// identity checks the claims of a token whose signature is valid.
func (v *Verifier) identity(claims jwt.MapClaims, now time.Time) (id Identity, err error) {
	if c := v.config.Audience; c != "" {
		if all, err := claims.GetAudience(); err != nil || !slices.Contains(all, c) {
			return id, TokenError("aud is not that of this server")
		}
	}
	if c := v.config.Issuer; c != "" {
		if issuer, err := claims.GetIssuer(); err != nil || issuer != c {
			return id, TokenError("iss is not that of this server")
		}
	}
	exp, hasExp, err := timeClaim(claims, "exp")
	if err != nil {
		return id, err
	}
	nbf, _, err := timeClaim(claims, "nbf")
	if err != nil {
		return id, err
	}
	iat, _, err := timeClaim(claims, "iat")
	if err != nil {
		return id, err
	}
	subject, _ := claims["sub"].(string)
	switch limit := now.Add(v.config.Leeway); {
	case !hasExp:
		return id, TokenError("exp must be set")
	case !now.Before(exp):
		return id, TokenError("exp has passed")
	case nbf.After(limit):
		return id, TokenError("nbf lies ahead")
	case iat.After(limit):
		return id, TokenError("iat lies ahead")
	case !protocol.ValidUser(subject):
		return id, TokenError("sub " + protocol.UserRule)
	}
	id.User, id.Expires = subject, exp
	if !iat.IsZero() {
		id.Issued = max(iat.UnixMilli(), 0)
	}
	return id, nil
}

// latestClaim bounds times in tokens. What lies behind it was meant as milliseconds.
var latestClaim = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// timeClaim returns a time, the zero one if it is not set. It is a number of seconds
// (RFC 7519), of which fractions are dropped.
func timeClaim(claims jwt.MapClaims, name string) (at time.Time, set bool, err error) {
	value, set := claims[name]
	if !set {
		return at, false, nil
	}
	seconds, ok := value.(float64)
	switch {
	case !ok:
		return at, true, TokenError(name + " must be a number")
	case seconds >= float64(latestClaim.Unix()):
		return at, true, TokenError(name + " is past the year 2200: want seconds since 1970; these look like milliseconds")
	}
	return time.Unix(max(int64(seconds), 0), 0), true, nil
}
