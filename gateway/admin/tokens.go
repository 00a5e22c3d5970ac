package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A Scope is a kind of calls. The calls of a token may be limited to some scopes.
type Scope string

const (
	ScopeRead    Scope = "read"    // calls that change nothing, metrics and profiles
	ScopeWrite   Scope = "write"   // calls that change something
	ScopeCluster Scope = "cluster" // nodes, shards and slots

	anyScope Scope = "" // that every valid token has
)

var scopes = []Scope{ScopeRead, ScopeWrite, ScopeCluster}

// Tokens are the admin tokens that are accepted. They may be replaced while the
// server runs. Nil, or without tokens, they refuse everybody; OpenTokens accepts
// everybody.
type Tokens struct {
	open bool
	set  atomic.Pointer[[]token]
}

// OpenTokens returns the tokens of a dev server, which accept everybody.
func OpenTokens() *Tokens { return &Tokens{open: true} }

// A token is kept as its digest alone.
type token struct {
	digest [sha256.Size]byte
	scopes []Scope // nil: all
}

// NewTokens parses a text with one token a line, followed by its scopes (none means
// all), separated by spaces or commas. Empty lines and lines that begin with # are
// skipped.
func NewTokens(text string) (*Tokens, error) {
	set, err := parseTokens(text)
	if err != nil {
		return nil, err
	}
	t := new(Tokens)
	t.set.Store(&set)
	return t, nil
}

// Replace replaces the tokens with those of another text. After an error the old ones
// stay.
func (t *Tokens) Replace(text string) error {
	set, err := parseTokens(text)
	if err != nil {
		return err
	}
	t.set.Store(&set)
	return nil
}

// minToken is the least length of a token, in bytes: shorter ones could be guessed.
const minToken = 16

func parseTokens(text string) ([]token, error) {
	var set []token
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		// A comment of one long word would otherwise be a token with all scopes.
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if len(fields[0]) < minToken {
			return nil, fmt.Errorf("line %d: a token of %d bytes, want %d or more", n, len(fields[0]), minToken)
		}
		t := token{digest: sha256.Sum256([]byte(fields[0]))}
		if slices.ContainsFunc(set, func(other token) bool { return other.digest == t.digest }) {
			return nil, fmt.Errorf("line %d: this token is there already", n)
		}
		for _, word := range fields[1:] {
			if !slices.Contains(scopes, Scope(word)) {
				return nil, fmt.Errorf("line %d: scope %q: want one of read, write, cluster", n, word)
			}
			t.scopes = append(t.scopes, Scope(word))
		}
		set = append(set, t)
	}
	if len(set) == 0 {
		return nil, errors.New("there is no token")
	}
	return set, nil
}

// authorize returns the name of a token for logs, or a refusal if it is unknown or
// lacks the scope.
func (t *Tokens) authorize(secret string, need Scope) (name string, refused *Error) {
	if t != nil && t.open {
		return "", nil
	}
	var set []token
	if t != nil {
		if p := t.set.Load(); p != nil {
			set = *p
		}
	}
	// All digests are compared, and have one length: the time it takes reveals
	// nothing about the tokens.
	digest, at := sha256.Sum256([]byte(secret)), -1
	for i := range set {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], set[i].digest[:]), i, at)
	}
	if secret == "" || at < 0 {
		return "", &Error{
			status: http.StatusUnauthorized, Code: protocol.CodeUnauthorized,
			Message: "Authorization: want Bearer with an admin token",
		}
	}
	// A part of the digest: it tells tokens apart in a log, and does not help to
	// guess one.
	name = hex.EncodeToString(digest[:4])
	if s := set[at].scopes; need != anyScope && len(s) > 0 && !slices.Contains(s, need) {
		return name, &Error{
			status: http.StatusForbidden, Code: protocol.CodeForbidden,
			Message: fmt.Sprintf("Authorization: the token has not the scope %s", need),
		}
	}
	return name, nil
}

// bearerChallenge is the WWW-Authenticate header that asks for a token.
const bearerChallenge = `Bearer realm="belfry"`

// bearer returns the token of a request's Authorization header, "" if there is none.
func bearer(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return secret
}

// Require returns a handler that passes to next the requests whose token has a scope.
// It answers others with 401 or 403.
func (t *Tokens) Require(need Scope, next http.Handler) http.Handler {
	return t.require(need, bearer, bearerChallenge, next)
}

// requireInBrowser is Require for pages. A browser asks its user for a name, which is
// ignored, and for a password: the token. The scope is ScopeRead.
func (t *Tokens) requireInBrowser(next http.Handler) http.Handler {
	return t.require(ScopeRead, func(r *http.Request) string {
		if _, password, ok := r.BasicAuth(); ok {
			return password
		}
		return bearer(r)
	}, `Basic realm="belfry: an admin token as password", charset="UTF-8"`, next)
}

func (t *Tokens) require(need Scope, secret func(*http.Request) string, challenge string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, refused := t.authorize(secret(r), need); refused != nil {
			if refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			refused.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
