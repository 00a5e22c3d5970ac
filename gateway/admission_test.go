package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func testAdmission(c AdmissionConfig) *admission {
	return newAdmission(c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

// A guest is a connection of a test of an admission.
type guest struct {
	*place
	why atomic.Pointer[string] // for which it had to give way
}

func (a *admission) visit(address string) *guest {
	g := new(guest)
	g.place = a.enter(address, false, func(why string) {
		g.why.Store(&why)
		g.leave()
	})
	return g
}

func (g *guest) evictedFor() string {
	synctest.Wait()
	if why := g.why.Load(); why != nil {
		return *why
	}
	return ""
}

// wantEmpty fails the test if anything is counted after all have left.
func wantEmpty(t *testing.T, a *admission) {
	t.Helper()
	if a.used.Load() != 0 || a.strangersUsed.Load() != 0 || a.leaving.Load() != 0 || len(a.all) != 0 || a.strangers.n != 0 || a.surplus != 0 || len(a.addresses) != 0 {
		t.Errorf("when all have left: %d bytes, %d of strangers, %d leaving, %d places, %d strangers, %d surplus, %d addresses",
			a.used.Load(), a.strangersUsed.Load(), a.leaving.Load(), len(a.all), a.strangers.n, a.surplus, len(a.addresses))
	}
}

func TestStrangersGiveWayToNewOnes(t *testing.T) {
	for name, c := range map[string]AdmissionConfig{
		forStrangers:      {Unauthenticated: 2},
		forConnections:    {Connections: 3},
		forStrangerMemory: {Memory: 5 * handshakeCost},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := testAdmission(c)
				user := a.visit("u")
				user.login()
				first, second := a.visit("a"), a.visit("b")
				if a.visit("c").place != nil {
					t.Error("taken though those before it are within their grace")
				}
				time.Sleep(strangerGrace)
				third := a.visit("c")
				if third.place == nil || first.evictedFor() != name {
					t.Errorf("the oldest gave way for %q, want %q", first.evictedFor(), name)
				}
				if second.evictedFor() != "" || user.evictedFor() != "" {
					t.Error("others had to give way too")
				}
				for _, g := range []*guest{user, second, third} {
					g.leave()
				}
				wantEmpty(t, a)
			})
		})
	}
}

func TestAddressIsLimited(t *testing.T) {
	for name, c := range map[string]AdmissionConfig{
		"connections":     {AddressConnections: 2},
		"unauthenticated": {AddressUnauthenticated: 2},
		"rate":            {AddressRate: 2},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := testAdmission(c)
				var guests []*guest
				for range 2 {
					g := a.visit("a")
					if g.place == nil || g.surplus || !g.resolve("a") {
						t.Fatal("a connection within the limit is refused")
					}
					guests = append(guests, g)
				}
				for range maxSurplus {
					g := a.visit("a")
					if g.place == nil || g.resolve("a") {
						t.Fatal("want a connection that is let in to be refused")
					}
					guests = append(guests, g)
				}
				if a.visit("a").place != nil {
					t.Error("more than some are let in to be refused")
				}
				if g := a.visit("b"); g.place == nil || g.surplus {
					t.Error("another address is refused")
				} else {
					guests = append(guests, g)
				}
				for _, g := range guests {
					g.leave()
					g.leave()
				}
				wantEmpty(t, a)
			})
		})
	}
}

func TestAddressBehindAProxyIsLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := testAdmission(AdmissionConfig{AddressConnections: 1})
		first, second := a.visit(""), a.visit("")
		if !first.resolve("a") || second.resolve("a") {
			t.Error("want the second connection of one client refused, however many its proxy may make")
		}
		first.leave()
		second.leave()
		wantEmpty(t, a)
	})
}

func TestMemoryIsSpentByClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := testAdmission(AdmissionConfig{Memory: 1 << 20})
		var idle []*guest
		for range 10 {
			g := a.visit("u")
			g.upgrade(g.close)
			g.login()
			idle = append(idle, g)
		}
		heavy, heavier, stranger := a.visit("u"), a.visit("u"), a.visit("s")
		for _, g := range []*guest{heavy, heavier} {
			g.upgrade(g.close)
			g.login()
		}
		heavy.charge(300 << 10)
		if a.tight() {
			t.Error("memory is tight at half of it")
		}
		heavier.charge(500 << 10)
		if !a.tight() {
			t.Error("memory is not tight past seven eighths of it")
		}
		heavy.charge(140 << 10)
		if stranger.evictedFor() != forMemory || heavier.evictedFor() != forMemory {
			t.Error("want the stranger and the session that holds most closed")
		}
		if heavy.evictedFor() != "" {
			t.Error("want no more closed than has to be")
		}
		for _, g := range idle {
			if g.evictedFor() != "" {
				t.Error("want no session closed that holds nothing")
			}
			g.leave()
		}
		heavy.charge(-440 << 10)
		heavy.leave()
		heavy.charge(1 << 20) // whoever is late
		wantEmpty(t, a)
	})
}

// TestUnfinishedFrames has strangers and users begin frames, and messages, that
// do not end.
func TestUnfinishedFrames(t *testing.T) {
	for name, begin := range map[string]string{
		"half a ping":       "\x89\x85\x00\x00\x00\x00ab",
		"half a frame":      "\x81\xfe\x20\x00\x00\x00\x00\x00abc",
		"half a header":     "\x81\xfe",
		"a fragment":        "\x01\x83\x00\x00\x00\x00abc",
		"fragment and ping": "\x01\x83\x00\x00\x00\x00abc\x89\x80\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t, func(c *Config) { c.LoginTimeout = time.Hour; c.FrameTimeout = 20 * time.Second })
				c := e.online("alice", protocol.JSON)
				socket := e.rawLogin("bob")
				if _, err := io.WriteString(socket, begin); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, _ = io.Copy(io.Discard, socket)
				// And a second more, in which the client does not answer the close frame.
				if took := time.Since(start); took != 21*time.Second {
					t.Errorf("closed after %v, want 21s", took)
				}
				c.call("ping", nil)
				if n := e.closes("4408", "unfinished frame"); n != 1 {
					t.Errorf("%v closed as unfinished, want 1", n)
				}
			})
		})
	}
}

// TestLargeMessagesOneByOne sends messages that are always in parts, so that one
// is unfinished at any time, for longer than one may take.
func TestLargeMessagesOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.FrameTimeout = 20 * time.Second })
		socket := e.rawLogin("bob")
		go io.Copy(io.Discard, socket)
		frame := append([]byte{0x81, 0xfe, 0x01, 0x00, 0, 0, 0, 0}, fmt.Sprintf(`{"op":"ack","args":{"d":0,"x":"%s"}}`, strings.Repeat("x", 256-34))...)
		rest := frame
		for range 60 {
			if _, err := socket.Write(rest[:100]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, err := socket.Write(slices.Concat(rest[100:], frame[:50])); err != nil {
				t.Fatal(err)
			}
			rest = frame[50:]
			time.Sleep(time.Second)
		}
	})
}

// rawLogin logs in over a socket of its own, from which all is read up to
// onSynced.
func (e *edge) rawLogin(user string) net.Conn {
	e.t.Helper()
	socket, err := e.listener.dial(e.t.Context(), "", "")
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { socket.Close() })
	login := fmt.Sprintf(`{"id":1,"op":"login","args":{"token":%q,"device":"raw"}}`, testToken(user))
	go io.WriteString(socket, "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		"\x81\xfe"+string([]byte{byte(len(login) >> 8), byte(len(login))})+"\x00\x00\x00\x00"+login)
	readUntil(e.t, socket, `"groups":[]`)
	return socket
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
		g := newTestGateway(t, func(c *Config) { c.Proxies.Trusted = trusted })
		r := httptest.NewRequest("GET", "/v1/ws", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = tc.peer, tc.forwarded
		if got := g.clientAddress(r).String(); got != tc.want {
			t.Errorf("client of %s, forwarded for %q = %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := limitKey(netip.MustParseAddr(text)); got != want {
			t.Errorf("limits count %s by %s, want %s", text, got, want)
		}
	}
}

// TestProxyProtocol connects through a door that wants the header.
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
			g := newTestGateway(t, func(c *Config) {
				c.Proxies = ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix(tc.trusted)}, Protocol: true}
			})
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan string, 1)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- g.clientAddress(r).String()
			})}
			go server.Serve(g.Listener(tcp, nil))
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

func TestPlaceOfTLS(t *testing.T) {
	a := testAdmission(AdmissionConfig{})
	c := &admittedConn{Conn: nowhere{}}
	c.place = a.enter("a", true, func(string) {})
	if placeOf(tls.Server(c, nil)) != c.place {
		t.Error("a connection in TLS has lost its place")
	}
	if got, want := c.place.charged, int64(handshakeCost+tlsCost); got != want {
		t.Errorf("it is charged with %d bytes, want %d", got, want)
	}
	if placeOf(nowhere{}) != nil {
		t.Error("a connection that came through no door has a place")
	}
}

func TestStrangersAreTold(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Admission.Unauthenticated = 2 })
		user := e.online("alice", codec) // counts no longer
		first, second := e.dial(codec), e.dial(codec)
		if _, _, err := e.open("ws://belfry.test/v1/ws", &websocket.DialOptions{}); err == nil {
			t.Error("a third stranger is let in at once")
		}
		time.Sleep(strangerGrace)
		third := e.dial(codec)
		first.wantClosed(4429)
		second.call("ping", nil)
		third.login("bob", "phone", nil)
		user.call("ping", nil)
	})
}

// TestSessionsThatHoldMostAreClosed has deaf sessions be sent more than there is
// memory for.
func TestSessionsThatHoldMostAreClosed(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		const memory = 1 << 20
		e := newEdge(t, func(c *Config) { c.Admission.Memory = memory })
		user := e.online("alice", codec)
		for i := range 4 {
			c := e.dialWith(codec, dialOptions{silent: true})
			c.request("login", obj{"token": testToken("bob"), "device": fmt.Sprint(i)})
			synctest.Wait()
			s := e.session("bob")
			s.queue(func(b []byte) []byte { return append(b, make([]byte, 256<<10)...) }) // a page of history
			s.Wake()
		}
		synctest.Wait()
		if n := e.closes("4413", "memory of connections is short"); n == 0 {
			t.Error("no session was closed for memory")
		}
		if used := e.gateway.admission.used.Load(); used > memory {
			t.Errorf("%d bytes are charged, want at most %d", used, memory)
		}
		again := e.dial(codec)
		login := obj{"token": testToken("bob"), "device": "again"}
		again.refused("login", login, "unavailable")
		time.Sleep(deafPause)
		again.call("login", login)
		user.call("ping", nil)
	})
}

// TestTightMemoryRefuses has requests that need memory be refused while it is
// short, and no others.
func TestTightMemoryRefuses(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Admission.Memory = 1 << 20 })
		c := e.online("alice", codec)
		place := e.session("alice").conn.place
		place.charge(950 << 10)
		c.refused("getMessage", obj{"conv": "u:bob"}, "unavailable")
		c.refused("send", obj{"conv": "u:bob", "cid": "1", "body": strings.Repeat("x", 1000)}, "unavailable")
		c.call("send", obj{"conv": "u:bob", "cid": "1", "body": "x"})
		c.call("ping", nil)
		place.charge(-950 << 10)
		c.call("getMessage", obj{"conv": "u:bob"})
	})
}

// A flood from one address does not keep out who comes from another one.
func TestFloodOfOneAddressGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := testAdmission(AdmissionConfig{Unauthenticated: 3})
		flood := []*guest{a.visit("flood"), a.visit("flood"), a.visit("flood")}
		if a.visit("flood").place != nil {
			t.Error("the flood pushes itself out within its grace")
		}
		if other := a.visit("other"); other.place == nil || flood[0].evictedFor() != forStrangers {
			t.Error("another address is kept out")
		}
		if a.visit("other").place != nil {
			t.Error("an address takes the place of one that has no more than it")
		}
	})
}

// Sessions that do not read go before those that hold more for a moment.
func TestDeafSessionsAreClosedFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := testAdmission(AdmissionConfig{Memory: 1 << 20})
		busy, deaf := a.visit("u"), a.visit("u")
		for _, g := range []*guest{busy, deaf} {
			g.upgrade(g.close)
			g.login()
		}
		deaf.charge(300 << 10)
		deaf.blocked.Store(time.Now().UnixNano())
		time.Sleep(2 * strangerGrace)
		busy.blocked.Store(time.Now().UnixNano())
		if busy.charge(500 << 10); deaf.evictedFor() != "" {
			t.Error("the deaf one is closed though there is room")
		}
		// Before there is none for who comes.
		busy.charge(150 << 10)
		if deaf.evictedFor() != forMemory || busy.evictedFor() != "" {
			t.Errorf("closed: the deaf one for %q, the busy one for %q", deaf.evictedFor(), busy.evictedFor())
		}
		if newcomer := a.visit("new"); newcomer.place == nil {
			t.Error("who comes is kept out")
		}
		busy.leave()
	})
}
