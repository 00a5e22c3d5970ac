package console

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func newConsole(t *testing.T, c Config) http.Handler {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask makes a request with headers given as name, value, name, value …
func ask(h http.Handler, method, target, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "http://chat.example"+target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages returns the pages of dist.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := built()
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[string]string)
	for name, f := range files {
		if strings.HasSuffix(name, ".html") {
			pages[name] = string(f.content().body)
		}
	}
	if pages[string(Chat)] == "" {
		t.Fatal("dist has no page for chat")
	}
	return pages
}

// TestPagesHaveNothingInline holds the built pages to their policy, which would
// make a browser leave out what breaks it.
func TestPagesHaveNothingInline(t *testing.T) {
	for name, page := range pages(t) {
		for _, banned := range []string{`<style`, `style=`, `<script>`, ` on[a-z]+=`, `https?://`, `javascript:`} {
			if m := regexp.MustCompile(banned).FindString(page); m != "" {
				t.Errorf("%s has %q", name, m)
			}
		}
	}
}

// TestPagesReferToWhatIsServed asks for each file that a page names.
func TestPagesReferToWhatIsServed(t *testing.T) {
	reference := regexp.MustCompile(`(?:src|href)="\./([^"]+)"`)
	for name, page := range pages(t) {
		h := newConsole(t, Config{Page: Page(name)})
		if got := text(t, ask(h, "GET", "/", "")); got != page {
			t.Errorf("GET / of %s is another page", name)
		}
		matches := reference.FindAllStringSubmatch(page, -1)
		if len(matches) < 2 {
			t.Errorf("%s refers to %d files: they are no longer recognised", name, len(matches))
		}
		for _, m := range matches {
			r := ask(h, "GET", "/"+m[1], "")
			if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("GET /%s = %d, Cache-Control %q", m[1], r.StatusCode, r.Header.Get("Cache-Control"))
			}
		}
	}
}

func TestEveryAnswerHasThePolicy(t *testing.T) {
	h := newConsole(t, Config{Page: Chat, Token: func(string) (string, error) { return "t", nil }})
	for _, target := range []string{"/", "/console.json", "/nowhere", "/assets/none.js", "/fonts-OFL.txt"} {
		r := ask(h, "GET", target, "")
		if r.Header.Get("Content-Security-Policy") != policy || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("GET %s has headers %v", target, r.Header)
		}
	}
	for _, banned := range []string{"unsafe", "http:", "https:", "*"} {
		if strings.Contains(policy, banned) {
			t.Errorf("the policy has %s", banned)
		}
	}
}

func TestPageIsSentOnceWhileItIsTheSame(t *testing.T) {
	h := newConsole(t, Config{Page: Chat})
	for _, encoding := range []string{"", "gzip, br"} {
		first := ask(h, "GET", "/", "", "Accept-Encoding", encoding)
		if first.StatusCode != http.StatusOK || first.Header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("GET / = %d, Cache-Control %q", first.StatusCode, first.Header.Get("Cache-Control"))
		}
		again := ask(h, "GET", "/", "", "Accept-Encoding", encoding, "If-None-Match", first.Header.Get("ETag"))
		if body := text(t, again); again.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("GET / with its ETag = %d and %d bytes, want 304 and none", again.StatusCode, len(body))
		}
	}
}

func TestGzipHoldsTheSame(t *testing.T) {
	h := newConsole(t, Config{Page: Chat})
	files, _ := built()
	zipped := 0
	for name, f := range files {
		if strings.HasSuffix(name, ".html") {
			continue
		}
		r := ask(h, "GET", "/"+name, "", "Accept-Encoding", "gzip")
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			zipped++
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != string(f.content().body) {
			t.Errorf("%s differs when it is compressed: %v", name, err)
		}
		if plain := ask(h, "GET", "/"+name, "", "Accept-Encoding", "gzip;q=0"); text(t, plain) != string(f.content().body) {
			t.Errorf("%s differs", name)
		}
	}
	if zipped == 0 {
		t.Error("no file is compressed")
	}
}

func TestTokens(t *testing.T) {
	h := newConsole(t, Config{Page: Chat, Token: func(user string) (string, error) {
		if user != "alice" {
			return "", errors.New("no such user")
		}
		return "token of " + user, nil
	}})
	const asked = `{"user":"alice"}`
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
	}{
		{"no browser", asked, nil, 200},
		{"own page", asked, []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://chat.example"}, 200},
		{"own page of an old browser", asked, []string{"Origin", "http://chat.example"}, 200},
		{"other site", asked, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}, 403},
		{"other port", asked, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://chat.example:81"}, 403},
		{"other site of an old browser", asked, []string{"Origin", "http://evil.example"}, 403},
		{"proxy", asked, []string{"Forwarded", "for=192.0.2.1"}, 403},
		{"common proxy", asked, []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{"proxy that rewrites Host", asked, []string{"X-Forwarded-Host", "chat.example"}, 403},
		{"form", asked, []string{"Content-Type", "text/plain"}, 415},
		{"other user", `{"user":"x y"}`, nil, 400},
		{"no JSON", `user=alice`, nil, 400},
		{"long", `{"user":"` + strings.Repeat("a", maxTokenRequest) + `"}`, nil, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(h, "POST", "/dev/token", c.body, append([]string{"Content-Type", "application/json"}, c.headers...)...)
			var answer struct{ Token, Code, Message string }
			if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %+v", r.StatusCode, c.status, answer)
			}
			if (c.status == 200) != (answer.Token == "token of alice") || (c.status == 200) == (answer.Code != "") {
				t.Errorf("answer %+v", answer)
			}
		})
	}
	if r := ask(h, "GET", "/dev/token", ""); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /dev/token = %d, want 405", r.StatusCode)
	}
	without := newConsole(t, Config{Page: Chat})
	if r := ask(without, "POST", "/dev/token", asked, "Content-Type", "application/json"); r.StatusCode != http.StatusNotFound {
		t.Errorf("POST /dev/token where there are no tokens = %d, want 404", r.StatusCode)
	}
	for want, h := range map[string]http.Handler{"true": h, "false": without} {
		if got := text(t, ask(h, "GET", "/console.json", "")); !strings.Contains(got, want) {
			t.Errorf("GET /console.json = %s, want %s", got, want)
		}
	}
}

func TestUnknownPage(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without a page returns no error")
	}
}
