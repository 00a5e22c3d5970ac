package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.KnownUsersOnly = true })
	makeGroup("team")(s)
	s.must("POST", "/v1/groups", obj{"group": "stage", "kind": "live"})
	s.login("bob", "phone")
	s.login("carol", "phone")
	s.propose(&command.Block{User: "bob", Target: "carol"})
	s.must("POST", "/v1/messages", obj{"from": "alice", "to": "u:bob", "cid": "taken", "body": 1})
	v, _ := document(t, s)

	message := func(change obj) obj {
		m := obj{"from": "alice", "to": "u:bob", "cid": "1", "body": 1}
		for k, v := range change {
			if m[k] = v; v == nil {
				delete(m, k)
			}
		}
		return m
	}
	many := make([]string, 501)
	for i := range many {
		many[i] = fmt.Sprintf("u:user%d", i)
	}
	const bad, missing = protocol.CodeBadRequest, protocol.CodeNotFound
	for _, c := range []struct {
		call    string // method and path
		body    any
		status  int
		code    string
		message string // that it begins with
	}{
		{"POST /v1/messages", message(obj{"from": nil}), 400, bad, "from: must be set"},
		{"POST /v1/messages", message(obj{"from": "al ice"}), 400, bad, "from: expected string to be 1-64 bytes"},
		{"POST /v1/messages", message(obj{"from": 7}), 400, bad, "from: expected string"},
		{"POST /v1/messages", message(obj{"to": nil}), 400, bad, "to: must be set"},
		{"POST /v1/messages", message(obj{"to": "b ob"}), 400, bad, "to: want u:<user>, g:<group>, or a list of 1-500 u:<user>"},
		{"POST /v1/messages", message(obj{"to": "g:" + strings.Repeat("x", 49)}), 400, bad, "to: want u:<user> or g:<group>"},
		{"POST /v1/messages", message(obj{"to": []string{}}), 400, bad, "to: want u:<user>, g:<group>, or a list of 1-500 u:<user>"},
		{"POST /v1/messages", message(obj{"to": []string{"u:bob", "g:team"}}), 400, bad, "to[1]: "},
		{"POST /v1/messages", message(obj{"to": many}), 400, bad, "to: want u:<user>, g:<group>, or a list of 1-500 u:<user>"},
		{"POST /v1/messages", message(obj{"conv": "u:bob"}), 400, bad, "conv: stands for to"},
		{"POST /v1/messages", message(obj{"to": nil, "conv": "b ob"}), 400, bad, "conv: expected string to be u:<user> or g:<group>"},
		{"POST /v1/messages", message(obj{"to": nil, "conv": "g:none"}), 404, missing, "to: there is no group none"},
		{"POST /v1/messages", message(obj{"to": "u:nobody"}), 404, missing, "to: there is no user nobody"},
		{"POST /v1/messages", message(obj{"to": "g:none"}), 404, missing, "to: there is no group none"},
		{"POST /v1/messages", message(obj{"cid": nil}), 400, bad, "cid: must be set"},
		{"POST /v1/messages", message(obj{"cid": ""}), 400, bad, "cid: expected length >= 1"},
		{"POST /v1/messages", message(obj{"cid": strings.Repeat("é", 33)}), 400, bad, "cid: want 1-64 bytes"},
		{"POST /v1/messages", message(obj{"body": nil}), 400, bad, "body: must be set"},
		{"POST /v1/messages", message(obj{"body": strings.Repeat("x", 13<<10)}), 413, protocol.CodeTooLarge, "body: must take at most 12288 bytes"},
		{"POST /v1/messages", message(obj{"body": strings.Repeat("x", maxRequest)}), 413, protocol.CodeTooLarge, "body: is too large"},
		{"POST /v1/messages", message(obj{"body": obj{"$bin": 1}}), 400, bad, "body: must have padded base64"},
		{"POST /v1/messages", message(obj{"ttl": 604801}), 400, bad, "ttl: expected number <= 604800"},
		{"POST /v1/messages", message(obj{"ttl": 1.5}), 400, bad, "ttl: expected integer"},
		{"POST /v1/messages", message(obj{"mentions": []string{"bob", ""}}), 400, bad, "mentions[1]: "},
		{"POST /v1/messages", message(obj{"shout": true}), 400, bad, "shout: unexpected property"},
		{"POST /v1/messages", message(obj{"FROM": "a b"}), 400, bad, "FROM: unexpected property"},
		{"POST /v1/messages", message(obj{"cid": "taken", "body": 2}), 409, protocol.CodeConflict, "cid"},
		{"POST /v1/messages", message(obj{"from": "carol"}), 403, protocol.CodeForbidden, "conv"},
		{"POST /v1/messages", `{"from": "alice", "to": "u:bob", "cid": "1", "body": 1e999}`, 400, bad, "body: has a number that is out of range"},
		{"POST /v1/messages", "{", 400, bad, "body: "},
		{"POST /v1/messages", "", 400, bad, "body: "},
		{"POST /v1/messages", "null", 400, bad, "body: "},
		{"POST /v1/messages", "[]", 400, bad, "body: must be one JSON object"},
		{"POST /v1/messages?x=1", message(nil), 400, bad, "x: unknown query parameter"},

		{"GET /v1/users/a%20b", nil, 400, bad, "user: expected string to be 1-64 bytes"},
		{"GET /v1/users/nobody", nil, 404, missing, "user: there is no user nobody"},
		{"GET /v1/users/nobody/export", nil, 404, missing, "user: there is no user nobody"},
		{"GET /v1/users?limit=0", nil, 400, bad, "limit: expected number >= 1"},
		{"GET /v1/users?limit=x", nil, 400, bad, "limit: invalid integer"},
		{"GET /v1/users?limit", nil, 400, bad, "limit: want one value"},
		{"GET /v1/users?limit=1&limit=2", nil, 400, bad, "limit: want one value"},
		{"GET /v1/users?limit=%zz", nil, 400, bad, "query: "},
		{"DELETE /v1/users/bob/sessions?device=%zz", nil, 400, bad, "query: "},
		{"DELETE /v1/users/bob/sessions?device=", nil, 400, bad, "device: want one value"},
		{"DELETE /v1/users/bob/sessions?divice=phone", nil, 400, bad, "divice: unknown query parameter"},
		{"PATCH /v1/users/bob", `{"suspended":true,"suspended":false}`, 400, bad, "body: suspended: stands there twice"},
		{"POST /v1/groups", `{"kind":"private","settings":{"maxMembers":1,"maxMembers":2}}`, 400, bad, "body: settings.maxMembers: stands there twice"},
		{"PATCH /v1/users/bob", `{"Suspended":true}`, 400, bad, "Suspended: unexpected property"},
		{"PATCH /v1/users/bob", `{"suspended":true`, 400, bad, "body: must be one JSON object"},
		{"PATCH /v1/users/bob", `{"suspended":true} x`, 400, bad, "body: must be one JSON object"},
		{"PATCH /v1/users/bob", `{"tokensFrom":1.0}`, 400, bad, "tokensFrom: must be written as an integer"},
		{"PATCH /v1/users/bob", `{"tokensFrom":1795400000}`, 400, bad, "tokensFrom: want Unix milliseconds, or 0; this looks like seconds"},
		{"PATCH /v1/groups/team/members/bob", `{"mutedUntil":1795400000}`, 400, bad, "mutedUntil: want Unix milliseconds, or 0; this looks like seconds"},
		{"GET /v1/users?limit=1&limit=2", nil, 400, bad, "limit: want one value"},
		{"GET /v1/users?Limit=1", nil, 400, bad, "Limit: unknown query parameter"},
		{"PATCH /v1/users/bob", obj{}, 400, bad, "body: want historyTtl, suspended or tokensFrom"},
		{"PATCH /v1/users/bob", obj{"historyTtl": -1}, 400, bad, "historyTtl: expected number >= 0"},
		{"PATCH /v1/users/bob", obj{"historyTtl": 1e18}, 400, bad, "historyTtl: expected number <= 315360000"},
		{"PATCH /v1/users/bob", obj{"suspended": "yes"}, 400, bad, "suspended: expected boolean"},
		{"GET /v1/users/bob/conversations/alice/messages", nil, 400, bad, "conv: expected string to be u:<user> or g:<group>"},
		{"GET /v1/users/bob/conversations/u:alice/messages?before=3&after=1", nil, 400, bad, "before: must come alone"},
		{"GET /v1/users/bob/conversations/u:alice/messages?from=3", nil, 400, bad, "from: must come with to"},
		{"GET /v1/users/bob/conversations/u:alice/messages?from=3&to=2", nil, 400, bad, "from: must not be above to"},
		{"GET /v1/users/bob/conversations/u:alice/messages?before=9007199254740992", nil, 400, bad, "before: expected number <= 9007199254740991"},
		{"GET /v1/users/bob/conversations/g:team/messages", nil, 403, protocol.CodeForbidden, "conv"},
		{"GET /v1/users/bob/conversations/g:none/messages", nil, 404, missing, "conv: there is no group none"},
		{"PATCH /v1/users/bob/conversations/u:dave", obj{"readSeq": 1}, 404, missing, "conv"},
		{"PATCH /v1/users/bob/conversations/u:alice", `{"readSeq": 1.0}`, 400, bad, "readSeq: must be written as an integer"},
		{"PATCH /v1/groups/team", `{"settings": {"maxMembers": 1e3}}`, 400, bad, "settings.maxMembers: must be written as an integer"},
		{"PATCH /v1/users/bob/conversations/u:alice", obj{"readSeq": -1}, 400, bad, "readSeq: expected number >= 0"},

		{"GET /v1/users/bob/sessions/0/frames", nil, 400, bad, "session: expected number >= 1"},
		{"GET /v1/users/bob/sessions/x/frames", nil, 400, bad, "session: invalid integer"},
		{"GET /v1/users/bob/sessions/99/frames", nil, 503, protocol.CodeUnavailable, "session: is at no node that answers; missing: gone"},
		{"GET /v1/users/bob/conversations?limit=101", nil, 400, bad, "limit: expected number <= 100"},
		{"GET /v1/users/bob/conversations?after=x", nil, 400, bad, "after: invalid integer"},
		{"GET /v1/users/bob/conversations/alice/messages/1", nil, 400, bad, "conv: expected string to be u:<user> or g:<group>"},
		{"GET /v1/users/bob/conversations/u:alice/messages/0", nil, 400, bad, "seq: expected number >= 1"},
		{"GET /v1/users/bob/conversations/u:alice/messages/999", nil, 404, missing, "seq: no such message"},
		{"GET /v1/users/bob/conversations/u:zoe/messages/1", nil, 404, missing, "seq: no such message"},
		{"GET /v1/users/bob/conversations/g:team/messages/1", nil, 404, missing, "seq: no such message"},
		{"GET /v1/groups/team/messages/1", nil, 404, missing, "seq: no such message"},
		{"GET /v1/groups/none/messages/1", nil, 404, missing, "group: there is no group none"},
		{"GET /v1/groups/none/senders/bob", nil, 404, missing, "group: there is no group none"},
		{"GET /v1/groups/team/senders/a%20b", nil, 400, bad, "user: expected string to be 1-64 bytes"},
		{"GET /v1/messages/nonsense", nil, 400, bad, "id: expected string to be a ULID"},
		{"GET /v1/messages/81HF7YAT00ZZZZZZZZZZZZZZZZ", nil, 400, bad, "id: expected string to be a ULID"},
		{"GET /v1/messages/01HF7YAT00ZZZZZZZZZZZZZZZZ?after=16384", nil, 400, bad, "after: expected number <= 16383"},
		{"GET /v1/sick?limit=0", nil, 400, bad, "limit: expected number >= 1"},
		{"GET /v1/nodes?limit=201", nil, 400, bad, "limit: expected number <= 200"},
		{"GET /v1/settings?all=1", nil, 400, bad, "all: unknown query parameter"},
		{"GET /v1/audit?after=x", nil, 400, bad, "after: want next of the page before"},
		{"GET /v1/audit?after=1.2.", nil, 400, bad, "after: want next of the page before"},
		{"GET /v1/audit?limit=1001", nil, 400, bad, "limit: expected number <= 1000"},
		{"POST /v1/audit", nil, 405, bad, "method: want GET"},
		{"GET /v1/groups/none", nil, 404, missing, "group: there is no group none"},
		{"GET /v1/groups/none/members", nil, 404, missing, "group: there is no group none"},
		{"GET /v1/groups/none/requests", nil, 404, missing, "group: there is no group none"},
		{"GET /v1/groups/none/messages", nil, 404, missing, "group: there is no group none"},
		{"PATCH /v1/groups/none", obj{"name": "x"}, 404, missing, "group: "},
		{"DELETE /v1/groups/none", nil, 404, missing, "group: "},
		{"DELETE /v1/groups/none/messages?sender=bob", nil, 404, missing, "group: "},
		{"DELETE /v1/groups/none/messages/1", nil, 404, missing, "group: "},
		{"POST /v1/groups/none/members", obj{"users": []string{"bob"}}, 404, missing, "group: "},
		{"DELETE /v1/groups/team/messages", nil, 400, bad, "sender: required query parameter is missing"},
		{"DELETE /v1/groups/team/messages?sender=%20", nil, 400, bad, "sender: "},
		{"DELETE /v1/groups/team/messages?sender=bob&silent=maybe", nil, 400, bad, "silent: invalid boolean"},
		{"DELETE /v1/groups/team/messages/0", nil, 400, bad, "seq: expected number >= 1"},
		{"DELETE /v1/groups/team/messages/x", nil, 400, bad, "seq: invalid integer"},
		{"DELETE /v1/groups/team/messages/99", nil, 404, missing, "seq: no such message"},
		{"POST /v1/groups", obj{"kind": "secret"}, 400, bad, "kind: expected value to be one of"},
		{"POST /v1/groups", obj{"kind": "private", "group": "a b"}, 400, bad, "group: expected string"},
		{"POST /v1/groups", obj{"kind": "private", "name": strings.Repeat("é", 129)}, 400, bad, "name: want at most 256 bytes"},
		{"POST /v1/groups", obj{"kind": "private", "properties": []int{}}, 400, bad, "properties: expected object"},
		{"POST /v1/groups", obj{"kind": "private", "properties": obj{"$bin": "AA=="}}, 400, bad, "properties: must be a map"},
		{"POST /v1/groups", obj{"kind": "private", "properties": obj{"x": strings.Repeat("x", 9<<10)}}, 413, protocol.CodeTooLarge, "properties: must take at most 8192 bytes"},
		{"POST /v1/groups", obj{"kind": "private", "settings": obj{"stored": false}}, 400, bad, "settings.stored: unexpected property"},
		{"POST /v1/groups", obj{"kind": "private", "settings": obj{"join": "never"}}, 400, bad, "settings.join: "},
		{"POST /v1/groups", obj{"kind": "public", "group": "team"}, 409, protocol.CodeConflict, "group: team exists"},
		{"PATCH /v1/groups/team", obj{}, 400, bad, "body: want name, owner, settings or properties"},
		{"PATCH /v1/groups/team", obj{"owner": "nobody"}, 404, missing, "owner: is no member"},
		{"POST /v1/groups/team/members", obj{"users": []string{}}, 400, bad, "users: expected array length >= 1"},
		{"POST /v1/groups/stage/members", obj{"users": []string{"bob"}}, 400, bad, "group: "},
		{"PATCH /v1/groups/team/members/bob", obj{}, 400, bad, "body: want role or mutedUntil"},
		{"PATCH /v1/groups/team/members/bob", obj{"role": "owner"}, 400, bad, "role: expected value to be one of"},
		{"PATCH /v1/groups/team/members/nobody", obj{"role": "admin"}, 404, missing, "user: is no member"},
		{"PATCH /v1/groups/team/members/team-owner", obj{"role": "member"}, 403, protocol.CodeForbidden, "role: "},
		{"POST /v1/groups/team/requests/nobody", obj{"accept": true}, 404, missing, "user: has not asked to join"},
		{"POST /v1/groups/team/requests/nobody", obj{}, 400, bad, "accept: must be set"},

		{"POST /v1/import", "", 400, bad, "stream: required query parameter is missing"},
		{"POST /v1/import?stream=x&offset=-1", "", 400, bad, "offset: "},
		{"POST /v1/import?stream=x", "{}", 400, bad, "line 1: from: "},
		{"POST /v1/import?stream=x", "nonsense", 400, bad, "line 1: must be one JSON object"},

		{"GET /", nil, 404, missing, "path: there is no such call"},
		{"GET /v1", nil, 404, missing, "path: "},
		{"GET /v1/stats/", nil, 404, missing, "path: "},
		{"GET //v1/stats", nil, 404, missing, "path: "},
		{"GET /v1/groups/a/b", nil, 404, missing, "path: "},
		{"PUT /v1/stats", nil, 405, bad, "method: want GET"},
		{"DELETE /v1/messages", nil, 405, bad, "method: want POST"},
		{"GET /v1/import", nil, 405, bad, "method: want POST"},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		name := fmt.Sprintf("%s %.60v", c.call, c.body)
		r := s.request(method, path, allToken, c.body)
		if strings.HasPrefix(path, "/v1/import") {
			r.Header.Set("Content-Type", ndjson)
		}
		resp, text := s.do(r)
		checkError(t, name, resp, text, c.status, c.code, c.message)
		if c.status == http.StatusNotFound && c.message[:4] == "path" || c.status == http.StatusMethodNotAllowed {
			continue // no operation
		}
		resp.Body = io.NopCloser(bytes.NewReader(text))
		if !v.answer(t, r, resp) {
			t.Errorf("%s: the answer is not that of the document", name)
		}
	}
}

// checkError holds an answer to the form of errors.
func checkError(t *testing.T, name string, resp *http.Response, text []byte, status int, code, message string) {
	t.Helper()
	var reply map[string]string
	if err := json.Unmarshal(text, &reply); err != nil || len(reply) != 2 {
		t.Errorf("%s: %d %q, want an object of code and message", name, resp.StatusCode, text)
		return
	}
	if resp.StatusCode != status || reply["code"] != code || !strings.HasPrefix(reply["message"], message) {
		t.Errorf("%s: %d %v, want %d %s %q", name, resp.StatusCode, reply, status, code, message)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type %q, want JSON", name, got)
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for content, status := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201, "": 201,
		"application/x-www-form-urlencoded": 415, "text/plain": 415, "application/xml": 415, "a+b;c+d": 415, ";+": 415,
	} {
		r := s.request("POST", "/v1/groups", allToken, obj{"kind": "private"})
		r.Header.Del("Content-Type")
		if content != "" {
			r.Header.Set("Content-Type", content)
		}
		resp, text := s.do(r)
		if resp.StatusCode != status {
			t.Errorf("Content-Type %q: %d %s, want %d", content, resp.StatusCode, text, status)
		}
		if status == 415 {
			checkError(t, content, resp, text, status, protocol.CodeBadRequest, "Content-Type: want application/json")
		}
	}
	for content, status := range map[string]int{
		ndjson: 200, ndjson + "; charset=utf-8": 200, "": 200, "application/json": 415, "x/y/z": 415,
		"application/ndjson": 200, "application/jsonl": 200, "application/x-www-form-urlencoded": 415,
	} {
		r := s.request("POST", "/v1/import?stream=x", allToken, "")
		r.Header.Set("Content-Type", content)
		resp, text := s.do(r)
		if resp.StatusCode != status {
			t.Errorf("import as %q: %d %s, want %d", content, resp.StatusCode, text, status)
		}
		if status == 415 {
			checkError(t, "import as "+content, resp, text, status, protocol.CodeBadRequest, "Content-Type: want application/x-ndjson")
		}
	}
}

func TestOtherSites(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Tokens = OpenTokens() })
	for _, c := range []struct {
		method, header, value string
		status                int
	}{
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"POST", "Sec-Fetch-Site", "same-site", 403},
		{"POST", "Origin", "http://evil.example", 403},
		{"POST", "Sec-Fetch-Site", "same-origin", 201},
		{"POST", "Origin", s.http.URL, 201},
		{"POST", "X-No", "browser", 201},
		{"GET", "Sec-Fetch-Site", "cross-site", 200}, // which may not read the answer
	} {
		r := s.request(c.method, "/v1/groups", "", obj{"kind": "private"})
		r.Header.Set(c.header, c.value)
		resp, text := s.do(r)
		if resp.StatusCode != c.status {
			t.Errorf("%s with %s: %s: %d %s, want %d", c.method, c.header, c.value, resp.StatusCode, text, c.status)
		}
		if c.status == 403 {
			checkError(t, c.value, resp, text, 403, protocol.CodeForbidden, "Origin: ")
		}
	}
}

// TestAccess makes every call of the document without and with tokens of all
// scopes. Nothing is done for those that do not fit.
func TestAccess(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	_, operations := document(t, s)
	for _, op := range operations {
		if op.id == "tencentDeleteSender" {
			continue // in a form of its own
		}
		path := strings.NewReplacer("{user}", "bob", "{group}", "team", "{conv}", "u:alice", "{seq}", "1").Replace(op.path)
		fits := map[Scope]string{ScopeRead: readToken, ScopeWrite: writeToken, ScopeCluster: otherToken}[scopeOf(op.method, op.path)]
		for _, token := range []string{"", "wrong", readToken, writeToken, otherToken} {
			if token == fits {
				continue
			}
			resp, text := s.do(s.request(op.method, path, token, "{}"))
			status, code := http.StatusForbidden, protocol.CodeForbidden
			if token == "" || token == "wrong" {
				status, code = http.StatusUnauthorized, protocol.CodeUnauthorized
				if resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s with token %q: 401 without WWW-Authenticate", op.id, token)
				}
			}
			checkError(t, op.id+" with token "+token, resp, text, status, code, "Authorization: ")
		}
	}
}

// TestQueryOfDocuments: what is no operation takes no parameters either.
func TestQueryOfDocuments(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, path := range []string{"/docs?x=1", "/openapi.json?x=1"} {
		resp, text := s.do(s.request("GET", path, allToken, nil))
		checkError(t, path, resp, text, 400, protocol.CodeBadRequest, "x: unknown query parameter")
	}
}

// TestNoCall asks for what is not there: only who has a token learns so.
func TestNoCall(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for call, want := range map[string]int{
		"GET /nope": 404, "GET /v1/cluster/nodes": 404, "GET /v1/users/": 404, "GET /v1/messages": 405, "DELETE /v1/stats": 405, "GET /v1/users?limit=": 400,
	} {
		method, path, _ := strings.Cut(call, " ")
		for _, token := range []string{"", "wrong"} {
			resp, text := s.do(s.request(method, path, token, nil))
			checkError(t, call, resp, text, 401, protocol.CodeUnauthorized, "Authorization: ")
			if resp.Header.Get("WWW-Authenticate") == "" || resp.Header.Get("Allow") != "" {
				t.Errorf("%s with token %q: header %v, want WWW-Authenticate and no Allow", call, token, resp.Header)
			}
		}
		for _, token := range []string{readToken, otherToken} {
			resp, text := s.do(s.request(method, path, token, nil))
			if resp.StatusCode != want || (resp.Header.Get("Allow") != "") != (want == 405) {
				t.Errorf("%s with token %q: %d %s, want %d", call, token, resp.StatusCode, text, want)
			}
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, path := range []string{"/docs", "/openapi.json"} {
		resp, text := s.do(s.request("GET", path, "", nil))
		checkError(t, path, resp, text, 401, protocol.CodeUnauthorized, "Authorization: ")
		if !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: a browser would not ask for the token", path)
		}
		r := s.request("GET", path, "", nil)
		r.SetBasicAuth("anybody", readToken)
		if resp, text = s.do(r); resp.StatusCode != 200 {
			t.Errorf("%s with the token as password: %d %s", path, resp.StatusCode, text)
		}
		if resp, _ = s.do(s.request("GET", path, writeToken, nil)); resp.StatusCode != 403 {
			t.Errorf("%s with a token that may not read: %d, want 403", path, resp.StatusCode)
		}
	}
	// A browser sends the password with whatever another page makes it ask for.
	r := s.request("DELETE", "/v1/users/bob", "", nil)
	r.SetBasicAuth("anybody", allToken)
	if resp, text := s.do(r); resp.StatusCode != 401 {
		t.Errorf("a changing call with a password: %d %s, want 401", resp.StatusCode, text)
	}

	resp, text := s.do(s.request("GET", "/docs", readToken, nil))
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Count(policy, "'sha256-") != 2 {
		t.Errorf("/docs: policy %q", policy)
	}
	for _, outside := range []string{"http:", "https:", "//cdn", "@import", "<link", "src=", "url("} {
		if bytes.Contains(text, []byte(outside)) {
			t.Errorf("/docs has %q: it must need nothing of the Internet", outside)
		}
	}
}

// TestUnavailable holds calls to their words when the store does not serve.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.RequestTimeout = 100 * time.Millisecond })
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		"GET /v1/users/bob", "DELETE /v1/users/bob", "DELETE /v1/users/bob/sessions", "GET /v1/groups/team", "GET /v1/stats", "GET /v1/users", "GET /v1/groups",
		"DELETE /v1/groups/team", "GET /v1/users/bob/export", "GET /v1/users/bob/conversations/u:alice/messages",
	} {
		method, path, _ := strings.Cut(call, " ")
		resp, text := s.do(s.request(method, path, allToken, nil))
		checkError(t, call, resp, text, 503, protocol.CodeUnavailable, "the server cannot do this right now")
		if resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", call)
		}
	}
	status, reply := s.call("POST", "/v1/messages", obj{"from": "alice", "to": []string{"u:bob", "u:carol"}, "cid": "1", "body": 1})
	results, _ := reply["results"].([]any)
	if status != 200 || len(results) != 2 || results[0].(obj)["error"].(obj)["code"] != protocol.CodeUnavailable {
		t.Errorf("messages to two: %d %v, want an error for each", status, reply)
	}
	resp, text := s.do(s.request("POST", tencentPath, allToken, `{"GroupId":"team","Sender_Account":"bob"}`))
	if !strings.Contains(string(text), `"ErrorCode":10002`) {
		t.Errorf("Tencent's call: %d %s, want 10002", resp.StatusCode, text)
	}
}

func TestErrorOf(t *testing.T) {
	t.Parallel()
	a := newServer(t, nil).api
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{&command.RefusedError{Code: command.CodeNotFound}, 404, protocol.CodeNotFound},
		{&command.RefusedError{Code: command.CodeTooLate}, 409, protocol.CodeTooLate},
		{&command.RefusedError{Code: command.CodeRateLimited, RetryAfterMS: 1500}, 429, protocol.CodeRateLimited},
		{&command.RefusedError{Code: command.CodeGap}, 500, protocol.CodeInternal},
		{fmt.Errorf("x: %w", store.ErrUnknown), 503, protocol.CodeUnavailable},
		{context.DeadlineExceeded, 503, protocol.CodeUnavailable},
		{errors.New("x"), 500, protocol.CodeInternal},
	} {
		if e := a.errorOf(c.err); e.status != c.status || string(e.Code) != c.code {
			t.Errorf("errorOf(%v) = %d %s, want %d %s", c.err, e.status, e.Code, c.status, c.code)
		}
	}
	if got := a.errorOf(&command.RefusedError{Code: command.CodeRateLimited, RetryAfterMS: 1500}).GetHeaders().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After of 1.5 s = %q, want 2", got)
	}
}

// TestSlowBody gives a body that does not come to an end the time it has.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/groups", "/v1/import?stream=x"} {
		s := newServer(t, func(c *Config) { c.ReadTimeout = 50 * time.Millisecond })
		conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", path, allToken)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(answer), " 408 ") || !strings.Contains(string(answer), "took too long to come") {
			t.Errorf("%s: %q %v, want 408", path, answer, err)
		}
	}
}

// TestLongCall: the time for a body must not end a call that goes on after it.
func TestLongCall(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.ReadTimeout = time.Second
		c.Backend = slowBackend{c.Backend, 1500 * time.Millisecond}
	})
	if status, reply := s.call("POST", "/v1/groups", obj{"kind": "private"}); status != 201 {
		t.Errorf("a call that takes longer than its body may: %d %v, want 201", status, reply)
	}
}

type slowBackend struct {
	Backend
	time time.Duration
}

func (b slowBackend) Propose(ctx context.Context, cmd command.Command) (command.Result, error) {
	select {
	case <-time.After(b.time):
		return b.Backend.Propose(ctx, cmd)
	case <-ctx.Done():
		return command.Result{}, ctx.Err()
	}
}

// TestChangeAllGivesUp: what the store has not answered in time is unknown.
func TestChangeAllGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &API{config: Config{RequestTimeout: time.Second}, backend: new(silentBackend)}
		for i, o := range a.proposeAll(t.Context(), make([]command.Command, 3)) {
			if want := map[bool]error{true: nil, false: store.ErrUnknown}[i == 1]; !errors.Is(o.err, want) {
				t.Errorf("outcome %d: %v, want %v", i, o.err, want)
			}
		}
	})
}

// A silentBackend answers the second command alone.
type silentBackend struct {
	Backend
	submits int
}

func (b *silentBackend) Submit(_ command.Command, done func(command.Result, error)) {
	if b.submits++; b.submits == 2 {
		go done(command.Result{}, nil)
	}
}

// TestPanic: a call that breaks is answered, logged, and breaks nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Backend = brokenBackend{c.Backend} })
	resp, text := s.do(s.request("GET", "/v1/groups/x", allToken, nil))
	checkError(t, "panic", resp, text, 500, protocol.CodeInternal, "the server failed")
	if !strings.Contains(s.log.String(), "broken on purpose") {
		t.Error("the panic is not in the log")
	}
	if status, _ := s.call("GET", "/v1/stats", nil); status != 200 {
		t.Errorf("the next call: %d", status)
	}
}

type brokenBackend struct{ Backend }

func (brokenBackend) Group(command.GroupID, command.UserID) (query.GroupInfo, bool, error) {
	panic("broken on purpose")
}
