package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// kickedFor waits for the end of a session.
func (e *ear) kickedFor(t *testing.T) string {
	t.Helper()
	select {
	case reason := <-e.kicked:
		return reason
	case <-time.After(time.Minute):
		t.Fatal("the session goes on")
		return ""
	}
}

func TestKick(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	phone, laptop := s.login("bob", "phone"), s.login("bob", "laptop")
	if reply := s.must("DELETE", "/v1/users/bob/sessions?device=watch", nil); reply["kicked"] != 0.0 {
		t.Errorf("a device that is not there: %v, want 0 kicked", reply)
	}
	if reply := s.must("DELETE", "/v1/users/bob/sessions?device=phone", nil); reply["kicked"] != 1.0 {
		t.Errorf("phone: %v, want 1 kicked", reply)
	}
	if reason := phone.kickedFor(t); reason != "admin" {
		t.Errorf("phone was kicked for %q, want admin", reason)
	}
	if n := len(laptop.kicked); n != 0 {
		t.Error("laptop was kicked too")
	}
	s.must("DELETE", "/v1/users/bob/sessions", nil)
	laptop.kickedFor(t)
	if reply := s.must("DELETE", "/v1/users/bob/sessions", nil); reply["kicked"] != 0.0 {
		t.Errorf("nobody is left: %v, want 0 kicked", reply)
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	phone := s.login("bob", "phone")
	s.must("PATCH", "/v1/users/bob", obj{"suspended": true})
	phone.kickedFor(t)
	login := func() error {
		_, err := s.store.Login(t.Context(), &command.Login{User: "bob", Device: "phone", IssuedAt: s.store.Now()}, query.RecentsOn, &ear{kicked: make(chan string, 1)})
		return err
	}
	if err := login(); err == nil {
		t.Error("who is suspended can log in")
	}
	if settings := s.must("GET", "/v1/users/bob", nil)["settings"].(obj); settings["suspended"] != true {
		t.Errorf("settings %v, want suspended", settings)
	}
	s.must("PATCH", "/v1/users/bob", obj{"suspended": false})
	if err := login(); err != nil {
		t.Errorf("login after the suspension: %v", err)
	}
	s.must("PATCH", "/v1/users/bob", obj{"tokensFrom": s.store.Now() + 60_000})
	if err := login(); err == nil {
		t.Error("a token from before tokensFrom is taken")
	}
}

// prepareErase makes a user with all kinds of data in two groups of his and one
// of another's.
func prepareErase(s *server) {
	s.login("bob", "phone")
	send("alice", "u:bob", 2)(s)
	send("bob", "u:alice", 1)(s)
	for _, g := range []string{"one", "two"} {
		s.must("POST", "/v1/groups", obj{"group": g, "kind": "private", "owner": "bob", "members": []string{"alice"}})
	}
	for _, g := range []string{"three", "zero"} {
		s.must("POST", "/v1/groups", obj{"group": g, "kind": "chatroom", "owner": "alice", "members": []string{"bob"}})
	}
	for _, g := range []string{"one", "two", "three", "zero"} {
		for _, from := range []string{"bob", "alice"} {
			s.must("POST", "/v1/messages", obj{"from": from, "to": "g:" + g, "cid": "1", "body": from})
		}
	}
	// Bob's own list may not have the groups yet, and soon not have one he left.
	s.must("DELETE", "/v1/groups/zero/members/bob", nil)
}

// checkErased holds that nothing of bob is left but what alice has.
func checkErased(t *testing.T, s *server) {
	t.Helper()
	for _, g := range []string{"one", "two", "three", "zero"} {
		page := s.must("GET", "/v1/groups/"+g+"/messages", nil)
		messages := page["messages"].([]any)
		if len(messages) != 1 || messages[0].(obj)["from"] != "alice" {
			t.Errorf("group %s holds %v, want alice's message alone", g, messages)
		}
		for _, m := range s.must("GET", "/v1/groups/"+g+"/members", nil)["members"].([]any) {
			if m.(obj)["user"] == "bob" {
				t.Errorf("bob is still a member of %s", g)
			}
		}
	}
	page := s.must("GET", "/v1/users/bob/conversations/u:alice/messages", nil)
	if messages := page["messages"].([]any); len(messages) != 0 {
		t.Errorf("bob's history: %v, want none", messages)
	}
	if status, user := s.call("GET", "/v1/users/bob", nil); status == 200 {
		if user["exists"] != false || user["unreadTotal"] != 0.0 || user["stored"].(obj)["messages"] != 0.0 || len(user["sessions"].([]any)) != 0 {
			t.Errorf("bob after all: %v", user)
		}
	}
	// The letters that told him arrive when they arrive.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		groups, err := s.store.GroupsOf(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("bob's groups: %v, want none", groups)
		}
	}
	page = s.must("GET", "/v1/users/alice/conversations/u:bob/messages", nil)
	if messages := page["messages"].([]any); len(messages) != 3 {
		t.Errorf("alice has %d messages with bob, want her 3", len(messages))
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	prepareErase(s)
	s.must("DELETE", "/v1/users/bob", nil)
	checkErased(t, s)
	s.must("DELETE", "/v1/users/bob", nil)
	checkErased(t, s)
	if status, reply := s.call("DELETE", "/v1/users/nobody", nil); status != 404 {
		t.Errorf("a user of whom nothing is known: %d %v, want 404", status, reply)
	}
	if status, reply := s.call("GET", "/v1/users/nobody", nil); status != 404 {
		t.Errorf("after that: %d %v, want 404 still", status, reply)
	}
	// The account can be used again, by who may.
	s.login("bob", "phone")
	send("alice2", "u:bob", 1)(s)
}

// TestEraseCutShort cuts an erasure after each of its commands and repeats it.
func TestEraseCutShort(t *testing.T) {
	for after := range 12 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			cut := &cutBackend{left: after}
			s := newServer(t, func(c *Config) { cut.Backend = c.Backend; c.Backend = cut })
			cut.off = true
			prepareErase(s)
			cut.off = false
			status, reply := s.call("DELETE", "/v1/users/bob", nil)
			if status/100 == 2 {
				t.Logf("an erasure takes %d commands", after-cut.left)
			} else if reply["code"] != protocol.CodeUnavailable {
				t.Fatalf("cut after %d: %d %v, want unavailable", after, status, reply)
			}
			cut.off = true
			s.must("DELETE", "/v1/users/bob", nil)
			checkErased(t, s)
		})
	}
}

// A cutBackend fails once so many commands are done.
type cutBackend struct {
	Backend
	off  bool
	left int
}

func (b *cutBackend) spend() error {
	if b.off {
		return nil
	}
	if b.left == 0 {
		return store.ErrUnavailable
	}
	b.left--
	return nil
}

func (b *cutBackend) Propose(ctx context.Context, cmd command.Command) (command.Result, error) {
	if err := b.spend(); err != nil {
		return command.Result{}, err
	}
	return b.Backend.Propose(ctx, cmd)
}

func (b *cutBackend) Submit(cmd command.Command, done func(command.Result, error)) {
	if err := b.spend(); err != nil {
		go done(command.Result{}, err)
		return
	}
	b.Backend.Submit(cmd, done)
}

func (b *cutBackend) EraseUser(ctx context.Context, user command.UserID) error {
	if err := b.spend(); err != nil {
		return err
	}
	return b.Backend.EraseUser(ctx, user)
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	prepareErase(s)
	s.propose(&command.Block{User: "bob", Target: "carol"})
	resp, text := s.do(s.request("GET", "/v1/users/bob/export", readToken, nil))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != ndjson {
		t.Fatalf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), text)
	}
	var kinds []string
	var conv string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var row map[string]any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || len(row) != 1 {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		for kind, value := range row {
			kinds = append(kinds, kind)
			switch v, _ := value.(obj); kind {
			case "conversation":
				conv = v["conv"].(string)
			case "message":
				if strings.HasPrefix(conv, "g:") && v["from"] != "bob" {
					t.Errorf("message of %v in %s, want only bob's", v["from"], conv)
				}
				if v["conv"] == "g:zero" {
					conv = "g:zero" // a group that he left has no row of its own
				}
				if v["conv"] != conv {
					t.Errorf("message of %v under %s", v["conv"], conv)
				}
			case "group":
				conv = "g:" + v["group"].(string)
				if v["member"].(obj)["user"] != "bob" {
					t.Errorf("group %v: member %v, want bob", v["group"], v["member"])
				}
			}
		}
	}
	want := []string{"user", "blocked", "conversation", "message", "message", "message", "group", "message", "group", "message", "group", "message", "message"}
	if !slices.Equal(kinds, want) {
		t.Errorf("rows %v, want %v", kinds, want)
	}
}

// TestExportBreaksOff: what is not whole must not look whole.
func TestExportBreaksOff(t *testing.T) {
	t.Parallel()
	for rows, want := range map[int]string{0: "status 503", 5000: "cut"} {
		s := newServer(t, func(c *Config) { c.Backend = brokenExport{c.Backend, rows} })
		send("alice", "u:bob", 1)(s)
		got := "whole"
		resp, err := s.http.Client().Do(s.request("GET", "/v1/users/bob/export", readToken, nil))
		if err != nil {
			got = "cut"
		} else {
			if resp.StatusCode != 200 {
				got = fmt.Sprint("status ", resp.StatusCode)
			}
			if _, err := bufio.NewReader(resp.Body).WriteTo(new(bytes.Buffer)); err != nil {
				got = "cut"
			}
			resp.Body.Close()
		}
		if got != want {
			t.Errorf("an export that fails after %d rows: %s, want %s", rows, got, want)
		}
	}
}

type brokenExport struct {
	Backend
	rows int
}

func (b brokenExport) Export(_ context.Context, user command.UserID, yield func(*store.ExportRow) error) error {
	for range b.rows {
		if err := yield(&store.ExportRow{User: &query.UserInfo{User: user}}); err != nil {
			return err
		}
	}
	return store.ErrUnavailable
}

func TestAudit(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	s.must("GET", "/v1/groups/team", nil)
	s.must("DELETE", "/v1/groups/team/messages?sender=bob", nil)
	s.do(s.request("DELETE", "/v1/groups/team", readToken, nil))
	s.do(s.request("DELETE", "/v1/groups/team", "not-a-token-of-ours", nil))
	s.do(s.request("POST", tencentPath+"?usersig="+writeToken, "", `{"GroupId":"none","Sender_Account":"bob"}`))
	s.do(s.request("GET", "/v1/nothing", allToken, nil))

	type line struct {
		Msg, Operation, Method, Path, Token, Remote, Target, Outcome string
		Status                                                       int
		Duration                                                     int64
	}
	var lines []line
	for text := range strings.Lines(s.log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	all, _ := s.api.tokens.authorize(allToken, ScopeRead)
	read, _ := s.api.tokens.authorize(readToken, ScopeRead)
	write, _ := s.api.tokens.authorize(writeToken, ScopeWrite)
	want := []line{
		{Operation: "createGroup", Method: "POST", Path: "/v1/groups", Token: all, Target: "team", Status: 201},
		{Operation: "deleteSender", Method: "DELETE", Path: "/v1/groups/team/messages", Token: all, Target: "bob in team", Status: 200},
		{Operation: "dismissGroup", Method: "DELETE", Path: "/v1/groups/team", Token: read, Status: 403},
		{Operation: "dismissGroup", Method: "DELETE", Path: "/v1/groups/team", Status: 401},
		{Operation: "tencentDeleteSender", Method: "POST", Path: tencentPath, Token: write, Target: "bob in none", Status: 200, Outcome: "ErrorCode 10010"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	for i := range want {
		got := lines[i]
		if got.Remote == "" || got.Duration <= 0 || got.Msg != "administration" {
			t.Errorf("line %d: %+v, want a remote address and a duration", i, got)
		}
		got.Msg, got.Remote, got.Duration = "", "", 0
		if got != want[i] {
			t.Errorf("line %d: %+v, want %+v", i, got, want[i])
		}
	}
	for _, secret := range []string{allToken, readToken, writeToken, "not-a-token-of-ours"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has the token %s", secret)
		}
	}
}

func TestTencent(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	send("team-bob", "g:team", 3)(s)
	const good = `{"GroupId":"team","Sender_Account":"team-bob"}`
	for _, c := range []struct {
		name, query, bearer, body string
		code                      int
	}{
		{"no token", "", "", good, tencentNoPermission},
		{"bad usersig", "?usersig=wrong", "", good, tencentNoPermission},
		{"a token that may not write", "", readToken, good, tencentNoPermission},
		{"both are bad", "?usersig=wrong", readToken, good, tencentNoPermission},
		{"usersig beside another's Bearer", "?usersig=" + writeToken, "wrong", good, tencentOK},
		{"Bearer beside a usersig of Tencent", "?usersig=eJwtzMsKwjAQ", writeToken, good, tencentOK},
		{"two usersigs", "?usersig=" + writeToken + "&usersig=wrong", "", good, tencentNoPermission},
		{"names in another case", "", allToken, `{"groupid":"team","sender_account":"team-bob"}`, tencentBadParameter},
		{"a name in another case beside", "", allToken, `{"GROUPID":"none","GroupId":"team","Sender_Account":"team-bob"}`, tencentOK},
		{"a name twice", "", allToken, `{"GroupId":"none","GroupId":"team","Sender_Account":"team-bob"}`, tencentBadParameter},
		{"no body", "", allToken, "", tencentBadParameter},
		{"no JSON", "", allToken, "GroupId=team", tencentBadParameter},
		{"no object", "", allToken, "[]", tencentBadParameter},
		{"wrong type", "", allToken, `{"GroupId":7,"Sender_Account":"bob"}`, tencentBadParameter},
		{"no group", "", allToken, `{"Sender_Account":"bob"}`, tencentBadParameter},
		{"bad group", "", allToken, `{"GroupId":"a b","Sender_Account":"bob"}`, tencentBadGroup},
		{"long group", "", allToken, `{"GroupId":"` + strings.Repeat("x", 49) + `","Sender_Account":"bob"}`, tencentBadGroup},
		{"no sender", "", allToken, `{"GroupId":"team"}`, tencentBadParameter},
		{"unknown group", "", allToken, `{"GroupId":"none","Sender_Account":"bob"}`, tencentNoGroup},
		{"too much", "", allToken, strings.Repeat(" ", maxRequest+1), tencentBadParameter},
		{"as Bearer", "", writeToken, good, tencentOK},
		{"as usersig", "?sdkappid=88&identifier=admin&usersig=" + writeToken + "&random=9&contenttype=json", "", good, tencentOK},
		{"empty parameters", "?a=&b&usersig=" + writeToken + "&a=1", "", good, tencentOK},
		{"further fields", "", allToken, `{"GroupId":"team","Sender_Account":"team-bob","More":[1]}`, tencentOK},
	} {
		for _, content := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", ""} {
			r := s.request("POST", tencentPath+c.query, c.bearer, c.body)
			r.Header.Set("Content-Type", content)
			resp, text := s.do(r)
			var answer struct {
				ActionStatus string
				ErrorCode    *int
				ErrorInfo    *string
			}
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&answer); err != nil || resp.StatusCode != 200 || answer.ErrorCode == nil || answer.ErrorInfo == nil {
				t.Fatalf("%s: %d %s", c.name, resp.StatusCode, text)
			}
			status := map[bool]string{true: "OK", false: "FAIL"}[c.code == tencentOK]
			if *answer.ErrorCode != c.code || answer.ActionStatus != status || (*answer.ErrorInfo == "") != (c.code == tencentOK) {
				t.Errorf("%s as %q: %s, want %s %d", c.name, content, text, status, c.code)
			}
		}
	}
	page := s.must("GET", "/v1/groups/team/messages", nil)
	if messages := page["messages"].([]any); len(messages) != 0 {
		t.Errorf("the group still holds %v", messages)
	}
}

func TestConfigIsRefused(t *testing.T) {
	backend := new(silentBackend)
	for name, c := range map[string]Config{
		"no backend":    {},
		"huge bodies":   {Backend: backend, MaxBody: 64 << 10},
		"negative body": {Backend: backend, MaxBody: -1},
		"negative time": {Backend: backend, WriteTimeout: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{Backend: backend}); err != nil {
		t.Error(err)
	}
}
