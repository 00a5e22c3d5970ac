package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	allToken   = "the-token-for-all"
	readToken  = "the-token-to-read"
	writeToken = "the-token-to-write"
	otherToken = "the-token-of-clusters"
)

const tokenFile = allToken + "\n" + readToken + " read\n" + writeToken + " write\n" + otherToken + " cluster\n"

// A server is an API over a real store.
type server struct {
	t     testing.TB
	api   *API
	store *raftstore.Store
	http  *httptest.Server
	log   *lockedBuffer
}

type obj = map[string]any

func newServer(t testing.TB, change func(*Config)) *server {
	t.Helper()
	store, err := raftstore.Open(raftstore.Config{Dir: t.TempDir(), Shards: 2, DiskReserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	tokens, err := NewTokens(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, store: store, log: new(lockedBuffer)}
	config := Config{Backend: store, Tokens: tokens, Cluster: newFakeCluster(), Inspect: inspected(store), Log: slog.New(slog.NewJSONHandler(s.log, nil))}
	if change != nil {
		change(&config)
	}
	if s.api, err = New(config); err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewServer(s.api)
	t.Cleanup(s.http.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

// request makes a request; in is sent as JSON, text and bytes as they are.
func (s *server) request(method, path, token string, in any) *http.Request {
	s.t.Helper()
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case string:
		body = strings.NewReader(in)
	case []byte:
		body = bytes.NewReader(in)
	default:
		text, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// do sends a request and reads the answer.
func (s *server) do(r *http.Request) (*http.Response, []byte) {
	s.t.Helper()
	resp, err := s.http.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, text
}

// call makes a call with the token for all.
func (s *server) call(method, path string, in any) (status int, reply obj) {
	s.t.Helper()
	resp, text := s.do(s.request(method, path, allToken, in))
	if len(text) > 0 {
		if err := json.Unmarshal(text, &reply); err != nil {
			s.t.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, text, err)
		}
	}
	return resp.StatusCode, reply
}

// must is call that has to succeed.
func (s *server) must(method, path string, in any) obj {
	s.t.Helper()
	status, reply := s.call(method, path, in)
	if status/100 != 2 {
		s.t.Fatalf("%s %s %v: %d %v", method, path, in, status, reply)
	}
	return reply
}

// propose executes a command, as a client's session would.
func (s *server) propose(cmd command.Command) command.Result {
	s.t.Helper()
	r, err := s.store.Propose(s.t.Context(), cmd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		s.t.Fatalf("%T: %v", cmd, err)
	}
	return r
}

// login opens a session of a user's device.
func (s *server) login(user command.UserID, device string) *ear {
	s.t.Helper()
	e := &ear{kicked: make(chan string, 1)}
	cmd := &command.Login{User: user, Device: device, Platform: "test", IssuedAt: time.Now().UnixMilli()}
	sync, err := s.store.Login(s.t.Context(), cmd, query.RecentsOn, e)
	if err != nil {
		s.t.Fatalf("login of %s: %v", user, err)
	}
	e.session = sync.Session
	return e
}

// An ear is a session that notes how it ends.
type ear struct {
	session command.SessionID
	kicked  chan string
	signals sync.Map
}

func (e *ear) Wake()                              {}
func (e *ear) Signal(s store.Signal)              { e.signals.Store(s.Kind, s) }
func (e *ear) Kick(reason string)                 { e.kicked <- reason }
func (e *ear) Acked(command.GroupID, uint64) bool { return false }
func (e *ear) Acks() store.Acks                   { return store.Acks{} }
func (e *ear) Gone()                              {}
func (e *ear) UpTo() uint64                       { return 0 }

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// arrived waits until a user has n messages in his view of a conversation:
// between shards they travel by letter.
func (s *server) arrived(user, peer string, n int) {
	s.t.Helper()
	var page query.Page
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		q := query.HistoryQuery{User: command.UserID(user), Peer: command.UserID(peer), Limit: 100, MaxBytes: 1 << 20}
		if err := s.store.History(q, &page); err != nil {
			s.t.Fatal(err)
		}
		if len(page.Updates.Messages) >= n {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s has %d messages of %s after a minute, want %d", user, len(page.Updates.Messages), peer, n)
		}
	}
}
