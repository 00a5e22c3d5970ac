package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTime is how long a proxy may take to say for whom it connects.
const proxyHeaderTime = 5 * time.Second

// A ProxyConfig says who may speak for others.
type ProxyConfig struct {
	// Trusted are the proxies whose word for a client's address counts: that of
	// X-Forwarded-For, or with Protocol that of the PROXY protocol, version 1 or
	// 2, with which each of their connections has to begin then.
	Trusted  []netip.Prefix
	Protocol bool
}

func (c *ProxyConfig) trusts(a netip.Addr) bool {
	for _, p := range c.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// A door is a listener whose connections are admitted as they come.
type door struct {
	net.Listener
	gateway *Gateway
	tls     bool
}

// Listener gives a listener on which the gateway admits connections as they
// come, to serve Handler on. secure, if it is not nil, is for TLS.
func (g *Gateway) Listener(l net.Listener, secure *tls.Config) net.Listener {
	d := &door{Listener: l, gateway: g, tls: secure != nil}
	if secure != nil {
		return tls.NewListener(d, secure)
	}
	return d
}

// Accept gives the next connection that there is room for. Others are closed.
func (d *door) Accept() (net.Conn, error) {
	for {
		socket, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := addressOf(socket.RemoteAddr())
		proxied := d.gateway.config.Proxies.trusts(peer)
		key := ""
		if !proxied {
			key = limitKey(peer)
		}
		tune(socket)
		c := &admittedConn{Conn: socket}
		if c.place = d.gateway.admission.enter(key, d.tls, func(string) { c.Close() }); c.place == nil {
			socket.Close()
			continue
		}
		if proxied && d.gateway.config.Proxies.Protocol {
			return proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyHeaderTime)), nil
		}
		return c, nil
	}
}

// An admittedConn is a connection that has a place.
type admittedConn struct {
	net.Conn
	place *place
}

// Close also gives the place back.
func (c *admittedConn) Close() error {
	err := c.Conn.Close()
	c.place.leave()
	return err
}

// NetConn is the socket.
func (c *admittedConn) NetConn() net.Conn { return c.Conn }

// placeOf finds the place of a connection that came through a door, nil if it
// did not.
func placeOf(c net.Conn) *place {
	for {
		switch inner := c.(type) {
		case *admittedConn:
			return inner.place
		case *proxyproto.Conn:
			c = inner.Raw()
		case *tls.Conn:
			c = inner.NetConn()
		default:
			return nil
		}
	}
}

// closeWrite ends the stream to the client, who may still send.
func closeWrite(c net.Conn) error {
	for {
		switch inner := c.(type) {
		case interface{ CloseWrite() error }:
			return inner.CloseWrite()
		case *admittedConn:
			c = inner.Conn
		case *proxyproto.Conn:
			c = inner.Raw()
		default:
			return errors.ErrUnsupported
		}
	}
}

// clientAddress is who made a request: the peer, or whom trusted proxies name.
// In X-Forwarded-For each adds whom it heard from at the end, so the client is the
// last one that is no trusted proxy.
func (g *Gateway) clientAddress(r *http.Request) netip.Addr {
	proxies := &g.config.Proxies
	client := parseAddress(r.RemoteAddr)
	if proxies.Protocol || !proxies.trusts(client) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := parseAddress(strings.TrimSpace(hops[i]))
		if !hop.IsValid() {
			break
		}
		if client = hop; !proxies.trusts(hop) {
			break
		}
	}
	return client
}

func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return parseAddress(a.String())
}

// parseAddress reads an address with or without a port. What is none is the
// invalid one.
func parseAddress(text string) netip.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap()
}

// limitKey is what limits count an address by. Who has an IPv6 address has all
// of its /64.
func limitKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}
