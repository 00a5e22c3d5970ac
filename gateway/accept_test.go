package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

func newTestGateway(t *testing.T, change func(*Config)) *Gateway {
	t.Helper()
	c := Config{Backend: newTestStore(t), Auth: auth.Config{Secrets: [][]byte{testSecret}}}
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRequestThatIsNoUpgrade(t *testing.T) {
	g := newTestGateway(t, nil)
	if r := get(g.Handler(), "http://chat.example/v1/ws", nil); r.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("GET /v1/ws = %d, want 426", r.StatusCode)
	}
	if r := get(g.Handler(), "http://chat.example/", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("GET / = %d, want 404", r.StatusCode)
	}
}

func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		origin string
		ok     bool
	}{
		{"", true}, // no browser
		{"http://chat.example", true},
		{"https://CHAT.example", true},
		{"https://app.example", true},
		{"https://a.widgets.example", true},
		{"http://a.widgets.example", false},
		{"https://evil.example", false},
		{"https://chat.example.evil.example", false},
		{"https://chat.example:8443", false},
		{"null", false},
		{"://", false},
	} {
		t.Run(tc.origin, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var log bytes.Buffer
				e := newEdge(t, func(c *Config) {
					c.AllowedOrigins, c.Log = []string{"app.example", "https://*.widgets.example"}, slog.New(slog.NewTextHandler(&log, nil))
				})
				header := http.Header{}
				if tc.origin != "" {
					header.Set("Origin", tc.origin)
				}
				ws, r, err := e.open("ws://chat.example/v1/ws", &websocket.DialOptions{HTTPHeader: header})
				if (err == nil) != tc.ok {
					t.Fatalf("dial: %v, want ok = %v", err, tc.ok)
				}
				if err != nil && r.StatusCode != http.StatusForbidden {
					t.Errorf("status = %d, want 403", r.StatusCode)
				}
				if ws != nil {
					ws.CloseNow()
				}
				synctest.Wait()
				if told := strings.Contains(log.String(), "--allowed-origins") && strings.Contains(log.String(), tc.origin); told == tc.ok {
					t.Errorf("log = %q, want the origin and the flag only if it is refused", log.String())
				}
			})
		})
	}
}

func TestDevHost(t *testing.T) {
	g := newTestGateway(t, func(c *Config) { c.Dev = true })
	for host, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "localhost": true, "LOCALHOST:8080": true, "[::1]": true, "[::1]:8080": true,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "127.0.0.1.evil.example:80": false,
		"10.0.0.1": false, "[::2]:80": false, "localhost:80:80": false,
	} {
		want := http.StatusForbidden
		if ok {
			want = http.StatusUpgradeRequired
		}
		if r := get(g.Handler(), "http://x/v1/ws", http.Header{"Host": {host}}); r.StatusCode != want {
			t.Errorf("Host %s: status %d, want %d", host, r.StatusCode, want)
		}
		if r := get(g.AdminHandler(), "http://x/healthz", http.Header{"Host": {host}}); (r.StatusCode == 200) != ok {
			t.Errorf("Host %s: status %d of /healthz", host, r.StatusCode)
		}
	}
}

func TestSubprotocol(t *testing.T) {
	for _, tc := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"belfry.v1.json"}, "belfry.v1.json"},
		{[]string{"belfry.v1.msgpack"}, "belfry.v1.msgpack"},
		{[]string{"belfry.v2.json", "belfry.v1.msgpack"}, "belfry.v1.msgpack"},
		{[]string{"belfry.v1.msgpack", "belfry.v1.json"}, "belfry.v1.msgpack"},
		{[]string{"belfry.v1.json", "belfry.v1.msgpack"}, "belfry.v1.json"},
		{[]string{"chat"}, ""},
	} {
		bubble(t, func(t *testing.T) {
			e := newEdge(t, nil)
			ws, _, err := e.open("ws://chat.example/v1/ws", &websocket.DialOptions{Subprotocols: tc.offered})
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			if ws.Subprotocol() != tc.want {
				t.Errorf("offered %v: subprotocol %q, want %q", tc.offered, ws.Subprotocol(), tc.want)
			}
			if tc.want != "" {
				return
			}
			if err := ws.Write(context.Background(), websocket.MessageText, []byte(`{"id": 1, "op": "ping"}`)); err != nil {
				t.Fatal(err)
			}
			if typ, _, err := ws.Read(context.Background()); err != nil || typ != websocket.MessageText {
				t.Errorf("offered %v: reply of type %v, %v, want JSON", tc.offered, typ, err)
			}
		})
	}
}

func TestAddressLimits(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e := newEdge(t, func(c *Config) { c.Admission.AddressConnections = 2 })
			first := e.dial(protocol.JSON)
			e.dial(protocol.JSON)
			e.dial(protocol.JSON).wantClosed(4429)
			first.ws.CloseNow()
			synctest.Wait()
			e.dial(protocol.JSON).call("ping", nil)
		})
	})
	t.Run("rate", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e := newEdge(t, func(c *Config) { c.Admission.AddressRate = 1 })
			e.dial(protocol.JSON).call("ping", nil)
			e.dial(protocol.JSON).wantClosed(4429)
			time.Sleep(time.Second)
			e.dial(protocol.JSON).call("ping", nil)
		})
	})
}

// TestEarlyFrame sends the first frame in one packet with the handshake.
func TestEarlyFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		conn, err := e.listener.dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const ping = `{"id":1,"op":"ping"}`
		go conn.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" +
			"\x81" + string([]byte{0x80 | byte(len(ping))}) + "\x00\x00\x00\x00" + ping))
		readUntil(t, conn, `"serverTime"`)
	})
}

func TestUnmaskedFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		conn, err := e.listener.dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go conn.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x02{}"))
		readUntil(t, conn, "\x03\xea") // 1002
	})
}

// readUntil reads until what came holds text.
func readUntil(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("read %q, then %v; want %q", got, err, text)
		}
		got = append(got, buf[:n]...)
	}
}

func TestConfigIsRefused(t *testing.T) {
	store := newTestStore(t)
	for name, c := range map[string]Config{
		"no backend":      {Auth: auth.Config{Secrets: [][]byte{testSecret}}},
		"no auth":         {Backend: store},
		"negative window": {Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, Window: -1},
		"negative time":   {Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, AckTimeout: -1},
		"huge bodies":     {Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, MaxBody: 64 << 10},
		"bad origin":      {Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, AllowedOrigins: []string{"[a"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
