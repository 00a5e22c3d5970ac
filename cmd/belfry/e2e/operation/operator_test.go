package operation

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// The operator page is there for anybody, knows nothing itself, and may load nothing from
// elsewhere; all that it asks for needs a token.
func TestOperatorPage(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	get := func(path string) (*http.Response, string) {
		t.Helper()
		r, err := http.Get("http://" + s.AdminListen + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(text)
	}
	r, page := get("/operator/")
	policy := r.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %s", policy, want)
		}
	}
	if r.StatusCode != 200 || strings.Contains(policy, "unsafe") || strings.Contains(page, "http:") || strings.Contains(page, "https:") {
		t.Fatalf("/operator/: %d, policy %q\n%s", r.StatusCode, policy, page)
	}
	for _, path := range []string{"/", "/operator"} {
		if r, to := get(path); r.Request.URL.Path != "/operator/" || to != page {
			t.Errorf("%s leads to %s", path, r.Request.URL)
		}
	}
	_, rest, _ := strings.Cut(page, `src="./`)
	script, _, _ := strings.Cut(rest, `"`)
	if r, _ := get("/operator/" + script); r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("/operator/%s: %d %s", script, r.StatusCode, r.Header.Get("Content-Type"))
	}
	for path, status := range map[string]int{"/operator/none.js": 404, "/operator/../v1/stats": 401, "/v1/token": 401, "/v1/sick": 401, "/v1/audit": 401} {
		if status2, text := s.Call(t, "GET", path, ""); status2 != status {
			t.Errorf("%s without a token: %d %.100s, want %d", path, status2, text, status)
		}
	}
}

// What an operator sees of a user, a group and a message is what is so, with a token that
// may only read; what changes something is refused to that token.
func TestInspection(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "--offline-max-messages=3", "--recents=50")
	look := func(path string) wstest.Obj {
		t.Helper()
		status, reply, err := s.AdminAs(harness.ReadToken, "GET", path, nil)
		if err != nil || status != 200 {
			t.Fatalf("GET %s: %d %v %v", path, status, reply, err)
		}
		return reply
	}
	rows := func(of wstest.Obj, name string) (list []wstest.Obj) {
		t.Helper()
		for _, row := range of[name].([]any) {
			list = append(list, row.(wstest.Obj))
		}
		return list
	}
	alice := s.Login(t, "alice", "phone", nil)
	var id string
	for i := range 5 {
		id = alice.Request("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": obj{"text": "a secret word"}})["id"].(string)
	}

	// Only the newest three wait for bob; the shard has noted whom its limit took from.
	lost := func() (n int64) {
		for _, node := range rows(look("/v1/nodes"), "nodes") {
			for _, r := range rows(node, "replicas") {
				for _, l := range rows(r, "losses") {
					if l["of"] == "u:bob" && l["kind"] == "queue" {
						n += l["messages"].(int64)
					}
				}
			}
		}
		return n
	}
	wstest.Eventually(t, "bob's queue lost two messages", func() bool { return lost() == 2 })

	bob := s.Login(t, "bob", "laptop", nil)
	bob.Expect("onNewMessage")
	sessions := rows(look("/v1/users/bob/sessions"), "sessions")
	if len(sessions) != 1 || sessions[0]["device"] != "laptop" || sessions[0]["node"] != "node" || sessions[0]["unackedFrames"] == int64(0) || sessions[0]["address"] != "127.0.0.1" {
		t.Errorf("sessions of bob = %v", sessions)
	}
	frames := look(fmt.Sprintf("/v1/users/bob/sessions/%d/frames", sessions[0]["session"]))
	if text := fmt.Sprint(frames); !strings.Contains(text, "onNewMessage") || !strings.Contains(text, "login") || strings.Contains(text, "secret word") {
		t.Errorf("frames of bob = %s", text)
	}
	views := rows(look("/v1/users/bob/conversations/u:alice/messages/5"), "views")
	if len(views) != 2 || views[0]["id"] != id || views[1]["user"] != "alice" || views[1]["id"] != id || views[0]["state"] != "visible" {
		t.Errorf("views of a message = %v", views)
	}
	if c := rows(look("/v1/users/bob/conversations"), "conversations"); len(c) != 1 || c[0]["conv"] != "u:alice" || c[0]["lastSeq"] != int64(5) {
		t.Errorf("conversations of bob = %v", c)
	}
	settings := fmt.Sprint(look("/v1/settings"))
	if !strings.Contains(settings, "offline-max-messages") || strings.Contains(settings, string(s.Secret)) || strings.Contains(settings, s.AdminToken) {
		t.Errorf("settings = %s", settings)
	}

	s.MustAdmin("POST", "/v1/groups", obj{"group": "team", "kind": "private", "owner": "alice", "members": []any{"mallory"}})
	for i := range 4 {
		s.MustAdmin("POST", "/v1/messages", obj{"from": "mallory", "to": "g:team", "cid": fmt.Sprint(i), "body": 1})
	}
	if n := look("/v1/groups/team/senders/mallory")["messages"]; n != int64(4) {
		t.Errorf("messages of mallory = %v, want 4", n)
	}
	for _, c := range [][2]string{{"DELETE", "/v1/groups/team/messages?sender=mallory"}, {"DELETE", "/v1/users/bob/sessions"}} {
		if status, reply, err := s.AdminAs(harness.ReadToken, c[0], c[1], nil); err != nil || status != 403 || reply["code"] != "forbidden" {
			t.Errorf("%s %s with a token that may only read: %d %v %v", c[0], c[1], status, reply, err)
		}
	}
	if reply := s.MustAdmin("DELETE", "/v1/groups/team/messages?sender=mallory", nil); reply["deleted"] != int64(4) {
		t.Errorf("deleted = %v, want the 4 that were counted", reply)
	}
	changes := rows(look("/v1/audit?limit=3"), "changes")
	if len(changes) != 3 || changes[0]["operation"] != "deleteSender" || changes[0]["status"] != int64(200) || changes[1]["status"] != int64(403) || changes[0]["token"] == changes[1]["token"] {
		t.Errorf("audit = %v", changes)
	}
	if scopes := fmt.Sprint(look("/v1/token")["scopes"]); scopes != "[read]" {
		t.Errorf("scopes of a token that may only read = %s", scopes)
	}
}
