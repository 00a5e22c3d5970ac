package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/webhook"
)

// replaceFile puts another content in a file's place at once.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// hangUp sends SIGHUP.
func (s *server) hangUp() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

// A signedReceiver is a receiver of webhooks that looks with which secret the last
// event was signed.
type signedReceiver struct {
	*httptest.Server
	last atomic.Pointer[signedEvent]
}

type signedEvent struct {
	header http.Header
	body   []byte
}

func newSignedReceiver(t *testing.T) *signedReceiver {
	r := new(signedReceiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.last.Store(&signedEvent{req.Header, body})
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *signedReceiver) signedBy(t *testing.T, secret string) bool {
	t.Helper()
	s, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	e := r.last.Load()
	return e != nil && s.Verify(e.header, e.body, time.Now()) == nil
}

// signingKeys are two key pairs and their set.
type signingKeys map[string]ed25519.PrivateKey

func newSigningKeys(t *testing.T) signingKeys {
	t.Helper()
	keys := make(signingKeys)
	for _, kid := range []string{"one", "two"} {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[kid] = key
	}
	return keys
}

func (k signingKeys) set(t *testing.T, kids ...string) []byte {
	t.Helper()
	var keys []obj
	for _, kid := range kids {
		x := base64.RawURLEncoding.EncodeToString(k[kid].Public().(ed25519.PublicKey))
		keys = append(keys, obj{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
	}
	text, err := json.Marshal(obj{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (k signingKeys) token(t *testing.T, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(k[kid])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSecretsAreReadAgain: what is withdrawn is refused, without a signal as with
// one, and the sessions of others notice nothing.
func TestSecretsAreReadAgain(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]func(*server){"changed files": func(*server) {}, "SIGHUP": (*server).hangUp} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSignedReceiver(t)
			dir := t.TempDir()
			hookSecrets, jwks, second := filepath.Join(dir, "webhook.secret"), filepath.Join(dir, "keys.json"), filepath.Join(dir, "second.secret")
			keys := newSigningKeys(t)
			const newSecret = "the new secret of the tests, 32 bytes or more"
			replaceFile(t, hookSecrets, []byte(webhookSecret+"\n"))
			replaceFile(t, jwks, keys.set(t, "one", "two"))
			replaceFile(t, second, []byte(newSecret))
			s := startServer(t, "--webhook-url="+r.URL, "--webhook-secret-file="+hookSecrets, "--auth-jwks="+jwks,
				"--auth-audience=chat", "--auth-issuer=i", "--auth-secret-file="+second)
			claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"}
			tokens := map[string]string{"old": s.sign(claims), "one": keys.token(t, "one", claims), "two": keys.token(t, "two", claims)}
			s.secret = []byte(newSecret)
			tokens["new"] = s.sign(claims)
			sessions := make(map[string]*wsClient)
			login := func(device, token string) *wsClient {
				t.Helper()
				c := s.device(t, "alice", device, codecJSON)
				c.login(obj{"token": token})
				return c
			}
			for device, token := range tokens {
				sessions[device] = login(device, token)
			}
			others := func() {
				t.Helper()
				for _, device := range []string{"new", "two"} {
					sessions[device].request("ping", nil)
				}
			}

			// The old secret goes, as its file gets the new one, and so does the key "one".
			replaceFile(t, s.path("auth.secret"), []byte(newSecret+"\n"))
			replaceFile(t, jwks, keys.set(t, "two"))
			began := time.Now()
			signal(s)
			for _, device := range []string{"old", "one"} {
				sessions[device].expectClose(4401)
				c := s.device(t, "alice", device, codecJSON)
				c.connect(dialOptions{codec: codecJSON})
				c.refused("login", obj{"token": tokens[device], "device": device}, "unauthorized")
				c.drop()
			}
			t.Logf("sessions of withdrawn keys ended within %v", time.Since(began))
			others()

			// Administrators.
			const newAdmin = "the-new-token-of-administrators"
			replaceFile(t, s.path("admin.tokens"), []byte(newAdmin+"\n"))
			began = time.Now()
			signal(s)
			eventually(t, "the new admin token is good", func() bool { status, _, _ := s.adminAs(newAdmin, "GET", "/v1/stats", nil); return status == 200 })
			if status, _, err := s.adminAs(s.adminToken, "GET", "/v1/stats", nil); err != nil || status != 401 {
				t.Errorf("the withdrawn admin token: %d %v, want 401", status, err)
			}
			t.Logf("admin tokens changed within %v", time.Since(began))
			s.adminToken = newAdmin

			// Webhooks.
			const otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			replaceFile(t, hookSecrets, []byte(otherSecret+"\n"))
			began = time.Now()
			signal(s)
			eventually(t, "events are signed with the new secret", func() bool {
				s.mustAdmin("POST", "/v1/groups", obj{"kind": "public"})
				return r.signedBy(t, otherSecret)
			})
			t.Logf("the webhook secret changed within %v", time.Since(began))

			// What is wrong leaves all as it is, is logged and counted.
			replaceFile(t, s.path("auth.secret"), []byte("short"))
			replaceFile(t, s.path("admin.tokens"), []byte("x\n"))
			replaceFile(t, hookSecrets, []byte("none"))
			signal(s)
			for _, what := range []string{"auth", "admin-tokens", "webhook-secret"} {
				eventually(t, what+" is counted as failed", func() bool {
					return strings.Contains(metrics(t, s), `belfry_reloads_total{outcome="failed",what="`+what+`"}`) &&
						!strings.Contains(metrics(t, s), `belfry_reloads_total{outcome="failed",what="`+what+`"} 0`)
				})
			}
			for _, why := range []string{"a secret of 5 bytes, want 32 or more", "line 1: a token of 1 bytes", "--webhook-secret-file: "} {
				if !strings.Contains(s.log.String(), why) {
					t.Errorf("the log does not say %q", why)
				}
			}
			others()
			login("again", tokens["new"]).request("ping", nil)
			if !strings.Contains(metrics(t, s), `belfry_reloads_total{outcome="ok",what="auth"}`) {
				t.Error("what was taken up is not counted")
			}
		})
	}
}

// TestCertificatesAreReadAgain: who connects sees the new one, who is connected
// goes on, and what is no certificate leaves the one there is.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	certFile, keyFile, first := certificate(t)
	adminCert, adminKey, _ := certificate(t)
	s := startServer(t, "--tls-cert="+certFile, "--tls-key="+keyFile, "--admin-tls-cert="+adminCert, "--admin-tls-key="+adminKey)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: first}))
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer trusting.CloseIdleConnections()
	ws, _, err := websocket.Dial(t.Context(), "wss://"+s.listen+"/v1/ws", &websocket.DialOptions{HTTPClient: trusting})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	served := func(address string) []byte {
		t.Helper()
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	for _, l := range []struct{ what, address, cert, key string }{{"tls", s.listen, certFile, keyFile}, {"admin-tls", s.adminListen, adminCert, adminKey}} {
		newCert, newKey, want := certificate(t)
		for from, to := range map[string]string{newKey: l.key, newCert: l.cert} {
			content, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			replaceFile(t, to, content)
		}
		eventually(t, l.what+": the new certificate is served", func() bool { return bytes.Equal(served(l.address), want) })
		replaceFile(t, l.cert, []byte("none"))
		eventually(t, l.what+": the log says why", func() bool { return strings.Contains(s.log.String(), "--"+l.what+"-cert, --"+l.what+"-key: ") })
		if !bytes.Equal(served(l.address), want) {
			t.Errorf("%s: a wrong file changed the certificate", l.what)
		}
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"id":1,"op":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := ws.Read(t.Context()); err != nil || !bytes.Contains(reply, []byte(`"serverTime"`)) {
		t.Errorf("ping: %s, %v", reply, err)
	}
	// Administrators are served with TLS alone.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + s.adminListen + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("/healthz: %d", resp.StatusCode)
	}
}

// TestHangUpWithoutFiles: SIGHUP ends no server.
func TestHangUpWithoutFiles(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--admin-token-file=")
	for range 3 {
		s.hangUp()
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(s.log.String(), "SIGHUP") })
	if status, _, err := s.adminAs("", "GET", "/healthz", nil); err != nil || status != 200 {
		t.Errorf("/healthz after SIGHUP: %d %v", status, err)
	}
	c := s.device(t, "alice", "phone", codecJSON)
	c.login(nil)
	s.stop()
}

// TestMountedSecret: a folder that is swapped by a symbolic link, as container
// platforms do it, changes its files.
func TestMountedSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name, secret string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "secret"), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(name, filepath.Join(dir, "data.new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "data.new"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	const first, second = "the first secret of 32 bytes or more", "the second secret of 32 bytes, or more"
	version("1", first)
	s := startServer(t, "--auth-secret-file="+filepath.Join(dir, "data", "secret"))
	s.secret = []byte(first)
	old := s.login(t, "alice", "phone", nil)
	version("2", second)
	old.expectClose(4401)
	s.secret = []byte(second)
	s.login(t, "alice", "phone", nil)
}

// TestSecretsThatOthersRead are warned of.
func TestSecretsThatOthersRead(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if strings.Contains(s.log.String(), "every local user") {
		t.Error("a warning of files that nobody else reads")
	}
	for _, name := range []string{"auth.secret", "admin.tokens"} {
		if err := os.Chmod(s.path(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.kill()
	s.restart()
	for _, name := range []string{"auth.secret", "admin.tokens"} {
		if !strings.Contains(s.log.String(), "file="+s.path(name)) {
			t.Errorf("no warning of %s", name)
		}
	}
}

// TestClearTextIsWarnedOf: not everybody in the network is to read along.
func TestClearTextIsWarnedOf(t *testing.T) {
	const clients, administration = "tokens and messages cross the network in the clear", "admin tokens cross the network in the clear"
	for _, c := range []struct {
		o    serveOptions
		want []string
	}{
		{serveOptions{listen: "127.0.0.1:1", adminListen: "[::1]:1"}, nil},
		{serveOptions{listen: ":1", adminListen: "localhost:1"}, []string{clients}},
		{serveOptions{listen: ":1", tlsCert: "x", adminListen: "0.0.0.0:1", adminInsecure: true}, []string{administration}},
		{serveOptions{listen: "192.0.2.1:1", adminListen: "192.0.2.1:1"}, []string{clients, administration}},
		{serveOptions{listen: ":1", tlsCert: "x", adminListen: ":1", adminTLSCert: "x"}, nil},
	} {
		var log bytes.Buffer
		c.o.warnOfClearText(newLogger(&log, "info", "text"))
		for _, text := range []string{clients, administration} {
			if got, want := strings.Contains(log.String(), text), slices.Contains(c.want, text); got != want {
				t.Errorf("%s and %s: %q is said = %t, want %t", c.o.listen, c.o.adminListen, text, got, want)
			}
		}
	}
}

// TestWeakSecretsAreRefused at the start, with the reason.
func TestWeakSecretsAreRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", strings.Repeat("x", 32)+"\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--auth-secret-file", write("byte", "x")}, "a secret of 1 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", write("31", strings.Repeat("x", 31)+"\n")}, "a secret of 31 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", good, "--auth-secret-file", write("old", "short")}, "a secret of 5 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", write("empty", "\n")}, "is empty"},
		{[]string{"--auth-secret-file", good, "--admin-token-file", write("token", "a\n")}, "line 1: a token of 1 bytes, want 16 or more"},
		{[]string{"--auth-jwks", write("jwks", `{"keys":[{"kty":"oct","k":"AAAA"}]}`), "--auth-audience=a", "--auth-issuer=i"}, "is a secret one"},
		{[]string{"--auth-secret-file", good, "--tls-cert", write("cert", "x"), "--tls-key", write("key", "x")}, "--tls-cert, --tls-key: "},
		{[]string{"--auth-secret-file", good, "--admin-tls-cert", write("cert", "x"), "--admin-tls-key", write("key", "x")}, "--admin-tls-cert, --admin-tls-key: "},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--data", filepath.Join(dir, "data")}, c.args...), nil, nil, &stdout, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v: exit code %d, stderr %q, want 1 and %q", c.args, code, stderr.String(), c.want)
		}
	}
}
