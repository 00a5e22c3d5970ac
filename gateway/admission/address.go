package admission

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies says whose word counts for the address of a client.
type Proxies struct {
	// Trusted proxies name their clients in X-Forwarded-For or, with Protocol, by the
	// PROXY protocol, version 1 or 2: then each of their connections has to begin with
	// its header.
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

// ClientAddress returns the address that a request comes from: the peer's, or the one
// that trusted proxies name. Each proxy appends the address of its peer to
// X-Forwarded-For, so the client's is the last one that is not a trusted proxy's.
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

// addressKey is what limits count an address by: of an IPv6 address its /64, which as
// a rule belongs to one host.
func addressKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}
