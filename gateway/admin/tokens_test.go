package admin

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokenScopes(t *testing.T) {
	tokens, err := NewTokens("# of operators\nall\n #all\n#\n#reader read\nreader read\n\n  writer  write \nboth read,write\nmover\tcluster\n")
	if err != nil {
		t.Fatal(err)
	}
	const none, bad = http.StatusForbidden, http.StatusUnauthorized
	for _, c := range []struct {
		secret               string
		read, write, cluster int
	}{
		{"all", 200, 200, 200},
		{"reader", 200, none, none},
		{"writer", none, 200, none},
		{"both", 200, 200, none},
		{"mover", none, none, 200},
		{"", bad, bad, bad},
		{"wrong", bad, bad, bad},
		{"al", bad, bad, bad},
		{"alll", bad, bad, bad},
		{"reader read", bad, bad, bad},
		{"#", bad, bad, bad},
		{"#all", bad, bad, bad},
		{"#reader", bad, bad, bad},
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
	tokens, err := NewTokens("secret-one\nsecret-two\n")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := tokens.authorize("secret-one", ScopeRead)
	two, _ := tokens.authorize("secret-two", ScopeRead)
	if len(one) != 8 || len(two) != 8 || one == two {
		t.Errorf("names %q and %q, want two of 8 digits", one, two)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first read\n")
	tokens, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	good := func(secret string) bool { _, refused := tokens.authorize(secret, ScopeRead); return refused == nil }
	write("second\n")
	if err := tokens.Reload(path); err != nil || good("first") || !good("second") {
		t.Errorf("after a reload (%v): first is good %v, second %v, want the second alone", err, good("first"), good("second"))
	}
	for text, want := range map[string]string{
		"third\nfourth admin\n":      path + `:2: scope "admin": want one of read, write, cluster`,
		" \n\n":                      path + " holds no token",
		"#third\n":                   path + " holds no token",
		"third\n\nthird read\n":      path + ":3: this token is there already",
		"third READ\n":               `:1: scope "READ"`,
		"third read write cluster x": `:1: scope "x"`,
	} {
		write(text)
		if err := tokens.Reload(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reload of %q: %v, want %s", text, err, want)
		}
		if !good("second") || good("third") {
			t.Errorf("reload of %q changed the tokens", text)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(path); err == nil || !good("second") {
		t.Errorf("reload of a file that is gone: %v, want an error and the tokens as they were", err)
	}
	if _, err := LoadTokens(path); err == nil {
		t.Error("LoadTokens of a file that is not there: no error")
	}
}
