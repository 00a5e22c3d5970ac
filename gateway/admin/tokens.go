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

// A Scope is what a token may be limited to.
type Scope string

const (
	ScopeRead    Scope = "read"    // calls that change nothing, metrics and profiles
	ScopeWrite   Scope = "write"   // calls that change something
	ScopeCluster Scope = "cluster" // nodes, shards and slots

	anyScope Scope = "" // what every token has
)

var scopes = []Scope{ScopeRead, ScopeWrite, ScopeCluster}

// Tokens are the secrets that administrators show. They may be replaced while
// the server runs. Nil, or without any, they let in nobody but the users of a
// development server; see OpenTokens.
type Tokens struct {
	open bool
	set  atomic.Pointer[[]token]
}

// OpenTokens let in everybody: those of a development server.
func OpenTokens() *Tokens { return &Tokens{open: true} }

// A token is known by its digest alone.
type token struct {
	digest [sha256.Size]byte
	scopes []Scope // none = all
}

// NewTokens returns the tokens that text has, a line for each: the token, then
// its scopes, none for all, separated by spaces or commas. Empty lines and those
// that begin with # do not count.
func NewTokens(text string) (*Tokens, error) {
	set, err := parseTokens(text)
	if err != nil {
		return nil, err
	}
	t := new(Tokens)
	t.set.Store(&set)
	return t, nil
}

// Replace takes the tokens of another text instead of those before. When something
// is wrong with it, they stay.
func (t *Tokens) Replace(text string) error {
	set, err := parseTokens(text)
	if err != nil {
		return err
	}
	t.set.Store(&set)
	return nil
}

// minToken is how many bytes a token has at least: shorter ones are guessed.
const minToken = 16

func parseTokens(text string) ([]token, error) {
	var set []token
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		// A remark of one word would otherwise be a token with all scopes.
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

// authorize returns the name of the token that a request shows, or why it is refused.
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
	// Digests have one length, and all are compared: the time taken tells
	// nothing of the tokens.
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
	// Enough to tell tokens apart in a log, and no help to guess one.
	name = hex.EncodeToString(digest[:4])
	if s := set[at].scopes; need != anyScope && len(s) > 0 && !slices.Contains(s, need) {
		return name, &Error{
			status: http.StatusForbidden, Code: protocol.CodeForbidden,
			Message: fmt.Sprintf("Authorization: the token has not the scope %s", need),
		}
	}
	return name, nil
}

// bearerChallenge asks for a token.
const bearerChallenge = `Bearer realm="belfry"`

// bearer returns the token that a request shows, "" if none.
func bearer(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return secret
}

// Require passes on requests that bear a token with a scope. Others get 401 or
// 403.
func (t *Tokens) Require(need Scope, next http.Handler) http.Handler {
	return t.require(need, bearer, bearerChallenge, next)
}

// requireInBrowser is Require of ScopeRead, for pages: a browser asks for a
// name, which does not matter, and the token as password.
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
