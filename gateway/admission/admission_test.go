package admission

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func testController(c Config) *Controller { return proxied(c, Proxies{}) }

func proxied(c Config, p Proxies) *Controller {
	return New(c, p, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

// A guest is a connection of a test.
type guest struct {
	*Conn
	reason atomic.Pointer[string] // for which it was displaced
}

// visit is a new connection; its Conn is nil if it is not admitted.
func (a *Controller) visit(address string) *guest {
	g := new(guest)
	if g.Conn = a.Admit(nowhere{}, address, false); g.Conn != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		g.Conn.displace = g.displace
	}
	return g
}

func (g *guest) displace(reason string) {
	g.reason.Store(&reason)
	g.Close()
}

// nowhere is a socket that is only closed.
type nowhere struct{ net.Conn }

func (nowhere) Close() error { return nil }

func (g *guest) displacedFor() string {
	synctest.Wait()
	if why := g.reason.Load(); why != nil {
		return *why
	}
	return ""
}

// wantEmpty fails the test if anything is counted after all have left.
func wantEmpty(t *testing.T, a *Controller) {
	t.Helper()
	if a.used.Load() != 0 || a.unauthenticatedUsed.Load() != 0 || a.closing.Load() != 0 || len(a.all) != 0 || a.unauthenticated.n != 0 || a.surplus != 0 || len(a.addresses) != 0 {
		t.Errorf("when all have left: %d bytes, %d of strangers, %d leaving, %d places, %d strangers, %d surplus, %d addresses",
			a.used.Load(), a.unauthenticatedUsed.Load(), a.closing.Load(), len(a.all), a.unauthenticated.n, a.surplus, len(a.addresses))
	}
}

func TestOldestUnauthenticatedIsEvicted(t *testing.T) {
	for name, c := range map[string]Config{
		forUnauthenticated:       {Unauthenticated: 2},
		forConnections:           {Connections: 3},
		forUnauthenticatedMemory: {Memory: 5 * handshakeCost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := testController(c)
				user := a.visit("u")
				user.Authenticated()
				first, second := a.visit("a"), a.visit("b")
				if a.visit("c").Conn != nil {
					t.Error("taken though those before it have had no time to log in")
				}
				time.Sleep(LoginGrace)
				third := a.visit("c")
				if third.Conn == nil || first.displacedFor() != name {
					t.Errorf("the oldest is displaced for %q, want %q", first.displacedFor(), name)
				}
				if second.displacedFor() != "" || user.displacedFor() != "" {
					t.Error("others are displaced too")
				}
				for _, g := range []*guest{user, second, third} {
					g.Close()
				}
				wantEmpty(t, a)
			})
		})
	}
}

func TestAddressIsLimited(t *testing.T) {
	for name, c := range map[string]Config{
		"connections":     {AddressConnections: 2},
		"unauthenticated": {AddressUnauthenticated: 2},
		"rate":            {AddressRate: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := testController(c)
				var guests []*guest
				for range 2 {
					g := a.visit("a")
					if g.Conn == nil || g.surplus || !g.identify("a") {
						t.Fatal("a connection within the limit is refused")
					}
					guests = append(guests, g)
				}
				for range maxSurplus {
					g := a.visit("a")
					if g.Conn == nil || g.identify("a") {
						t.Fatal("want a connection that is let in to be refused")
					}
					guests = append(guests, g)
				}
				if a.visit("a").Conn != nil {
					t.Error("more than some are let in to be refused")
				}
				if g := a.visit("b"); g.Conn == nil || g.surplus {
					t.Error("another address is refused")
				} else {
					guests = append(guests, g)
				}
				for _, g := range guests {
					g.Close()
					g.Close()
				}
				wantEmpty(t, a)
			})
		})
	}
}

func TestAddressBehindAProxyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testController(Config{AddressConnections: 1})
		first, second := a.visit(""), a.visit("")
		if !first.identify("a") || second.identify("a") {
			t.Error("want the second connection of one client refused, however many its proxy may make")
		}
		first.Close()
		second.Close()
		wantEmpty(t, a)
	})
}

func TestMemoryIsSpentByClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testController(Config{Memory: 1 << 20})
		var idle []*guest
		for range 10 {
			g := a.visit("u")
			g.Upgraded(g.displace)
			g.Authenticated()
			idle = append(idle, g)
		}
		heavy, heavier, stranger := a.visit("u"), a.visit("u"), a.visit("s")
		for _, g := range []*guest{heavy, heavier} {
			g.Upgraded(g.displace)
			g.Authenticated()
		}
		heavy.Charge(300 << 10)
		if a.MemoryLow() {
			t.Error("memory is tight at half of it")
		}
		heavier.Charge(500 << 10)
		if !a.MemoryLow() {
			t.Error("memory is not tight past seven eighths of it")
		}
		heavy.Charge(140 << 10)
		if stranger.displacedFor() != ForMemory || heavier.displacedFor() != ForMemory {
			t.Error("want the stranger and the session that holds most closed")
		}
		if heavy.displacedFor() != "" {
			t.Error("want no more closed than has to be")
		}
		for _, g := range idle {
			if g.displacedFor() != "" {
				t.Error("want no session closed that holds nothing")
			}
			g.Close()
		}
		heavy.Charge(-440 << 10)
		heavy.Close()
		heavy.Charge(1 << 20) // after it was closed
		wantEmpty(t, a)
	})
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tc := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.7:1", nil, "203.0.113.7"},
		{"203.0.113.7:1", []string{"198.51.100.1"}, "203.0.113.7"}, // nobody trusts it
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1"}, // the client's own word comes first
		{"10.0.0.1:1", []string{"6.6.6.6", "198.51.100.1, 10.1.1.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1, junk"}, "10.0.0.1"},
	} {
		p := Proxies{Trusted: trusted}
		r := httptest.NewRequest("GET", "/v1/ws", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = tc.peer, tc.forwarded
		if got := p.ClientAddress(r).String(); got != tc.want {
			t.Errorf("client of %s, forwarded for %q = %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := addressKey(netip.MustParseAddr(text)); got != want {
			t.Errorf("limits count %s by %s, want %s", text, got, want)
		}
	}
}

// TestProxyProtocol connects to a listener that wants the header.
func TestProxyProtocol(t *testing.T) {
	for name, tc := range map[string]struct {
		trusted, header string
		want            string // address that is limited; "" if the connection is refused
	}{
		"v1":            {"127.0.0.0/8", "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n", "198.51.100.1"},
		"v2":            {"127.0.0.0/8", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x01\xc0\x00\x02\x01\x12\x67\x00\x50", "198.51.100.1"},
		"none":          {"127.0.0.0/8", "", ""},
		"not a proxy":   {"10.0.0.0/8", "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n", ""},
		"no proxy":      {"10.0.0.0/8", "", "127.0.0.1"},
		"other's words": {"127.0.0.0/8", "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\nGET /v1/ws HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\n", "198.51.100.1"},
	} {
		t.Run(name, func(t *testing.T) {
			proxies := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix(tc.trusted)}, Protocol: true}
			a := proxied(Config{}, proxies)
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan string, 1)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- proxies.ClientAddress(r).String()
			})}
			go server.Serve(a.Listener(tcp, nil))
			defer server.Close()
			socket, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			request := "GET /v1/ws HTTP/1.1\r\n"
			if strings.Contains(tc.header, "GET") {
				request = ""
			}
			fmt.Fprint(socket, tc.header+request+"Host: x\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, socket)
			got := ""
			select {
			case got = <-seen:
			default:
			}
			if got != tc.want {
				t.Errorf("the client is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConnBelowTLS(t *testing.T) {
	a := testController(Config{})
	c := a.Admit(nowhere{}, "a", true)
	if Of(tls.Server(c, nil)) != c {
		t.Error("the connection below TLS is not found")
	}
	if got, want := c.charged, int64(handshakeCost+tlsCost); got != want {
		t.Errorf("it is charged with %d bytes, want %d", got, want)
	}
	if Of(nowhere{}) != nil {
		t.Error("a socket that was not admitted is found")
	}
}

// A flood from one address does not keep out who comes from another one.
func TestFloodOfOneAddressGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testController(Config{Unauthenticated: 3})
		flood := []*guest{a.visit("flood"), a.visit("flood"), a.visit("flood")}
		if a.visit("flood").Conn != nil {
			t.Error("the flood pushes itself out within its grace")
		}
		if other := a.visit("other"); other.Conn == nil || flood[0].displacedFor() != forUnauthenticated {
			t.Error("another address is kept out")
		}
		if a.visit("other").Conn != nil {
			t.Error("an address takes the place of one that has no more than it")
		}
	})
}

// Sessions that do not read go before those that hold more for a moment.
func TestBlockedSessionsAreClosedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testController(Config{Memory: 1 << 20})
		busy, deaf := a.visit("u"), a.visit("u")
		for _, g := range []*guest{busy, deaf} {
			g.Upgraded(g.displace)
			g.Authenticated()
		}
		deaf.Charge(300 << 10)
		deaf.blocked.Store(time.Now().UnixNano())
		time.Sleep(2 * LoginGrace)
		busy.blocked.Store(time.Now().UnixNano())
		if busy.Charge(500 << 10); deaf.displacedFor() != "" {
			t.Error("the deaf one is closed though there is room")
		}
		// Before there is none for who comes.
		busy.Charge(150 << 10)
		if deaf.displacedFor() != ForMemory || busy.displacedFor() != "" {
			t.Errorf("closed: the deaf one for %q, the busy one for %q", deaf.displacedFor(), busy.displacedFor())
		}
		if newcomer := a.visit("new"); newcomer.Conn == nil {
			t.Error("who comes is kept out")
		}
		busy.Close()
	})
}
