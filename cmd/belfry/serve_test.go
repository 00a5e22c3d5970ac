package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
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

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// TestServeStops ends a server with SIGTERM while a device is logged in: the
// device is told, the exit code is 0, and what was sent is there afterwards.
func TestServeStops(t *testing.T) {
	s := startServer(t)
	alice := s.login(t, "alice", "phone", nil)
	alice.sync()
	alice.say("u:bob", "before the stop")
	s.stop()
	alice.expectClose(1001)

	s.restart()
	bob := s.login(t, "bob", "phone", nil)
	if got := bob.sync().Messages; len(got) != 1 || got[0].CID != "before the stop" {
		t.Errorf("bob got %v after the restart, want the one message", got)
	}
}

// TestServeSecondInstance refuses a data folder that is in use.
func TestServeSecondInstance(t *testing.T) {
	s := startServer(t)
	out, err := exec.Command(s.bin, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--data", s.path("store"), "--auth-secret-file", s.path("auth.secret")).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("in use")) {
		t.Errorf("second server on the same data: %v\n%s", err, out)
	}
}

func TestServePortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var stdout, stderr bytes.Buffer
	code := execute([]string{"serve", "--dev", "--data", t.TempDir(), "--listen", taken.Addr().String()}, nil, nil, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "--listen") {
		t.Errorf("exit code %d, stderr %q, want 1 and an error that names --listen", code, stderr.String())
	}
}

func TestServeOperations(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct {
		token, path string
		status      int
	}{
		{"", "/healthz", http.StatusOK},
		{"", "/readyz", http.StatusOK},
		{"", "/metrics", http.StatusUnauthorized},
		{"wrong", "/metrics", http.StatusUnauthorized},
	} {
		if status, reply, err := s.adminAs(c.token, "GET", c.path, nil); err != nil || status != c.status {
			t.Errorf("GET %s with token %q: %d %v %v, want %d", c.path, c.token, status, reply, err, c.status)
		}
	}
	if status, reply, err := s.adminAs("", "POST", "/faults/shards/0/stop", nil); err == nil && status/100 == 2 {
		t.Errorf("the normal build stops a shard on request: %d %v", status, reply)
	}
}

func TestAdminTokenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.tokens")
	for _, c := range []struct{ name, content, want string }{
		{"empty", "\n\n", path + ": there is no token"},
		{"unknown scope", "\na-token-of-16-bytes\nanother-of-16-bytes read,admin\n", `: line 3: scope "admin": want one of read, write, cluster`},
		{"too short", "fifteen-letters\n", ": line 1: a token of 15 bytes, want 16 or more"},
		{"the same twice", "a-token-of-16-bytes read\n\na-token-of-16-bytes write\n", ": line 3: this token is there already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := execute([]string{"serve", "--dev", "--data", dir, "--admin-token-file", path}, nil, nil, &stdout, &stderr)
			if code != 1 || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit code %d, stderr %q, want 1 and %q", code, stderr.String(), c.want)
			}
		})
	}
}

// TestDev starts `belfry serve --dev` as a newcomer does and uses what it prints.
func TestDev(t *testing.T) {
	bin, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data folder")
	cmd := exec.Command(bin, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data)
	cmd.Env = cleanEnv()
	log := &logTail{}
	cmd.Stderr = log
	dieWithTests(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(patience, func() { cmd.Process.Kill() })
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
		s := &server{t: t, listen: listen}
		for user, token := range tokens {
			c := s.device(t, user, "phone", nil)
			c.connect(dialOptions{})
			if reply := c.request("login", obj{"token": token, "device": "phone"}); reply["user"] != user {
				t.Errorf("login with the token for %s: %v", user, reply)
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
	info, err := os.Stat(filepath.Join(data, cli.SecretName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v, want mode 0600", cli.SecretName, info, err)
	}
}

// TestEnsureSecret keeps a secret that is there and makes different ones.
func TestEnsureSecret(t *testing.T) {
	dir := t.TempDir()
	var secrets []string
	for _, name := range []string{"a", "a", "b"} {
		path := filepath.Join(dir, name)
		if err := ensureSecret(path); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(content))
	}
	if secrets[0] != secrets[1] || secrets[0] == secrets[2] || len(secrets[0]) < 32 {
		t.Errorf("secrets %q, want the first kept and the second another", secrets)
	}
	files, err := fs.Glob(os.DirFS(dir), "*")
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v, want the two secrets alone", files, err)
	}
}

// TestToken logs in with what `belfry token` prints.
func TestToken(t *testing.T) {
	s := startServer(t)
	out, err := exec.Command(s.bin, "token", "--user", "alice", "--ttl", "1h", "--auth-secret-file", s.path("auth.secret")).Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(out))
	c := s.device(t, "alice", "phone", codecMsgpack)
	c.login(obj{"token": token})

	var claims jwt.RegisteredClaims
	if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.secret, nil }); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(claims.ExpiresAt.Time); left > time.Hour || left < 59*time.Minute {
		t.Errorf("the token is good for %v, want 1h", left)
	}
}

// certificate makes a certificate for the loopback address.
func certificate(t testing.TB) (certFile, keyFile string, cert []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: keyBytes},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, cert
}

// TestServeTLS serves clients with a certificate.
func TestServeTLS(t *testing.T) {
	certFile, keyFile, cert := certificate(t)
	s := startServer(t, "--tls-cert="+certFile, "--tls-key="+keyFile)

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
		conn, err := tls.Dial("tcp", s.listen, &tls.Config{RootCAs: pool, NextProtos: tc.offered})
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
	ws, _, err := websocket.Dial(t.Context(), "wss://"+s.listen+"/v1/ws", &websocket.DialOptions{HTTPClient: trusting})
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

// TestFaultClock sees messages out of their time, and keeps them when only the
// wall clock is wrong.
func TestFaultClock(t *testing.T) {
	s := startFaultServer(t)
	alice := s.login(t, "alice", "phone", nil)
	alice.request("send", obj{"conv": "u:bob", "cid": "short", "ttl": 60, "body": obj{}})
	alice.say("u:bob", "long")

	s.jumpClock(1000 * time.Hour)
	bob := s.login(t, "bob", "phone", obj{"autoRead": false})
	if got := bob.sync().Messages; len(got) != 2 {
		t.Errorf("after the wall clock jumped: %v, want both messages", got)
	}
	s.passTime(61 * time.Second)
	bob.login(obj{"autoRead": false})
	if got := bob.sync().Messages; len(got) != 1 || got[0].CID != "long" {
		t.Errorf("after 61 s: %v, want the one that lives long", got)
	}
}
