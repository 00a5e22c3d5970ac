package loadtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A Server is the server that clients connect to, on one or more addresses.
type Server struct {
	// URLs of the server, one for each of its nodes: ws, wss, http or https. Without
	// a path they get /v1/ws. Clients are spread over them; one that has lost its
	// connection, or finds none, goes to the next.
	URLs []string
	// Codec is protocol.JSON (the zero value) or protocol.Msgpack.
	Codec protocol.Codec
	// TLS configures wss; nil = the system's roots.
	TLS *tls.Config
	// Token returns a token of user for a login.
	Token func(user string) (string, error)
}

// parseURL returns one of Server.URLs with defaults for what it leaves out.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("loadtest: Server.URLs: %w", err)
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "ws"
	case "wss", "https":
		u.Scheme = "wss"
	default:
		return nil, fmt.Errorf("loadtest: Server.URLs: %q: want ws, wss, http or https", text)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("loadtest: Server.URLs: %q: want a host", text)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"ws": "80", "wss": "443"}[u.Scheme])
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/ws"
	}
	return u, nil
}

// check returns an error if no client could use the server.
func (s *Server) check() error {
	if s.Token == nil {
		return fmt.Errorf("loadtest: Server.Token: want a function that gives tokens")
	}
	if len(s.URLs) == 0 {
		return fmt.Errorf("loadtest: Server.URLs: want at least one")
	}
	for _, u := range s.URLs {
		if _, err := parseURL(u); err != nil {
			return err
		}
	}
	return nil
}

// at returns the URL that the connection of a number takes at an attempt, both
// counted from 0.
func (s *Server) at(number, attempt int) string {
	return s.URLs[(number+attempt)%len(s.URLs)]
}

// portsPerSource is how many connections share a source address: the system
// has about 28,000 ports for those of one address to one listener.
const portsPerSource = 20_000

// sourceAddress returns the address that connection n comes from: connections to
// this machine are spread over addresses of 127.0.0.0/8. The zero Addr leaves the
// choice to the system.
func sourceAddress(host string, n int) netip.Addr {
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() || !ip.IsLoopback() || n < portsPerSource {
		return netip.Addr{}
	}
	const perByte = 250 // neither 0 nor 255, which mean a network and all of it
	block := n / portsPerSource
	return netip.AddrFrom4([4]byte{127, 0, byte(block / perByte), byte(block%perByte) + 1})
}

// dial opens connection number n of a run, as a WebSocket. Each attempt takes
// another of the server's addresses.
func dial(ctx context.Context, server *Server, n, attempt int) (*socket, error) {
	u, err := parseURL(server.at(n, attempt))
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, u, sourceAddress(u.Hostname(), n))
	if err != nil {
		return nil, err
	}
	return shakeHands(ctx, server, u, conn)
}

// connect opens a TCP connection from a source address; the zero Addr leaves the
// choice to the system.
func connect(ctx context.Context, u *url.URL, source netip.Addr) (net.Conn, error) {
	var dialer net.Dialer
	if source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return dialer.DialContext(ctx, "tcp", u.Host)
}

// shakeHands makes a WebSocket of a fresh connection, over TLS if the URL says
// so. On an error it closes the connection.
func shakeHands(ctx context.Context, server *Server, u *url.URL, conn net.Conn) (*socket, error) {
	if u.Scheme == "wss" {
		secure, err := encrypt(ctx, server, u, conn)
		if err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	// The handshake knows no context; closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	early, err := upgrade(conn, u, server.Codec)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("websocket handshake with %s: %w", u.Host, err)
	}
	return newSocket(conn, server.Codec, early), nil
}

func encrypt(ctx context.Context, server *Server, u *url.URL, conn net.Conn) (net.Conn, error) {
	config := tlsOrDefault(server.TLS)
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// A statusError is an answer to a WebSocket handshake with another status than
// 101.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d %s, want 101", e.code, http.StatusText(e.code))
}

// upgrade makes a WebSocket of conn and returns the bytes that the server sent
// right behind its answer.
func upgrade(conn net.Conn, u *url.URL, codec protocol.Codec) (early []byte, err error) {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	key := base64.StdEncoding.EncodeToString(nonce)
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		u.RequestURI(), u.Host, key, codec.Subprotocol())
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 1<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, &statusError{resp.StatusCode}
	}
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum([]byte(key + guid))
	if got, want := resp.Header.Get("Sec-WebSocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		return nil, fmt.Errorf("Sec-WebSocket-Accept %q, want %q", got, want)
	}
	if !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		return nil, fmt.Errorf("upgrade %q, want websocket", resp.Header.Get("Upgrade"))
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != codec.Subprotocol() {
		return nil, fmt.Errorf("subprotocol %q, want %q", got, codec.Subprotocol())
	}
	early, _ = r.Peek(r.Buffered())
	return append([]byte(nil), early...), nil
}
