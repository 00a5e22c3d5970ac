package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTokenScopes(t *testing.T) {
	tokens, err := NewTokens("# of operators\ntoken-with-all-scopes\n #all\n#\n#token-of-a-reader read\ntoken-of-a-reader read\n\n  token-of-a-writer  write \ntoken-of-both-scopes read,write\ntoken-of-a-mover\tcluster\n")
	if err != nil {
		t.Fatal(err)
	}
	const none, bad = http.StatusForbidden, http.StatusUnauthorized
	for _, c := range []struct {
		secret               string
		read, write, cluster int
	}{
		{"token-with-all-scopes", 200, 200, 200},
		{"token-of-a-reader", 200, none, none},
		{"token-of-a-writer", none, 200, none},
		{"token-of-both-scopes", 200, 200, none},
		{"token-of-a-mover", none, none, 200},
		{"", bad, bad, bad},
		{"wrong", bad, bad, bad},
		{"token-with-all-scope", bad, bad, bad},
		{"token-with-all-scopess", bad, bad, bad},
		{"token-of-a-reader read", bad, bad, bad},
		{"#", bad, bad, bad},
		{"#all", bad, bad, bad},
		{"#token-of-a-reader", bad, bad, bad},
	} {
		for scope, want := range map[Scope]int{ScopeRead: c.read, ScopeWrite: c.write, ScopeCluster: c.cluster} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+c.secret)
			tokens.Require(scope, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("token %q for %s: %d, want %d", c.secret, scope, w.Code, want)
			}
			if hasChallenge := w.Header().Get("WWW-Authenticate") != ""; hasChallenge != (w.Code == bad) {
				t.Errorf("token %q for %s: %d with WWW-Authenticate %v", c.secret, scope, w.Code, hasChallenge)
			}
		}
	}
}

func TestNoTokens(t *testing.T) {
	var none *Tokens
	for name, tokens := range map[string]*Tokens{"nil": none, "zero": new(Tokens)} {
		if _, refused := tokens.authorize("", ScopeRead); refused == nil {
			t.Errorf("%s tokens let in who shows none", name)
		}
		if _, refused := tokens.authorize("x", ScopeRead); refused == nil {
			t.Errorf("%s tokens let in who shows one", name)
		}
	}
	if _, refused := OpenTokens().authorize("", ScopeWrite); refused != nil {
		t.Errorf("open tokens refuse: %v", refused)
	}
}

func TestTokenNamesAreNoTokens(t *testing.T) {
	tokens, err := NewTokens("the-secret-number-one\nthe-secret-number-two\n")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := tokens.authorize("the-secret-number-one", ScopeRead)
	two, _ := tokens.authorize("the-secret-number-two", ScopeRead)
	if len(one) != 8 || len(two) != 8 || one == two {
		t.Errorf("names %q and %q, want two of 8 digits", one, two)
	}
}

func TestReplace(t *testing.T) {
	const first, second, third = "the-first-admin-token", "the-second-admin-token", "the-third-admin-token"
	tokens, err := NewTokens(first + " read\n")
	if err != nil {
		t.Fatal(err)
	}
	good := func(secret string) bool { _, refused := tokens.authorize(secret, ScopeRead); return refused == nil }
	if err := tokens.Replace(second + "\n"); err != nil || good(first) || !good(second) {
		t.Errorf("after Replace (%v): the first is good %v, the second %v, want the second alone", err, good(first), good(second))
	}
	for text, want := range map[string]string{
		third + "\n" + first + " admin\n":  `line 2: scope "admin": want one of read, write, cluster`,
		" \n\n":                            "there is no token",
		"#" + third + "\n":                 "there is no token",
		third + "\n\n" + third + " read\n": "line 3: this token is there already",
		third + " READ\n":                  `line 1: scope "READ"`,
		third + " read write cluster x":    `line 1: scope "x"`,
		third + "\nfifteen-letters\n":      "line 2: a token of 15 bytes, want 16 or more",
		"s\n":                              "line 1: a token of 1 bytes, want 16 or more",
	} {
		if err := tokens.Replace(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Replace(%q): %v, want %s", text, err, want)
		}
		if !good(second) || good(third) {
			t.Errorf("Replace(%q) changed the tokens", text)
		}
	}
}
