package operation

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestServeStops ends a server with SIGTERM while a device is logged in: the
// device is told, the exit code is 0, and what was sent is there afterwards.
func TestServeStops(t *testing.T) {
	s := harness.Start(t)
	alice := s.Login(t, "alice", "phone", nil)
	alice.Sync()
	alice.Say("u:bob", "before the stop")
	s.Stop()
	alice.ExpectClose(1001)

	s.Restart()
	bob := s.Login(t, "bob", "phone", nil)
	if got := bob.Sync().Messages; len(got) != 1 || got[0].CID != "before the stop" {
		t.Errorf("bob got %v after the restart, want the one message", got)
	}
}

// TestServeSecondInstance refuses a data folder that is in use.
func TestServeSecondInstance(t *testing.T) {
	s := harness.Start(t)
	out, err := exec.Command(s.Bin, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--data", s.Path("store"), "--auth-secret-file", s.Path("auth.secret")).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("in use")) {
		t.Errorf("second server on the same data: %v\n%s", err, out)
	}
}

func TestServeOperations(t *testing.T) {
	s := harness.Start(t)
	for _, c := range []struct {
		token, path string
		status      int
	}{
		{"", "/healthz", http.StatusOK},
		{"", "/readyz", http.StatusOK},
		{"", "/metrics", http.StatusUnauthorized},
		{"wrong", "/metrics", http.StatusUnauthorized},
	} {
		if status, reply, err := s.AdminAs(c.token, "GET", c.path, nil); err != nil || status != c.status {
			t.Errorf("GET %s with token %q: %d %v %v, want %d", c.path, c.token, status, reply, err, c.status)
		}
	}
	if status, reply, err := s.AdminAs("", "POST", "/faults/shards/0/stop", nil); err == nil && status/100 == 2 {
		t.Errorf("the normal build stops a shard on request: %d %v", status, reply)
	}
}

// TestDev starts `belfry serve --dev` as a newcomer does and uses what it prints.
func TestDev(t *testing.T) {
	bin := harness.Binary(t)
	data := filepath.Join(t.TempDir(), "data folder")
	cmd := exec.Command(bin, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data)
	cmd.Env = harness.CleanEnv()
	log := &harness.LogTail{}
	cmd.Stderr = log
	harness.DieWithTests(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(wstest.Patience, func() { cmd.Process.Kill() })
	defer stuck.Stop()

	var printed strings.Builder
	tokens := map[string]string{}
	var listen string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&printed, lines.Text())
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "ready" {
			listen = strings.TrimPrefix(fields[1], "listen=")
		}
		if len(fields) == 2 && (fields[0] == "alice" || fields[0] == "bob") {
			tokens[fields[0]] = fields[1]
		}
		if len(tokens) < 2 {
			continue
		}
		s := &harness.Server{T: t, Listen: listen}
		for user, token := range tokens {
			c := s.Device(t, user, "phone", nil)
			c.Connect(wstest.DialOptions{})
			if reply := c.Request("login", obj{"token": token, "device": "phone"}); reply["user"] != user {
				t.Errorf("login with the token for %s: %v", user, reply)
			}
		}
		if token := consoleToken(t, listen, "carol"); token != "" {
			c := s.Device(t, "carol", "browser", nil)
			c.Connect(wstest.DialOptions{})
			if reply := c.Request("login", obj{"token": token, "device": "browser"}); reply["user"] != "carol" {
				t.Errorf("login with the console's token: %v", reply)
			}
		}
		// A page that gives this machine a name of its own is not let in.
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+listen+"/v1/ws", nil)
		req.Host = "evil.example"
		if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("request for another host: %v %v, want 403", resp, err)
		} else {
			resp.Body.Close()
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		break
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("serve --dev: %v\n%s\n%s", err, printed.String(), log)
	}
	if listen == "" || len(tokens) != 2 {
		t.Fatalf("serve --dev printed\n%s\n%s", printed.String(), log)
	}
	for _, user := range []string{"alice", "bob"} {
		want := fmt.Sprintf("chat --user %s --to ", user)
		if !strings.Contains(printed.String(), want) || !strings.Contains(printed.String(), "'"+data+"'") {
			t.Errorf("serve --dev printed no command to paste for %s:\n%s", user, printed.String())
		}
	}
	info, err := os.Stat(filepath.Join(data, "auth.secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v, want mode 0600", "auth.secret", info, err)
	}
}

// consoleToken opens the console of a development server as a browser does, and
// returns a token that it gives to user.
func consoleToken(t *testing.T, listen, user string) string {
	t.Helper()
	page, err := http.Get("http://" + listen + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || page.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("GET / = %d %v, want a page with a policy", page.StatusCode, page.Header)
	}
	ask := func(origin string) (status int, token string) {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+listen+"/dev/token", strings.NewReader(`{"user":"`+user+`"}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct{ Token string }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer.Token
	}
	if status, token := ask("http://evil.example"); status != http.StatusForbidden || token != "" {
		t.Errorf("POST /dev/token of another origin = %d %q, want 403", status, token)
	}
	status, token := ask("http://" + listen)
	if status != http.StatusOK || token == "" {
		t.Errorf("POST /dev/token = %d %q", status, token)
	}
	return token
}

// TestConsole serves the page where it is asked for, and gives no tokens there.
func TestConsole(t *testing.T) {
	for flag, want := range map[string][2]int{"--console": {200, 404}, "--console=false": {404, 404}} {
		s := harness.Start(t, flag)
		page, err := http.Get("http://" + s.Listen + "/")
		if err != nil {
			t.Fatal(err)
		}
		page.Body.Close()
		token, err := http.Post("http://"+s.Listen+"/dev/token", "application/json", strings.NewReader(`{"user":"alice"}`))
		if err != nil {
			t.Fatal(err)
		}
		token.Body.Close()
		if got := [2]int{page.StatusCode, token.StatusCode}; got != want {
			t.Errorf("%s: GET / and POST /dev/token = %v, want %v", flag, got, want)
		}
	}
}

// TestToken logs in with what `belfry token` prints.
func TestToken(t *testing.T) {
	s := harness.Start(t)
	out, err := exec.Command(s.Bin, "token", "--user", "alice", "--ttl", "1h", "--auth-secret-file", s.Path("auth.secret")).Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(out))
	c := s.Device(t, "alice", "phone", wstest.Msgpack)
	c.Login(obj{"token": token})

	var claims jwt.RegisteredClaims
	if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.Secret, nil }); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(claims.ExpiresAt.Time); left > time.Hour || left < 59*time.Minute {
		t.Errorf("the token is good for %v, want 1h", left)
	}
}

// TestServeTLS serves clients with a certificate.
func TestServeTLS(t *testing.T) {
	certFile, keyFile, cert := harness.Certificate(t)
	s := harness.Start(t, "--tls-cert="+certFile, "--tls-key="+keyFile)

	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})) {
		t.Fatal("the certificate is none")
	}
	for _, tc := range []struct {
		offered []string
		want    string
		refused bool
	}{
		{[]string{"h2", "http/1.1"}, "http/1.1", false},
		{[]string{"http/1.1"}, "http/1.1", false},
		{nil, "", false},
		{[]string{"h2"}, "", true}, // in which nothing would work
	} {
		conn, err := tls.Dial("tcp", s.Listen, &tls.Config{RootCAs: pool, NextProtos: tc.offered})
		if (err != nil) != tc.refused {
			t.Errorf("offered %v: %v, want refused = %t", tc.offered, err, tc.refused)
		}
		if err != nil {
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != tc.want {
			t.Errorf("offered %v: protocol %q, want %q", tc.offered, got, tc.want)
		}
		conn.Close()
	}
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer trusting.CloseIdleConnections()
	ws, _, err := websocket.Dial(t.Context(), "wss://"+s.Listen+"/v1/ws", &websocket.DialOptions{HTTPClient: trusting})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"id":1,"op":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := ws.Read(t.Context()); err != nil || !bytes.Contains(reply, []byte(`"serverTime"`)) {
		t.Errorf("ping: %s, %v", reply, err)
	}
}

// TestServeUntilEOF ends the input of a server that a load started, as when the
// load is killed: the server ends too.
func TestServeUntilEOF(t *testing.T) {
	t.Parallel()
	bin := harness.Binary(t)
	cmd := exec.Command(bin, "serve", "--until-eof", "--dev", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--data", t.TempDir())
	cmd.Env = harness.CleanEnv()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer patience.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("printed %q, %v", line, err)
	}
	stdin.Close() // as the kernel does when the other process ends
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, want exit code 0", err)
	}
}
