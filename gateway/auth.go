package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard"
)

// AuthConfig says which tokens are good. At least one of Secret and JWKS is
// needed; with both, the token's algorithm decides which one checks it.
type AuthConfig struct {
	// Secret verifies HS256, HS384 and HS512. It is the content of the secret
	// file; one newline at its end is dropped.
	Secret []byte
	// JWKS is a JSON Web Key Set whose public keys verify RS, ES and EdDSA
	// signatures. Its symmetric keys are ignored.
	JWKS []byte
	// Audience and Issuer are required of every token when set. They must be
	// set with JWKS: its keys may sign tokens for others too.
	Audience string
	Issuer   string
}

// TrimSecret drops the one newline that editors put at the end of a file.
func TrimSecret(file []byte) []byte { return bytes.TrimSuffix(file, []byte("\n")) }

var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	keyAlgorithms    = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// An authenticator checks tokens. It is safe for concurrent use.
type authenticator struct {
	secret []byte
	keys   jwt.Keyfunc // nil without JWKS
	parser *jwt.Parser
}

func newAuthenticator(c AuthConfig) (*authenticator, error) {
	a := &authenticator{secret: TrimSecret(c.Secret)}
	options := []jwt.ParserOption{jwt.WithExpirationRequired()}
	var algorithms []string
	if len(c.Secret) > 0 {
		if len(a.secret) == 0 {
			return nil, errors.New("gateway: Auth.Secret is empty")
		}
		algorithms = append(algorithms, secretAlgorithms...)
	}
	if len(c.JWKS) > 0 {
		if c.Audience == "" || c.Issuer == "" {
			return nil, errors.New("gateway: Auth.JWKS needs Auth.Audience and Auth.Issuer")
		}
		var err error
		if a.keys, err = publicKeys(c.JWKS); err != nil {
			return nil, fmt.Errorf("gateway: Auth.JWKS: %w", err)
		}
		algorithms = append(algorithms, keyAlgorithms...)
	}
	if len(algorithms) == 0 {
		return nil, errors.New("gateway: neither Auth.Secret nor Auth.JWKS is set")
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	a.parser = jwt.NewParser(append(options, jwt.WithValidMethods(algorithms))...)
	return a, nil
}

// publicKeys reads a key set and refuses one without a key to verify with.
func publicKeys(set []byte) (jwt.Keyfunc, error) {
	var parsed jwkset.JWKSMarshal
	if err := json.Unmarshal(set, &parsed); err != nil {
		return nil, err
	}
	usable, ids := parsed.Keys[:0], make(map[string]bool)
	for _, k := range parsed.Keys {
		// A symmetric key would be a second secret, in a file that is meant to
		// be public.
		if k.KTY == jwkset.KtyOct || k.USE == jwkset.UseEnc {
			continue
		}
		if ids[k.KID] {
			return nil, fmt.Errorf("two keys have the kid %q", k.KID)
		}
		ids[k.KID] = true
		usable = append(usable, k)
	}
	if parsed.Keys = usable; len(usable) == 0 {
		return nil, errors.New("it holds no public key for signatures")
	}
	storage, err := parsed.ToStorage()
	if err != nil {
		return nil, err
	}
	keys, err := keyfunc.New(keyfunc.Options{Storage: storage})
	if err != nil {
		return nil, err
	}
	return keys.Keyfunc, nil
}

// An identity is what a good token says.
type identity struct {
	user    shard.UserID
	expires time.Time
	issued  int64 // ms; 0 = unknown
}

// verify gives what a token says. Its error is for people.
func (a *authenticator) verify(token string) (identity, error) {
	var claims claims
	parsed, err := a.parser.ParseWithClaims(token, &claims, a.key)
	if err != nil {
		return identity{}, err
	}
	if _, critical := parsed.Header["crit"]; critical {
		return identity{}, errors.New("crit names what this server does not know (RFC 7515, 4.1.11)")
	}
	if !protocol.ValidUser(claims.Subject) {
		return identity{}, errors.New("sub " + protocol.UserRule)
	}
	id := identity{user: shard.UserID(claims.Subject), expires: claims.ExpiresAt.Time}
	if id.expires.After(endOfTime) {
		id.expires = endOfTime
	}
	if at := claims.IssuedAt; at != nil {
		id.issued = max(at.UnixMilli(), 0)
	}
	return id, nil
}

// claims are registered ones whose times are numbers, as RFC 7519 has them. The
// library would take text with digits as well.
type claims struct{ jwt.RegisteredClaims }

func (c *claims) UnmarshalJSON(b []byte) error {
	var times struct {
		Expires   json.RawMessage `json:"exp"`
		NotBefore json.RawMessage `json:"nbf"`
		Issued    json.RawMessage `json:"iat"`
	}
	if err := json.Unmarshal(b, &times); err != nil {
		return err
	}
	for _, t := range []json.RawMessage{times.Expires, times.NotBefore, times.Issued} {
		if bytes.HasPrefix(t, []byte{'"'}) {
			return errors.New("exp, nbf and iat must be numbers")
		}
	}
	return json.Unmarshal(b, &c.RegisteredClaims)
}

// endOfTime is the latest expiry: later ones do not fit the wire's integers.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// key picks the key by the kind of the algorithm, so that a public key never
// serves as a secret.
func (a *authenticator) key(t *jwt.Token) (any, error) {
	if _, symmetric := t.Method.(*jwt.SigningMethodHMAC); symmetric {
		if len(a.secret) == 0 {
			return nil, errors.New("no secret is configured")
		}
		return a.secret, nil
	}
	if a.keys == nil {
		return nil, errors.New("no public keys are configured")
	}
	return a.keys(t)
}
