package operation

// What both listeners answer to methods they do not take, and to what is no
// WebSocket, as RFC 9110 wants it.

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// askRaw sends one request as it is and returns the head of the answer, with
// nothing of it taken away.
func askRaw(t testing.TB, address, request string) (status int, header http.Header) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, wstest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(wstest.Patience))
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	r := textproto.NewReader(bufio.NewReader(conn))
	line, err := r.ReadLine()
	if err == nil {
		_, err = fmt.Sscanf(line, "HTTP/1.%d %d", new(int), &status)
	}
	var h textproto.MIMEHeader
	if err == nil {
		h, err = r.ReadMIMEHeader()
	}
	if err != nil {
		t.Fatalf("answer to %q: %q, %v", request, line, err)
	}
	return status, http.Header(h)
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	for path, allow := range map[string]string{
		"/healthz":            "GET, HEAD",
		"/readyz":             "GET, HEAD",
		"/metrics":            "GET, HEAD",
		"/debug/pprof/":       "GET, HEAD",
		"/debug/pprof/heap":   "GET, HEAD",
		"/debug/pprof/symbol": "GET, HEAD, POST",
		"/v1/users":           "GET, HEAD",
		"/v1/messages":        "POST",
		"/v1/import":          "POST",
		"/openapi.json":       "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			status, header := askRaw(t, s.AdminListen, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n",
				method, path, s.AdminToken))
			taken := strings.Contains(allow, method)
			switch {
			case taken && (status == http.StatusMethodNotAllowed || status == http.StatusNotFound):
				t.Errorf("%s %s: status %d", method, path, status)
			case !taken && (status != http.StatusMethodNotAllowed || header.Get("Allow") != allow):
				t.Errorf("%s %s: status %d, Allow %q, want 405, %q", method, path, status, header.Get("Allow"), allow)
			}
		}
	}
}

func TestNoUpgrade(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	const (
		host    = "Host: x\r\n"
		upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
		version = "Sec-WebSocket-Version: 13\r\n"
		key     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	)
	for name, tc := range map[string]struct {
		request string
		status  int
		header  http.Header
	}{
		"upgrade":       {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + version + key, 101, http.Header{"Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}}},
		"no upgrade":    {"GET /v1/ws HTTP/1.1\r\n" + host, 426, http.Header{"Upgrade": {"websocket"}}},
		"to another":    {"GET /v1/ws HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: h2c\r\n" + version + key, 426, http.Header{"Upgrade": {"websocket"}}},
		"no connection": {"GET /v1/ws HTTP/1.1\r\n" + host + "Upgrade: websocket\r\n" + version + key, 426, http.Header{"Upgrade": {"websocket"}}},
		"HTTP/1.0":      {"GET /v1/ws HTTP/1.0\r\n" + host + upgrade + version + key, 426, http.Header{"Upgrade": {"websocket"}}},
		"version 8": {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + "Sec-WebSocket-Version: 8\r\n" + key, 426,
			http.Header{"Sec-Websocket-Version": {"13"}, "Upgrade": {"websocket"}}},
		"no version":     {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + key, 426, http.Header{"Sec-Websocket-Version": {"13"}}},
		"no key":         {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + version, 400, nil},
		"short key":      {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + version + "Sec-WebSocket-Key: AAAA\r\n", 400, nil},
		"two keys":       {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + version + key + key, 400, nil},
		"no host":        {"GET /v1/ws HTTP/1.1\r\n" + upgrade + version + key, 400, nil},
		"foreign origin": {"GET /v1/ws HTTP/1.1\r\n" + host + upgrade + version + key + "Origin: https://evil.example\r\n", 403, nil},
		"POST":           {"POST /v1/ws HTTP/1.1\r\n" + host + upgrade + version + key + "Content-Length: 0\r\n", 405, http.Header{"Allow": {"GET"}}},
		"HEAD":           {"HEAD /v1/ws HTTP/1.1\r\n" + host + upgrade + version + key, 405, http.Header{"Allow": {"GET"}}},
		"OPTIONS":        {"OPTIONS /v1/ws HTTP/1.1\r\n" + host, 405, http.Header{"Allow": {"GET"}}},
		"elsewhere":      {"GET /v1/wss HTTP/1.1\r\n" + host + upgrade + version + key, 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			status, header := askRaw(t, s.Listen, tc.request+"\r\n")
			if status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			for key, want := range tc.header {
				if got := header.Get(key); got != want[0] {
					t.Errorf("%s: %q, want %q", key, got, want[0])
				}
			}
			if status != http.StatusSwitchingProtocols && !strings.Contains(header.Get("Connection"), "close") {
				t.Errorf("the connection is kept: %q", header.Get("Connection"))
			}
			// RFC 9110, 7.8: who sends Upgrade names it in Connection.
			if header.Get("Upgrade") != "" && !strings.Contains(header.Get("Connection"), "Upgrade") {
				t.Errorf("Upgrade without it in Connection, %q", header.Get("Connection"))
			}
		})
	}
}
