package operation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// oddNames are names as they are written into a path, and what they say. Those
// that mean a folder to URLs are to be refused, however they are written.
var oddNames = []struct {
	written, means string
	folder         bool
}{
	{".", ".", true},
	{"..", "..", true},
	{"%2e", ".", true},
	{"%2E%2e", "..", true},
	{".%2e", "..", true},
	{"%2F", "/", false},
	{"..%2F..", "../..", false},
	{"%2e%2F", "./", false},
	{"%252e", "%2e", false},
	{"%252e%252e", "%2e%2e", false},
	{"%252F", "%2F", false},
	{"...", "...", false},
}

// adminInputs are queries and bodies of the operations that need some. NAME is
// each of the odd names in turn, where one may stand.
var adminInputs = map[string]struct{ queries, bodies []string }{
	"listUsers":           {queries: []string{"", "after=NAME"}},
	"listGroups":          {queries: []string{"", "after=NAME"}},
	"listMembers":         {queries: []string{"", "after=NAME"}},
	"deleteSender":        {queries: []string{"sender=bob", "sender=NAME"}},
	"listBans":            {queries: []string{"", "after=NAME"}},
	"ban":                 {bodies: []string{`{"seconds":60}`}},
	"setUser":             {bodies: []string{`{"historyTtl":0}`}},
	"setGroup":            {bodies: []string{`{"name":"n"}`, `{"owner":"NAME"}`}},
	"setMember":           {bodies: []string{`{"mutedUntil":1}`}},
	"setRead":             {bodies: []string{`{"readSeq":0}`}},
	"answerRequest":       {bodies: []string{`{"accept":true}`}},
	"addMembers":          {bodies: []string{`{"users":["NAME"]}`}},
	"createGroup":         {bodies: []string{`{"kind":"private","group":"NAME"}`, `{"kind":"private","owner":"NAME"}`, `{"kind":"private","members":["NAME"]}`}},
	"sendMessages":        {bodies: []string{`{"from":"NAME","to":"u:bob","cid":"1","body":1}`, `{"from":"bob","to":"u:NAME","cid":"1","body":1}`, `{"from":"bob","to":"NAME","cid":"1","body":1}`, `{"from":"bob","conv":"g:NAME","cid":"1","body":1}`, `{"from":"bob","to":["bob","NAME"],"cid":"1","body":1}`, `{"from":"bob","to":"u:bob","cid":"1","body":1,"mentions":["NAME"]}`}},
	"importMessages":      {queries: []string{"stream=NAME"}, bodies: []string{`{"from":"NAME","to":"u:bob","time":1,"body":1}`, `{"from":"bob","to":"u:NAME","time":1,"body":1}`, `{"from":"bob","to":"g:NAME","time":1,"body":1}`, `{"from":"bob","to":"u:carol","time":1,"body":1,"mentions":["NAME"]}`}},
	"tencentDeleteSender": {bodies: []string{`{"GroupId":"NAME","Sender_Account":"bob"}`, `{"GroupId":"team","Sender_Account":"NAME"}`}},
}

// A pathCall is one call of the walk.
type pathCall struct {
	Operation string `json:"operation"`
	Method    string `json:"method"`
	Path      string `json:"path"` // as it is written, with query
	Body      string `json:"body"`
	folder    bool   // it has to be refused
	inPath    bool   // because of its path
}

// pathCalls are all operations of the server's own document with each odd name
// in each of their places.
func pathCalls(t *testing.T, s *harness.Server) (calls []pathCall) {
	t.Helper()
	type operation struct {
		ID   string          `json:"operationId"`
		Body json.RawMessage `json:"requestBody"`
	}
	var document struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	status, text := s.Call(t, "GET", "/openapi.json", s.AdminToken)
	if err := json.Unmarshal([]byte(text), &document); status != 200 || err != nil {
		t.Fatalf("/openapi.json: %d %v", status, err)
	}
	fillers := map[string]string{"group": "team", "user": "bob", "conv": "u:carol", "seq": "1", "session": "1", "id": "01HF7YAT00ZZZZZZZZZZZZZZZZ"}
	for path, methods := range document.Paths {
		for method, op := range methods {
			input := adminInputs[op.ID]
			if len(op.Body) > 0 && len(input.bodies) == 0 {
				t.Fatalf("%s: the test has no body for it", op.ID)
			}
			queries, bodies := input.queries, input.bodies
			if len(queries) == 0 {
				queries = []string{""}
			}
			if len(bodies) == 0 {
				bodies = []string{""}
			}
			segments := strings.Split(path, "/")
			var places []int
			for i, segment := range segments {
				if strings.HasPrefix(segment, "{") {
					places = append(places, i)
				}
			}
			// One odd name in one place, the same in all, or none in the path.
			for _, name := range oddNames {
				for _, which := range append([][]int{nil, places}, slices.Collect(slices.Chunk(places, 1))...) {
					filled := slices.Clone(segments)
					for _, i := range places {
						if filled[i] = fillers[strings.Trim(segments[i], "{}")]; slices.Contains(which, i) {
							filled[i] = name.written
						}
					}
					for _, query := range queries {
						for _, body := range bodies {
							c := pathCall{Operation: op.ID, Method: strings.ToUpper(method), Path: strings.Join(filled, "/")}
							c.inPath = name.folder && len(which) > 0
							c.folder = c.inPath || name.folder && (strings.Contains(body, "NAME") || strings.Contains(query, "NAME") && op.ID != "importMessages")
							if query != "" {
								c.Path += "?" + strings.ReplaceAll(query, "NAME", url.QueryEscape(name.means))
							}
							c.Body = strings.ReplaceAll(body, "NAME", name.means)
							// Without an odd name a call is an ordinary one, which may change what others ask for.
							if strings.Contains(body+query, "NAME") || len(which) > 0 {
								calls = append(calls, c)
							}
						}
					}
				}
			}
		}
	}
	return calls
}

// TestAdministrationTakesNoOtherPath: a call with an odd name in its path, query or
// body is about that name, or an error: never about another user or group, and
// never a redirect, from clients that send what they are told and from those that
// fold . and .. themselves. Users and groups named like the words of paths are what
// a folded path would hit.
func TestAdministrationTakesNoOtherPath(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	words := []string{"users", "sessions", "export", "conversations", "groups", "messages", "members", "requests", "import", "stats", "frames", "senders", "v1"}
	for _, word := range words {
		s.MustAdmin("PATCH", "/v1/users/%"+fmt.Sprintf("%02x", word[0])+word[1:], obj{"historyTtl": 864000})
		s.MustAdmin("POST", "/v1/groups", obj{"group": word, "kind": "public", "owner": word})
	}
	s.MustAdmin("POST", "/v1/groups", obj{"group": "team", "kind": "public", "owner": "alice", "members": []string{"bob", "carol"}})
	// What a call with a filler and an odd name may change is not looked at.
	state := func() string {
		var b strings.Builder
		for _, word := range words {
			encoded := "%" + fmt.Sprintf("%02x", word[0]) + word[1:]
			for _, path := range []string{"/v1/users/" + encoded, "/v1/groups/" + encoded, "/v1/groups/" + encoded + "/members", "/v1/groups/" + encoded + "/messages"} {
				status, text := s.Call(t, "GET", path, s.AdminToken)
				fmt.Fprintln(&b, path, status, text)
			}
		}
		return b.String()
	}
	calls := pathCalls(t, s)
	before := state()
	if strings.Contains(before, " 404 ") {
		t.Fatalf("not all is there:\n%s", before)
	}
	for name, send := range map[string]func(*testing.T, *harness.Server, []pathCall) []int{
		"raw": sendRaw, "Go": sendGo, "Node's fetch": sendNode, "folded": sendFolded,
	} {
		statuses := send(t, s, calls)
		for i, status := range statuses {
			c := calls[i]
			switch {
			case status/100 == 3:
				t.Errorf("%s: %s %s: %d, want no redirect", name, c.Method, c.Path, status)
			case status >= 500:
				t.Errorf("%s: %s %s: %d", name, c.Method, c.Path, status)
			case c.Operation == "tencentDeleteSender": // always 200
			case c.Operation == "sendMessages" && strings.Contains(c.Body, "["): // 200 with an error for one
			case c.folder && status < 400:
				t.Errorf("%s: %s (%s %s %s): %d, want an error", name, c.Operation, c.Method, c.Path, c.Body, status)
			}
		}
		if after := state(); after != before {
			t.Errorf("%s: others were changed:\n%s\nwere:\n%s", name, after, before)
			before = after
		}
		// The team is as it was, too: no folded path dismissed it.
		if status, _ := s.Admin("GET", "/v1/groups/team", nil); status != 200 {
			t.Errorf("%s: the group team: %d", name, status)
		}
	}
	_, users := s.Admin("GET", "/v1/users?limit=1000", nil)
	for _, u := range users["users"].([]any) {
		if user := u.(obj)["user"]; user == "." || user == ".." {
			t.Errorf("there is a user %s", user)
		}
	}
}

// sendRaw writes the paths as they are.
func sendRaw(t *testing.T, s *harness.Server, calls []pathCall) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", s.AdminListen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, c := range calls {
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n%s\r\n%s",
			c.Method, c.Path, s.AdminToken, len(c.Body), contentType(c), c.Body)
		resp, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", c.Method, c.Path, err)
		}
		statuses = append(statuses, resp.StatusCode)
	}
	return statuses
}

func contentType(c pathCall) string {
	switch {
	case c.Body == "":
		return ""
	case c.Operation == "importMessages":
		return "Content-Type: application/x-ndjson\r\n"
	}
	return "Content-Type: application/json\r\n"
}

// sendGo is Go's client as it is by default.
func sendGo(t *testing.T, s *harness.Server, calls []pathCall) (statuses []int) {
	t.Helper()
	client := http.Client{Timeout: wstest.Patience, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		t.Errorf("Go: redirected to %s", r.URL)
		return http.ErrUseLastResponse
	}}
	for _, c := range calls {
		r, err := http.NewRequest(c.Method, "http://"+s.AdminListen+c.Path, strings.NewReader(c.Body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.AdminToken)
		if _, content, ok := strings.Cut(strings.TrimSpace(contentType(c)), ": "); ok {
			r.Header.Set("Content-Type", content)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", c.Method, c.Path, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
	return statuses
}

// sendFolded folds paths as the URL standard has it, which fetch and curl follow.
func sendFolded(t *testing.T, s *harness.Server, calls []pathCall) []int {
	t.Helper()
	folded := slices.Clone(calls)
	for i := range folded {
		p, query, _ := strings.Cut(folded[i].Path, "?")
		folded[i].Path = foldPath(p) + "?" + query
	}
	return sendRaw(t, s, folded)
}

func foldPath(p string) string {
	var kept []string
	segments := strings.Split(p, "/")[1:]
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		case ".":
		default:
			kept, last = append(kept, segment), false
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// nodeFetch makes the calls that come on its input and tells their statuses.
const nodeFetch = `
const { base, token, calls } = JSON.parse(require("fs").readFileSync(0));
(async () => {
  const statuses = [];
  for (const c of calls) {
    const headers = { Authorization: "Bearer " + token };
    if (c.body) headers["Content-Type"] = c.operation === "importMessages" ? "application/x-ndjson" : "application/json";
    const answer = await fetch(base + c.path, { method: c.method, headers, body: c.body || undefined, redirect: "manual" });
    await answer.arrayBuffer();
    statuses.push(answer.status);
  }
  console.log(JSON.stringify(statuses));
})();`

func sendNode(t *testing.T, s *harness.Server, calls []pathCall) (statuses []int) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Log("node is not installed: its fetch is left out")
		return nil
	}
	in, err := json.Marshal(map[string]any{"base": "http://" + s.AdminListen, "token": s.AdminToken, "calls": calls})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "-e", nodeFetch)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	harness.DieWithTests(cmd)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &statuses)
	}
	if err != nil || len(statuses) != len(calls) {
		t.Fatalf("node: %v\n%s%s", err, out, stderr.Bytes())
	}
	return statuses
}

// TestNoListenerRedirects: a path that is not clean is 404 on either listener, and
// 401 to strangers where administrators are asked for.
func TestNoListenerRedirects(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t)
	status := func(address, path, token string) int {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", path, token)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{
		"/v1/ws/", "//v1/ws", "/v1//ws", "/v1/./ws", "/v1/../v1/ws", "/./v1/ws", "/v1/ws/.", "/v1/ws/..",
		"/healthz/", "//healthz", "/./healthz", "/readyz/", "/x/../readyz", "/metrics/", "//metrics", "/x/../metrics",
		"/docs/", "//docs", "/docs/.", "/x/../docs", "/openapi.json/", "//openapi.json",
		"/debug/pprof", "/debug//pprof/", "/debug/pprof/../pprof/heap", "/debug/pprof/./heap", "/debug/pprof/..",
		"/v1/users/", "//v1/users", "/v1/groups/../users", "/v4/../v4/group_open_http_svc/delete_group_msg_by_sender", "/v4//group_open_http_svc/delete_group_msg_by_sender",
		"/faults", "/faults/../healthz", "//faults/x", "/faults/shards/../x", "http://x", "http://x//healthz",
	} {
		if got := status(s.Listen, path, s.AdminToken); got != 404 {
			t.Errorf("clients' listener: %s = %d, want 404", path, got)
		}
		if got := status(s.AdminListen, path, s.AdminToken); got != 404 {
			t.Errorf("administration: %s = %d, want 404", path, got)
		}
		if got := status(s.AdminListen, path, "not a token"); got != 401 {
			t.Errorf("administration: %s of a stranger = %d, want 401", path, got)
		}
	}
}
