package operation

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
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
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
	for name, signal := range map[string]func(*harness.Server){"changed files": func(*harness.Server) {}, "SIGHUP": (*harness.Server).HangUp} {
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
			s := harness.Start(t, "--webhook-url="+r.URL, "--webhook-secret-file="+hookSecrets, "--auth-jwks="+jwks,
				"--auth-audience=chat", "--auth-issuer=i", "--auth-secret-file="+second)
			claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "chat", "iss": "i"}
			tokens := map[string]string{"old": s.Sign(claims), "one": keys.token(t, "one", claims), "two": keys.token(t, "two", claims)}
			s.Secret = []byte(newSecret)
			tokens["new"] = s.Sign(claims)
			sessions := make(map[string]*wstest.Client)
			login := func(device, token string) *wstest.Client {
				t.Helper()
				c := s.Device(t, "alice", device, wstest.JSON)
				c.Login(obj{"token": token})
				return c
			}
			for device, token := range tokens {
				sessions[device] = login(device, token)
			}
			others := func() {
				t.Helper()
				for _, device := range []string{"new", "two"} {
					sessions[device].Request("ping", nil)
				}
			}

			// The old secret goes, as its file gets the new one, and so does the key "one".
			replaceFile(t, s.Path("auth.secret"), []byte(newSecret+"\n"))
			replaceFile(t, jwks, keys.set(t, "two"))
			began := time.Now()
			signal(s)
			for _, device := range []string{"old", "one"} {
				sessions[device].ExpectClose(4401)
				c := s.Device(t, "alice", device, wstest.JSON)
				c.Connect(wstest.DialOptions{Codec: wstest.JSON})
				c.Refused("login", obj{"token": tokens[device], "device": device}, "unauthorized")
				c.Drop()
			}
			t.Logf("sessions of withdrawn keys ended within %v", time.Since(began))
			others()

			// Administrators.
			const newAdmin = "the-new-token-of-administrators"
			replaceFile(t, s.Path("admin.tokens"), []byte(newAdmin+"\n"))
			began = time.Now()
			signal(s)
			wstest.Eventually(t, "the new admin token is good", func() bool { status, _, _ := s.AdminAs(newAdmin, "GET", "/v1/stats", nil); return status == 200 })
			if status, _, err := s.AdminAs(s.AdminToken, "GET", "/v1/stats", nil); err != nil || status != 401 {
				t.Errorf("the withdrawn admin token: %d %v, want 401", status, err)
			}
			t.Logf("admin tokens changed within %v", time.Since(began))
			s.AdminToken = newAdmin

			// Webhooks.
			const otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			replaceFile(t, hookSecrets, []byte(otherSecret+"\n"))
			began = time.Now()
			signal(s)
			wstest.Eventually(t, "events are signed with the new secret", func() bool {
				s.MustAdmin("POST", "/v1/groups", obj{"kind": "public"})
				return r.signedBy(t, otherSecret)
			})
			t.Logf("the webhook secret changed within %v", time.Since(began))

			// What is wrong leaves all as it is, is logged and counted.
			replaceFile(t, s.Path("auth.secret"), []byte("short"))
			replaceFile(t, s.Path("admin.tokens"), []byte("x\n"))
			replaceFile(t, hookSecrets, []byte("none"))
			signal(s)
			for _, what := range []string{"auth", "admin-tokens", "webhook-secret"} {
				wstest.Eventually(t, what+" is counted as failed", func() bool {
					return strings.Contains(s.Metrics(t), `belfry_reloads_total{outcome="failed",what="`+what+`"}`) &&
						!strings.Contains(s.Metrics(t), `belfry_reloads_total{outcome="failed",what="`+what+`"} 0`)
				})
			}
			for _, why := range []string{"a secret of 5 bytes, want 32 or more", "line 1: a token of 1 bytes", "--webhook-secret-file: "} {
				if !strings.Contains(s.Log.String(), why) {
					t.Errorf("the log does not say %q", why)
				}
			}
			others()
			login("again", tokens["new"]).Request("ping", nil)
			if !strings.Contains(s.Metrics(t), `belfry_reloads_total{outcome="ok",what="auth"}`) {
				t.Error("what was taken up is not counted")
			}
		})
	}
}

// TestCertificatesAreReadAgain: who connects sees the new one, who is connected
// goes on, and what is no certificate leaves the one there is.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	certFile, keyFile, first := harness.Certificate(t)
	adminCert, adminKey, _ := harness.Certificate(t)
	s := harness.Start(t, "--tls-cert="+certFile, "--tls-key="+keyFile, "--admin-tls-cert="+adminCert, "--admin-tls-key="+adminKey)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: first}))
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer trusting.CloseIdleConnections()
	ws, _, err := websocket.Dial(t.Context(), "wss://"+s.Listen+"/v1/ws", &websocket.DialOptions{HTTPClient: trusting})
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
	for _, l := range []struct{ what, address, cert, key string }{{"tls", s.Listen, certFile, keyFile}, {"admin-tls", s.AdminListen, adminCert, adminKey}} {
		newCert, newKey, want := harness.Certificate(t)
		for from, to := range map[string]string{newKey: l.key, newCert: l.cert} {
			content, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			replaceFile(t, to, content)
		}
		wstest.Eventually(t, l.what+": the new certificate is served", func() bool { return bytes.Equal(served(l.address), want) })
		replaceFile(t, l.cert, []byte("none"))
		wstest.Eventually(t, l.what+": the log says why", func() bool { return strings.Contains(s.Log.String(), "--"+l.what+"-cert, --"+l.what+"-key: ") })
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
	resp, err := client.Get("https://" + s.AdminListen + "/healthz")
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
	s := harness.Start(t, "--admin-token-file=")
	for range 3 {
		s.HangUp()
	}
	wstest.Eventually(t, "it is logged", func() bool { return strings.Contains(s.Log.String(), "SIGHUP") })
	if status, _, err := s.AdminAs("", "GET", "/healthz", nil); err != nil || status != 200 {
		t.Errorf("/healthz after SIGHUP: %d %v", status, err)
	}
	c := s.Device(t, "alice", "phone", wstest.JSON)
	c.Login(nil)
	s.Stop()
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
	s := harness.Start(t, "--auth-secret-file="+filepath.Join(dir, "data", "secret"))
	s.Secret = []byte(first)
	old := s.Login(t, "alice", "phone", nil)
	version("2", second)
	old.ExpectClose(4401)
	s.Secret = []byte(second)
	s.Login(t, "alice", "phone", nil)
}

// TestSecretsThatOthersRead are warned of.
func TestSecretsThatOthersRead(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	if strings.Contains(s.Log.String(), "every local user") {
		t.Error("a warning of files that nobody else reads")
	}
	for _, name := range []string{"auth.secret", "admin.tokens"} {
		if err := os.Chmod(s.Path(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.Kill()
	s.Restart()
	for _, name := range []string{"auth.secret", "admin.tokens"} {
		if !strings.Contains(s.Log.String(), "file="+s.Path(name)) {
			t.Errorf("no warning of %s", name)
		}
	}
}
