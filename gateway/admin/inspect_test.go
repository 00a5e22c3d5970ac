package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/raftstore"
)

// inspected returns a node "here" of a cluster with a node "there", which has all sessions,
// and one that is "gone".
func inspected(store *raftstore.Store) *inspect.Local {
	here, there := inspect.New("here"), inspect.New("there")
	here.View = store.View
	here.Settings = []inspect.Setting{{Name: "recents", Value: "50", Default: "100"}}
	there.SetSessions(fakeSessions{})
	here.Peers = fakePeers{here, there}
	return here
}

type fakePeers []*inspect.Local

func (p fakePeers) Look(ctx context.Context, request []byte, each func(string, []byte, error)) {
	each("gone", nil, errors.New("not connected"))
	for _, l := range p {
		answer, err := l.Answer(ctx, request)
		each(l.Node, answer, err)
	}
}

// fakeSessions has two sessions of each user.
type fakeSessions struct{}

func (fakeSessions) InspectSessions(user string) []inspect.Session {
	return []inspect.Session{{User: user, Session: 1, Device: "phone", UnackedBytes: 70}, {User: user, Session: 2, Device: "laptop"}}
}

func (fakeSessions) InspectRefused(user string) []inspect.RefusedLogin {
	return []inspect.RefusedLogin{{User: user, Reason: "token: exp has passed", Refused: 2, Last: 5}}
}

func (fakeSessions) InspectFrames(_ string, session uint64) ([]inspect.Frame, bool) {
	return []inspect.Frame{{Time: 5, Op: "login", In: true, Bytes: 100}}, session <= 2
}

func (f fakeSessions) InspectSick(int) inspect.Sick {
	return inspect.Sick{
		Behind: f.InspectSessions("bob"), Closed: []inspect.Closed{{Time: 7, Code: 4413, User: "bob"}},
		Reconnecting: []inspect.Reconnecting{{User: "bob", Device: "phone", Logins: 9}}, Limited: []inspect.Limited{{User: "bob", Op: "send", Refused: 4}},
		Refused: f.InspectRefused("bob"),
	}
}

func (fakeSessions) InspectForget(string) {}

// countingSessions has one device that logs in again and again, at each of the nodes.
type countingSessions struct {
	fakeSessions
	forgot chan string
}

func (s countingSessions) InspectSick(int) inspect.Sick {
	return inspect.Sick{
		Refused:      append(s.InspectRefused("alice"), s.InspectRefused("bob")[0], inspect.RefusedLogin{User: "bob", Reason: "suspended", Refused: 3}),
		Reconnecting: []inspect.Reconnecting{{User: "bob", Device: "phone", Logins: 9, Last: 5}},
		Limited:      []inspect.Limited{{User: "bob", Op: "send", Refused: 4, Last: 5}, {User: "bob", Op: "typing", Refused: 3, Last: 6}},
	}
}

func (s countingSessions) InspectForget(user string) { s.forgot <- user }

// What comes often is counted over all nodes, and an erased user is forgotten by all.
func TestSickOfSeveralNodes(t *testing.T) {
	t.Parallel()
	forgot := make(chan string, 2)
	s := newServer(t, func(c *Config) {
		here, there := inspect.New("here"), inspect.New("there")
		here.SetSessions(countingSessions{forgot: forgot})
		there.SetSessions(countingSessions{forgot: forgot})
		here.Peers = fakePeers{here, there}
		c.Inspect = here
	})
	sick := s.must("GET", "/v1/sick", nil)
	if list := sick["reconnecting"].([]any); len(list) != 1 || list[0].(obj)["logins"] != 18.0 {
		t.Errorf("reconnecting = %v, want bob's phone, 18 times", list)
	}
	limited := sick["limited"].([]any)
	if len(limited) != 2 || limited[0].(obj)["refused"] != 8.0 || limited[1].(obj)["op"] != "typing" {
		t.Errorf("limited = %v, want 8 sends and 6 typing", limited)
	}
	refused := sick["refusedLogins"].([]any)
	if len(refused) != 3 || refused[0].(obj)["reason"] != "suspended" || refused[0].(obj)["refused"] != 6.0 {
		t.Errorf("refusedLogins = %v, want 6 of bob, who is suspended, first of three", refused)
	}
	if of := s.must("GET", "/v1/users/bob/sessions", nil)["refusedLogins"].([]any); len(of) != 1 || of[0].(obj)["refused"] != 4.0 {
		t.Errorf("refused logins of bob = %v, want 4 for one reason", of)
	}
	s.must("POST", "/v1/messages", obj{"from": "alice", "to": "u:bob", "cid": "1", "body": 1})
	s.arrived("bob", "alice", 1)
	s.must("DELETE", "/v1/users/bob", nil)
	for range 2 {
		if user := <-forgot; user != "bob" {
			t.Errorf("%s is forgotten, want bob", user)
		}
	}
}

// A message is found by its id alone, in as many calls as the answer says.
func TestFindMessageByID(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	sent := s.must("POST", "/v1/messages", obj{"from": "alice", "to": "u:bob", "cid": "1", "body": obj{"text": "hi"}})
	s.arrived("bob", "alice", 1)
	id := sent["results"].([]any)[0].(obj)["id"].(string)
	var views []any
	calls := 0
	for after, more := 0.0, true; more; calls++ {
		reply := s.must("GET", fmt.Sprintf("/v1/messages/%s?after=%.0f", strings.ToLower(id), after), nil)
		views, more, after = append(views, reply["views"].([]any)...), reply["more"].(bool), reply["next"].(float64)
	}
	users := make(map[string]bool)
	for _, v := range views {
		v := v.(obj)
		users[v["user"].(string)] = true
		if v["id"] != id || v["seq"] != 1.0 || v["from"] != "alice" || v["state"] != "visible" {
			t.Errorf("view = %v", v)
		}
	}
	if len(views) != 2 || !users["alice"] || !users["bob"] || calls != 8 {
		t.Errorf("%d calls found %v, want 8 that find both views", calls, views)
	}
}

// The audit has who did what and how it ended, also what was refused, and pages through all
// of it; strangers are in the log alone.
func TestListedChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	for i := range 5 {
		s.must("PATCH", "/v1/groups/team", obj{"name": fmt.Sprint(i)})
	}
	if resp, _ := s.do(s.request("DELETE", "/v1/groups/team", readToken, nil)); resp.StatusCode != http.StatusForbidden {
		t.Fatalf("a token that may only read: %d", resp.StatusCode)
	}
	if resp, _ := s.do(s.request("DELETE", "/v1/groups/team", "the-token-of-a-stranger", nil)); resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a stranger: %d", resp.StatusCode)
	}
	tencent := `{"GroupId":"team","Sender_Account":"bob"}`
	if resp, _ := s.do(s.request("POST", tencentPath+"?usersig=a-token-of-a-stranger", "", tencent)); resp.StatusCode != http.StatusOK {
		t.Fatalf("a stranger in the form of Tencent: %d", resp.StatusCode)
	}
	s.must("GET", "/v1/groups/team", nil)
	var all []obj
	next := ""
	for pages := 0; ; pages++ {
		path := "/v1/audit?limit=2"
		if next != "" {
			path += "&after=" + url.QueryEscape(next)
		}
		reply := s.must("GET", path, nil)
		for _, c := range reply["changes"].([]any) {
			all = append(all, c.(obj))
		}
		if next = reply["next"].(string); next == "" {
			if pages != 3 || reply["more"] != false {
				t.Errorf("%d further pages, more = %v", pages, reply["more"])
			}
			break
		}
	}
	if len(all) != 7 {
		t.Fatalf("%d changes, want 7: %v", len(all), all)
	}
	refused := all[0]
	if refused["operation"] != "dismissGroup" || refused["status"] != 403.0 || refused["token"] == "" || strings.Contains(fmt.Sprint(refused), readToken) {
		t.Errorf("the refused call = %v", refused)
	}
	if made := all[6]; made["operation"] != "createGroup" || made["status"] != 201.0 || made["target"] != "team" || made["node"] != "here" {
		t.Errorf("the first call = %v", made)
	}
}

// Calls of a token that may only read make no change be forgotten, also in the form that
// always answers 200.
func TestRefusedCallsArePutApart(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	for range 150 {
		s.do(s.request("DELETE", "/v1/groups/team", readToken, nil))
		s.do(s.request("POST", tencentPath+"?usersig="+readToken, "", `{"GroupId":"team","Sender_Account":"bob"}`))
	}
	changes := s.must("GET", "/v1/audit?limit=1000", nil)["changes"].([]any)
	if len(changes) != 101 {
		t.Fatalf("%d changes, want the last 100 refused calls and the change", len(changes))
	}
	if made := changes[100].(obj); made["operation"] != "createGroup" || made["status"] != 201.0 {
		t.Errorf("the oldest = %v, want createGroup", made)
	}
}

// A server that is open to everybody on its machine has an audit, too.
func TestAuditOfAnOpenServer(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Tokens = OpenTokens() })
	makeGroup("team")(s)
	changes := s.must("GET", "/v1/audit", nil)["changes"].([]any)
	if len(changes) != 1 || changes[0].(obj)["operation"] != "createGroup" || changes[0].(obj)["token"] != "" {
		t.Errorf("changes %v, want createGroup without a token", changes)
	}
}

// A token is told its own scopes, and nothing of others.
func TestATokenIsToldItsScopes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for token, want := range map[string]string{readToken: "[read]", allToken: "[read write cluster]"} {
		resp, text := s.do(s.request("GET", "/v1/token", token, nil))
		if resp.StatusCode != 200 || !strings.Contains(string(text), `"scopes":["`+strings.ReplaceAll(strings.Trim(want, "[]"), " ", `","`)+`"]`) {
			t.Errorf("%d %s, want scopes %s", resp.StatusCode, text, want)
		}
	}
	if resp, _ := s.do(s.request("GET", "/v1/token", writeToken, nil)); resp.StatusCode != 403 {
		t.Errorf("a token that may not read: %d, want 403", resp.StatusCode)
	}
}
