// Package auth verifies the tokens with which users log in, and checks patterns of
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

// A Config says which tokens are valid. At least one of Secrets and JWKS is required;
// with both, a token's algorithm decides by which it is verified.
type Config struct {
	// Secrets verify HS256, HS384 and HS512; a token is signed with one of them. Each
	// is the content of a secret file: a newline at its end does not count, and at
	// least MinSecret bytes must be left.
	Secrets [][]byte
	// JWKS is a JSON Web Key Set whose public keys verify RS, ES and EdDSA
	// signatures. Keys with another purpose, by their use or key_ops, are skipped; a
	// key that is not public, or too weak, is an error.
	JWKS []byte
	// Audience and Issuer, if set, are required of every token. With JWKS they must
	// be set: its keys may sign tokens for other services too.
	Audience string
	Issuer   string
	// Leeway is how far a token's nbf and iat may be ahead of this node's clock;
	// default 5 s, negative = not at all.
	Leeway time.Duration
}

const (
	// MinSecret is the least length of a secret, in bytes: as long as the hash of
	// HS256 (RFC 7518, 3.2).
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

// Withdrawn reports whether Verifier.Replace has dropped the key.
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

// NewVerifier returns a verifier. Its error says what is wrong with the config.
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

// Replace returns a verifier with other secrets and keys, and the same Audience and
// Issuer. Keys that v has too are shared with it; the other keys of v are withdrawn.
// After an error v stays in use, unchanged.
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

// publicKeys returns the keys of a key set that verify signatures. It is an error if
// there are none.
func publicKeys(set []byte) (keys []*Key, err error) {
	var parsed struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(set, &parsed); err != nil {
		return nil, err
	}
	for _, k := range parsed.Keys {
		// A key set is served in public: whoever reads such a key could sign tokens.
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
	Key     *Key  // the key that verified the token
}

// A TokenError says what is wrong with a token whose signature is valid. It may be
// told to the client, since it helps those who issue tokens; other errors would help
// to forge some.
type TokenError string

func (e TokenError) Error() string { return string(e) }

// Verify verifies a token and returns what it says. The error is for the log; only a
// TokenError may be told to the client. With a TokenError, the identity's User is whom the
// token is of, "" if it names nobody; with any other error nothing is known of it.
func (v *Verifier) Verify(token string) (Identity, error) {
	// A map keeps the names exact; in a struct, sub would also be set from Sub.
	claims := jwt.MapClaims{}
	parsed, parts, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		return Identity{}, err
	}
	key, err := v.signer(parsed, parts[0]+"."+parts[1])
	if err != nil {
		return Identity{}, err
	}
	subject, _ := claims["sub"].(string)
	if !protocol.ValidUser(subject) {
		subject = ""
	}
	if _, critical := parsed.Header["crit"]; critical {
		return Identity{User: subject}, TokenError("crit names what this server does not know (RFC 7515, 4.1.11)")
	}
	id, err := v.identity(claims, time.Now())
	if err != nil {
		return Identity{User: subject}, err
	}
	id.User, id.Key = subject, key
	if subject == "" {
		return Identity{}, TokenError("sub " + protocol.UserRule)
	}
	return id, nil
}

// signer returns the key to verify a token with: the one that its kid names or,
// without a kid, the first that matches.
func (v *Verifier) signer(t *jwt.Token, text string) (*Key, error) {
	kid, hasKID := t.Header["kid"]
	_, symmetric := t.Method.(*jwt.SigningMethodHMAC)
	err := errors.New("no key fits its alg and kid")
	for _, k := range v.keys {
		// The algorithm must be one of the key's, so that a public key is never used
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

// identity checks the claims but sub of a token whose signature is valid.
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
	switch limit := now.Add(v.config.Leeway); {
	case !hasExp:
		return id, TokenError("exp must be set")
	case !now.Before(exp):
		return id, TokenError("exp has passed")
	case nbf.After(limit):
		return id, TokenError("nbf lies ahead")
	case iat.After(limit):
		return id, TokenError("iat lies ahead")
	}
	id.Expires = exp
	if !iat.IsZero() {
		id.Issued = max(iat.UnixMilli(), 0)
	}
	return id, nil
}

// latestClaim is the latest time that a token may have: a later one is probably in
// milliseconds.
var latestClaim = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// timeClaim returns the time in a claim. It is a number of seconds (RFC 7519);
// fractions are dropped.
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
