package operation

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// The example of docs/admin.md is played against a server: each line that begins
// with "$ curl" is made a request, and answered with the lines below it.
func TestExampleOfAdministration(t *testing.T) {
	t.Parallel()
	f, err := os.Open(wstest.InRepo("docs", "admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := harness.Start(t)
	hourAgo := fmt.Sprint(time.Now().Add(-time.Hour).UnixMilli())

	type call struct {
		line    int
		command string
		want    []string
	}
	var calls []call
	scanner := bufio.NewScanner(f)
	block := false
	for n := 1; scanner.Scan(); n++ {
		text := scanner.Text()
		switch {
		case strings.HasPrefix(text, "```"):
			block = false
		case strings.HasPrefix(text, "$ curl "):
			block = true
			calls = append(calls, call{line: n, command: text[2:]})
		case block:
			last := &calls[len(calls)-1]
			last.want = append(last.want, text)
		}
	}
	if err := scanner.Err(); err != nil || len(calls) < 15 {
		t.Fatalf("%d calls in the document, %v", len(calls), err)
	}
	for _, c := range calls {
		command := strings.ReplaceAll(c.command, "<an hour ago>", hourAgo)
		// What goes to another user's shard comes there when it comes.
		var got []string
		wstest.Eventually(t, fmt.Sprintf("line %d: %s", c.line, command), func() bool {
			got = curl(t, s, command)
			if len(got) != len(c.want) {
				t.Logf("line %d: %q", c.line, got)
				return false
			}
			for i := range got {
				if !sameFrame(t, c.want[i], got[i]) {
					t.Logf("line %d: %s", c.line, got[i])
					return false
				}
			}
			return true
		})
	}
}

// curl makes the request of a command line and returns the lines of its answer. It
// knows what the document uses.
func curl(t *testing.T, s *harness.Server, command string) []string {
	t.Helper()
	words := shellWords(t, strings.ReplaceAll(command, "$TOKEN", s.AdminToken))
	r := &http.Request{Header: http.Header{}, Method: "GET"}
	for i := 1; i < len(words); i++ {
		switch w := words[i]; w {
		case "-s":
		case "-X":
			i++
			r.Method = words[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			r.Header.Set(name, value)
		case "--json", "-d", "--data-binary":
			i++
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(words[i])), int64(len(words[i]))
			if r.Method == "GET" {
				r.Method = "POST"
			}
			content := "application/x-www-form-urlencoded"
			if w == "--json" {
				content = "application/json"
			}
			if r.Header.Get("Content-Type") == "" {
				r.Header.Set("Content-Type", content)
			}
		default:
			target, ours := strings.CutPrefix(w, "http://127.0.0.1:8081/")
			if !ours {
				t.Fatalf("%s: %q is neither an option nor a URL", command, w)
			}
			u, err := http.NewRequest("GET", "http://"+s.AdminListen+"/"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL, r.Host = u.URL, u.Host
		}
	}
	client := http.Client{Timeout: wstest.Patience}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// shellWords splits a command line as a shell would that knows quotes only.
func shellWords(t *testing.T, line string) (words []string) {
	t.Helper()
	var word strings.Builder
	var quote rune
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && r == ' ':
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		t.Fatalf("%s: a quote stays open", line)
	}
	return words
}

func TestAdminTokensAreReadAgain(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	status := func(token, method, path string) int {
		t.Helper()
		status, _, err := s.AdminAs(token, method, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	hangUp := func() {
		t.Helper()
		if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	s.Write("admin.tokens", "the-new-admin-token\nthe-reading-token read\n")
	hangUp()
	wstest.Eventually(t, "the new token is good", func() bool { return status("the-new-admin-token", "GET", "/v1/stats") == http.StatusOK })
	for _, c := range []struct {
		token, method, path string
		status              int
	}{
		{s.AdminToken, "GET", "/v1/stats", 401},
		{s.AdminToken, "GET", "/debug/pprof/cmdline", 401},
		{"the-reading-token", "GET", "/v1/stats", 200},
		{"the-reading-token", "DELETE", "/v1/groups/none", 403},
		{"the-new-admin-token", "DELETE", "/v1/groups/none", 404},
	} {
		if got := status(c.token, c.method, c.path); got != c.status {
			t.Errorf("%s %s with %s: %d, want %d", c.method, c.path, c.token, got, c.status)
		}
	}
	s.Write("admin.tokens", "the-other-admin-token everything\n")
	hangUp()
	wstest.Eventually(t, "the log says why", func() bool { return strings.Contains(s.Log.String(), "everything") })
	if got := status("the-new-admin-token", "GET", "/v1/stats"); got != http.StatusOK {
		t.Errorf("after a bad file the tokens before it: %d, want 200", got)
	}
}
