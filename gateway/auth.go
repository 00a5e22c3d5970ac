package gateway

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
	"github.com/belfry-im/belfry/shard"
)

// AuthConfig says which tokens are good. At least one of Secrets and JWKS is
// needed; with both, the token's algorithm decides which one checks it.
type AuthConfig struct {
	// Secrets verify HS256, HS384 and HS512: a token has to be signed with one of
	// them. Each is the content of a secret file; one newline at its end is dropped,
	// and MinSecret bytes or more have to be left.
	Secrets [][]byte
	// JWKS is a JSON Web Key Set whose public keys verify RS, ES and EdDSA
	// signatures. Keys that are for something else by their use or key_ops are
	// passed over; one that is not public, or too weak, is an error.
	JWKS []byte
	// Audience and Issuer are required of every token when set. They must be
	// set with JWKS: its keys may sign tokens for others too.
	Audience string
	Issuer   string
	// Leeway is how far nbf and iat may lie ahead of this node's clock; default 5 s,
	// negative = not at all.
	Leeway time.Duration
}

const (
	// MinSecret is how many bytes a secret has at least: less than the hash of
	// HS256 can be guessed sooner than its signatures (RFC 7518, 3.2).
	MinSecret     = 32
	defaultLeeway = 5 * time.Second
	// minRSA is how many bits an RSA key has at least (RFC 7518, 3.3).
	minRSA = 2048
)

// TrimSecret drops the one newline that editors put at the end of a file.
func TrimSecret(file []byte) []byte { return bytes.TrimSuffix(file, []byte("\n")) }

var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	keyAlgorithms    = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// An authKey verifies signatures: a secret, or a public key.
type authKey struct {
	digest    [sha256.Size]byte // of all that it is
	withdrawn atomic.Bool       // what it has signed is good no more

	kid        string // "" = none
	algorithms []string
	key        any
}

// An authenticator checks tokens. It is safe for concurrent use, and does not
// change: another takes its place.
type authenticator struct {
	config AuthConfig
	keys   []*authKey
}

// Check tells what is wrong with c.
func (c AuthConfig) Check() error {
	_, err := newAuthenticator(c)
	return err
}

func newAuthenticator(c AuthConfig) (*authenticator, error) {
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	c.Leeway = max(c.Leeway, 0)
	a := &authenticator{config: c}
	for _, secret := range c.Secrets {
		if secret = TrimSecret(secret); len(secret) < MinSecret {
			return nil, fmt.Errorf("gateway: Auth.Secrets: a secret of %d bytes, want %d or more", len(secret), MinSecret)
		}
		a.keys = append(a.keys, &authKey{
			digest: sha256.Sum256(append([]byte("secret "), secret...)), algorithms: secretAlgorithms, key: bytes.Clone(secret),
		})
	}
	if len(c.JWKS) > 0 {
		if c.Audience == "" || c.Issuer == "" {
			return nil, errors.New("gateway: Auth.JWKS needs Auth.Audience and Auth.Issuer")
		}
		keys, err := publicKeys(c.JWKS)
		if err != nil {
			return nil, fmt.Errorf("gateway: Auth.JWKS: %w", err)
		}
		a.keys = append(a.keys, keys...)
	}
	if len(a.keys) == 0 {
		return nil, errors.New("gateway: neither Auth.Secrets nor Auth.JWKS is set")
	}
	return a, nil
}

// publicKeys reads a key set and refuses one without a key to verify with.
func publicKeys(set []byte) (keys []*authKey, err error) {
	var parsed struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(set, &parsed); err != nil {
		return nil, err
	}
	for _, k := range parsed.Keys {
		// Whoever may read a set that is meant to be public could sign with these.
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
		if slices.ContainsFunc(keys, func(other *authKey) bool { return other.kid == key.kid }) {
			return nil, fmt.Errorf("two keys have the kid %q", k.KID)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no public key for signatures")
	}
	return keys, nil
}

func publicKey(k jwkset.JWKMarshal) (*authKey, error) {
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
	return &authKey{digest: sha256.Sum256(text), kid: k.KID, algorithms: algorithms, key: parsed.Key()}, nil
}

// replace makes a take the place of old: keys that both have stay the same, and
// the others of old are withdrawn.
func (a *authenticator) replace(old *authenticator) {
	for _, was := range old.keys {
		i := slices.IndexFunc(a.keys, func(k *authKey) bool { return k.digest == was.digest })
		if i < 0 {
			was.withdrawn.Store(true)
		} else if a.keys[i] != was {
			a.keys[i] = was
		}
	}
}

// An identity is what a good token says.
type identity struct {
	user    shard.UserID
	expires time.Time
	issued  int64    // ms; 0 = unknown
	key     *authKey // that has signed it
}

// A tokenError says what is wrong with a token that is signed by who may: its
// maker is to learn it. Other errors only help who forges them.
type tokenError string

func (e tokenError) Error() string { return string(e) }

// verify gives what a token says. Its error is for people, a tokenError for the
// client.
func (a *authenticator) verify(token string) (identity, error) {
	// A map has names as they are; a struct would take Sub for sub.
	claims := jwt.MapClaims{}
	parsed, parts, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		return identity{}, err
	}
	key, err := a.signer(parsed, parts[0]+"."+parts[1])
	if err != nil {
		return identity{}, err
	}
	if _, critical := parsed.Header["crit"]; critical {
		return identity{}, tokenError("crit names what this server does not know (RFC 7515, 4.1.11)")
	}
	id, err := a.identity(claims, time.Now())
	id.key = key
	return id, err
}

// signer gives the key that has signed a token. One with a kid names it; secrets
// and sets of one key do without.
func (a *authenticator) signer(t *jwt.Token, text string) (*authKey, error) {
	kid, hasKID := t.Header["kid"]
	_, symmetric := t.Method.(*jwt.SigningMethodHMAC)
	err := errors.New("no key fits its alg and kid")
	for _, k := range a.keys {
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

// identity holds the claims of a token that is signed to the rules.
func (a *authenticator) identity(claims jwt.MapClaims, now time.Time) (id identity, err error) {
	if c := a.config.Audience; c != "" {
		if all, err := claims.GetAudience(); err != nil || !slices.Contains(all, c) {
			return id, tokenError("aud is not that of this server")
		}
	}
	if c := a.config.Issuer; c != "" {
		if issuer, err := claims.GetIssuer(); err != nil || issuer != c {
			return id, tokenError("iss is not that of this server")
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
	switch limit := now.Add(a.config.Leeway); {
	case !hasExp:
		return id, tokenError("exp must be set")
	case !now.Before(exp):
		return id, tokenError("exp has passed")
	case nbf.After(limit):
		return id, tokenError("nbf lies ahead")
	case iat.After(limit):
		return id, tokenError("iat lies ahead")
	case !protocol.ValidUser(subject):
		return id, tokenError("sub " + protocol.UserRule)
	}
	id.user, id.expires = shard.UserID(subject), exp
	if !iat.IsZero() {
		id.issued = max(iat.UnixMilli(), 0)
	}
	return id, nil
}

// latestClaim bounds times in tokens. What lies behind it was milliseconds.
var latestClaim = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// timeClaim reads a time, the zero one if there is none. It is a number, as RFC
// 7519 has it, of which whole seconds count.
func timeClaim(claims jwt.MapClaims, name string) (at time.Time, set bool, err error) {
	v, set := claims[name]
	if !set {
		return at, false, nil
	}
	seconds, ok := v.(float64)
	switch {
	case !ok:
		return at, true, tokenError(name + " must be a number")
	case seconds >= float64(latestClaim.Unix()):
		return at, true, tokenError(name + " is past the year 2200: want seconds since 1970; these look like milliseconds")
	}
	return time.Unix(max(int64(seconds), 0), 0), true, nil
}

// SetAuth makes other tokens good from now on. The Audience and Issuer of the
// configuration stay. Sessions that began with a token of a key that is good no
// more are closed with 4401; the others notice nothing. After an error all is as
// it was.
func (g *Gateway) SetAuth(secrets [][]byte, jwks []byte) error {
	g.reauth.Lock()
	defer g.reauth.Unlock()
	old := g.auth.Load()
	config := old.config
	config.Secrets, config.JWKS = secrets, jwks
	next, err := newAuthenticator(config)
	if err != nil {
		return err
	}
	next.replace(old)
	g.auth.Store(next)
	for _, s := range g.open() {
		s.checkKey()
	}
	return nil
}

// checkKey ends the session when the key of its token is withdrawn. It runs after
// each of the two happened, so that it sees both.
func (s *session) checkKey() {
	s.mu.Lock()
	gone := s.key != nil && s.key.withdrawn.Load()
	s.mu.Unlock()
	if gone {
		s.end(closedKeyGone)
	}
}

// refusedToken tells the client that a token is refused, and why if it may know.
func refusedToken(err error) *refusal {
	message := "token: is not valid"
	if wrong, ok := errors.AsType[tokenError](err); ok {
		message = "token: " + string(wrong)
	}
	return &refusal{code: protocol.CodeUnauthorized, message: message}
}
