//go:build clients

package wsconformance

// Clients in JavaScript: Node's own, two packages, and a browser. `make test`
// installs what they need where it can and runs those that are there.

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

var clientsFolder = wstest.InRepo(".ci", "clients")

func TestClientsInJavaScript(t *testing.T) {
	for name, command := range map[string]func(t *testing.T, base string) *exec.Cmd{
		"ws":       inNode("ws"),
		"undici":   inNode("undici"),
		"node":     inNode("node", "--experimental-websocket"),
		"chromium": inChromium,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, peer := name+".user", name+".peer"
			reports := make(chan string, 100)
			var s *harness.Server
			mux := http.NewServeMux()
			mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
				event, _ := io.ReadAll(r.Body)
				reports <- string(event)
			})
			mux.HandleFunc("GET /config", func(w http.ResponseWriter, r *http.Request) {
				json.NewEncoder(w).Encode(obj{"url": s.URL(), "token": s.Token(user), "peer": peer})
			})
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, clientsFolder+"/page.html")
			})
			mux.HandleFunc("GET /scenario.mjs", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/javascript")
				http.ServeFile(w, r, clientsFolder+"/scenario.mjs")
			})
			base := httptest.NewUnstartedServer(mux)
			defer base.Close()
			s = harness.Start(t, "--allowed-origins=http://"+base.Listener.Addr().(*net.TCPAddr).String())
			base.Start()

			said := &harness.LogTail{}
			cmd := command(t, base.URL)
			cmd.Stdout, cmd.Stderr = said, said
			harness.DieWithTests(cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				cmd.Wait() // what it did it has reported
			}()
			defer func() {
				cmd.Process.Kill()
				<-ended
				if t.Failed() {
					t.Logf("the client says:\n%s", said)
				}
			}()
			playPeer(t, s, user, peer, func() string {
				select {
				case event := <-reports:
					return event
				case <-time.After(2 * wstest.Patience): // a browser takes its time to start
					return "nothing in time"
				}
			})
		})
	}
}

// inNode runs one client in Node. flags are for those versions that have them.
func inNode(client string, flags ...string) func(*testing.T, string) *exec.Cmd {
	return func(t *testing.T, base string) *exec.Cmd {
		var known []string
		for _, f := range flags {
			if exec.Command("node", f, "-e", "0").Run() == nil {
				known = append(known, f)
			}
		}
		cmd := exec.Command("node", append(known, "node.mjs", client, base)...)
		cmd.Dir = clientsFolder
		return cmd
	}
}

// inChromium opens the page. The browser makes no connection but to the test.
func inChromium(t *testing.T, base string) *exec.Cmd {
	home, err := os.MkdirTemp("", "belfry-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) }) // its last process may still write: t.TempDir would mind
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--disable-default-apps", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--user-data-dir="+home, base)
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.Env = withoutProxies(cmd.Env)
	return cmd
}

func withoutProxies(env []string) (kept []string) {
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			kept = append(kept, e)
		}
	}
	return kept
}
