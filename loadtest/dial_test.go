package loadtest

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:8080":      "ws://127.0.0.1:8080/v1/ws",
		"https://chat.example/":      "wss://chat.example:443/v1/ws",
		"ws://chat.example/x?room=1": "ws://chat.example:80/x?room=1",
		"wss://[::1]:1":              "wss://[::1]:1/v1/ws",
	} {
		u, err := parseURL(in)
		if err != nil || u.String() != want {
			t.Errorf("%s = %v, %v; want %s", in, u, err, want)
		}
	}
}

func TestSourceAddresses(t *testing.T) {
	for n, want := range map[int]string{
		portsPerSource - 1:   "invalid IP",
		portsPerSource:       "127.0.0.2",
		2 * portsPerSource:   "127.0.0.3",
		300 * portsPerSource: "127.0.1.51",
	} {
		if got := sourceAddress("127.0.0.1", n).String(); got != want {
			t.Errorf("connection %d comes from %s, want %s", n, got, want)
		}
	}
	for _, host := range []string{"localhost", "10.0.0.1", "::1"} {
		if got := sourceAddress(host, 1<<20); got != (netip.Addr{}) {
			t.Errorf("a connection to %s comes from %v, want the system's choice", host, got)
		}
	}
}

func TestTLS(t *testing.T) {
	fake := newFakeServer(t, faults{})
	secure := httptest.NewTLSServer(fake)
	defer secure.Close()
	config := IdleConfig{Config: Config{Server: fake.target(protocol.Msgpack)}, Connections: 2}
	config.Server.URLs = []string{secure.URL}
	if _, err := Idle(t.Context(), config); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a certificate that nobody knows: %v, want an error that says so", err)
	}
	config.Server.TLS = secure.Client().Transport.(*http.Transport).TLSClientConfig
	if report, err := Idle(t.Context(), config); err != nil || report.Alive != 2 {
		t.Errorf("Idle over TLS = %+v, %v", report, err)
	}
}

func TestHandshakeRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string
	}{
		"status":      {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status 503"},
		"accept":      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", "Sec-WebSocket-Accept"},
		"no protocol": {"belfry\r\n\r\n", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				conn.Write([]byte(c.answer))
				conn.Close()
			}))
			defer raw.Close()
			_, err := dial(t.Context(), &Server{URLs: []string{raw.URL}}, 0, 0)
			if err == nil {
				t.Fatalf("no error, want %q", c.want)
			}
			caught(t, err, c.want)
		})
	}
}

func TestAllowFiles(t *testing.T) {
	if err := allowFiles(1); err != nil {
		t.Error(err)
	}
}
