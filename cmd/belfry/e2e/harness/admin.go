package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// ReadToken is an admin token that may only read.
const ReadToken = "read-only-token-of-the-tests"

// Admin calls the administration API with the admin token. It sends in as JSON,
// unless in is nil, and returns the reply, in which numbers are int64 or float64.
func (s *Server) Admin(method, path string, in any) (status int, reply wstest.Obj) {
	s.T.Helper()
	status, reply, err := s.AdminAs(s.AdminToken, method, path, in)
	if err != nil {
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	return status, reply
}

// MustAdmin is Admin for a call that has to succeed.
func (s *Server) MustAdmin(method, path string, in any) wstest.Obj {
	s.T.Helper()
	status, reply := s.Admin(method, path, in)
	if status/100 != 2 {
		s.T.Fatalf("%s %s %v: %d %v", method, path, in, status, reply)
	}
	return reply
}

// AdminAs is Admin with another token; "" sends none. It may run on any goroutine.
func (s *Server) AdminAs(token, method, path string, in any) (int, wstest.Obj, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+s.AdminListen+path, body)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: wstest.Patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return resp.StatusCode, nil, nil
	}
	reply, err := wstest.JSON.Decode(text)
	if err != nil {
		return 0, nil, fmt.Errorf("status %d, body %q: %w", resp.StatusCode, text, err)
	}
	return resp.StatusCode, reply, nil
}

// Ready reports whether the server says that it is ready.
func (s *Server) Ready() bool {
	status, _, err := s.AdminAs("", "GET", "/readyz", nil)
	return err == nil && status == http.StatusOK
}

// Call makes a request to the admin listener and returns the reply as text; token
// "" sends none.
func (s *Server) Call(t testing.TB, method, path, token string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.AdminListen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Timeout: wstest.Patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
