package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// An example is a call of an operation that has to succeed.
type example struct {
	prepare func(*server) // what has to be there before
	path    string        // with query, below the server; "" = the operation's own
	body    any
	content string // type of the body; "" = JSON
	status  int    // 0 = 200
	check   func(t *testing.T, reply []byte)
}

// examples has one call at least for each operation of the document. Names
// differ, so that one store serves them all.
var examples = map[string][]example{
	"sendMessages": {
		{body: obj{"from": "m-alice", "to": "u:m-bob", "cid": "1", "body": obj{"text": "hi"}}},
		{body: obj{"from": "m-alice", "to": []string{"u:m-bob", "m-carol"}, "cid": "2", "body": 1.5, "ttl": 60, "mentions": []string{"m-bob"}}},
		{body: obj{"from": "m-alice", "to": "u:m-bob", "cid": "3", "body": nil, "ttl": 0}},
		{prepare: makeGroup("m-group"), body: obj{"from": "m-alice", "to": "g:m-group", "cid": "4", "body": []int{1}, "retry": true}},
	},
	"getMessages": {
		{
			prepare: send("h-alice", "u:h-bob", 3), path: "/v1/users/h-bob/conversations/u:h-alice/messages?limit=2",
			check: has(`"seq":3`, `"more":true`, `"conv":"u:h-alice"`),
		},
		{path: "/v1/users/h-bob/conversations/u:h-alice/messages?after=0&limit=1", check: has(`"seq":1`)},
		{path: "/v1/users/h-bob/conversations/u:h-alice/messages?before=2", check: has(`"seq":1`)},
		{path: "/v1/users/h-bob/conversations/u:h-alice/messages?from=2&to=3", check: has(`"from":2,"to":3`)},
		{path: "/v1/users/nobody/conversations/u:h-alice/messages", check: has(`"messages":[]`)},
	},
	"setRead": {
		{prepare: send("r-alice", "u:r-bob", 3), path: "/v1/users/r-bob/conversations/u:r-alice", body: obj{"readSeq": 2}, check: has(`"unread":1`)},
		{path: "/v1/users/r-bob/conversations/u:r-alice", body: obj{"readSeq": 0}, check: has(`"unread":3`)},
		{
			prepare: func(s *server) { makeGroup("r-group")(s); send("r-group-owner", "g:r-group", 2)(s) },
			path:    "/v1/users/r-group-bob/conversations/g:r-group", body: obj{"readSeq": 1}, check: has(`"unread":1`),
		},
	},
	"listUsers": {
		{prepare: send("l-alice", "u:l-bob", 1), path: "/v1/users?limit=1", check: has(`"more":true`)},
		{path: "/v1/users?after=l-a&limit=2", check: has(`"user":"l-alice"`, `"user":"l-bob"`)},
	},
	"getUser": {{
		prepare: func(s *server) { s.login("u-bob", "phone"); send("u-alice", "u:u-bob", 3)(s) },
		path:    "/v1/users/u-bob",
		check:   has(`"device":"phone"`, `"queue":{"messages":3`, `"seqs":[[1,3]]`, `"unreadTotal":3`),
	}},
	"setUser": {
		{path: "/v1/users/s-bob", body: obj{"suspended": true, "historyTtl": 864000, "tokensFrom": 1795400000000}, status: 204},
		{path: "/v1/users/s-bob", body: obj{"suspended": false}, status: 204},
	},
	"getCluster":       {{check: has(`"verdict":"healthy`, `"leader":"a"`)}},
	"safeToStop":       {{path: "/v1/cluster/safe-to-stop?nodes=b", check: has(`"safe":false`)}},
	"getClusterConfig": {{check: has(`"version":`)}},
	"setClusterConfig": {{body: obj{"recents": 50}, status: 204}},
	"admitNode":        {{path: "/v1/cluster/admit", body: obj{"node": "b"}, status: 204}},
	"maintainNode":     {{body: obj{"node": "b", "on": true}, status: 204}},
	"removeNode":       {{body: obj{"node": "b"}, status: 204}},
	"replaceNode":      {{body: obj{"old": "b", "new": "id-c"}, status: 204}},
	"transferLeader":   {{body: obj{"shard": 0, "node": "b"}, status: 204}},
	"rebuildReplica":   {{body: obj{"shard": 0, "node": "b"}, status: 204}},

	"eraseUser": {{prepare: send("e-alice", "u:e-bob", 1), path: "/v1/users/e-bob", status: 204}},
	"exportUser": {{
		prepare: send("x-alice", "u:x-bob", 2), path: "/v1/users/x-bob/export",
		check: has(`{"user":{"user":"x-bob"`, `{"conversation":{"conv":"u:x-alice"`, `{"message":{`),
	}},
	"kickSessions": {
		{prepare: func(s *server) { s.login("k-bob", "phone"); s.login("k-bob", "laptop") }, path: "/v1/users/k-bob/sessions?device=phone", check: has(`"kicked":1`)},
		{path: "/v1/users/k-bob/sessions", check: has(`"kicked":1`)},
	},
	"listGroups": {
		{prepare: func(s *server) { makeGroup("lg-1")(s); makeGroup("lg-2")(s) }, path: "/v1/groups?after=lg-&limit=1", check: has(`"group":"lg-1"`, `"more":true`)},
	},
	"createGroup": {
		{body: obj{"kind": "private"}, status: 201},
		{body: obj{
			"group": "c-group", "kind": "public", "owner": "c-alice", "name": "Group", "members": []string{"c-bob", "c-carol"},
			"properties": obj{"topic": "bells", "raw": obj{"$bin": "AAE="}},
			"settings":   obj{"maxMembers": 2, "join": "open", "history": "all", "unread": false},
		}, status: 201, check: has(`"failed":[{"user":"c-carol","code":"rate_limited"}]`)},
		{body: obj{"group": "c-live", "kind": "live"}, status: 201},
	},
	"getGroup": {
		{prepare: makeGroup("gg"), path: "/v1/groups/gg", check: has(`"kind":"private"`, `"owner":"gg-owner"`, `"memberCount":2`, `"properties":{}`)},
		{
			prepare: func(s *server) {
				s.must("POST", "/v1/groups", obj{"group": "gg2", "kind": "chatroom", "properties": obj{"a": obj{"$bin": "AAE="}}, "settings": obj{"maxMembers": 0}})
			},
			path: "/v1/groups/gg2", check: has(`"properties":{"a":{"$bin":"AAE="}}`, `"maxMembers":0,"join":"open","history":"all"`, `"owner":""`),
		},
	},
	"setGroup": {
		{prepare: makeGroup("sg"), path: "/v1/groups/sg", body: obj{"name": "", "owner": "sg-bob", "settings": obj{"maxMembers": 7}, "properties": obj{}}, status: 204},
	},
	"dismissGroup": {{prepare: makeGroup("dg"), path: "/v1/groups/dg", status: 204}},
	"getGroupMessages": {{
		prepare: func(s *server) { makeGroup("gm")(s); send("gm-owner", "g:gm", 2)(s) },
		path:    "/v1/groups/gm/messages?limit=1", check: has(`"conv":"g:gm"`, `"seq":2`, `"more":true`),
	}},
	"deleteSender": {
		{
			prepare: func(s *server) { makeGroup("ds")(s); send("ds-owner", "g:ds", 2)(s) },
			path:    "/v1/groups/ds/messages?sender=ds-owner", check: has(`"deleted":2`),
		},
		{path: "/v1/groups/ds/messages?sender=ds-owner&silent=true", check: has(`"deleted":0`)},
		{
			prepare: func(s *server) { s.must("POST", "/v1/groups", obj{"group": "ds-live", "kind": "live"}) },
			path:    "/v1/groups/ds-live/messages?sender=anybody", check: has(`"deleted":0`),
		},
	},
	"deleteMessage": {{
		prepare: func(s *server) { makeGroup("dm")(s); send("dm-owner", "g:dm", 2)(s) },
		path:    "/v1/groups/dm/messages/1?silent=true", status: 204,
	}},
	"listMembers": {
		{prepare: makeGroup("lm"), path: "/v1/groups/lm/members?limit=1", check: has(`"user":"lm-bob","role":"member"`, `"more":true`)},
		{path: "/v1/groups/lm/members?after=lm-bob", check: has(`"user":"lm-owner","role":"owner"`, `"more":false`)},
	},
	"addMembers": {{
		prepare: makeGroup("am"), path: "/v1/groups/am/members", body: obj{"users": []string{"am-carol", "am-bob", "am-carol"}},
		check: has(`"added":["am-carol","am-bob"],"failed":[]`),
	}},
	"removeMember": {
		{prepare: makeGroup("rm"), path: "/v1/groups/rm/members/rm-bob", status: 204},
		{path: "/v1/groups/rm/members/rm-bob", status: 204},
		{path: "/v1/groups/rm/members/rm-owner", status: 204},
	},
	"setMember": {{prepare: makeGroup("sm"), path: "/v1/groups/sm/members/sm-bob", body: obj{"role": "admin", "mutedUntil": 1795400000000}, status: 204}},
	"ban": {
		{prepare: makeGroup("bn"), path: "/v1/groups/bn/bans/bn-bob", body: obj{"seconds": 3600}, status: 204},
		{path: "/v1/groups/bn/bans/bn-carol", body: obj{"seconds": 3600}, status: 204},
	},
	"listBans": {
		{path: "/v1/groups/bn/bans?limit=1", check: has(`"user":"bn-bob","until":`, `"more":true`)},
		{path: "/v1/groups/bn/bans?after=bn-bob", check: has(`"user":"bn-carol"`, `"more":false`)},
	},
	"unban": {
		{path: "/v1/groups/bn/bans/bn-bob", status: 204},
		{path: "/v1/groups/bn/bans/bn-bob", status: 204},
	},
	"listRequests": {{
		prepare: askToJoin("lr", "lr-carol"), path: "/v1/groups/lr/requests",
		check: has(`"user":"lr-carol","message":"please"`),
	}},
	"answerRequest": {
		{prepare: askToJoin("ar", "ar-carol"), path: "/v1/groups/ar/requests/ar-carol", body: obj{"accept": true}, status: 204},
		{path: "/v1/groups/ar/requests/ar-dave", body: obj{"accept": false}, status: 204},
	},
	"listSessions": {{
		prepare: func(s *server) { s.login("ls-bob", "phone"); s.login("ls-bob", "laptop") },
		path:    "/v1/users/ls-bob/sessions", check: has(`"device":"phone"`, `"device":"laptop"`, `"node":"there"`, `"unackedBytes":70`, `"refusedLogins":[{"user":"ls-bob"`, `"missing":["gone"]`),
	}},
	"listBlocked": {
		{
			prepare: func(s *server) {
				for _, target := range []command.UserID{"lb-carol", "lb-alice", "lb-dave"} {
					s.propose(&command.Block{User: "lb-bob", Target: target})
				}
			},
			path: "/v1/users/lb-bob/blocked?limit=2", check: has(`{"users":["lb-alice","lb-carol"],"more":true}`),
		},
		{path: "/v1/users/lb-bob/blocked?after=lb-carol", check: has(`{"users":["lb-dave"],"more":false}`)},
		{path: "/v1/users/lb-bob/blocked?after=lb-x", check: has(`{"users":[],"more":false}`)},
	},
	"listFrames": {{path: "/v1/users/ls-bob/sessions/2/frames", check: has(`{"node":"there","frames":[{"time":5,"op":"login","in":true,"bytes":100}]}`)}},
	"listConversations": {
		{
			prepare: func(s *server) { send("lc-alice", "u:lc-bob", 2)(s); send("lc-carol", "u:lc-bob", 1)(s) },
			path:    "/v1/users/lc-bob/conversations?limit=1", check: has(`"conv":"u:lc-carol","lastSeq":1`, `"unread":1`, `"more":true`),
		},
		{path: "/v1/users/lc-bob/conversations", check: has(`"conv":"u:lc-alice","lastSeq":2`, `"readSeq":0,"peerReadSeq":0`, `"more":false,"next":0`)},
		{path: "/v1/users/nobody/conversations", check: has(`"conversations":[]`)},
	},
	"getSick": {
		{check: has(`"behind":[{`, `"closed":[{"time":7,"node":"there","code":4413`, `"reconnecting":[{"user":"bob"`, `"limited":[{"user":"bob"`, `"refusedLogins":[{"user":"bob","reason":"token: exp has passed"`, `"missing":["gone"]`)},
		{path: "/v1/sick?limit=1"},
	},
	"listNodes":    {{prepare: send("n-alice", "u:n-bob", 1), check: has(`"node":"here"`, `"replicas":[{"shard":0,"leads":true,"term":`, `"lost":{"queue":{"messages":0`, `"missing":["gone"]`)}},
	"listSettings": {{check: has(`{"node":"here","name":"recents","value":"50","default":"100","secret":false}`)}},
	"listChanges": {
		{prepare: makeGroup("au"), path: "/v1/audit?limit=1", check: has(`"operation":"createGroup"`, `"token":"`, `"target":"au"`, `"more":true`)},
		{path: "/v1/audit?limit=1000", check: has(`"more":false,"next":""`)},
	},
	"getToken": {{check: has(`"node":"here","scopes":["read"]`)}},
	"traceMessage": {
		{
			prepare: send("tm-alice", "u:tm-bob", 2), path: "/v1/users/tm-bob/conversations/u:tm-alice/messages/2",
			check: has(`"views":[{"user":"tm-bob","conv":"u:tm-alice","seq":2,"state":"visible","unread":true`, `{"user":"tm-alice","conv":"u:tm-bob","seq":2,"state":"visible","unread":false`),
		},
		{
			prepare: func(s *server) { makeGroup("tm")(s); send("tm-owner", "g:tm", 1)(s) },
			path:    "/v1/users/tm-bob/conversations/g:tm/messages/1", check: has(`{"user":"tm-bob","conv":"g:tm","seq":1,"state":"visible","unread":true`, `{"conv":"g:tm","seq":1`),
		},
	},
	"traceGroupMessage": {{
		prepare: func(s *server) {
			makeGroup("tg")(s)
			send("tg-owner", "g:tg", 2)(s)
			s.must("DELETE", "/v1/groups/tg/messages/1", nil)
		},
		path: "/v1/groups/tg/messages/1", check: has(`"seq":1,"state":"deleted"`, `"last":2`),
	}},
	"findMessage": {{path: "/v1/messages/01HF7YAT00ZZZZZZZZZZZZZZZZ?after=14336", check: has(`"more":false,"next":0,"all":16384`)}},
	"countSender": {
		{prepare: func(s *server) { makeGroup("cs")(s); send("cs-owner", "g:cs", 3)(s) }, path: "/v1/groups/cs/senders/cs-owner", check: has(`"messages":3`)},
		{path: "/v1/groups/cs/senders/nobody", check: has(`"messages":0,"bytes":0`)},
	},
	"getStats": {{check: has(`"shards":[{`)}},
	"importMessages": {
		{
			path:    "/v1/import?stream=example",
			content: ndjson,
			body: `{"from":"i-alice","to":"u:i-bob","time":%d,"body":{"text":"one"}}` + "\n" +
				`{"from":"i-bob","to":"u:i-alice","time":%d,"cid":"2","id":"01HF7YAT00ZZZZZZZZZZZZZZZZ","ttl":600000,"mentions":["i-alice"],"body":2}` + "\n",
			check: has(`"rows":2,"stored":2,"known":0,"expired":0`),
		},
		{
			prepare: makeGroup("i-group"), path: "/v1/import?stream=group&unread=true&offset=10", content: ndjson,
			body:  `{"from":"i-alice","to":"g:i-group","time":%d,"body":1}`,
			check: has(`"rows":1,"stored":1`),
		},
	},
	"tencentDeleteSender": {
		{
			prepare: func(s *server) { makeGroup("td")(s); send("td-owner", "g:td", 2)(s) },
			body:    `{"GroupId":"td","Sender_Account":"td-owner"}`, content: "text/plain",
			path:  tencentPath + "?sdkappid=1&identifier=admin&usersig=" + allToken + "&random=7&contenttype=json",
			check: has(`{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}`),
		},
		{body: `{"GroupId":"none","Sender_Account":"bob"}`, check: has(`"ActionStatus":"FAIL","ErrorCode":10010`)},
	},
}

// makeGroup makes a private group with an owner and a member bob, whose names
// begin with the group's.
func makeGroup(id string) func(*server) {
	return func(s *server) {
		s.t.Helper()
		s.must("POST", "/v1/groups", obj{"group": id, "kind": "private", "owner": id + "-owner", "members": []string{id + "-bob"}})
	}
}

func send(from, to string, n int) func(*server) {
	return func(s *server) {
		s.t.Helper()
		for i := range n {
			s.must("POST", "/v1/messages", obj{"from": from, "to": to, "cid": fmt.Sprint(i), "body": obj{"text": "hi"}})
		}
		if peer, ok := strings.CutPrefix(to, "u:"); ok {
			s.arrived(peer, from, n)
		}
	}
}

func askToJoin(group command.GroupID, user command.UserID) func(*server) {
	return func(s *server) {
		s.t.Helper()
		s.must("POST", "/v1/groups", obj{"group": group, "kind": "public"})
		s.propose(&command.JoinGroup{Group: group, User: user, Message: "please"})
	}
}

// has checks that an answer contains some text.
func has(texts ...string) func(*testing.T, []byte) {
	return func(t *testing.T, reply []byte) {
		t.Helper()
		for _, text := range texts {
			if !bytes.Contains(reply, []byte(text)) {
				t.Errorf("answer %s\nhas no %s", reply, text)
			}
		}
	}
}

// An operationRef is an operation of the document.
type operationRef struct{ id, method, path string }

// document gives the OpenAPI document as served, and its operations.
func document(t *testing.T, s *server) (v *validator, operations []operationRef) {
	t.Helper()
	resp, text := s.do(s.request("GET", "/openapi.json", readToken, nil))
	if resp.StatusCode != 200 {
		t.Fatalf("/openapi.json: %d %s", resp.StatusCode, text)
	}
	var paths struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &paths); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(paths.OpenAPI, "3.1.") {
		t.Errorf("openapi = %s, want 3.1", paths.OpenAPI)
	}
	for path, methods := range paths.Paths {
		for method, op := range methods {
			operations = append(operations, operationRef{op.OperationID, strings.ToUpper(method), path})
		}
	}
	slices.SortFunc(operations, func(a, b operationRef) int { return cmp.Compare(a.id, b.id) })
	return newValidator(t, text), operations
}

func TestDocument(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	v, operations := document(t, s)
	v.document(t)
	if len(operations) < 20 {
		t.Errorf("the document has %d operations, want 20 or more", len(operations))
	}
}

// TestOperations makes every call that the document has, and holds requests and
// answers to it.
func TestOperations(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	v, operations := document(t, s)
	known := make(map[string]bool)
	for _, op := range operations {
		known[op.id] = true
		calls := examples[op.id]
		if len(calls) == 0 {
			t.Errorf("%s: there is no example", op.id)
		}
		for i, e := range calls {
			t.Run(fmt.Sprintf("%s/%d", op.id, i), func(t *testing.T) {
				s := s.in(t)
				if e.prepare != nil {
					e.prepare(s)
				}
				body := e.body
				if text, ok := body.(string); ok {
					body = strings.ReplaceAll(text, "%d", fmt.Sprint(s.store.Now()-60_000))
				}
				token := map[Scope]string{ScopeRead: readToken, ScopeWrite: writeToken, ScopeCluster: otherToken}[scopeOf(op.method, op.path)]
				r := s.request(op.method, cmp.Or(e.path, op.path), token, body)
				if e.content != "" {
					r.Header.Set("Content-Type", e.content)
				}
				s.hold(t, v, r, cmp.Or(e.status, 200), e.check)
			})
		}
	}
	for id := range examples {
		if !known[id] {
			t.Errorf("%s: an example of no operation", id)
		}
	}
}

// in is the server for a subtest.
func (s *server) in(t *testing.T) *server {
	sub := *s
	sub.t = t
	return &sub
}

// hold makes a call and checks it against the document.
func (s *server) hold(t *testing.T, v *validator, r *http.Request, status int, check func(*testing.T, []byte)) {
	t.Helper()
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, text := s.do(r)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d %s, want %d", r.Method, r.URL.RequestURI(), resp.StatusCode, text, status)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	resp.Body = io.NopCloser(bytes.NewReader(text))
	if !v.exchange(t, r, resp) {
		t.Logf("answer: %s", text)
	}
	if check != nil {
		check(t, text)
	}
}
