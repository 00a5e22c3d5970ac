package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/admin"
)

func TestAdminToken(t *testing.T) {
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	withTokens := newTestGateway(t, func(c *Config) { c.AdminTokens = adminTokens(t, "the-first-admin-token\nthe-second-admin-token\n") })
	without := newTestGateway(t, nil)
	dev := newTestGateway(t, func(c *Config) { c.Dev = true })
	for _, tc := range []struct {
		name    string
		gateway *Gateway
		header  http.Header
		ok      bool
	}{
		{"first token", withTokens, bearer("the-first-admin-token"), true},
		{"second token", withTokens, bearer("the-second-admin-token"), true},
		{"lower-case scheme", withTokens, http.Header{"Authorization": {"bearer the-second-admin-token"}}, true},
		{"no token", withTokens, nil, false},
		{"empty token", withTokens, bearer(""), false},
		{"other token", withTokens, bearer("the-third-admin-token"), false},
		{"prefix of a token", withTokens, bearer("the-first-admin-toke"), false},
		{"other scheme", withTokens, http.Header{"Authorization": {"Basic the-first-admin-token"}}, false},
		{"no tokens", without, bearer("the-first-admin-token"), false},
		{"no tokens, none given", without, nil, false},
		{"dev", dev, nil, true},
	} {
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/symbol"} {
			r := get(tc.gateway.AdminHandler(), "http://localhost"+path, tc.header)
			if want := map[bool]int{true: 200, false: 401}[tc.ok]; r.StatusCode != want {
				t.Errorf("%s: %s = %d, want %d", tc.name, path, r.StatusCode, want)
			}
			if !tc.ok && r.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s: 401 without WWW-Authenticate", tc.name, path)
			}
		}
	}
}

// TestProfilesAreNotForAll: the command line may hold secrets, and pages of other
// sites are not to have profiles taken.
// Who opens the operations listener in a browser gets to the operator page, if there is one.
func TestOperatorPageIsFound(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })
	with := newTestGateway(t, func(c *Config) { c.Operator = page })
	for _, path := range []string{"/", "/operator"} {
		r := get(with.AdminHandler(), "http://localhost"+path, nil)
		if r.StatusCode != http.StatusTemporaryRedirect || r.Header.Get("Location") != OperatorPath {
			t.Errorf("%s = %d to %q, want a redirect to %s", path, r.StatusCode, r.Header.Get("Location"), OperatorPath)
		}
		if r := get(newTestGateway(t, nil).AdminHandler(), "http://localhost"+path, nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s = %d without the page, want 401", path, r.StatusCode)
		}
	}
	post := httptest.NewRecorder()
	with.AdminHandler().ServeHTTP(post, httptest.NewRequest("POST", "http://localhost/operator", nil))
	if post.Code != http.StatusUnauthorized {
		t.Errorf("POST /operator = %d, want 401", post.Code)
	}
}

func TestProfilesAreNotForAll(t *testing.T) {
	const token = "an-admin-token-of-16-bytes"
	h := newTestGateway(t, func(c *Config) { c.AdminTokens = adminTokens(t, token+"\n") }).AdminHandler()
	if r := get(h, "http://localhost/debug/pprof/cmdline", http.Header{"Authorization": {"Bearer " + token}}); r.StatusCode != 404 {
		t.Errorf("cmdline: %d, want 404", r.StatusCode)
	}
	dev := newTestGateway(t, func(c *Config) { c.Dev = true }).AdminHandler()
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine"} {
		for _, c := range []struct {
			header http.Header
			status int
		}{
			{nil, 200},
			{http.Header{"Sec-Fetch-Site": {"none"}}, 200},
			{http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://localhost"}}, 200},
			{http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
			{http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
			{http.Header{"Origin": {"https://evil.example"}}, 403},
		} {
			if r := get(dev, "http://localhost"+path, c.header); r.StatusCode != c.status {
				t.Errorf("%s with %v: %d, want %d", path, c.header, r.StatusCode, c.status)
			}
		}
	}
}

func adminTokens(t *testing.T, text string) *admin.Tokens {
	t.Helper()
	tokens, err := admin.NewTokens(text)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestHealth(t *testing.T) {
	var store *testStore
	g := newTestGateway(t, func(c *Config) { store = c.Backend.(*testStore) })
	status := func(path string) int { return get(g.AdminHandler(), "http://x"+path, nil).StatusCode }
	if got := status("/healthz"); got != 200 {
		t.Errorf("/healthz = %d, want 200", got)
	}
	if got := status("/readyz"); got != 200 {
		t.Errorf("/readyz = %d, want 200", got)
	}
	store.setDown(true)
	if got := status("/readyz"); got != 503 {
		t.Errorf("/readyz of a store that is down = %d, want 503", got)
	}
	store.setDown(false)
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := status("/readyz"); got != 503 {
		t.Errorf("/readyz while going away = %d, want 503", got)
	}
	if got := status("/healthz"); got != 200 {
		t.Errorf("/healthz while going away = %d, want 200", got)
	}
	if got := status("/nothing"); got != 401 {
		t.Errorf("/nothing of a stranger = %d, want 401", got)
	}
}

func TestMetricsAreServed(t *testing.T) {
	g := newTestGateway(t, func(c *Config) { c.Dev = true })
	r := get(g.AdminHandler(), "http://localhost/metrics", nil)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"belfry_gateway_sessions", "belfry_gateway_push_seconds_bucket", "belfry_gateway_messages_in_total"} {
		if !strings.Contains(string(body), name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
}

// TestSafeToStop asks as one who is on this machine, or not.
func TestSafeToStop(t *testing.T) {
	var reasons []string
	clustered := newTestGateway(t, func(c *Config) {
		c.SafeToStop = func(context.Context) ([]string, error) { return reasons, nil }
	})
	alone := newTestGateway(t, nil)
	for _, tc := range []struct {
		name    string
		gateway *Gateway
		from    string
		reasons []string
		header  http.Header
		status  int
		says    string
	}{
		{"safe", clustered, "127.0.0.1:99", nil, nil, 200, "safe"},
		{"safe, IPv6", clustered, "[::1]:99", nil, nil, 200, "safe"},
		{"not safe", clustered, "127.0.0.1:99", []string{"shard 0 has no leader", "b is away"}, nil, 503, "shard 0 has no leader; b is away"},
		{"from elsewhere", clustered, "10.0.0.7:99", []string{"b is away"}, nil, 403, "only callers"},
		{"from nowhere", clustered, "@", nil, nil, 403, "only callers"},
		{"by a proxy", clustered, "127.0.0.1:99", []string{"b is away"}, http.Header{"X-Forwarded-For": {"10.0.0.7"}}, 403, "only callers"},
		{"alone", alone, "127.0.0.1:99", nil, nil, 404, "not in a cluster"},
	} {
		reasons = tc.reasons
		r := httptest.NewRequest(http.MethodGet, "http://localhost/safe-to-stop", nil)
		r.RemoteAddr = tc.from
		if tc.header != nil {
			r.Header = tc.header
		}
		w := httptest.NewRecorder()
		tc.gateway.AdminHandler().ServeHTTP(w, r)
		if body := w.Body.String(); w.Code != tc.status || !strings.Contains(body, tc.says) || tc.status == 403 && strings.Contains(body, "b is away") {
			t.Errorf("%s = %d %s, want %d and %q", tc.name, w.Code, body, tc.status, tc.says)
		}
	}
}
