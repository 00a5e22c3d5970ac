package admission

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the proxies that are trusted to name the addresses of their clients.
type Proxies struct {
	// Trusted proxies name a client in X-Forwarded-For. With Protocol they use the
	// PROXY protocol (version 1 or 2) instead, and each of their connections has to
	// begin with its header.
	Trusted  []netip.Prefix
	Protocol bool
}

func (p *Proxies) trusts(a netip.Addr) bool {
	for _, prefix := range p.Trusted {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// ClientAddress returns the address of the client that a request comes from.
// X-Forwarded-For counts only from a trusted proxy. Each proxy appends the address of
// its peer, so the client's is the last that is no trusted proxy's.
func (p *Proxies) ClientAddress(r *http.Request) netip.Addr {
	client := parseAddress(r.RemoteAddr)
	if p.Protocol || !p.trusts(client) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := parseAddress(strings.TrimSpace(hops[i]))
		if !hop.IsValid() {
			break
		}
		if client = hop; !p.trusts(hop) {
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

// parseAddress reads an address with or without a port, and returns the zero Addr for
// anything else.
func parseAddress(text string) netip.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap()
}

// addressKey returns the text by which limits count an address. For IPv6 that is its
// /64, which as a rule belongs to one host.
func addressKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}
